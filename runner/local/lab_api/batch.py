"""Test suites, and batch runs that put their prompts to a model.

Source: FineTune Lab contract §2.10, read 2026-11.
"""

from __future__ import annotations

import hmac
import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from runner.local.lab_api import serving
from runner.local.lab_api.auth import User, require_key_or_session
from runner.local.lab_api.context import LAB, Lab, Refusal, read_json
from runner.local.lab_api.datasets import stored_rows
from runner.local.lab_api.delivery import AlertMessage, send_alert
from runner.local.lab_api.models import model_named
from runner.local.lab_api.store import Doc
from runner.local.model_server import ServingError
from runner.local.web_kit import json_response

NO_SOURCE = "Missing config.test_suite_id, config.dataset_id, or config.source_path (one is required)"
NO_MODEL = "Missing config.model_id (must be a registered model from models page)"
NO_JUDGE = "judge_config requires session auth (Bearer token). Disable judge_config or use a session token."
SHOWN_RESPONSE = 500
ANSWER_TOKENS = 64

_log = logging.getLogger(__name__)


# --- test suites


async def create_suite(request: web.Request) -> web.Response:
    user, lab = require_key_or_session(request, "testing"), request.app[LAB]
    body = await read_json(request, refusal=Refusal(500, "Unexpected end of JSON input"))
    name = body.get("name")
    if not name or not isinstance(name, str):
        raise Refusal(400, "Name is required")
    if not isinstance(body.get("prompts"), list) or not body["prompts"]:
        raise Refusal(400, "Prompts array is required")
    prompts, answers = _texts(body["prompts"]), _texts(body.get("expected_answers"))
    if not prompts:
        raise Refusal(400, "No valid prompts found")
    if isinstance(body.get("expected_answers"), list) and len(answers) != len(prompts):
        raise Refusal(400, f"Expected answers count ({len(answers)}) must match prompts count ({len(prompts)})")
    now = lab.now()
    row: Doc = {
        "id": str(uuid.uuid4()), "user_id": user.id, "name": name.strip(),
        "description": str(body.get("description") or "").strip() or None, "prompts": prompts,
        "expected_answers": answers, "prompt_count": len(prompts), "created_at": now, "updated_at": now,
    }  # fmt: skip
    lab.store.insert("suites", row["id"], user.id, row)
    shown = {key: row[key] for key in ("id", "name", "description", "prompt_count", "created_at")}
    return json_response({"success": True, "testSuite": {**shown, "has_expected_answers": bool(answers)}})


async def list_suites(request: web.Request) -> web.Response:
    user = require_key_or_session(request, "testing")
    rows = request.app[LAB].store.newest_first("suites", user.id)
    keys = ("id", "name", "description", "prompt_count", "created_at", "updated_at")
    return json_response(
        {"success": True, "testSuites": [{key: row[key] for key in keys} for row in rows], "count": len(rows)}
    )  # fmt: skip


async def show_suite(request: web.Request) -> web.Response:
    user = require_key_or_session(request, "testing")
    row = request.app[LAB].store.get("suites", request.match_info["suite_id"], user.id)
    if row is None:
        raise Refusal(404, "Test suite not found")
    return json_response({"success": True, "testSuite": row})


async def delete_suite(request: web.Request) -> web.Response:
    user, lab, suite_id = require_key_or_session(request, "testing"), request.app[LAB], request.match_info["suite_id"]
    if lab.store.get("suites", suite_id, user.id) is not None:
        lab.store.delete("suites", suite_id)
    return json_response({"success": True})


def _texts(values: Any) -> list[str]:
    found = [value.strip() for value in values if isinstance(value, str)] if isinstance(values, list) else []
    return [text for text in found if text]


# --- batch runs


def _batch_user(request: web.Request) -> tuple[User, bool]:
    """Who runs a batch, and whether an API key says so."""
    service_key, named = request.headers.get("x-service-role-key"), request.headers.get("x-user-id")
    if service_key and named:
        if not hmac.compare_digest(service_key.encode(), service_role_key(request.app[LAB]).encode()):
            raise Refusal(401, "Invalid service role key")
        return User(named), False
    user = _require_testing(request)
    return user, "X-API-Key" in request.headers or "wak_" in request.headers.get("Authorization", "")


def _require_testing(request: web.Request) -> User:
    return require_key_or_session(
        request, "testing", missing="Unauthorized - no auth header", bad_session="Unauthorized - invalid token"
    )  # fmt: skip


def service_role_key(lab: Lab) -> str:
    """The key that the lab's own workers would send."""
    return lab.sign("service-role")


async def run(request: web.Request) -> web.Response:
    """Answers at once; the prompts are put to the model one after the other, whatever `concurrency` says."""
    (user, by_key), lab = _batch_user(request), request.app[LAB]
    body = await read_json(request, refusal=Refusal(500, "Unexpected end of JSON input"))
    config = body.get("config")
    if not isinstance(config, dict):
        raise Refusal(400, "Missing or invalid config object")
    if not (config.get("test_suite_id") or config.get("dataset_id") or config.get("source_path")):
        raise Refusal(400, NO_SOURCE)
    if not config.get("model_id"):
        raise Refusal(400, NO_MODEL)
    judge = config.get("judge_config")
    if by_key and isinstance(judge, dict) and judge.get("enabled"):
        raise Refusal(400, NO_JUDGE)
    limit = _positive(config.get("prompt_limit"), 25)
    prompts = _prompts(lab, user, config)[:limit]
    if not prompts:
        raise Refusal(400, "No prompts extracted from source")
    row: Doc = {
        "id": str(uuid.uuid4()), "user_id": user.id, "status": "running", "model_name": str(config["model_id"]),
        # The SDK sends `name`, which is not read: the name is then made up (trap T-21).
        "name": config.get("test_run_name") or f"{config['model_id']} - {lab.now()}",
        "total_prompts": len(prompts), "completed_prompts": 0, "failed_prompts": 0, "started_at": lab.now(),
        "completed_at": None, "error": None,
    }  # fmt: skip
    lab.store.insert("batch_runs", row["id"], user.id, row)
    # No delay at all becomes the default one, as in the product.
    lab.spawn(_carry_out(lab, row, prompts, delay_s=_positive(config.get("delay_ms"), 1000) / 1000))
    return json_response(
        {"success": True, "test_run_id": row["id"], "status": "running", "total_prompts": len(prompts)}
    )  # fmt: skip


async def status(request: web.Request) -> web.Response:
    user, lab = require_key_or_session(request, "testing"), request.app[LAB]
    row = lab.store.get("batch_runs", request.match_info["run_id"], user.id)
    if row is None:
        raise Refusal(404, "Batch test run not found")
    results = sorted(lab.store.newest_first("batch_results", row["id"]), key=lambda result: result["prompt_index"])
    keys = (
        "id", "status", "model_name", "total_prompts", "completed_prompts", "failed_prompts", "started_at",
        "completed_at", "error",
    )  # fmt: skip
    progress = round(row["completed_prompts"] / row["total_prompts"], 2)
    return json_response({**{key: row[key] for key in keys}, "progress": progress, "results": results})


async def cancel(request: web.Request) -> web.Response:
    """Cosmetic: the loop does not look, and ends by writing `completed` (trap T-20)."""
    user, lab = _require_testing(request), request.app[LAB]
    body = await read_json(request, refusal=Refusal(400, "Missing test_run_id"))
    if not body.get("test_run_id"):
        raise Refusal(400, "Missing test_run_id")
    row = lab.store.get("batch_runs", str(body["test_run_id"]))
    if row is None:
        raise Refusal(404, "Test run not found")
    if row["user_id"] != user.id:
        raise Refusal(403, "Unauthorized - not your test run")
    if row["status"] != "running":
        raise Refusal(400, f"Cannot cancel test with status: {row['status']}")
    lab.store.update("batch_runs", row["id"], {"status": "failed", "error": "Cancelled by user"})
    return json_response({"success": True, "message": "Test run cancelled"})


async def _carry_out(lab: Lab, run: Doc, prompts: Sequence[str], *, delay_s: float) -> None:
    completed = failed = 0
    for index, prompt in enumerate(prompts):
        if index:
            await lab.clock.sleep(delay_s)
        try:
            result = await _ask(lab, run, index, prompt)
        except ServingError as exc:
            _log.info("batch %s, prompt %d: %s", run["id"], index, exc)
            failed += 1
        else:
            lab.store.insert("batch_results", result["id"], run["id"], result)
        # Counted whether it worked or not.
        completed += 1
        lab.store.update("batch_runs", run["id"], {"completed_prompts": completed, "failed_prompts": failed})
    lab.store.update("batch_runs", run["id"], {"status": "completed", "completed_at": lab.now()})
    await send_alert(lab, _alert(run, completed=completed, failed=failed))


async def _ask(lab: Lab, run: Doc, index: int, prompt: str) -> Doc:
    row = model_named(lab, run["model_name"])
    if row is None:
        raise ServingError(f"Model '{run['model_name']}' not found or not accessible")
    begun = time.monotonic()
    chat = [{"role": "user", "content": prompt}]
    said = await serving.answer(lab, row, chat, temperature=0.7, max_tokens=ANSWER_TOKENS)
    return {
        "id": str(uuid.uuid4()), "prompt_index": index, "response": said.content[:SHOWN_RESPONSE],
        "latency_ms": round((time.monotonic() - begun) * 1000), "input_tokens": said.prompt_tokens,
        "output_tokens": said.completion_tokens, "success": True, "graphrag": None, "citations": None,
    }  # fmt: skip


def _alert(run: Doc, *, completed: int, failed: int) -> AlertMessage:
    kind, title = ("batch_test_failed", "Test Run Failed") if failed else ("batch_test_completed", "Test Run Complete")
    error = f"{failed} of {completed} prompts failed" if failed else None
    message = f"Your batch test run failed. {error}" if failed else "Your batch test run completed successfully."
    metadata = {
        "testRunId": run["id"], "userId": run["user_id"], "modelName": run["model_name"], "testRunName": run["name"],
        "status": "completed", "totalPrompts": run["total_prompts"], "completedPrompts": completed,
        "failedPrompts": failed, "errorMessage": error,
    }  # fmt: skip
    return AlertMessage(kind, run["user_id"], f"{title}: {run['model_name']}", message, metadata)


def _prompts(lab: Lab, user: User, config: Mapping[str, Any]) -> list[str]:
    if config.get("test_suite_id"):
        suite = lab.store.get("suites", str(config["test_suite_id"]), user.id)
        if suite is None:
            raise Refusal(404, "Test suite not found or access denied")
        return list(suite["prompts"])
    dataset = lab.store.get("datasets", str(config.get("dataset_id") or ""), user.id)
    if dataset is None:
        # A path would be one of the server's own files, which no request may read here.
        return []
    rows = [msgspec.json.decode(line) for line in stored_rows(lab, dataset).split(b"\n") if line]
    return [prompt for prompt in map(_prompt_of, rows) if prompt]


def _prompt_of(row: Mapping[str, Any]) -> str:
    turns = row.get("messages")
    if isinstance(turns, list):
        return next((turn["content"] for turn in turns if turn["role"] == "user"), "")
    return str(row.get("prompt") or row.get("text") or "")


def _positive(value: Any, default: int) -> int:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number and value >= 1 else default


ROUTES = [
    web.post("/api/test-suites", create_suite),
    web.get("/api/test-suites", list_suites),
    web.get("/api/test-suites/{suite_id}", show_suite),
    web.delete("/api/test-suites/{suite_id}", delete_suite),
    web.post("/api/batch-testing/run", run),
    web.get("/api/batch-testing/status/{run_id}", status),
    web.post("/api/batch-testing/cancel", cancel),
]
