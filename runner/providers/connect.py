"""Ready clients from settings."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiohttp
from pydantic import SecretStr

from runner.errors import ProviderError
from runner.ports import Clock
from runner.ports import ProviderErrorKind as Kind
from runner.providers import lab_wire, runpod_wire
from runner.providers.budget import RateBudget
from runner.providers.clock import SystemClock
from runner.providers.finetunelab import FineTuneLab, LabCredentials
from runner.providers.http import Host
from runner.providers.lab_access import LabAccess
from runner.providers.lab_alerting import LabAlerting
from runner.providers.lab_checkup import LabCheckup
from runner.providers.lab_deployments import LabDeployments
from runner.providers.lab_records import LabRecords
from runner.providers.lab_serving import LabServing
from runner.providers.lab_testing import LabTesting
from runner.providers.runpod import LOG_IDLE_S, PATIENCE_S, RunPod
from runner.providers.session_token import FixedToken, RenewedToken, SessionToken, refuse_renewal
from runner.providers.settings import Settings

# The lab refuses the 101st request of a key within 60 s; a few are left for others who use the same key.
LAB_KEY_REQUESTS = 95
LAB_KEY_WINDOW_S = 60.0


@asynccontextmanager
async def open_runpod(
    settings: Settings,
    *,
    clock: Clock | None = None,
    jitter: Callable[[], float] = random.random,
    log_idle_s: float = LOG_IDLE_S,
    patience_s: float = PATIENCE_S,
    connector: aiohttp.BaseConnector | None = None,
) -> AsyncIterator[RunPod]:
    """A RunPod client that is closed at the end of the block.

    Raises:
        ProviderError: `auth` when there is no key.
    """
    if settings.runpod_key is None:
        raise ProviderError("no credential for RunPod: set `RUNPOD_API_KEY`", kind=Kind.AUTH)
    key = settings.runpod_key.get_secret_value()

    def host(url: str, name: str) -> Host:
        return Host(
            url,
            name=name,
            refuse=runpod_wire.refuse,
            secrets=settings.secrets,
            clock=clock,
            jitter=jitter,
            connector=connector,
        )

    async with AsyncExitStack() as opened:
        rest = await opened.enter_async_context(host(settings.runpod_url, "RunPod"))
        graphql = None
        if settings.graphql_url is not None:
            graphql = await opened.enter_async_context(host(settings.graphql_url, "RunPod GraphQL"))
        yield RunPod(rest, key=key, graphql=graphql, clock=clock, log_idle_s=log_idle_s, patience_s=patience_s)


@asynccontextmanager
async def open_lab(
    settings: Settings,
    *,
    clock: Clock | None = None,
    jitter: Callable[[], float] = random.random,
    key_requests: int = LAB_KEY_REQUESTS,
    on_rotated: Callable[[str], None] | None = None,
    connector: aiohttp.BaseConnector | None = None,
) -> AsyncIterator[FineTuneLab]:
    """A FineTune Lab client that is closed at the end of the block.

    Missing credentials are no error here: every call that needs one says which.

    Args:
        key_requests: what the API key may ask within 60 s; calls beyond it wait.
        on_rotated: given every new refresh token, since renewing spends the old one.
    """
    clock = clock or SystemClock()
    async with _lab_host(
        settings, clock=clock, jitter=jitter, key_requests=key_requests, on_rotated=on_rotated, connector=connector
    ) as (host, credentials):
        yield FineTuneLab(host, credentials, clock=clock)


@dataclass(frozen=True)
class LabConsole:
    """The parts of the lab's API that no run needs."""

    records: LabRecords
    deployments: LabDeployments
    alerting: LabAlerting
    testing: LabTesting
    serving: LabServing
    checkup: LabCheckup


@asynccontextmanager
async def open_lab_console(
    settings: Settings,
    *,
    clock: Clock | None = None,
    jitter: Callable[[], float] = random.random,
    key_requests: int = LAB_KEY_REQUESTS,
    on_rotated: Callable[[str], None] | None = None,
    connector: aiohttp.BaseConnector | None = None,
) -> AsyncIterator[LabConsole]:
    """As `open_lab`, for what a run does not need: stored things, where alerts go, asking and serving models."""
    clock = clock or SystemClock()
    async with _lab_host(
        settings, clock=clock, jitter=jitter, key_requests=key_requests, on_rotated=on_rotated, connector=connector
    ) as (host, credentials):
        jwt = credentials.jwt
        session = FixedToken(jwt, clock) if isinstance(jwt, str) else jwt
        access = LabAccess(host, session=session, api_key=credentials.api_key, clock=clock)
        yield LabConsole(
            records=LabRecords(access),
            deployments=LabDeployments(access),
            alerting=LabAlerting(access),
            testing=LabTesting(access, clock),
            serving=LabServing(access),
            checkup=LabCheckup(host, access, clock),
        )


@asynccontextmanager
async def _lab_host(
    settings: Settings,
    *,
    clock: Clock,
    jitter: Callable[[], float],
    key_requests: int,
    on_rotated: Callable[[str], None] | None,
    connector: aiohttp.BaseConnector | None,
) -> AsyncIterator[tuple[Host, LabCredentials]]:
    """The lab's host with its rate budget, and every credential that the settings have."""
    async with AsyncExitStack() as opened:
        host = Host(
            settings.lab_url,
            name="FineTune Lab",
            refuse=lab_wire.refuse,
            secrets=settings.secrets,
            budget=RateBudget(clock, limit=key_requests, window_s=LAB_KEY_WINDOW_S),
            clock=clock,
            jitter=jitter,
            connector=connector,
        )
        await opened.enter_async_context(host)
        session: SessionToken | None = None
        if settings.refresh_token and settings.supabase_url and settings.supabase_anon_key:
            supabase = Host(
                settings.supabase_url,
                name="Supabase",
                refuse=refuse_renewal,
                secrets=settings.secrets,
                clock=clock,
                jitter=jitter,
                connector=connector,
            )
            session = RenewedToken(
                await opened.enter_async_context(supabase),
                anon_key=settings.supabase_anon_key.get_secret_value(),
                refresh_token=settings.refresh_token.get_secret_value(),
                token=_plain(settings.lab_jwt) or None,
                on_rotated=on_rotated,
                clock=clock,
            )
        elif settings.lab_jwt is not None:
            session = FixedToken(settings.lab_jwt.get_secret_value(), clock)
        credentials = LabCredentials(
            jwt=session,
            api_key=_plain(settings.lab_api_key) or None,
            internal_key=_plain(settings.lab_internal_key) or None,
        )
        yield host, credentials


def _plain(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret is not None else ""
