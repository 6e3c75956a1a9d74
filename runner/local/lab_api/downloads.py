"""What a pod downloads from the lab beside its dataset: the trainer."""

from __future__ import annotations

from aiohttp import web

from runner.local.lab_api.context import LAB


async def trainer(request: web.Request) -> web.Response:
    """`standalone_trainer.py`, open to all, as the product's own trainer is on its public source host."""
    return web.Response(body=request.app[LAB].trainer, content_type="application/octet-stream")


ROUTES = [web.get("/downloads/standalone_trainer.py", trainer)]
