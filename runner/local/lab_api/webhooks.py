"""Webhooks of a user: kept here, served by `delivery`.

Source: FineTune Lab contract §2.9, read 2026-11.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from runner.local.lab_api.auth import require_session
from runner.local.lab_api.context import LAB, Refusal, read_json
from runner.local.lab_api.delivery import AlertMessage, deliver
from runner.local.lab_api.store import Doc
from runner.local.web_kit import json_response

KINDS = ("slack", "discord", "generic")
FLAGS: Mapping[str, bool] = {
    "alert_job_started": False, "alert_job_completed": True, "alert_job_failed": True, "alert_job_cancelled": False,
    "alert_batch_test_completed": False, "alert_batch_test_failed": True, "alert_gpu_oom": True,
    "alert_disk_warning": True, "alert_timeout_warning": True,
}  # fmt: skip
CHANGEABLE = ("name", "url", "webhook_type", "secret", "enabled", *FLAGS)
MASK = "********"


async def list_webhooks(request: web.Request) -> web.Response:
    """Enabled ones only: a disabled webhook cannot be found again without its id (trap T-23)."""
    user = require_session(request)
    rows = request.app[LAB].store.newest_first("webhooks", user.id)
    return json_response({"webhooks": [_shown(row) for row in rows if row["enabled"]]})


async def create(request: web.Request) -> web.Response:
    user, lab = require_session(request), request.app[LAB]
    body = await read_json(request, refusal=Refusal(400, "Invalid JSON"))
    _check(body.get("name"), body.get("url"))
    now = lab.now()
    row: Doc = {
        "id": str(uuid.uuid4()),
        "user_id": user.id,
        "name": body["name"],
        "url": body["url"],
        "webhook_type": body["webhook_type"] if body.get("webhook_type") in KINDS else "generic",
        "secret": body.get("secret") or None,
        "enabled": bool(body.get("enabled", True)),
        **{flag: bool(body.get(flag, default)) for flag, default in FLAGS.items()},
        "last_success_at": None,
        "last_failure_at": None,
        "failure_count": 0,
        "created_at": now,
        "updated_at": now,
    }
    lab.store.insert("webhooks", row["id"], user.id, row)
    return json_response({"webhook": _shown(row)}, status=201)


async def show(request: web.Request) -> web.Response:
    return json_response({"webhook": _shown(_own(request, missing="Webhook not found"))})


async def change(request: web.Request) -> web.Response:
    lab, row = request.app[LAB], _own(request, missing="Webhook not found or update failed")
    body = await read_json(request, refusal=Refusal(400, "Invalid JSON"))
    changes: Doc = {name: body[name] for name in CHANGEABLE if name in body}
    if changes.get("secret") == MASK:
        # What was shown is not the secret, and must not become it.
        del changes["secret"]
    if "name" in changes or "url" in changes:
        _check(changes.get("name", row["name"]), changes.get("url", row["url"]))
    changed = lab.store.update("webhooks", row["id"], {**changes, "updated_at": lab.now()})
    return json_response({"webhook": _shown(changed or row)})


async def remove(request: web.Request) -> web.Response:
    """200 also for an unknown id."""
    user, lab, hook_id = require_session(request), request.app[LAB], request.match_info["hook_id"]
    if lab.store.get("webhooks", hook_id, user.id) is not None:
        lab.store.delete("webhooks", hook_id)
    return json_response({"success": True})


async def send_sample(request: web.Request) -> web.Response:
    lab, row = request.app[LAB], _own(request, missing="Webhook not found")
    sample = AlertMessage(
        type="job_completed",
        user_id=row["user_id"],
        title="Training Complete: Test Model",
        message="This is a test alert.",
        metadata={"jobId": "test-job", "userId": row["user_id"], "modelName": "Test Model", "status": "completed"},
        job_id="test-job",
    )
    delivery = await deliver(lab, {**row, "alert_job_completed": True}, sample)
    return json_response(
        {"success": delivery.error is None, "statusCode": delivery.status, "error": delivery.error}
    )  # fmt: skip


def _own(request: web.Request, *, missing: str) -> Doc:
    user = require_session(request)
    row = request.app[LAB].store.get("webhooks", request.match_info["hook_id"], user.id)
    if row is None:
        raise Refusal(404, missing)
    return row


def _check(name: object, url: object) -> None:
    if not isinstance(name, str) or not name.strip():
        raise Refusal(400, "Name is required")
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refusal(400, "Valid URL is required")


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "secret": MASK if row["secret"] else None}


ROUTES = [
    web.get("/api/alerts/webhooks", list_webhooks),
    web.post("/api/alerts/webhooks", create),
    web.get("/api/alerts/webhooks/{hook_id}", show),
    web.put("/api/alerts/webhooks/{hook_id}", change),
    web.delete("/api/alerts/webhooks/{hook_id}", remove),
    web.post("/api/alerts/webhooks/{hook_id}/test", send_sample),
]
