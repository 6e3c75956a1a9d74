"""What a pod downloads from the lab beside its dataset: the trainer."""

from __future__ import annotations

from aiohttp import web

from runner.local.lab_api.context import LAB, Refusal


async def trainer(request: web.Request) -> web.StreamResponse:
    """`standalone_trainer.py`, open to all, as the product's own trainer is on its public source host."""
    path = request.app[LAB].trainer
    if not path.is_file():
        raise Refusal(404, "Not found")
    return web.Response(body=path.read_bytes(), content_type="text/x-python")


ROUTES = [web.get("/downloads/standalone_trainer.py", trainer)]
