"""`runspec serve`: recorded runs in a browser, live."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import click

from runner.cli.options import with_state


@click.command("serve")
@click.option("--port", type=click.IntRange(0, 65535), default=8642, show_default=True, help="0 takes a free one.")
@with_state
def command(port: int, state: Path) -> int:
    """Show the recorded runs as web pages on this machine until ^C, following a run while it goes on.

    Read-only, and reachable from this machine only. Prints the address once it listens.
    """
    try:
        asyncio.run(_serve(state, port))
    except OSError as exc:
        hint = "; `--port 0` takes a free one" if port else ""
        raise click.ClickException(f"cannot listen on port {port}: {(exc.strerror or str(exc)).lower()}{hint}") from exc
    return 0


async def _serve(state: Path, port: int) -> None:
    from aiohttp import web

    from runner.cli.live_pages import LOOPBACK, live_app

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = web.AppRunner(live_app(state), access_log=None, handle_signals=False)
    await server.setup()
    try:
        site = web.TCPSite(server, LOOPBACK, port)
        await site.start()
        host, bound, *_ = server.addresses[0]
        click.echo(f"http://{host}:{bound}/")
        await stop.wait()
    finally:
        await server.cleanup()
