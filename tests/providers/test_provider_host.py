from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager

import aiohttp
import pytest

from runner.errors import ProviderError
from runner.ports import ProviderErrorKind as Kind
from runner.providers.budget import RateBudget
from runner.providers.faults import Call
from runner.providers.http import Host
from runner.providers.runpod_wire import refuse

GET = Call(method="GET", path="/thing")
CREATE = Call(method="POST", path="/thing", body=b"{}", creates=True)


@pytest.fixture
def open_host(clock):
    @asynccontextmanager
    async def opened(url, **more):
        given = {"name": "X", "refuse": refuse, "clock": clock, "jitter": lambda: 0.5, "secrets": ["hush-hush"]}
        async with Host(url, **(given | more)) as host:
            yield host

    return opened


async def failure_of(awaitable):
    with pytest.raises(ProviderError) as caught:
        await awaitable
    return caught.value


async def test_get_is_repeated_with_growing_pauses_until_it_works(wire, open_host, clock, replying):
    wire.will(replying(500), replying(502), replying(503), replying(200, {"a": 1}))
    async with open_host(wire.url) as host:
        assert await host.fetch(GET, dict) == {"a": 1}
    assert clock.sleeps == [0.5, 1.0, 2.0]


async def test_repeating_ends_at_its_time_limit(wire, open_host, clock, replying):
    wire.will(replying(500))
    async with open_host(wire.url) as host:
        error = await failure_of(host.send(Call(method="GET", path="/thing", retry_for_s=10, attempts=99)))
    assert error.kind == Kind.TRANSIENT
    assert error.retryable
    assert sum(clock.sleeps) <= 10


@pytest.mark.parametrize("written", ["7", "Sun, 01 Nov 2026 00:00:07 GMT"])
async def test_retry_after_is_waited_for_on_the_given_clock(wire, open_host, clock, replying, written):
    wire.will(replying(429, {"detail": "slow down"}, headers={"Retry-After": written}), replying(200, {}))
    async with open_host(wire.url) as host:
        await host.send(GET)
    assert clock.sleeps[0] == pytest.approx(7.5)


async def test_retry_after_beyond_the_limit_is_left_to_the_caller(wire, open_host, clock, replying):
    wire.will(replying(429, {"detail": "slow down"}, headers={"Retry-After": "3600"}))
    async with open_host(wire.url) as host:
        error = await failure_of(host.send(GET))
    assert (error.kind, error.retryable, error.retry_after_s) == (Kind.RATE_LIMITED, True, 3600)
    assert clock.sleeps == []


@pytest.mark.parametrize("status", [408, 429, 500, 502, 504])
async def test_post_is_sent_once_unless_its_caller_calls_it_repeatable(wire, open_host, replying, status):
    async with open_host(wire.url) as host:
        wire.will(replying(status))
        await failure_of(host.send(Call(method="POST", path="/thing", body=b"{}")))
        assert len(wire.seen) == 1
        wire.will(replying(status), replying(200))
        await host.send(Call(method="POST", path="/thing", body=b"{}", repeatable=True))
        assert len(wire.seen) == 2


@pytest.fixture
def broken_replies(replying, raw_reply):
    return {
        "reset at once": raw_reply(reset=True),
        "closed at once": raw_reply(),
        "reset in the headers": raw_reply(b"HTTP/1.1 200 OK\r\nContent-Le", reset=True),
        "reset in the body": raw_reply(b'HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{"a', reset=True),
        "body shorter than promised": replying(200, b'{"a": 1}', length=500),
        "JSON cut off": replying(200, b'{"a": [1, 2'),
        "web page as a success": replying(200, b"<!doctype html><html>", kind="text/html"),
        "empty success": replying(200),
        "not HTTP": raw_reply(b"hello\r\n\r\n"),
        "bad gzip": replying(200, b"not gzip", headers={"Content-Encoding": "gzip"}),
        "bad chunks": raw_reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        "web page as a 404": replying(404, b"<html>Not found</html>", kind="text/html"),
        "500": replying(500, {"detail": "oops"}),
        "proxy's 502": replying(502, b"<html>Bad Gateway</html>", kind="text/html"),
    }


async def test_lost_answers_are_repeated_for_a_get(wire, open_host, broken_replies, replying):
    for name, broken in broken_replies.items():
        async with open_host(wire.url) as host:
            wire.will(broken, replying(200, {"a": 1}))
            assert await host.fetch(GET, dict) == {"a": 1}, name


async def test_lost_answers_are_ambiguous_for_a_create_which_is_sent_once(wire, open_host, broken_replies):
    for name, broken in broken_replies.items():
        async with open_host(wire.url) as host:
            wire.will(broken)
            error = await failure_of(host.fetch(CREATE, dict))
            assert (error.kind, error.ambiguous, error.retryable) == (Kind.AMBIGUOUS, True, False), name
            assert len(wire.seen) == 1, name


async def test_silence_is_ambiguous_for_a_create_and_transient_for_a_get(wire, open_host, raw_reply):
    wire.will(raw_reply(hang=True))
    async with open_host(wire.url) as host:
        created = await failure_of(
            host.send(Call(method="POST", path="/thing", body=b"{}", creates=True, total_s=0.05))
        )
        read = await failure_of(host.send(Call(method="GET", path="/thing", total_s=0.05, attempts=2)))
    assert (created.kind, created.ambiguous) == (Kind.AMBIGUOUS, True)
    assert (read.kind, read.ambiguous, read.retryable) == (Kind.TRANSIENT, False, True)


async def test_refused_connection_is_not_ambiguous_because_nothing_was_sent(open_host):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with open_host(f"http://127.0.0.1:{taken.getsockname()[1]}") as host:
            error = await failure_of(host.send(CREATE))
    assert (error.kind, error.ambiguous, error.retryable) == (Kind.TRANSIENT, False, True)
    assert isinstance(error.__cause__, aiohttp.ClientConnectorError)


@pytest.mark.parametrize(
    ("status", "body", "kind", "retryable"),
    [
        (401, {"detail": "missing bearer token"}, Kind.AUTH, False),
        (401, b"", Kind.AUTH, False),
        (401, b"<html>log in to the proxy</html>", Kind.BLOCKED, False),
        (402, {"detail": "balance"}, Kind.BALANCE, False),
        (403, {"detail": "access denied"}, Kind.AUTH, False),
        (403, b"error code: 1010", Kind.BLOCKED, False),
        (403, b"<html>Attention Required! | Cloudflare</html>", Kind.BLOCKED, False),
        (404, {"detail": "pod not found"}, Kind.GONE, False),
        (404, b"<html>404</html>", Kind.TRANSIENT, True),
        (404, {"unexpected": "proxy"}, Kind.TRANSIENT, True),
        (405, {"detail": "method"}, Kind.PROTOCOL, False),
        (407, b"<html>proxy</html>", Kind.BLOCKED, False),
        (409, {"detail": "cluster member"}, Kind.CONFLICT, False),
        (410, {"error": "v1 was switched off"}, Kind.UNSUPPORTED, False),
        (413, {"detail": "too large"}, Kind.VALIDATION, False),
        (422, {"detail": "Request validation failed."}, Kind.VALIDATION, False),
        (429, {"detail": "minute"}, Kind.RATE_LIMITED, True),
        (503, {"detail": "later"}, Kind.TRANSIENT, True),
    ],
)
async def test_a_status_has_one_meaning(wire, open_host, replying, status, body, kind, retryable):
    wire.will(replying(status, body, headers={"x-request-id": "req-7"}))
    async with open_host(wire.url) as host:
        error = await failure_of(host.send(Call(method="GET", path="/thing", attempts=1)))
    assert (error.kind, error.retryable, error.status) == (kind, retryable, status)
    assert error.request_id == "req-7"
    assert not error.ambiguous


async def test_redirects_are_not_followed_because_they_would_take_the_key_along(wire, open_host, replying):
    wire.will(replying(302, headers={"Location": f"{wire.url}/elsewhere"}), replying(200, {}))
    async with open_host(wire.url) as host:
        error = await failure_of(host.send(GET))
    assert error.kind == Kind.PROTOCOL
    assert len(wire.seen) == 1


async def test_an_answer_that_is_too_large_is_refused(wire, open_host, replying):
    wire.will(replying(200, b"x" * 5000))
    async with open_host(wire.url) as host:
        error = await failure_of(host.send(Call(method="GET", path="/thing", max_bytes=1000)))
    assert error.kind == Kind.PROTOCOL
    assert "larger than 1000 bytes" in str(error)


async def test_requests_say_who_asks_and_how_long_their_body_is(wire, open_host, replying):
    wire.will(replying(200, {}))
    async with open_host(wire.url) as host:
        await host.send(CREATE)
    headers = wire.seen[0].headers
    assert headers["user-agent"].startswith("runspec/")
    assert headers["content-length"] == "2"
    assert "transfer-encoding" not in headers


async def test_cancellation_passes_through(wire, open_host, raw_reply):
    wire.will(raw_reply(hang=True))
    async with open_host(wire.url) as host:
        task = asyncio.create_task(host.send(GET))
        await wire.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_closed_host_raises_its_own_error_too(wire, open_host):
    async with open_host(wire.url) as host:
        pass
    assert (await failure_of(host.send(GET))).kind == Kind.PROTOCOL


async def test_calls_beyond_a_configured_budget_wait_for_their_turn(wire, open_host, clock, replying):
    wire.will(replying(200, {}))
    async with open_host(wire.url, budget=RateBudget(clock, limit=3, window_s=60)) as host:
        for _ in range(7):
            await host.send(GET)
    assert len(wire.seen) == 7
    assert clock.elapsed == pytest.approx(120)


async def test_urgent_and_unmetered_calls_are_not_held_back(wire, open_host, clock, replying):
    wire.will(replying(200, {}))
    async with open_host(wire.url, budget=RateBudget(clock, limit=1, window_s=60)) as host:
        await host.send(GET)
        await host.send(Call(method="DELETE", path="/thing", urgent=True))
        await host.send(Call(method="GET", path="/thing", metered=False))
    assert clock.sleeps == []


async def test_budget_is_learnt_from_the_answers(wire, open_host, clock, replying):
    limits = {"RateLimit": '"minute";r=1;t=12, "hour";r=100;t=999', "RateLimit-Policy": '"minute";q=60;w=60'}
    wire.will(replying(200, {}, headers=limits), replying(200, {}))
    async with open_host(wire.url) as host:
        await host.send(GET)
        await host.send(GET)
        assert clock.sleeps == []
        await host.send(GET)
    assert clock.sleeps == [12]


async def test_a_budget_that_is_used_up_for_long_is_an_error_and_nothing_is_sent(wire, open_host, clock, replying):
    wire.will(replying(200, {}, headers={"RateLimit": '"day";r=0;t=9000'}))
    async with open_host(wire.url) as host:
        await host.send(GET)
        error = await failure_of(host.send(Call(method="GET", path="/thing")))
    assert (error.kind, error.retryable, error.retry_after_s) == (Kind.RATE_LIMITED, True, pytest.approx(9000))
    assert len(wire.seen) == 1


async def test_a_429_holds_back_every_other_call_too(wire, open_host, clock, replying):
    wire.will(replying(429, {"detail": "x"}, headers={"Retry-After": "30"}), replying(200, {}))
    async with open_host(wire.url) as host:
        await failure_of(host.send(Call(method="POST", path="/thing", body=b"{}")))
        await host.send(GET)
    assert clock.sleeps == [30]


async def test_secrets_show_up_in_no_part_of_an_error(wire, open_host, replying):
    said = "bad key hush-hush, Authorization: Bearer abcdefghijkl, HF_TOKEN=hunter22222 and s3cr3t-env \x1b[31m"
    wire.will(replying(400, {"detail": said}))
    async with open_host(wire.url) as host:
        error = await failure_of(host.send(Call(method="GET", path="/thing", secrets=frozenset({"s3cr3t-env"}))))
    for secret in ("hush-hush", "abcdefghijkl", "hunter22222", "s3cr3t-env", "\x1b"):
        assert secret not in f"{error} {error!r} {error.__dict__}"
    assert "bad key ***" in str(error)


async def test_an_exception_whose_text_has_a_secret_is_not_chained(wire, open_host, raw_reply):
    wire.will(raw_reply(b"HTTP/1.1 200 OK\r\nX-Bad\x00hush-hush: 1\r\n\r\n"))
    async with open_host(wire.url) as host:
        error = await failure_of(host.send(CREATE))
    assert error.__cause__ is not None
    assert error.__context__ is None or error.__context__ is error.__cause__
    assert "hush-hush" not in f"{error.__cause__} {error.__cause__!r}"
