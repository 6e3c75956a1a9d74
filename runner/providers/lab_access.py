"""Which credential goes with which call to the lab: the auth matrix of the contract as three methods.

Source: FineTune Lab contract §1.2, read from the public repository of 2026-07.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

from runner.errors import ProviderError
from runner.ports import Clock
from runner.ports import ProviderErrorKind as Kind
from runner.providers.faults import Call, json_body
from runner.providers.http import Host
from runner.providers.lab_limits import KeyLimit
from runner.providers.session_token import SessionToken

# Two of them outlive the window of the key's limit, and three attempts are made.
LIMIT_WAIT_S = 31.0
RETRY_FOR_S = 90.0
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request in the lab's terms.

    Attributes:
        to: what it is for, as in "no credential for the lab to …".
        repeatable: a repeat does no harm; implied by GET and DELETE.
    """

    method: str
    path: str
    to: str
    body: Any = None
    params: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = False
    total_s: float = 60.0

    def call(self, headers: Mapping[str, str], *, limit: KeyLimit | None = None) -> Call:
        """The request with its credential; calls with a session are not counted by the lab and have no `limit`."""
        return Call(
            method=self.method,
            path=self.path,
            params=self.params,
            headers=headers,
            body=None if self.body is None else json_body(self.body),
            repeatable=self.repeatable,
            metered=limit is not None,
            total_s=self.total_s,
            attempts=3,  # few: the lab answers 500 also to what no repeat can mend
            retry_for_s=RETRY_FOR_S,
            refuse=limit.refuse if limit is not None else None,
        )


class LabAccess:
    """Sends requests with the credential that their route takes; every method raises `ProviderError` only."""

    def __init__(self, host: Host, *, session: SessionToken | None, api_key: str | None, clock: Clock) -> None:
        self._host = host
        self._limit = KeyLimit(host.budget, clock, wait_s=LIMIT_WAIT_S)
        self._session = session
        self._api_key = api_key

    async def by_session(self, ask: Ask, reader: Callable[[Any], _T]) -> _T:
        """For routes that take a session only."""
        if self._session is None:
            raise _missing(ask, "`FINETUNE_LAB_JWT` (an API key is not accepted there)")
        headers = {"Authorization": f"Bearer {await self._session.get()}"}
        return await self._host.fetch(ask.call(headers), reader)

    async def by_key(self, ask: Ask, reader: Callable[[Any], _T]) -> _T:
        """For routes that take an API key only."""
        if not self._api_key:
            raise _missing(ask, "`FINETUNE_LAB_API_KEY` (a session token is not accepted there)")
        found = await self._host.fetch(ask.call({"X-API-Key": self._api_key}, limit=self._limit), reader)
        self._limit.worked()
        return found

    async def by_either(self, ask: Ask, reader: Callable[[Any], _T]) -> _T:
        """For routes that take both: the session when there is one, because only keys have a request limit."""
        if self._session is not None:
            return await self.by_session(ask, reader)
        if not self._api_key:
            raise _missing(ask, "`FINETUNE_LAB_JWT` or `FINETUNE_LAB_API_KEY`")
        return await self.by_key(ask, reader)


def segment(value: str) -> str:
    """One segment of a path, whatever is in it."""
    return quote(value, safe="", errors="replace").replace(".", "%2E")


def _missing(ask: Ask, wanted: str) -> ProviderError:
    return ProviderError(f"no credential for the lab to {ask.to}: set {wanted}", kind=Kind.AUTH)
