"""How the embedded servers are reached, and reach each other: loopback sockets, or what a test brings."""

from __future__ import annotations

from typing import Protocol

from aiohttp import BaseConnector, web

HOST = "127.0.0.1"


class Network(Protocol):
    """Where servers listen."""

    async def listen(self, runner: web.AppRunner, port: int) -> str:
        """Serve a runner that was set up, until it is cleaned up; its origin. Port 0 takes a free one.

        Raises:
            OSError: the port is taken.
        """
        ...

    def connector(self) -> BaseConnector | None:
        """For the servers' own calls; None for aiohttp's usual one."""
        ...


class Loopback:
    """Sockets on 127.0.0.1, and on nothing else."""

    async def listen(self, runner: web.AppRunner, port: int) -> str:
        site = web.TCPSite(runner, HOST, port)
        await site.start()
        return f"http://{HOST}:{runner.addresses[0][1]}"

    def connector(self) -> BaseConnector | None:
        return None
