"""The edge of the RunPod API: problem documents, keys, rate limits, and the headers on every answer.

Source: RunPod contract §1.4 and §3, read 2026-11.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from runner.local.clock import Clock
from runner.local.faults import quirks_of
from runner.local.web_kit import JSON_ERRORS, bearer_token, json_response

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MAX_BODY_BYTES = 102_400
MAX_EXACT = 2**53
# Announced for early 2027; no day was given.
GRAPHQL_SUNSET = "Mon, 01 Feb 2027 00:00:00 GMT"

_log = logging.getLogger(__name__)

# The quotas of the vendor's example are 60 a minute; a live account showed more, so nobody may hard-code them.
DEFAULT_WINDOWS: tuple[tuple[str, int, int], ...] = (
    ("minute", 180, 60), ("hour", 6_000, 3_600), ("day", 100_000, 86_400),
)  # fmt: skip


class Problem(Exception):  # noqa: N818  # an answer to the caller, not a fault of ours
    """An `application/problem+json` answer."""

    def __init__(
        self, status: int, detail: str, *, errors: Sequence[str] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    def response(self) -> web.Response:
        body: dict[str, Any] = {
            "title": HTTPStatus(self.status).phrase, "status": self.status, "detail": self.detail,
        }  # fmt: skip
        if self.errors:
            body["errors"] = list(self.errors)
        return json_response(body, status=self.status, headers=self.headers, content_type="application/problem+json")


@dataclass(slots=True)
class _Window:
    name: str
    quota: int
    seconds: int
    started: datetime | None = None
    used: int = 0

    def roll(self, now: datetime) -> None:
        if self.started is None or (now - self.started).total_seconds() >= self.seconds:
            self.started, self.used = now, 0

    def resets_in_s(self, now: datetime) -> int:
        age_s = 0.0 if self.started is None else (now - self.started).total_seconds()
        return max(1, math.ceil(self.seconds - age_s))


class RateLimit:
    """Requests of one account, counted in fixed windows that begin with their first request."""

    def __init__(self, windows: Sequence[tuple[str, int, int]]) -> None:
        self._windows = [_Window(name, quota, seconds) for name, quota, seconds in windows]
        self._agreed = {window.name: window.quota for window in self._windows}

    def take(self, now: datetime, *, minute_quota: int | None = None) -> Problem | None:
        """Count one request; the refusal when a window is used up (which then does not count).

        Args:
            minute_quota: what the window of a minute holds for now, where that is not what it was made with.
        """
        for window in self._windows:
            window.quota = self._agreed[window.name]
            if window.name == "minute" and minute_quota is not None:
                window.quota = minute_quota
        for window in self._windows:
            window.roll(now)
        for window in self._windows:
            if window.used >= window.quota:
                return Problem(
                    429,
                    f"rate limit exceeded for the {window.name} window",
                    headers={"Retry-After": str(window.resets_in_s(now))},
                )
        for window in self._windows:
            window.used += 1
        return None

    def headers(self, now: datetime) -> dict[str, str]:
        """`RateLimit` and `RateLimit-Policy` as they stand."""
        left = (f'"{w.name}";r={max(0, w.quota - w.used)};t={w.resets_in_s(now)}' for w in self._windows)
        policy = (f'"{w.name}";q={w.quota};w={w.seconds}' for w in self._windows)
        return {"RateLimit": ", ".join(left), "RateLimit-Policy": ", ".join(policy)}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the account, or one pod with the key that the platform put into it."""

    pod_id: str | None = None

    @property
    def is_account(self) -> bool:
        return self.pod_id is None


@dataclass
class Keys:
    """The account's key, and the keys that pods get, derived from it."""

    account: str
    pods: dict[str, str] = field(default_factory=dict)

    def for_pod(self, pod_id: str) -> str:
        digest = hmac.new(self.account.encode(), pod_id.encode(), hashlib.sha256).hexdigest()
        key = f"rpa_{digest[:40].upper()}"
        self.pods[key] = pod_id
        return key

    def caller(self, token: str) -> Caller | None:
        if hmac.compare_digest(token.encode(), self.account.encode()):
            return Caller()
        return Caller(self.pods[token]) if token in self.pods else None


CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)


def require_account(request: web.Request) -> None:
    """Refuse a pod's own key."""
    if not request[CALLER].is_account:
        raise Problem(403, "access denied")


def check_size(size: int) -> None:
    """Refuse what is larger than a request may be."""
    if size > MAX_BODY_BYTES:
        raise Problem(413, "request body too large")


async def read_object(request: web.Request) -> dict[str, Any]:
    """The JSON object in the body.

    Raises:
        Problem: 413 when it is too large, 400 when it is no JSON, 422 when it is no object.
    """
    content = await request.read()
    # Not every request says how long it is.
    check_size(len(content))
    try:
        body = _with_integers(msgspec.json.decode(content))
    except (*JSON_ERRORS, RecursionError) as exc:
        raise Problem(400, "request body is not valid JSON") from exc
    if not isinstance(body, dict):
        raise Problem(422, "Request validation failed.", errors=["$: want object"])
    return body


def _with_integers(value: Any) -> Any:
    """The same value with whole numbers as integers however they are written: to JSON Schema `20.0` is one too."""
    match value:
        case dict():
            return {key: _with_integers(inner) for key, inner in value.items()}
        case list():
            return [_with_integers(inner) for inner in value]
        case float() if value.is_integer() and abs(value) < MAX_EXACT:
            return int(value)
    return value


@dataclass(frozen=True)
class Edge:
    """What the edge of one server needs."""

    keys: Keys
    limit: RateLimit
    clock: Clock


EDGE: web.AppKey[Edge] = web.AppKey("edge", Edge)


@web.middleware
async def answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give every request an id, and every refusal the form of a problem document."""
    request[REQUEST_ID] = uuid.uuid4().hex
    try:
        return await handler(request)
    except Problem as problem:
        return problem.response()
    except web.HTTPMethodNotAllowed as exc:
        detail = "The requested method is not allowed for this path."
        return Problem(405, detail, headers={"Allow": exc.headers["Allow"]}).response()
    except web.HTTPException as exc:
        detail = "resource not found" if exc.status == 404 else exc.reason
        return Problem(exc.status, detail).response()
    except Exception:
        _log.exception("%s %s failed", request.method, request.path)
        return Problem(500, "internal server error").response()


@web.middleware
async def refuse_anonymous_programs(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The vendor's front door refuses programs without a name, and its answer looks like bad credentials."""
    agent = request.headers.get("User-Agent", "")
    if not agent or agent.startswith("Python-urllib"):
        return web.Response(status=403, text="error code: 1010")
    return await handler(request)


@web.middleware
async def admit_callers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Size, key, rate: in the order in which the real API looks at them."""
    if not request.path.startswith("/v2/") or request.path.endswith("/graphql"):
        return await handler(request)
    edge = request.app[EDGE]
    check_size(request.content_length or 0)
    token = bearer_token(request)
    if token is None:
        raise Problem(401, "missing bearer token")
    caller = edge.keys.caller(token)
    if caller is None:
        raise Problem(401, "invalid bearer token")
    request[CALLER] = caller
    refusal = edge.limit.take(edge.clock.now(), minute_quota=quirks_of(request).minute_quota)
    if refusal is not None:
        raise refusal
    return await handler(request)


async def put_headers(request: web.Request, response: web.StreamResponse) -> None:
    """The request id on every answer, and the quota on those to a known caller."""
    response.headers.setdefault("x-request-id", request.get(REQUEST_ID, uuid.uuid4().hex))
    if request.path.endswith("/graphql"):
        response.headers.setdefault("Sunset", GRAPHQL_SUNSET)
    if CALLER in request:
        edge = request.app[EDGE]
        for name, value in edge.limit.headers(edge.clock.now()).items():
            response.headers.setdefault(name, value)
