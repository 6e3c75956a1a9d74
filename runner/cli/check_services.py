"""Looks at keys and services for `runspec doctor`. Asks only hosts that a key was given for, and changes nothing."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr

from runner.cli.findings import Finding, State
from runner.errors import ProviderError
from runner.ports import ProviderErrorKind as Kind
from runner.providers.connect import LabConsole, open_lab_console, open_runpod
from runner.providers.lab_checkup import LabCheckup
from runner.providers.session_token import expiry_of
from runner.providers.settings import Settings

PATIENCE_S = 5.0
SKEW_WARN_S = 60.0
SKEW_BROKEN_S = 300.0
LOW_BALANCE_USD = 2.0
SESSION_WARN_MIN = 60.0
RUNPOD_COSTS = "the cloud target: no pod can be watched or proven gone"
SESSION_COSTS = "the cloud target: no configuration, dataset, deploy, cancel or alert history"
SESSION_FIX = "export FINETUNE_LAB_JWT=…, or FINETUNE_LAB_REFRESH_TOKEN with SUPABASE_URL and SUPABASE_ANON_KEY"
SCOPE_COSTS = {
    "training": "jobs and metrics are read with the session token, which expires in a run, and not through the SDK",
    "testing": "batch tests need the session token",
    "production": "models of the lab cannot be asked",
}
LAB_ADDRESS = "FINETUNE_LAB_API_URL"
UNREACHED = frozenset((Kind.TRANSIENT, Kind.RATE_LIMITED, Kind.BLOCKED, Kind.PROTOCOL))


def given(settings: Settings, folder: Path, *, wanted: bool) -> Iterator[Finding]:
    """Which credentials there are; a missing one is broken only when the cloud is `wanted`."""
    absent = State.BROKEN if wanted else State.OFF
    if settings.runpod_key is None:
        yield _setting("RUNPOD_API_KEY", absent, "not set", RUNPOD_COSTS, "export RUNPOD_API_KEY=…")
    if not _has_session(settings):
        yield _setting("session token", absent, "not set", SESSION_COSTS, SESSION_FIX)
    parts = (settings.refresh_token, settings.supabase_url, settings.supabase_anon_key)
    if any(parts) and not all(parts):
        yield _setting(
            "session renewal", State.BROKEN, "FINETUNE_LAB_REFRESH_TOKEN, SUPABASE_URL and SUPABASE_ANON_KEY belong"
            " together, and one is missing", "the session token is not renewed", SESSION_FIX,
        )  # fmt: skip
    if settings.lab_api_key is None:
        costs = "predictions of models, metrics `via: sdk` (phases full and batch), and reads that outlive the session"
        yield _setting("FINETUNE_LAB_API_KEY", State.OFF, "not set", costs, "export FINETUNE_LAB_API_KEY=wak_…")
    yield _presence(settings.lab_internal_key, "FINETUNE_LAB_INTERNAL_KEY", "pods of `--via runpod` send no alerts")
    yield _presence(settings.hf_token, "HF_TOKEN", "pods of `--via runpod` cannot load gated models such as Llama")
    if settings.trainer_url is None:
        costs = "`--via runpod` on the cloud: its pods have no trainer to download"
        yield _setting("RUNSPEC_TRAINER_URL", State.OFF, "not set", costs, "export RUNSPEC_TRAINER_URL=https://…")
    yield from _env_file(folder / ".env")


def _presence(secret: SecretStr | None, name: str, costs: str) -> Finding:
    if secret is None:
        return _setting(name, State.OFF, "not set", costs, f"export {name}=…")
    return _setting(name, State.OK, "set; it cannot be checked without having an effect")


def _env_file(file: Path) -> Iterator[Finding]:
    if file.is_file() and file.stat().st_mode & 0o077:
        text = "other users of this machine can read its keys"
        yield _setting(".env", State.WARN, text, None, f"chmod 600 {file}")


def _has_session(settings: Settings) -> bool:
    return settings.lab_jwt is not None or settings.refresh_token is not None


async def services(settings: Settings, *, wanted: bool) -> AsyncIterator[Finding]:
    """What the services say to the keys; a host without a key is not asked unless the cloud is `wanted`."""
    if settings.lab_api_key or _has_session(settings) or wanted:
        async with open_lab_console(settings) as lab:
            async for finding in _lab(settings, lab):
                yield finding
    if settings.runpod_key is not None:
        async for finding in _runpod(settings):
            yield finding


# --- FineTune Lab


async def _lab(settings: Settings, lab: LabConsole) -> AsyncIterator[Finding]:
    try:
        reach = await lab.checkup.reach()
    except ProviderError as exc:
        yield _at_lab("reachable", State.UNKNOWN, str(exc), "everything about the lab", f"check {LAB_ADDRESS}")
        return
    yield _at_lab("reachable", State.OK, settings.lab_url)
    yield _clock(reach.skew_s)
    if settings.lab_api_key is not None:
        yield await _key(lab.checkup, settings.lab_api_key)
    if _has_session(settings):
        async for finding in _session(settings, lab):
            yield finding


def _clock(skew_s: float | None) -> Finding:
    if skew_s is None:
        return _at_lab("clock", State.OK, "the lab does not say what time it is")
    ahead = "behind" if skew_s > 0 else "ahead of"
    text = f"this machine is {abs(skew_s):.0f} s {ahead} the lab" if abs(skew_s) >= 2 else "agrees with the lab's"
    state = State.OK if abs(skew_s) < SKEW_WARN_S else State.WARN if abs(skew_s) < SKEW_BROKEN_S else State.BROKEN
    if state is State.OK:
        return _at_lab("clock", state, text)
    return _at_lab("clock", state, text, "sessions end early, alerts are matched to wrong runs", "set the clock (NTP)")


async def _key(checkup: LabCheckup, key: SecretStr) -> Finding:
    if not re.fullmatch(r"wak_[0-9A-Za-z]{32}", key.get_secret_value()):
        text = "does not look like `wak_` and 32 letters or digits"
        return _at_lab("FINETUNE_LAB_API_KEY", State.BROKEN, text, "all that it is for", "copy it again")
    try:
        scopes = await checkup.scopes()
    except ProviderError as exc:
        return _refused("FINETUNE_LAB_API_KEY", exc, "all that it is for", "make a new key in the lab's settings")
    missing = [scope for scope in SCOPE_COSTS if scope not in scopes]
    text = f"good for {', '.join(scope for scope in SCOPE_COSTS if scope in scopes) or 'nothing that is needed'}"
    if not missing:
        return _at_lab("FINETUNE_LAB_API_KEY", State.OK, text)
    costs = "; ".join(f"without `{scope}` {SCOPE_COSTS[scope]}" for scope in missing)
    return _at_lab("FINETUNE_LAB_API_KEY", State.WARN, text, costs, "make a key with scope `all`")


async def _session(settings: Settings, lab: LabConsole) -> AsyncIterator[Finding]:
    try:
        await lab.checkup.session_works()
    except ProviderError as exc:
        address = "SUPABASE_URL" if settings.refresh_token is not None else LAB_ADDRESS
        yield _refused("session token", exc, SESSION_COSTS, SESSION_FIX, address=address)
        return
    yield _lifetime(settings)
    try:
        yield _vault(await lab.checkup.vault())
        yield await _webhooks(lab)
    except ProviderError as exc:
        yield _at_lab("vault and webhooks", State.UNKNOWN, str(exc))


def _lifetime(settings: Settings) -> Finding:
    if settings.refresh_token is not None:
        return _at_lab("session token", State.OK, "accepted, and renewed when it expires")
    expires = expiry_of(settings.lab_jwt.get_secret_value()) if settings.lab_jwt else None
    if expires is None:
        return _at_lab("session token", State.OK, "accepted; it does not say when it expires")
    left_min = (expires - datetime.now(UTC)).total_seconds() / 60
    text = f"accepted, expires in {_span(left_min)} and is not renewed"
    if left_min >= SESSION_WARN_MIN:
        return _at_lab("session token", State.OK, text)
    costs = "longer runs cannot cancel, nor read alerts, once it has expired"
    return _at_lab("session token", State.WARN, text, costs, SESSION_FIX)


def _span(minutes: float) -> str:
    for unit_min, unit in ((1440, "days"), (60, "h")):
        if minutes >= 2 * unit_min:
            return f"{minutes / unit_min:.0f} {unit}"
    return f"{minutes:.0f} min"


def _vault(providers: frozenset[str]) -> Finding:
    if "runpod" not in providers:
        costs = "`--via lab`: every deploy answers `RunPod API key not configured`"
        return _at_lab("vault", State.BROKEN, "has no `runpod` key", costs, "add it in the lab's Secrets Vault")
    if "huggingface" not in providers:
        costs = "gated models (every template's Llama) cannot be loaded, and nothing is pushed to the hub"
        return _at_lab("vault", State.WARN, "has no `huggingface` token", costs, "add it in the lab's Secrets Vault")
    return _at_lab("vault", State.OK, "has `runpod` and `huggingface`")


async def _webhooks(lab: LabConsole) -> Finding:
    hooks = await lab.alerting.webhooks()
    failing = [hook.name for hook in hooks if hook.failures]
    if failing:
        text = f"{len(hooks)} enabled; the last delivery failed to {', '.join(failing)}"
        return _at_lab(
            "webhooks", State.WARN, text, "alerts do not get there; runs read the history", "mend the receiver"
        )
    return _at_lab("webhooks", State.OK, f"{len(hooks)} enabled; runs read the alert history and need none")


# --- RunPod


async def _runpod(settings: Settings) -> AsyncIterator[Finding]:
    # A person waits for the answer, so a host that is not there is not asked for a minute.
    async with open_runpod(settings, patience_s=PATIENCE_S) as runpod:
        try:
            pods = await runpod.list_pods()
        except ProviderError as exc:
            fix = "make a key with access to pods"
            yield _refused("RUNPOD_API_KEY", exc, RUNPOD_COSTS, fix, area="runpod", address="RUNSPEC_RUNPOD_URL")
            return
        billed = sum(1 for pod in pods if pod.cost_usd_h)
        yield _at_runpod("RUNPOD_API_KEY", State.OK, f"accepted; the account has {len(pods)} pods, {billed} billed")
        balance = await runpod.balance()
    if balance is None:
        yield _at_runpod("balance", State.OK, "RunPod does not say; the spend limit holds without it")
    elif balance < LOW_BALANCE_USD:
        costs = "creating a pod may be refused, and running pods are ended when it is used up"
        yield _at_runpod("balance", State.WARN, f"{balance:.2f} USD", costs, "add credit at RunPod")
    else:
        yield _at_runpod("balance", State.OK, f"{balance:.2f} USD")


def _refused(
    name: str, exc: ProviderError, costs: str, fix: str, *, area: str = "lab", address: str = LAB_ADDRESS
) -> Finding:
    """What a credential lacks; of a service that did not judge it, that it has to be asked again."""
    state = State.BROKEN
    if exc.kind in UNREACHED:
        state = State.UNKNOWN
        limited = exc.kind is Kind.RATE_LIMITED
        fix = "ask again in a minute" if limited else f"check the network and {address}, then ask again"
    return Finding(area=area, name=name, state=state, text=str(exc), costs=costs, fix=fix)


def _setting(name: str, state: State, text: str, costs: str | None = None, fix: str | None = None) -> Finding:
    return Finding(area="settings", name=name, state=state, text=text, costs=costs, fix=fix)


def _at_lab(name: str, state: State, text: str, costs: str | None = None, fix: str | None = None) -> Finding:
    return Finding(area="lab", name=name, state=state, text=text, costs=costs, fix=fix)


def _at_runpod(name: str, state: State, text: str, costs: str | None = None, fix: str | None = None) -> Finding:
    return Finding(area="runpod", name=name, state=state, text=text, costs=costs, fix=fix)
