"""Recorded runs as web pages on this machine, live while a run goes on. Read-only: it only answers GET.

Pages are the HTML reports; one of a run that goes on asks for itself again when the state directory changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from runner.errors import StoreError
from runner.history import RunSummary
from runner.reports.html import render_page, render_runs
from runner.reports.page import view
from runner.store import database
from runner.store.lock import is_owned
from runner.store.store import Store

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LOOPBACK: Final = "127.0.0.1"
POLL_S = 0.5
HEARTBEAT_S = 15.0
LISTED = 200
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
Stamp = tuple[tuple[int, int], ...]


@dataclass(slots=True)
class _Rendered:
    """The last page of a run, and the state of the directory that it was made from."""

    stamp: Stamp
    body: str


PAGES: Final = web.AppKey("pages", dict[str, _Rendered])
STATE: Final = web.AppKey("state", Path)
STOPPING: Final = web.AppKey("stopping", asyncio.Event)


def live_app(state_dir: Path) -> web.Application:
    """The pages of the runs in a state directory; answers requests for this machine only."""
    app = web.Application(middlewares=[_guarded])
    app[STATE] = state_dir
    app[PAGES] = {}
    app[STOPPING] = asyncio.Event()
    app.router.add_get("/", _list)
    app.router.add_get("/runs/{run}", _run)
    app.router.add_get("/events", _events)
    app.on_shutdown.append(_stop_streams)
    return app


async def _stop_streams(app: web.Application) -> None:
    app[STOPPING].set()


@web.middleware
async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what a page of somebody else could ask for: another host's name (DNS rebinding), another origin."""
    if not is_local(request.headers.getall("Host", []), _port(request), request.raw_path):
        return _refused("this server answers to 127.0.0.1 and localhost only")
    if not _is_own_origin(request):
        return _refused("requests from other pages are not answered")
    if request.method not in ("GET", "HEAD"):
        return web.Response(status=405, text="read-only\n", headers={**HEADERS, "Allow": "GET, HEAD"})
    try:
        response = await handler(request)
    except web.HTTPException as exc:
        return web.Response(status=exc.status, text=f"{exc.reason}\n", headers=HEADERS)
    if not response.prepared:
        response.headers.update(HEADERS)
    return response


def is_local(hosts: list[str], port: int, raw_path: str) -> bool:
    """Whether a request is for this server under one of its own names.

    Args:
        hosts: every `Host` header; there must be exactly one.
        raw_path: as it was sent: a path, never an absolute address.
    """
    names = {f"{name}:{port}" for name in (LOOPBACK, "localhost")}
    if port == 80:
        names |= {LOOPBACK, "localhost"}
    return len(hosts) == 1 and hosts[0].lower() in names and raw_path.startswith("/")


def _is_own_origin(request: web.Request) -> bool:
    own = f"http://{request.headers.get('Host', '').lower()}"
    origins = [one.lower() for one in request.headers.getall("Origin", [])]
    site = request.headers.get("Sec-Fetch-Site", "none")
    # Following a link from elsewhere to a page is fine; reading one from elsewhere is not.
    is_visit = request.headers.get("Sec-Fetch-Mode") == "navigate"
    return all(origin == own for origin in origins) and (site in ("none", "same-origin") or is_visit)


def _port(request: web.Request) -> int:
    name = request.transport.get_extra_info("sockname") if request.transport is not None else None
    return int(name[1]) if name else 0


def _refused(why: str) -> web.Response:
    return web.Response(status=403, text=f"{why}\n", headers=HEADERS)


async def _list(request: web.Request) -> web.Response:
    text = await asyncio.to_thread(_render_list, request.app[STATE])
    return web.Response(text=text, content_type="text/html", charset="utf-8")


async def _run(request: web.Request) -> web.Response:
    state, run = request.app[STATE], request.match_info["run"]
    stamp = _stamp(state)
    pages = request.app[PAGES]
    known = pages.get(run)
    if known is None or known.stamp != stamp:
        try:
            body = await asyncio.to_thread(_render_run, state, run)
        except StoreError as exc:
            return web.Response(status=404, text=f"{exc}\n")
        pages.clear()  # one page is kept: whoever looks at a run asks for it again and again
        known = pages[run] = _Rendered(stamp, body)
    return web.Response(text=known.body, content_type="text/html", charset="utf-8")


async def _events(request: web.Request) -> web.StreamResponse:
    """A stream that says `changed` whenever something was recorded, at most twice a second."""
    response = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
    await response.prepare(request)
    with suppress(ConnectionResetError):  # the reader went away
        await _tell(response, request.app[STATE], request.app[STOPPING])
    return response


async def _tell(response: web.StreamResponse, state: Path, stopping: asyncio.Event) -> None:
    stamp, quiet_s = _stamp(state), 0.0
    await response.write(b"retry: 1000\n\n")
    while not stopping.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), POLL_S)
        now, quiet_s = _stamp(state), quiet_s + POLL_S
        if now != stamp:
            stamp, quiet_s = now, 0.0
            await response.write(b"event: changed\ndata: {}\n\n")
        elif quiet_s >= HEARTBEAT_S:
            quiet_s = 0.0
            await response.write(b": still here\n\n")


def _stamp(state: Path) -> Stamp:
    """What changes with every commit: size and time of the database and of its write-ahead log."""
    found = []
    for name in (database.FILE, f"{database.FILE}-wal"):
        try:
            stat = (state / name).stat()
            found.append((stat.st_mtime_ns, stat.st_size))
        except OSError:
            found.append((0, 0))
    return tuple(found)


def _render_list(state: Path) -> str:
    with Store.open(state, read_only=True) as store:
        runs = store.runs(LISTED)
    return render_runs(runs, running=_going(state, runs), events="/events")


def _render_run(state: Path, run: str) -> str:
    with Store.open(state, read_only=True) as store:
        recorded = store.load_run(run)
        is_running = recorded.run in _going(state, store.runs(LISTED))
    page = view(recorded, is_running=is_running)
    if page is None:
        raise StoreError(f"run `{run}` has no recorded start")
    return render_page(page, events="/events" if is_running else "", home="/")


def _going(state: Path, runs: list[RunSummary]) -> set[str]:
    """Runs that somebody is working on: the newest one without an end, while its runner lives."""
    newest = next((one.run for one in runs if one.finished_at is None), None)
    return {newest} if newest is not None and is_owned(state) else set()
