"""Pod logs as Server-Sent Events.

Source: RunPod contract §1.4 and OpenAPI v2 document (`getPodLogs`), read 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec
from aiohttp import web

from runner.local.podlog import LogLine, LogSource, PodLog
from runner.local.runpod_edge import Problem
from runner.local.runpod_query import LOGS, check_query, moment, read_moment

# How soon a stream notices that its client has gone.
CHECK_EVERY_S = 0.5
SSE_HEADERS = {"Cache-Control": "no-cache", "Connection": "keep-alive", "X-Accel-Buffering": "no"}


class LogStreams:
    """The open log streams of one server."""

    def __init__(self) -> None:
        self._closing = False
        self._followed: list[PodLog] = []

    def close(self) -> None:
        """Let every stream end now."""
        self._closing = True
        for log in self._followed:
            log.nudge()

    async def serve(self, request: web.Request, log: PodLog, *, cut_after: int | None) -> web.StreamResponse:
        """Send the wanted lines, then follow the pod until it is gone, the client leaves or the server closes."""
        check_query(request, LOGS)
        sources = _sources(request)
        seq = _first(request, log, sources)
        response = web.StreamResponse(headers=SSE_HEADERS)
        response.content_type = "text/event-stream"
        await response.prepare(request)
        self._followed.append(log)
        try:
            await self._follow(request, response, log, seq=seq, sources=sources, cut_after=cut_after)
        finally:
            self._followed.remove(log)
        return response

    async def _follow(
        self,
        request: web.Request,
        response: web.StreamResponse,
        log: PodLog,
        *,
        seq: int,
        sources: tuple[LogSource, ...],
        cut_after: int | None,
    ) -> None:
        sent = 0
        while not self._closing and request.transport is not None and not request.transport.is_closing():
            finished, newest = log.closed, log.last_seq
            lines = log.after(seq, sources)
            if cut_after is not None:
                lines = lines[: cut_after - sent]
            if lines:
                await response.write(b"".join(_events(lines)))
                sent += len(lines)
            if cut_after is not None and sent >= cut_after:
                request.transport.close()
                break
            seq = newest
            if finished:
                break
            await log.wait_beyond(seq, CHECK_EVERY_S)


def _events(lines: Iterable[LogLine]) -> Iterable[bytes]:
    for line in lines:
        stamp = line.at.strftime("%Y-%m-%dT%H:%M:%SZ")
        data = msgspec.json.encode({"ts": stamp, "source": line.source, "line": line.text})
        yield f"id: {stamp}/{line.seq:012d}\ndata: ".encode() + data + b"\n\n"


def _sources(request: web.Request) -> tuple[LogSource, ...]:
    match request.query.get("source"):
        case None:
            return ("container", "system")
        case "container":
            return ("container",)
        case _:
            return ("system",)


def _first(request: web.Request, log: PodLog, sources: tuple[LogSource, ...]) -> int:
    """The number after which to begin: `Last-Event-ID` beats `since` beats `tail`."""
    if last_id := request.headers.get("Last-Event-ID", ""):
        stamp, _, number = last_id.partition("/")
        if moment(stamp) or not re.fullmatch(r"\d*", number, re.ASCII):
            raise Problem(422, "Request validation failed.", errors=["$.Last-Event-ID: not an id of this stream"])
        return int(number) if number else log.seq_before(read_moment(stamp))
    if "since" in request.query:
        return log.seq_before(read_moment(request.query["since"]))
    return log.seq_of_tail(int(request.query.get("tail", 100)), sources)
