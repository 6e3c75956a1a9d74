"""Training configs: stored as they come, judged but never refused for what they say.

Source: FineTune Lab contract §2.1, read 2026-11.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from runner.local.lab_api.auth import require_session
from runner.local.lab_api.context import LAB, Refusal, read_json
from runner.local.lab_api.store import Doc
from runner.local.web_kit import json_response

NO_ROW = "JSON object requested, multiple (or no) rows returned"
SECTIONS = ("model", "tokenizer", "training", "data")


async def create_config(request: web.Request) -> web.Response:
    user, lab = require_session(request), request.app[LAB]
    body = await read_json(request, refusal=Refusal(500, "Failed to create config"))
    config = body.get("config_json")
    if not (body.get("name") and body.get("template_type") and config):
        raise Refusal(400, "Missing required fields")
    if not isinstance(config, dict) or not all(isinstance(config.get(section), dict) for section in SECTIONS):
        raise Refusal(500, "Failed to create config")
    now = lab.now()
    row = {
        "id": str(uuid.uuid4()),
        "user_id": user.id,
        "name": body["name"],
        "description": body.get("description"),
        "template_type": body["template_type"],
        "config_json": config,
        **_judgement(config),
        "public_id": None,
        "is_public": False,
        "gist_urls": None,
        "created_at": now,
        "updated_at": now,
    }
    lab.store.insert("configs", row["id"], user.id, row)
    return json_response({"config": row}, status=201)


async def list_configs(request: web.Request) -> web.Response:
    user = require_session(request)
    return json_response({"configs": request.app[LAB].store.newest_first("configs", user.id)})


async def get_config(request: web.Request) -> web.Response:
    return json_response({"config": _own_config(request, missing=Refusal(404, NO_ROW))})


async def put_config(request: web.Request) -> web.Response:
    row, lab = _own_config(request, missing=Refusal(500, NO_ROW)), request.app[LAB]
    body = await read_json(request, refusal=Refusal(500, "Invalid JSON"))
    changes: Doc = {key: body[key] for key in ("name", "description", "config_json") if key in body}
    if isinstance(changes.get("config_json"), dict):
        changes |= _judgement(changes["config_json"])
    changed = lab.store.update("configs", row["id"], changes | {"updated_at": lab.now()})
    return json_response({"config": changed})


async def delete_config(request: web.Request) -> web.Response:
    user, lab, config_id = require_session(request), request.app[LAB], request.match_info["config_id"]
    if lab.store.get("configs", config_id, user.id) is not None:
        lab.store.delete("configs", config_id)
    return json_response({"success": True})


def _own_config(request: web.Request, *, missing: Refusal) -> Doc:
    user = require_session(request)
    row = request.app[LAB].store.get("configs", request.match_info["config_id"], user.id)
    if row is None:
        raise missing
    return row


def _judgement(config: Mapping[str, Any]) -> dict[str, Any]:
    errors = [{"field": field, "message": message, "severity": "error"} for field, message in _problems(config)]
    return {"is_validated": not errors, "validation_errors": errors or None}


def _problems(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    training, data = _section(config, "training"), _section(config, "data")
    problems = [
        (f"{section}.{key}", f"{section}.{key} is required")
        for section, key in (("model", "name"), ("tokenizer", "name"), ("training", "method"), ("data", "strategy"))
        if not _section(config, section).get(key)
    ]
    if not _number(training.get("batch_size")) >= 1:
        problems.append(("training.batch_size", "training.batch_size must be at least 1"))
    if not _number(training.get("learning_rate")) > 0:
        problems.append(("training.learning_rate", "training.learning_rate must be greater than 0"))
    if not _number(training.get("num_epochs")) >= 1:
        problems.append(("training.num_epochs", "training.num_epochs must be at least 1"))
    if training.get("use_lora") and training.get("lora_r") is None:
        problems.append(("training.lora_r", "training.lora_r is required when use_lora is set"))
    if data.get("max_samples") and not _number(data["max_samples"]) >= 1:
        problems.append(("data.max_samples", "data.max_samples must be at least 1"))
    if not 0 <= _number(data.get("train_split")) <= 1:
        problems.append(("data.train_split", "data.train_split must be between 0 and 1"))
    return problems


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    return section if isinstance(section, dict) else {}


def _number(value: object) -> float:
    """The value as a number; NaN, which fails every comparison, when it is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")


ROUTES = [
    web.post("/api/training", create_config),
    web.get("/api/training", list_configs),
    web.get("/api/training/{config_id}", get_config),
    web.put("/api/training/{config_id}", put_config),
    web.delete("/api/training/{config_id}", delete_config),
]
