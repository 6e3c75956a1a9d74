"""Published configs: what the SDK's training helpers download, and a zip of a training's inputs.

Source: FineTune Lab contract §1.2 and §2.12, read 2026-11.
"""

from __future__ import annotations

import io
import secrets
import string
import zipfile

import msgspec
from aiohttp import web

from runner.local.lab_api.auth import require_session
from runner.local.lab_api.context import LAB, Lab, Refusal
from runner.local.lab_api.datasets import signed_url, stored_rows
from runner.local.lab_api.store import Doc
from runner.local.web_kit import json_response

OPEN_TO_ALL = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type",
}
PUBLIC_DOWNLOAD_S = 3600


async def generate_package(request: web.Request) -> web.Response:
    """Publish a config under an id that cannot be guessed; publishing it again keeps the id."""
    lab, row = request.app[LAB], _own_config(request)
    public_id = row["public_id"] or "train_" + "".join(secrets.choice(string.hexdigits[:16]) for _ in range(16))
    lab.store.update("configs", row["id"], {"public_id": public_id, "is_public": True, "updated_at": lab.now()})
    lab.store.save_setting("public", public_id, {"config_id": row["id"]})
    message = "Training package generated successfully"
    # No gists are written: nothing leaves this machine.
    return json_response(
        {"public_id": public_id, "config_name": row["name"], "gist_urls": None, "message": message}
    )  # fmt: skip


async def withdraw_package(request: web.Request) -> web.Response:
    lab, row = request.app[LAB], _own_config(request)
    lab.store.update("configs", row["id"], {"public_id": None, "is_public": False, "updated_at": lab.now()})
    return json_response({"success": True})


async def show_config(request: web.Request) -> web.Response:
    return json_response({"config": _published(request)}, headers=OPEN_TO_ALL)


async def show_datasets(request: web.Request) -> web.Response:
    lab, row = request.app[LAB], _published(request)
    shown = [
        {**dataset, "download_url": signed_url(lab, dataset, lifetime_s=PUBLIC_DOWNLOAD_S)}
        for dataset in lab.store.attached(row["id"])
    ]
    return json_response({"datasets": shown}, headers=OPEN_TO_ALL)


async def allow(_request: web.Request) -> web.Response:
    return web.Response(status=200, headers=OPEN_TO_ALL)


async def download_package(request: web.Request) -> web.Response:
    """The inputs of a training (config, rows, trainer) as a zip; no model is in there."""
    lab, row = request.app[LAB], _own_config(request)
    headers = {"Content-Disposition": f'attachment; filename="training-{row["id"][:8]}.zip"'}
    return web.Response(body=_package(lab, row), content_type="application/zip", headers=headers)


def _package(lab: Lab, row: Doc) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", msgspec.json.format(msgspec.json.encode(row["config_json"]), indent=2))
        for number, dataset in enumerate(lab.store.attached(row["id"]), start=1):
            archive.writestr(f"data/{number}-{dataset['id']}.jsonl", stored_rows(lab, dataset))
        archive.writestr("standalone_trainer.py", lab.trainer)
    return packed.getvalue()


async def available_configs(request: web.Request) -> web.Response:
    user = require_session(request)
    return json_response({"configs": request.app[LAB].store.newest_first("configs", user.id)})


async def available_datasets(request: web.Request) -> web.Response:
    user = require_session(request)
    return json_response({"datasets": request.app[LAB].store.newest_first("datasets", user.id)})


def _own_config(request: web.Request) -> Doc:
    user = require_session(request)
    row = request.app[LAB].store.get("configs", request.match_info["config_id"], user.id)
    if row is None:
        raise Refusal(404, "Training config not found")
    return row


def _published(request: web.Request) -> Doc:
    lab, public_id = request.app[LAB], request.match_info["public_id"]
    config_id = lab.store.setting("public", public_id).get("config_id")
    row = lab.store.get("configs", config_id) if config_id else None
    if row is None or not row["is_public"] or row["public_id"] != public_id:
        raise Refusal(404, "Config not found or not public")
    return row


ROUTES = [
    web.get("/api/training/config/available", available_configs),
    web.get("/api/training/dataset/available", available_datasets),
    web.get("/api/training/public/{public_id}", show_config),
    web.get("/api/training/public/{public_id}/dataset", show_datasets),
    web.options("/api/training/public/{public_id}", allow),
    web.options("/api/training/public/{public_id}/dataset", allow),
    web.post("/api/training/{config_id}/generate-package", generate_package),
    web.delete("/api/training/{config_id}/generate-package", withdraw_package),
    web.post("/api/training/{config_id}/download-package", download_package),
]
