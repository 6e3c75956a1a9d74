"""What a failed call means: refusals by status, and the exceptions of the transport.

Both vendors' own rules (capacity texts, the lab's 401 for a full budget) come first, in `runpod_wire` and `lab_wire`;
what is common to HTTP is here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp

from runner.errors import ProviderError
from runner.ports import ProviderErrorKind as Kind
from runner.providers.readers import ShapeError, decode_json, number

_LONGEST_RETRY_AFTER_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request.

    Attributes:
        path: begins with `/`, already percent-encoded.
        repeatable: a repeat has no second effect; implied by GET and DELETE.
        creates: it may start something that is billed; when its answer is lost, that is ambiguous.
        urgent: not held back by the rate budget.
        total_s: seconds for one attempt, from connecting to the last byte.
        retry_for_s: seconds within which another attempt may begin.
        secrets: values that must not show up in any message about this call.
        refuse: reads a refusal of this call instead of the host's own reading.
    """

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    content_type: str = "application/json"
    repeatable: bool = False
    creates: bool = False
    urgent: bool = False
    metered: bool = True
    total_s: float = 30.0
    retry_for_s: float = 60.0
    attempts: int = 8
    max_bytes: int = 16 << 20
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    refuse: Refuse | None = field(default=None, repr=False)

    @property
    def may_repeat(self) -> bool:
        """Whether a second identical request is harmless."""
        return not self.creates and (self.repeatable or self.method in ("GET", "DELETE"))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host answered; `body` is whole."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def request_id(self) -> str | None:
        """The vendor's id of the request, for support."""
        found = self.headers.get("x-request-id", "")
        return found[:100] if found.isprintable() and found else None

    def json(self) -> Any:
        """The body's value.

        Raises:
            ShapeError: it is not JSON.
        """
        return decode_json(self.body)

    def problem(self) -> Mapping[str, Any] | None:
        """The vendor's own error object; None for a page of some proxy, a plain text, or nothing."""
        try:
            found = self.json()
        except ShapeError:
            return None
        return found if isinstance(found, dict) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a call did not work, before it becomes a `ProviderError`."""

    kind: Kind
    detail: str
    retryable: bool = False
    ambiguous: bool = False
    retry_after_s: float | None = None


Refuse = Callable[[Call, Answer, datetime], Refusal]
"""A vendor's reading of an answer that is not 2xx; the time is for `Retry-After` dates."""


def json_body(value: Any) -> bytes:
    """`value` as the JSON body of a request.

    Raises:
        ProviderError: `validation` when JSON cannot say it (NaN, a date, a set).
    """
    try:
        return json.dumps(value, allow_nan=False, default=_as_dict).encode()
    except (TypeError, ValueError, RecursionError) as exc:
        detail = f"the request cannot be written as JSON ({type(exc).__name__})"
        raise ProviderError(detail, kind=Kind.VALIDATION) from None


def _as_dict(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(type(value).__name__)


def lost(call: Call, detail: str) -> Refusal:
    """Nobody knows whether the call had its effect: ambiguous for a create, else worth a repeat."""
    if call.creates:
        return Refusal(kind=Kind.AMBIGUOUS, detail=detail, ambiguous=True)
    return Refusal(kind=Kind.TRANSIENT, detail=detail, retryable=True)


def refuse_by_status(call: Call, answer: Answer, detail: str | None, now: datetime) -> Refusal:
    """The refusal that every HTTP vendor means by this status.

    Args:
        detail: the vendor's own words; None when the answer is not the vendor's JSON.
    """
    status, own = answer.status, detail is not None
    detail = detail or _foreign(answer)
    if status == 429:
        wait = retry_after_s(answer.headers, now)
        return Refusal(kind=Kind.RATE_LIMITED, detail=detail, retryable=True, retry_after_s=wait)
    if status in (401, 403, 407):
        # A proxy's page, or Cloudflare's `error code: 1010`, says nothing about our credentials.
        blocked = status == 407 or (not own and bool(answer.body.strip()))
        return Refusal(kind=Kind.BLOCKED if blocked else Kind.AUTH, detail=detail)
    if status >= 500 or status in (408, 425) or (not own and (call.creates or status == 404)):
        return lost(call, detail)
    if status == 404 and not call.creates:
        return Refusal(kind=Kind.GONE, detail=detail)
    if status >= 400 and not own:
        return Refusal(kind=Kind.BLOCKED, detail=detail)
    return Refusal(kind=_KIND_OF_STATUS.get(status, Kind.VALIDATION if status >= 400 else Kind.PROTOCOL), detail=detail)


# The rest of 4xx, also 404 for a create (it names something that does not exist), is a request that is wrong.
_KIND_OF_STATUS = {
    402: Kind.BALANCE,
    405: Kind.PROTOCOL,
    409: Kind.CONFLICT,
    410: Kind.UNSUPPORTED,
}


def _foreign(answer: Answer) -> str:
    start = answer.body[:2000].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<")):
        return "a web page instead of the API's answer: a proxy, a wrong base URL or an outage in between"
    if b"1010" in start:
        return "the vendor's front door refused this client (`1010`), which says nothing about the key"
    if not start:
        return "no explanation"
    return "something that is not the API's JSON"


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds of a `Retry-After` header, which is a number or a date; None without one."""
    written = headers.get("Retry-After", "").strip()
    seconds = number(written)
    if seconds is None and written:
        try:
            date = parsedate_to_datetime(written)
            seconds = (date.replace(tzinfo=date.tzinfo or now.tzinfo) - now).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    return None if seconds is None else min(max(seconds, 0.0), _LONGEST_RETRY_AFTER_S)


def refuse_exception(call: Call, exc: Exception) -> Refusal:
    """What an exception of the transport or of a reader means for `call`."""
    for types, refusal in _BEFORE_SENDING:
        if isinstance(exc, types):
            return refusal
    if isinstance(exc, TimeoutError):
        return lost(call, f"no answer within {call.total_s:g} s")
    if isinstance(exc, aiohttp.ClientError | OSError | EOFError):
        return lost(call, "the connection broke before the answer was complete")
    if isinstance(exc, ShapeError):
        detail = str(exc)
        worth_a_repeat = isinstance(exc, NotJsonError)
    else:
        detail = f"an unexpected {type(exc).__name__} while talking to the host"
        worth_a_repeat = False
    if call.creates or worth_a_repeat:
        return lost(call, detail)
    return Refusal(kind=Kind.PROTOCOL, detail=detail)


# The connection never stood, so nothing was sent: not ambiguous, even for a create. Narrower types come first.
_BEFORE_SENDING: tuple[tuple[tuple[type[Exception], ...], Refusal], ...] = (
    (
        (aiohttp.ClientSSLError,),
        Refusal(kind=Kind.BLOCKED, detail="no secure connection: the certificate or TLS was refused"),
    ),
    (
        (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError),
        Refusal(kind=Kind.TRANSIENT, detail="no connection to the host", retryable=True),
    ),
    ((aiohttp.InvalidURL,), Refusal(kind=Kind.VALIDATION, detail="the address is not a valid URL")),
)


class TooLargeError(ShapeError):
    """An answer is bigger than anything this call may return."""


class NotJsonError(ShapeError):
    """A success whose body is not JSON, which a proxy or a cut connection can cause."""
