"""Registered models and the prediction route: models trained here really answer.

Source: FineTune Lab contract §2.11, and the public repository of 2026-07 for the form of a list.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from runner.local.lab_api import serving
from runner.local.lab_api.auth import check_key, presented_key, require_session_success_false, session_user
from runner.local.lab_api.context import LAB, Lab, Refusal, read_json
from runner.local.lab_api.store import Doc
from runner.local.model_server import ModelAnswer, ServingError
from runner.local.web_kit import bearer_token, json_response

GLOBAL = "global"
NEEDED = ("name", "provider", "base_url", "model_id", "auth_type")
NO_KEY = "Missing API key. Provide in X-API-Key header or Authorization: Bearer header."
PREDICT_INFO: Mapping[str, Any] = {
    "status": "ok",
    "endpoint": "/api/v1/predict",
    "version": "1.0.0",
    "methods": ["POST"],
    "auth": {
        "required": True, "type": "API Key", "header": "X-API-Key or Authorization: Bearer", "scope": "production",
    },
    "request_format": {
        "model": "string (required)",
        "messages": "array of {role, content} (required)",
        "temperature": "number (optional, default 0.7)",
        "max_tokens": "number (optional, default 1024)",
        "stream": "boolean (optional, default false)",
    },
}  # fmt: skip


class PredictRefusal(Refusal):
    """An error of the prediction route, in the form that OpenAI's clients know."""

    def __init__(self, status: int, message: str, kind: str) -> None:
        super().__init__(status, message)
        self.body = {"error": {"message": message, "type": kind, "code": status}}


def add_seeded_model(lab: Lab) -> None:
    """The tiny model that every lab has, open to all of its users by id and by name."""
    known = lab.store.get("models", lab.credentials.predict_model)
    if known is None:
        add_model(
            lab, owner=GLOBAL, model_id=lab.credentials.predict_model, name="runspec-tiny",
            base_url=f"{lab.url}/api/v1/predict", model="runspec/tiny-llama", source={"kind": serving.SEED},
        )  # fmt: skip


def add_model(
    lab: Lab,
    *,
    owner: str,
    name: str,
    base_url: str,
    model: str,
    source: Mapping[str, Any] | None,
    provider: str = "local",
    model_id: str | None = None,
    **more: Any,
) -> Doc:
    """Register a model, or change the owner's model of that name.

    Args:
        source: what answers for it, `{"kind": "seed"}` or `{"kind": "job", "job_id", "adapter"}`; None for models of
            other hosts, which nothing here calls.
    """
    known = lab.store.find("models", owner, "name", name)
    row: Doc = {
        "id": known["id"] if known else model_id or str(uuid.uuid4()),
        "user_id": None if owner == GLOBAL else owner,
        "is_global": owner == GLOBAL,
        "name": name,
        "provider": provider,
        "base_url": base_url,
        "model_id": model,
        "served_model_name": model,
        "auth_type": "none",
        "enabled": True,
        "is_default": False,
        "source": source,
        "created_at": known["created_at"] if known else lab.now(),
        **more,
    }
    if known:
        lab.store.update("models", row["id"], row)
    else:
        lab.store.insert("models", row["id"], owner, row)
    return row


async def list_models(request: web.Request) -> web.Response:
    """Open to all; a session adds the user's own models."""
    lab, token = request.app[LAB], bearer_token(request)
    user = session_user(request) if token else None
    rows = lab.store.newest_first("models", GLOBAL)
    rows += lab.store.newest_first("models", user.id) if user else []
    shown = [{key: value for key, value in row.items() if key not in ("source", "api_key")} for row in rows]
    return json_response({"success": True, "models": shown, "count": len(shown), "fromCache": False})


async def create_model(request: web.Request) -> web.Response:
    user, lab = require_session_success_false(request), request.app[LAB]
    body = await read_json(request, refusal=Refusal(500, "Failed to create model", success=False))
    if not all(body.get(name) for name in NEEDED):
        raise Refusal(400, "Missing required fields", success=False, required=list(NEEDED))
    if lab.store.find("models", user.id, "name", body["name"]) is not None:
        message = "A model with this name already exists for your account."
        raise Refusal(409, message, success=False, code="DUPLICATE_MODEL_NAME")
    row = add_model(
        lab, owner=user.id, name=str(body["name"]), base_url=str(body["base_url"]), model=str(body["model_id"]),
        source=None, provider=str(body["provider"]), auth_type=str(body["auth_type"]),
        served_model_name=body.get("served_model_name") or str(body["model_id"]),
        enabled=bool(body.get("enabled", True)), is_default=bool(body.get("is_default", False)),
    )  # fmt: skip
    shown = {key: row[key] for key in ("id", "name", "provider", "enabled", "served_model_name", "is_default")}
    return json_response({"success": True, "model": shown, "message": "Model created successfully"}, status=201)


def model_named(lab: Lab, name: str) -> Doc | None:
    """A row by its id, whoever owns it; by name, model id or served name among the global ones only."""
    row = lab.store.get("models", name)
    if row is not None:
        return row
    rows = lab.store.newest_first("models", GLOBAL)
    return next((row for row in rows if name in (row["name"], row["model_id"], row["served_model_name"])), None)


async def predict_info(_request: web.Request) -> web.Response:
    return json_response(PREDICT_INFO)


async def predict(request: web.Request) -> web.StreamResponse:
    """Let a model answer a chat."""
    _require_production(request)
    lab = request.app[LAB]
    body = await read_json(request, refusal=PredictRefusal(500, "Unexpected end of JSON input", "api_error"))
    name, messages = body.get("model"), body.get("messages")
    if not name:
        raise PredictRefusal(400, "model is required", "invalid_request_error")
    if not isinstance(messages, list) or not messages:
        raise PredictRefusal(400, "messages array is required and must not be empty", "invalid_request_error")
    row = model_named(lab, str(name))
    if row is None:
        raise PredictRefusal(404, f"Model '{name}' not found or not accessible", "invalid_request_error")
    begun = time.monotonic()
    try:
        chat = chat_of(messages)
        temperature, max_tokens = _number(body, "temperature", 0.7), int(_number(body, "max_tokens", 1024))
        said = await serving.answer(lab, row, chat, temperature=temperature, max_tokens=max_tokens)
    except ServingError as exc:
        raise PredictRefusal(500, str(exc), "api_error") from exc
    latency_ms = round((time.monotonic() - begun) * 1000)
    if body.get("stream"):
        return await _stream(request, str(name), said)
    meta = {"latency_ms": latency_ms, "provider": row["provider"]}
    return json_response({**_completion(lab, str(name), said), "_meta": meta})


def chat_of(messages: Sequence[Any]) -> list[dict[str, str]]:
    """The messages of a chat, checked.

    Raises:
        ServingError: one of them is no message.
    """
    if not all(isinstance(message, dict) and isinstance(message.get("content"), str) for message in messages):
        raise ServingError("every message needs a role and a text as its content")
    return [{"role": str(message.get("role") or "user"), "content": message["content"]} for message in messages]


def _number(body: Mapping[str, Any], name: str, default: float) -> float:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ServingError(f"{name} must be a number")
    return float(value)


def _require_production(request: web.Request) -> None:
    """An API key and nothing else; a key over its limit gets the answer for a bad one (trap T-05)."""
    key = presented_key(request) or bearer_token(request)
    if key is None:
        raise PredictRefusal(401, NO_KEY, "invalid_api_key")
    try:
        check_key(request, key, "production")
    except Refusal as exc:
        status = 403 if exc.status == 403 else 401
        kind = "insufficient_scope" if status == 403 else "invalid_api_key"
        raise PredictRefusal(status, str(exc), kind) from exc


def _completion(lab: Lab, name: str, said: ModelAnswer) -> dict[str, Any]:
    now = lab.clock.now().timestamp()
    choice = {"index": 0, "message": {"role": "assistant", "content": said.content}, "finish_reason": "stop"}
    return {
        "id": f"chatcmpl-{int(now * 1000)}", "object": "chat.completion", "created": int(now), "model": name,
        "choices": [choice],
        "usage": {
            "prompt_tokens": said.prompt_tokens, "completion_tokens": said.completion_tokens,
            "total_tokens": said.prompt_tokens + said.completion_tokens,
        },
    }  # fmt: skip


async def _stream(request: web.Request, name: str, said: ModelAnswer) -> web.StreamResponse:
    """The answer in pieces, as server-sent events; it was generated whole."""
    whole = _completion(request.app[LAB], name, said)
    frame = {key: whole[key] for key in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await answer.prepare(request)
    for piece in re.findall(r"\S+\s*", said.content):
        await answer.write(_chunk(frame, {"content": piece}, None))
    await answer.write(_chunk(frame, {}, "stop"))
    await answer.write(b"data: [DONE]\n\n")
    return answer


def _chunk(frame: Mapping[str, Any], delta: Mapping[str, str], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + msgspec.json.encode({**frame, "choices": [choice]}) + b"\n\n"


ROUTES = [
    web.get("/api/models", list_models),
    web.post("/api/models", create_model),
    web.get("/api/v1/predict", predict_info),
    web.post("/api/v1/predict", predict),
]
