"""Which credential goes with which call to the lab: the auth matrix of the contract as three methods.

Source: FineTune Lab contract §1.2, read from the public repository of 2026-07.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

from runner.errors import ProviderError
from runner.ports import ProviderErrorKind as Kind
from runner.providers.faults import Answer, Call, Refusal, json_body
from runner.providers.http import Host
from runner.providers.lab_wire import refuse
from runner.providers.session_token import SessionToken

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

    def call(self, headers: Mapping[str, str], *, metered: bool) -> Call:
        """The request with its credential; calls with a session are not counted by the lab."""
        return Call(
            method=self.method,
            path=self.path,
            params=self.params,
            headers=headers,
            body=None if self.body is None else json_body(self.body),
            repeatable=self.repeatable,
            metered=metered,
            total_s=self.total_s,
            attempts=3,  # few: the lab answers 500 also to what no repeat can mend
            refuse=_refuse_limit if metered else None,
        )


class LabAccess:
    """Sends requests with the credential that their route takes; every method raises `ProviderError` only."""

    def __init__(self, host: Host, *, session: SessionToken | None, api_key: str | None) -> None:
        self._host = host
        self._session = session
        self._api_key = api_key

    async def by_session(self, ask: Ask, reader: Callable[[Any], _T]) -> _T:
        """For routes that take a session only."""
        if self._session is None:
            raise _missing(ask, "`FINETUNE_LAB_JWT` (an API key is not accepted there)")
        headers = {"Authorization": f"Bearer {await self._session.get()}"}
        return await self._host.fetch(ask.call(headers, metered=False), reader)

    async def by_key(self, ask: Ask, reader: Callable[[Any], _T]) -> _T:
        """For routes that take an API key only."""
        if not self._api_key:
            raise _missing(ask, "`FINETUNE_LAB_API_KEY` (a session token is not accepted there)")
        return await self._host.fetch(ask.call({"X-API-Key": self._api_key}, metered=True), reader)

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


def _refuse_limit(call: Call, answer: Answer, now: datetime) -> Refusal:
    """As `lab_wire.refuse`; where the lab wraps its limit into a 401 it still says so in the text (T-05)."""
    refusal = refuse(call, answer, now)
    if answer.status == 401 and "rate limit" in refusal.detail.lower():
        return Refusal(kind=Kind.RATE_LIMITED, detail=refusal.detail, retryable=True, retry_after_s=15.0)
    return refusal
