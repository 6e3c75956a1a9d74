"""HTTP without sockets: aiohttp's own client and server, joined by pipes in memory whose faults come from a seed."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextvars import Context, copy_context
from typing import Any

from aiohttp import BaseConnector, ClientConnectorError, web
from aiohttp.client_proto import ResponseHandler

from tests.sim.wire_loop import LIFE, WireLife, WireLoop

# What can go wrong with one exchange on its way.
WIRE_FAULTS = (
    "connection refused", "reset in request", "reset in answer", "cut answer", "short json", "slow body",
    "late request", "late answer", "black hole", "answer lost", "proxy page", "proxy page after", "portal",
    "proxy limit", "repeated events",
)  # fmt: skip
# What one chosen request of the runner can come to, one after the other in a fault loop. The first three never reach
# the server; the others come after it has acted. A 429 is never one of these: it says that nothing was done.
SINGLE_FAULTS = ("refused", "rate limited", "error before", "error after", "answer lost", "malformed")
_STATUS = {
    "rate limited": b"429 Too Many Requests", "error before": b"500 Internal Server Error",
    "error after": b"500 Internal Server Error", "malformed": b"200 OK",
}  # fmt: skip
METHODS = (b"GET ", b"POST ", b"DELETE ", b"PATCH ", b"PUT ")
PROXY_STATUS = (b"502 Bad Gateway", b"503 Service Unavailable", b"520 Unknown", b"404 Not Found")
PROXY_PAGE = b"<html><head><title>Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


class Wires:
    """The network of one simulation: who listens where, and the faults of every exchange."""

    def __init__(self, loop: WireLoop, rng: random.Random, rates: Mapping[str, float]) -> None:
        self.loop = loop
        self.rng = rng
        self.rates = rates
        self.happened: Counter[str] = Counter()
        self.requests = 0
        """Requests of the runner's lives so far."""
        self.at: Mapping[int, str] = {}
        """The fault of its nth request, before anything is drawn."""
        self.refusing = False
        """The next connection is refused."""
        self._listening: dict[int, tuple[Callable[[], asyncio.Protocol], Context]] = {}
        self._of_lives: list[End] = []

    def cut_off(self, life: WireLife) -> None:
        """Do what the system does with the connections of a process that was killed."""
        for end in self._of_lives:
            if end.life is life and not end.is_closing():
                end.peer.deliver(ConnectionResetError(104, "Connection reset by peer"), 0.001)
        self._of_lives = [end for end in self._of_lives if end.life is not life]

    # --- the `Network` of the embedded cloud ------------------------------------------------------------------

    async def listen(self, runner: web.AppRunner, port: int) -> str:
        assert runner.server is not None
        port = port or 8000 + len(self._listening)
        self._listening[port] = (runner.server, copy_context())
        return f"http://127.0.0.1:{port}"

    def connector(self) -> MemoryConnector:
        return MemoryConnector(self)

    # --- for connectors -----------------------------------------------------------------------------------------

    def chosen(self) -> str | None:
        """What goes wrong with the next exchange of the runner, if that was chosen beforehand."""
        self.requests += 1
        fault = self.at.get(self.requests)
        if fault is not None:
            self.happened[fault] += 1
            self.refusing = fault == "refused"
        return fault

    def draw(self) -> str | None:
        """What goes wrong with the next exchange, if anything."""
        for fault, rate in self.rates.items():
            if fault != "connection refused" and self.rng.random() < rate:
                self.happened[fault] += 1
                return fault
        return None

    def connect(self, port: int, protocol: asyncio.Protocol) -> None:
        """Join a client to the server at `port`.

        Raises:
            ConnectionRefusedError: nobody listens there.
        """
        if port not in self._listening:
            raise ConnectionRefusedError(111, "Connection refused")
        factory, context = self._listening[port]
        client = End(self.loop, protocol, copy_context())
        server = End(self.loop, context.run(factory), context)
        line = Line(self, client, server)
        client.send, server.send = line.from_client, line.from_server
        client.peer, server.peer = server, client
        if client.life is not None:
            self._of_lives.append(client)
        protocol.connection_made(client)
        context.run(server.protocol.connection_made, server)


class MemoryConnector(BaseConnector):
    """Connects to servers of `Wires` by the port of their address."""

    def __init__(self, wires: Wires) -> None:
        super().__init__(limit=256)
        self._wires = wires

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> ResponseHandler:
        await asyncio.sleep(self._wires.rng.uniform(0.0005, 0.02))
        protocol = ResponseHandler(loop=self._loop)
        try:
            refusing, self._wires.refusing = self._wires.refusing and LIFE.get() is not None, False
            if refusing:
                raise ConnectionRefusedError(111, "Connection refused")
            if self._wires.rng.random() < self._wires.rates.get("connection refused", 0):
                self._wires.happened["connection refused"] += 1
                raise ConnectionRefusedError(111, "Connection refused")
            self._wires.connect(req.url.port, protocol)
        except OSError as exc:
            raise ClientConnectorError(req.connection_key, exc) from exc
        return protocol


class End(asyncio.Transport):
    """One end of a connection; what arrives is handed over in order, in the context of whoever owns this end."""

    send: Callable[[bytes], None]
    peer: End

    def __init__(self, loop: WireLoop, protocol: asyncio.Protocol, context: Context) -> None:
        super().__init__({"peername": ("127.0.0.1", 40000), "sockname": ("127.0.0.1", 8000)})
        self._loop = loop
        self.protocol: Any = protocol
        self._context = context
        self.life = context.get(LIFE)
        self._inbox: deque[bytes | ConnectionResetError | None] = deque()
        self._last_s = 0.0
        self._due = 0
        self._is_paused = False
        self._is_closing = False
        self._is_lost = False

    # --- what comes in ------------------------------------------------------------------------------------------

    def deliver(self, item: bytes | ConnectionResetError | None, delay_s: float) -> None:
        """Hand over bytes, an end (None) or a reset after `delay_s`, and never before what was sent before it."""
        self._last_s = max(self._last_s, self._loop.time() + delay_s)
        self._inbox.append(item)
        self._loop.call_at(self._last_s, self._arrive, context=self._context)

    def _arrive(self) -> None:
        self._due += 1
        while self._due and self._inbox and not self._is_paused:
            self._due -= 1
            self._hand_over(self._inbox.popleft())

    def _hand_over(self, item: bytes | ConnectionResetError | None) -> None:
        if self.life is not None:
            self.life.pass_by("answer arrives")
        if self._is_lost or (self.life is not None and self.life.is_dead):
            return
        if isinstance(item, bytes):
            self.protocol.data_received(item)
        elif item is None:
            if not self.protocol.eof_received():
                self._lose(None)
        else:
            self._lose(item)

    def _lose(self, exc: Exception | None) -> None:
        self._is_closing = True
        if not self._is_lost:
            self._is_lost = True
            self.protocol.connection_lost(exc)

    # --- asyncio.Transport ------------------------------------------------------------------------------------------

    def write(self, data: Any) -> None:
        if not self._is_closing and not (self.life is not None and self.life.is_dead):
            self.send(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self.peer.deliver(None, 0.001)
            self._loop.call_soon(self._lose, None, context=self._context)

    def abort(self) -> None:
        if not self._is_lost:
            self._is_closing = True
            self.peer.deliver(ConnectionResetError(104, "Connection reset by peer"), 0.001)
            self._loop.call_soon(self._lose, None, context=self._context)

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._due -= 1
            self._loop.call_soon(self._arrive, context=self._context)

    def is_reading(self) -> bool:
        return not self._is_paused

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def can_write_eof(self) -> bool:
        return False


class Line:
    """What lies between two ends: latency, and one fault for an exchange, drawn when its request begins."""

    def __init__(self, wires: Wires, client: End, server: End) -> None:
        self._wires = wires
        self._client = client
        self._server = server
        self._fault: str | None = None
        self._left = 0
        self._is_cut = False
        self._head = b""

    def from_client(self, data: bytes) -> None:
        """Bytes of requests; each request begins with its own write."""
        rng, delay_s = self._wires.rng, self._wires.rng.uniform(0.001, 0.03)
        if data.startswith(METHODS):
            self._begin(data)
        if self._is_cut or self._fault == "black hole":
            return
        if self._fault == "refused":
            # A kept connection that was closed meanwhile, and the new one that the client then wants is refused.
            self._break(delay_s)
        elif self._fault in ("rate limited", "error before"):
            self._say_in_place(self._fault, delay_s)
        elif self._fault == "reset in request":
            self._server.deliver(data[: rng.randrange(len(data))], delay_s)
            self._break(delay_s)
        elif self._fault in ("proxy page", "portal", "proxy limit"):
            self._answer_in_place(self._fault, delay_s)
        else:
            self._server.deliver(data, delay_s + (rng.uniform(1, 25) if self._fault == "late request" else 0))

    def _begin(self, data: bytes) -> None:
        life = self._client.life
        chosen = self._wires.chosen() if life is not None else None
        self._fault = None if self._is_cut else chosen or self._wires.draw()
        self._left = self._wires.rng.randrange(700)
        self._head = b""
        if life is not None:
            method, path = data.split(b" ", 2)[:2]
            life.pass_by(f"request {method.decode()} {path.split(b'?')[0].decode()} {self._fault or ''}")
            if life.is_dead and self._wires.rng.random() < 0.5:
                self._is_cut = True

    def from_server(self, data: bytes) -> None:
        """Bytes of the answer."""
        rng, delay_s = self._wires.rng, self._wires.rng.uniform(0.001, 0.03)
        if self._is_cut or self._fault == "answer lost":
            return
        match self._fault:
            case "reset in answer" | "cut answer":
                self._cut(data, delay_s, is_reset=self._fault == "reset in answer")
            case "short json":
                self._shorten(data, delay_s)
            case "slow body":
                self._trickle(data, delay_s)
            case "late answer":
                self._client.deliver(data, delay_s + rng.uniform(1, 70))
                self._fault = None
            case "error after" | "malformed":
                self._say_in_place(self._fault, delay_s)
            case "proxy page after":
                self._answer_in_place("proxy page", delay_s)
            case "repeated events":
                for _ in range(2 if _is_chunk_of_events(data) else 1):
                    self._client.deliver(data, delay_s)
            case _:
                self._client.deliver(data, delay_s)

    def _cut(self, data: bytes, delay_s: float, *, is_reset: bool) -> None:
        self._client.deliver(data[: self._left], delay_s)
        self._left -= len(data)
        if self._left < 0:
            self._break(delay_s, is_reset=is_reset)

    def _trickle(self, data: bytes, delay_s: float) -> None:
        for start in range(0, len(data), 400):
            self._client.deliver(data[start : start + 400], delay_s)
            delay_s += self._wires.rng.uniform(0, 6)

    def _shorten(self, data: bytes, delay_s: float) -> None:
        """Give the answer a smaller length that fits its cut body, as a broken proxy would."""
        self._head += data
        head, found, body = self._head.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        length = next((line for line in lines if line.lower().startswith(b"content-length:")), None)
        if not found or length is None or len(body) < int(length.split(b":")[1]) or len(body) < 2:
            if found and (length is None or len(body) < 2):  # a stream, or nothing to cut
                self._client.deliver(self._head, delay_s)
                self._head, self._fault = b"", None
            return
        kept = body[: self._wires.rng.randrange(1, len(body))]
        lines = [b"Content-Length: %d" % len(kept) if line is length else line for line in lines]
        self._client.deliver(b"\r\n".join(lines) + b"\r\n\r\n" + kept, delay_s)
        self._break(delay_s, is_reset=False)

    def _answer_in_place(self, kind: str, delay_s: float) -> None:
        rng = self._wires.rng
        status, more = rng.choice(PROXY_STATUS), b""
        if kind == "portal":
            status = b"200 OK"
        elif kind == "proxy limit":
            wait = rng.choice([b"1", b"7", b"40", b"0", b"soon"])
            status, more = b"429 Too Many Requests", b"Retry-After: " + wait + b"\r\n"
        head = b"HTTP/1.1 %s\r\nContent-Type: text/html\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n"
        self._client.deliver(head % (status, more, len(PROXY_PAGE)) + PROXY_PAGE, delay_s)
        self._break(delay_s, is_reset=False)

    def _say_in_place(self, kind: str, delay_s: float) -> None:
        """Answer in the API's own form, but not what it said."""
        body = b'{"id": "' if kind == "malformed" else b'{"title": "Error", "status": 500, "detail": "", "error": ""}'
        head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        self._client.deliver(head % (_STATUS[kind], len(body)) + body, delay_s)
        self._break(delay_s, is_reset=False)

    def _break(self, delay_s: float, *, is_reset: bool = True) -> None:
        self._is_cut = True
        self._client.deliver(ConnectionResetError(104, "Connection reset by peer") if is_reset else None, delay_s)
        self._server.deliver(ConnectionResetError(104, "Connection reset by peer"), delay_s)


def _is_chunk_of_events(data: bytes) -> bool:
    """Whether one write is exactly one piece of a chunked body with events in it."""
    size, _, rest = data.partition(b"\r\n")
    with contextlib.suppress(ValueError):
        return rest.startswith(b"id: ") and len(rest) == int(size, 16) + 2
    return False
