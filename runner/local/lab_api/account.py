"""What belongs to the user and not to a training: API keys and the vault of provider secrets.

Source: FineTune Lab contract §1.1 and §1.2, and the public repository of 2026-07 for the bodies.
"""

from __future__ import annotations

import secrets
import string
import uuid
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from runner.local.lab_api.auth import SCOPES, key_id, require_session_success_false
from runner.local.lab_api.context import LAB, Lab, Refusal, read_json
from runner.local.lab_api.store import Doc
from runner.local.web_kit import json_response

# Workers get their keys elsewhere.
OFFERED_SCOPES = [scope for scope in SCOPES if scope != "worker"]
SHOWN_KEY = ("id", "name", "key_prefix", "is_active", "request_count", "last_used_at", "created_at", "scopes")


def add_seeded_keys(lab: Lab) -> None:
    """Make the keys of the seeded user known, whatever an earlier run of this state directory knew."""
    seeded = {"all": lab.credentials.lab_api_key, "testing": lab.credentials.lab_api_key_testing}
    for scope, key in seeded.items():
        if lab.store.get("api_keys", key_id(key)) is None:
            _add_key(lab, key, user_id=lab.credentials.user_id, name=f"seeded {scope}", scopes=[scope])


async def list_keys(request: web.Request) -> web.Response:
    user = require_session_success_false(request)
    rows = request.app[LAB].store.newest_first("api_keys", user.id)
    shown = [{name: row[name] for name in SHOWN_KEY} for row in rows]
    return json_response({"success": True, "apiKeys": shown, "count": len(shown)})


async def create_key(request: web.Request) -> web.Response:
    """The only answer that ever holds the key itself."""
    user, lab = require_session_success_false(request), request.app[LAB]
    body = await read_json(request, refusal=Refusal(500, "Failed to create API key", success=False))
    if not body.get("name"):
        raise Refusal(400, "Missing required field", success=False, required=["name"])
    scopes = body.get("scopes") or ["all"]
    unknown = [scope for scope in scopes if scope not in OFFERED_SCOPES] if isinstance(scopes, list) else [scopes]
    if unknown:
        raise Refusal(
            400, "Invalid scopes provided", success=False, invalidScopes=unknown, validScopes=OFFERED_SCOPES
        )  # fmt: skip
    key = "wak_" + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(32))
    row = _add_key(lab, key, user_id=user.id, name=str(body["name"]), scopes=scopes)
    shown = {name: row[name] for name in ("id", "name", "key_prefix", "is_active", "created_at", "scopes")}
    message = "API key created successfully. Save this key - it will not be shown again."
    return json_response({"success": True, "apiKey": {**shown, "key": key}, "message": message}, status=201)


async def list_secrets(request: web.Request) -> web.Response:
    user = require_session_success_false(request)
    held = request.app[LAB].store.setting(user.id, "secrets")
    shown = [{"provider": name, "api_key_preview": _preview(str(value))} for name, value in sorted(held.items())]
    return json_response({"success": True, "secrets": shown, "count": len(shown)})


async def create_secret(request: web.Request) -> web.Response:
    user, lab = require_session_success_false(request), request.app[LAB]
    body = await read_json(request, refusal=Refusal(500, "Failed to create provider secret", success=False))
    provider, key = body.get("provider"), body.get("api_key")
    if not provider or not key:
        raise Refusal(400, "Missing required fields", success=False, required=["provider", "api_key"])
    name = str(provider).lower()
    lab.store.save_setting(user.id, "secrets", {**lab.store.setting(user.id, "secrets"), name: str(key)})
    secret = {"id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{user.id}/{name}")), "provider": name}
    shown: dict[str, Any] = {**secret, "description": body.get("description")}
    message = "Provider secret created successfully"
    return json_response({"success": True, "secret": shown, "message": message}, status=201)


def _add_key(lab: Lab, key: str, *, user_id: str, name: str, scopes: Sequence[str]) -> Doc:
    row: Doc = {
        "id": key_id(key), "user_id": user_id, "name": name, "key_prefix": key[:12], "is_active": True,
        "request_count": 0, "last_used_at": None, "created_at": lab.now(), "scopes": list(scopes),
    }  # fmt: skip
    lab.store.insert("api_keys", row["id"], user_id, row)
    return row


def _preview(secret: str) -> str:
    return f"{secret[:4]}••••••••" if len(secret) > 12 else "••••••••"


ROUTES = [
    web.get("/api/user/api-keys", list_keys),
    web.post("/api/user/api-keys", create_key),
    web.get("/api/secrets", list_secrets),
    web.post("/api/secrets", create_secret),
]
