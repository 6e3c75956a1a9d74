"""Asking the lab about our own credentials, without changing anything: for `runspec doctor`.

Source: FineTune Lab contract §1.2 and §1.3, read from the public repository of 2026-07.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from runner.errors import ProviderError
from runner.ports import Clock
from runner.ports import ProviderErrorKind as Kind
from runner.providers.faults import Answer, Call
from runner.providers.http import Host
from runner.providers.lab_access import Ask, LabAccess
from runner.providers.readers import items, mapping, maybe_mapping, text

LOOK_S = 15.0


@dataclass(frozen=True, slots=True)
class Reach:
    """A host that answered; `skew_s` is how far its clock is ahead of ours, None when it does not say."""

    skew_s: float | None


class LabCheckup:
    """Reads that show what a credential is good for; every method raises `ProviderError` and nothing else."""

    def __init__(self, host: Host, access: LabAccess, clock: Clock) -> None:
        self._host = host
        self._access = access
        self._clock = clock

    async def reach(self) -> Reach:
        """Ask the one route that is open to all, so that no credential is sent."""
        call = Call(
            method="GET", path="/api/v1/predict", metered=False, total_s=LOOK_S, attempts=2, retry_for_s=5,
        )  # fmt: skip
        asked = self._clock.now()
        dated = await self._host.read(call, _date_of)
        # To the middle of the exchange; the header itself has whole seconds.
        middle = asked + (self._clock.now() - asked) / 2
        return Reach(None if dated is None else (dated - middle).total_seconds())

    async def scopes(self) -> frozenset[str]:
        """For which of `training`, `testing` and `production` the API key is good.

        Raises:
            ProviderError: `auth` when the lab does not know the key.
        """
        probes = {
            "training": Ask(method="GET", path="/api/training/local/jobs", params={"limit": "1"}, to="check the key"),
            "testing": Ask(method="GET", path="/api/test-suites", to="check the key"),
            # Judged after the key and before anything is asked of a model.
            "production": Ask(method="POST", path="/api/v1/predict", body={}, to="check the key"),
        }
        return frozenset([scope for scope, ask in probes.items() if await self._is_let_in(ask)])

    async def session_works(self) -> None:
        """Raises what the lab says to the session token."""
        ask = Ask(method="GET", path="/api/alerts/preferences", to="check the session token")
        await self._access.by_session(ask, lambda answer: mapping(answer, "the answer"))

    async def vault(self) -> frozenset[str]:
        """Providers whose credentials the user has put into the lab's vault, such as `runpod`."""
        ask = Ask(method="GET", path="/api/secrets", to="read the names in the vault")
        return await self._access.by_session(ask, _providers)

    async def _is_let_in(self, ask: Ask) -> bool:
        try:
            await self._access.by_key(ask, lambda answer: answer)
        except ProviderError as failed:
            if failed.kind is Kind.VALIDATION:
                return True
            if failed.status == 403:
                return False
            raise
        return True


def _date_of(answer: Answer) -> datetime | None:
    try:
        found = parsedate_to_datetime(answer.headers.get("Date", ""))
    except (ValueError, TypeError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _providers(answer: Any) -> frozenset[str]:
    names = (text(maybe_mapping(row).get("provider")) for row in items(answer, "secrets"))
    return frozenset(name for name in names if name)
