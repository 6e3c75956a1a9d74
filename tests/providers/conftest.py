"""A clock that never waits, and a server that answers with exactly the bytes a test wants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from runner.providers.settings import Settings

RUNPOD_KEY = "rpa_CANARYCANARYCANARYCANARY0001"
LAB_KEY = "wak_CANARYcanaryCANARYcanary00000002"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlLWNhbmFyeQ"
ENV_SECRET = 'env canary "quoted" & päss/wörd+3'
CANARIES = (RUNPOD_KEY, LAB_KEY, JWT, ENV_SECRET)


class FakeClock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.sleeps: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 11, 1, tzinfo=UTC) + timedelta(seconds=self.elapsed)

    def monotonic(self) -> float:
        return 1000.0 + self.elapsed

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.elapsed += max(0.0, seconds)
        await asyncio.sleep(0)


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """What goes back: whole bytes, after which the connection is closed, or reset when `reset` is set."""

    raw: bytes = b""
    reset: bool = False
    hang: bool = False


def answer(
    status: int = 200,
    body: Any = b"",
    *,
    headers: dict[str, str] | None = None,
    kind: str = "application/json",
    length: int | None = None,
) -> Reply:
    """A well-formed answer; `length` lies about the size of the body."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Content-Type": kind, "Content-Length": str(len(content) if length is None else length)} | (headers or {})
    head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return Reply(f"{head}Connection: close\r\n\r\n".encode() + content)


@dataclass
class WireServer:
    """Answers the nth request with the nth reply, and the last one again for ever after."""

    replies: list[Reply | Callable[[Seen], Reply]] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    def will(self, *replies: Reply | Callable[[Seen], Reply]) -> None:
        self.replies = list(replies)
        self.seen.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            seen = await _read_request(reader)
            self.seen.append(seen)
            self.asked.set()
            reply = self.replies[min(len(self.seen), len(self.replies)) - 1]
            reply = reply if isinstance(reply, Reply) else reply(seen)
            writer.write(reply.raw)
            await writer.drain()
            if reply.hang:
                await reader.read()
            if reply.reset:
                # Given time to be read, since a reset also discards what was sent before it.
                await asyncio.sleep(0.005)
                writer.transport.abort()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def _read_request(reader: asyncio.StreamReader) -> Seen:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Seen(method, target, headers, body)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def wire() -> AsyncIterator[WireServer]:
    async with wire_server() as server:
        yield server


@asynccontextmanager
async def wire_server() -> AsyncIterator[WireServer]:
    server = WireServer()
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(server.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def replying() -> Callable[..., Reply]:
    return answer


@pytest.fixture
def raw_reply() -> type[Reply]:
    return Reply


@pytest.fixture
def canaries() -> tuple[str, ...]:
    return CANARIES


@pytest.fixture
def settings_at() -> Callable[[str], Settings]:
    """Settings whose every address is one server and whose every credential is a canary."""

    def make(url: str) -> Settings:
        return Settings(
            runpod_url=f"{url}/v2",
            graphql_url=f"{url}/graphql",
            runpod_key=SecretStr(RUNPOD_KEY),
            lab_url=url,
            lab_api_key=SecretStr(LAB_KEY),
            lab_jwt=SecretStr(JWT),
        )

    return make


@pytest.fixture
def env_secret() -> str:
    return ENV_SECRET
