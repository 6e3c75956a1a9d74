"""What every handler of the lab needs, and the answers they share."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import ClientSession, web

from runner.local.clock import Clock, iso
from runner.local.credentials import Credentials
from runner.local.lab_api.store import LabStore
from runner.local.model_server import ModelServer
from runner.local.web_kit import JSON_ERRORS, json_response


@dataclass
class Lab:
    """One running lab.

    Attributes:
        data_dir: holds the stored datasets.
        trainer: what pods download and run, a script or an archive that Python runs.
        bootstrap: the file that starts them.
        url, runpod_url: this server and the embedded RunPod (its base ends in `/v2`); known once both listen.
        http: for the calls to RunPod and to webhooks.
        models: lets trained models answer; a question waits for the one before.
        preparing: held while a model is put where it can be loaded from.
        background: work that goes on after its answer, ended with the server.
    """

    store: LabStore
    clock: Clock
    credentials: Credentials
    data_dir: Path
    trainer: bytes = field(repr=False)
    bootstrap: Path
    http: ClientSession
    rate_limit_per_minute: int = 100
    url: str = ""
    runpod_url: str = ""
    models: ModelServer = field(init=False)
    preparing: asyncio.Lock = field(default_factory=asyncio.Lock)
    background: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        # Children run in folders of their own, where a relative path would lead elsewhere.
        self.data_dir = self.data_dir.resolve()
        self.models = ModelServer(self.data_dir / "model-server.log")

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Let `work` go on in the background."""
        task = asyncio.create_task(work)
        self.background.add(task)
        task.add_done_callback(self.background.discard)

    async def aclose(self) -> None:
        """End what goes on in the background."""
        for task in self.background:
            task.cancel()
        await asyncio.gather(*self.background, return_exceptions=True)
        await self.models.aclose()

    def now(self) -> str:
        """The present moment the way the lab writes it."""
        return iso(self.clock.now())

    def sign(self, text: str) -> str:
        """A signature that only this lab can make."""
        digest = hmac.digest(self.credentials.storage_secret.encode(), text.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


LAB: web.AppKey[Lab] = web.AppKey("lab", Lab)


class Refusal(Exception):  # noqa: N818  # an answer to the caller, not a fault of ours
    """An error answer in the lab's default form, `{"error": …}` and what else belongs to it."""

    def __init__(self, status: int, error: str, **more: Any) -> None:
        super().__init__(error)
        self.status = status
        self.body: Mapping[str, Any] = {"error": error, **more}

    def response(self) -> web.Response:
        return json_response(self.body, status=self.status)


async def read_json(request: web.Request, *, refusal: Refusal) -> dict[str, Any]:
    """The JSON object in the body; `refusal` when there is none."""
    try:
        body = msgspec.json.decode(await request.read())
    except JSON_ERRORS as exc:
        raise refusal from exc
    if not isinstance(body, dict):
        raise refusal
    return body


async def read_posted_json(request: web.Request) -> dict[str, Any]:
    """The body of a call made by trainers, with the refusals that they log.

    A chunked body has no length and is refused, as by the real service.
    """
    if not request.content_length:
        raise Refusal(400, "Request body is required")
    if not (await request.read()).strip():
        raise Refusal(400, "Empty request body")
    return await read_json(request, refusal=Refusal(400, "Invalid JSON in request body"))
