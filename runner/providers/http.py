"""One HTTP host: session, timeouts, retries, rate budget, size bounds, redaction, and one kind of error.

Nothing but `ProviderError` and cancellation leaves this module.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception
from yarl import URL

from runner import __version__
from runner.errors import ProviderError
from runner.ports import Clock
from runner.ports import ProviderErrorKind as Kind
from runner.providers.budget import RateBudget
from runner.providers.clock import SystemClock
from runner.providers.faults import (
    Answer,
    Call,
    NotJsonError,
    Refusal,
    Refuse,
    TooLargeError,
    refuse_exception,
)
from runner.providers.readers import ShapeError
from runner.providers.redaction import Redactor

USER_AGENT = f"runspec/{__version__} (+https://github.com/finetune-runspec/finetune-runspec)"
CONNECT_S = 15.0
BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 20.0
LONGEST_BUDGET_WAIT_S = 120.0

_log = logging.getLogger("runspec.http")
_T = TypeVar("_T")


class TransportError(Exception):
    """Stands in for an exception of the transport whose own text or fields may hold a secret; names its types."""


class ByteStream:
    """The body of an answer that goes on until somebody ends it."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    @property
    def headers(self) -> Mapping[str, str]:
        """What the answer said before its body."""
        return self._response.headers

    async def next_chunk(self) -> bytes:
        """The next bytes; empty once the stream has ended, was cut, or was idle for too long."""
        try:
            return await self._response.content.readany()
        except Exception as exc:  # whatever ends a stream, the caller asks again from its cursor
            _log.debug("stream ended: %s", type(exc).__name__)
            return b""


class Host:
    """One base URL, to be used as `async with Host(...) as host`.

    Args:
        name: what messages call it, such as `RunPod`.
        refuse: the vendor's reading of answers that are not 2xx.
        secrets: keys and tokens that no message may show.
        budget: how many requests it takes; learnt from headers when nothing else is known.
        jitter: random numbers in [0, 1), to spread retries.
        connector: for tests that bring their own network.
    """

    def __init__(
        self,
        base_url: str,
        *,
        name: str,
        refuse: Refuse,
        secrets: Iterable[str] = (),
        budget: RateBudget | None = None,
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
        connector: aiohttp.BaseConnector | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._name = name
        self._refuse = refuse
        self._clock = clock or SystemClock()
        self.budget = budget or RateBudget(self._clock)
        self._jitter = jitter
        self._connector = connector
        self._proxy = _proxy_for(self._base_url)
        self._redactor = Redactor([*secrets, *_passwords(self._proxy), *_passwords(self._base_url)])
        self._session: aiohttp.ClientSession | None = None

    @property
    def base_url(self) -> str:
        """The address that every path is below, without a slash at its end."""
        return self._base_url

    def __repr__(self) -> str:
        return f"Host({self._redactor.line(self._base_url)})"

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=self._connector or aiohttp.TCPConnector(limit=256),
            connector_owner=self._connector is None,
            headers={"User-Agent": USER_AGENT, "Accept": "application/json"},
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=self._proxy,
        )
        return self

    async def __aexit__(self, *_exc: object) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def clean_log_line(self, text: str) -> str:
        """A line of a pod's log without secrets, see `Redactor.log_line`."""
        return self._redactor.log_line(text)

    async def send(self, call: Call) -> Answer:
        """The 2xx answer to `call`, whatever its body.

        Raises:
            ProviderError: everything else, after the retries that `call` allows.
        """
        return await self.read(call, lambda answer: answer)

    async def fetch(self, call: Call, reader: Callable[[Any], _T]) -> _T:
        """What `reader` makes of the JSON of the 2xx answer; a `ShapeError` of the reader is a failed call.

        Raises:
            ProviderError: as `send`; for a create that succeeded but cannot be read, `ambiguous`.
        """
        return await self.read(call, lambda answer: reader(_json_of(answer)))

    async def read(self, call: Call, reader: Callable[[Answer], _T]) -> _T:
        """As `fetch`, for a reader that wants the answer itself."""
        return await self._with_retries(call, lambda: self._exchange(call, reader))

    @asynccontextmanager
    async def stream(self, call: Call, *, content_type: str, idle_s: float) -> AsyncIterator[ByteStream]:
        """Opens an answer without end; reading stops after `idle_s` seconds of silence.

        Raises:
            ProviderError: it could not be opened.
        """
        response = await self._with_retries(call, lambda: self._open_stream(call, content_type, idle_s))
        try:
            yield ByteStream(response)
        finally:
            response.close()

    def error(self, call: Call, refusal: Refusal, answer: Answer | None = None) -> ProviderError:
        """The error for a refusal: no secrets, one line, with the request it is about."""
        status = f"answered {answer.status}" if answer else "failed"
        redactor = self._redactor
        message = f"`{call.method} {call.path}` on {self._name} {status}: {refusal.detail}"
        return ProviderError(
            redactor.line(message),
            kind=refusal.kind,
            status=answer.status if answer else None,
            retryable=refusal.retryable,
            ambiguous=refusal.ambiguous,
            retry_after_s=refusal.retry_after_s,
            request_id=redactor.line(answer.request_id) if answer and answer.request_id else None,
        )

    async def _with_retries(self, call: Call, attempt: Callable[[], Awaitable[_T]]) -> _T:
        # For good, since the vendor gives back in later answers what it was sent in this one.
        self._redactor = self._redactor.plus(call.secrets)
        started = self._clock.monotonic()

        def is_over(state: RetryCallState) -> bool:
            spent = self._clock.monotonic() - started + state.upcoming_sleep
            return spent > call.retry_for_s or state.attempt_number >= call.attempts

        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda exc: call.may_repeat and is_retryable(exc)),
            wait=self._pause_s,
            stop=is_over,
            sleep=self._clock.sleep,
            reraise=True,
        )
        return await retrying(self._guarded, call, attempt)

    def _pause_s(self, state: RetryCallState) -> float:
        exc = state.outcome.exception() if state.outcome else None
        asked = exc.retry_after_s if isinstance(exc, ProviderError) else None
        backoff = min(BACKOFF_S * 2.0 ** (state.attempt_number - 1), LONGEST_BACKOFF_S) * (0.5 + self._jitter())
        return backoff if asked is None else max(asked + self._jitter(), backoff)

    async def _guarded(self, call: Call, attempt: Callable[[], Awaitable[_T]]) -> _T:
        try:
            await self._wait_for_budget(call)
            return await attempt()
        except ProviderError:
            raise
        except Exception as exc:  # the edge: no foreign exception gets through
            failure, cause = self.error(call, refuse_exception(call, exc)), self._safe_cause(exc)
        # Raised here and not in the handler, which would hang the original, secrets and all, on `__context__`.
        raise failure from cause

    def _safe_cause(self, exc: Exception) -> Exception:
        """`exc` if its text can only be about the connection; else a stand-in, since parsers quote what they read."""
        is_own_kind = isinstance(exc, OSError | TimeoutError | ShapeError)
        is_bare = (is_own_kind and exc.__context__ is None) or isinstance(exc, aiohttp.ClientConnectorError)
        if is_bare and self._redactor.is_clean(f"{exc} {exc!r}"):
            return exc
        return TransportError(" from ".join(type(link).__name__ for link in _chain(exc)))

    async def _wait_for_budget(self, call: Call) -> None:
        if not call.metered:
            return
        while not call.urgent and (wait := self.budget.wait_s()) > 0:
            if wait > LONGEST_BUDGET_WAIT_S:
                detail = f"not sent: the rate limit is used up for another {wait:.0f} s"
                raise self.error(
                    call, Refusal(kind=Kind.RATE_LIMITED, detail=detail, retryable=True, retry_after_s=wait)
                )
            await self._clock.sleep(wait)

    async def _exchange(self, call: Call, reader: Callable[[Answer], _T]) -> _T:
        response = await self._request(call, aiohttp.ClientTimeout(total=call.total_s, sock_connect=CONNECT_S))
        try:
            body = await _bounded_body(response, call.max_bytes)
        finally:
            response.release()
        answer = Answer(response.status, response.headers, body)
        self._raise_refusal(call, answer)
        try:
            return reader(answer)
        except ShapeError as exc:
            raise self.error(call, refuse_exception(call, exc), answer) from exc

    async def _open_stream(self, call: Call, content_type: str, idle_s: float) -> aiohttp.ClientResponse:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=idle_s)
        response = await self._request(call, timeout)
        opened = False
        try:
            if response.status != 200 or response.content_type != content_type:
                answer = Answer(response.status, response.headers, await _bounded_body(response, call.max_bytes))
                self._raise_refusal(call, answer)
                detail = f"`{response.content_type}` instead of `{content_type}`"
                raise self.error(call, Refusal(kind=Kind.PROTOCOL, detail=detail), answer)
            opened = True
            return response
        finally:
            if not opened:
                response.close()

    async def _request(self, call: Call, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("this host is not open")
        headers = dict(call.headers)
        if call.body is not None:
            headers["Content-Type"] = call.content_type
        if call.metered:
            self.budget.take()
        answered = None
        try:
            response = await self._session.request(
                call.method,
                URL(self._base_url + call.path, encoded=True).update_query(call.params),
                data=call.body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,  # a redirect would carry the key, or repeat a create, elsewhere
            )
            answered = response.headers
        finally:
            if call.metered:
                self.budget.settle(answered)
        _log.debug("%s %s%s: %d", call.method, self._name, self._redactor.line(call.path), response.status)
        return response

    def _raise_refusal(self, call: Call, answer: Answer) -> None:
        if 200 <= answer.status < 300:
            return
        refusal = (call.refuse or self._refuse)(call, answer, self._clock.now())
        if refusal.kind is Kind.RATE_LIMITED and call.metered and refusal.retry_after_s is not None:
            self.budget.block(refusal.retry_after_s)
        raise self.error(call, refusal, answer)


def is_retryable(exc: BaseException) -> bool:
    """Whether the same call may work in a moment."""
    return isinstance(exc, ProviderError) and exc.retryable


def _chain(exc: BaseException) -> list[BaseException]:
    links = [exc]
    while len(links) < 5 and (link := links[-1].__cause__ or links[-1].__context__) is not None:
        links.append(link)
    return links


def _json_of(answer: Answer) -> Any:
    try:
        return answer.json()
    except ShapeError as exc:
        raise NotJsonError(str(exc)) from None


async def _bounded_body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    parts, size = [], 0
    while chunk := await response.content.readany():
        size += len(chunk)
        if size > max_bytes:
            response.close()
            raise TooLargeError(f"the answer is larger than {max_bytes} bytes")
        parts.append(chunk)
    return b"".join(parts)


def _proxy_for(base_url: str) -> str | None:
    # Not aiohttp's `trust_env`: it would also read `~/.netrc` and send what stands there.
    parts = urlsplit(base_url)
    if not parts.hostname or proxy_bypass(parts.hostname):
        return None
    return getproxies().get(parts.scheme)


def _passwords(url: str | None) -> list[str]:
    password = urlsplit(url).password if url else None
    return [password] if password else []
