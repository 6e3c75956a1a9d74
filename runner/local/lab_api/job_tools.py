"""What can be asked about a job or wished of it beyond watching: causes, parameters, checkpoints, sessions, agents.

Where the product forwards to a training server on the user's own machine there is none here, and the answers are
those of a product whose training server is not running.

Source: FineTune Lab contract §2.6 and §2.7, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from runner.local.lab_api.auth import require_agent, require_session, session_user
from runner.local.lab_api.context import LAB, Refusal, read_json
from runner.local.lab_api.store import Doc
from runner.local.web_kit import bearer_token, json_response

NO_HEADER = "Unauthorized - no auth header"
CHANGEABLE = ("learning_rate", "batch_size", "gradient_accumulation_steps", "warmup_steps")
RESUMABLE = ("failed", "cancelled", "pending", "queued")
CLAIMED_KEYS = ("id", "model_name", "dataset_path", "config", "total_epochs", "total_steps", "created_at")
POLL_INTERVAL_S = 10


async def analyze_failure(request: web.Request) -> web.Response:
    user, lab = require_session(request, missing=NO_HEADER), request.app[LAB]
    job = lab.store.get("jobs", request.match_info["job_id"], user.id)
    if job is None:
        raise Refusal(404, "Job not found")
    if job["status"] not in ("failed", "cancelled"):
        raise Refusal(400, f"Can only analyze failed/cancelled jobs. Current status: {job['status']}")
    config = job.get("config") or {}
    return json_response({"success": True, "analysis": analysis_of(job, config), "job_config": config})


def analysis_of(job: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The product's own guess: it reads `error_message`, a column that no alert fills (trap T-27)."""
    text = str(job.get("error_message") or "").lower()
    kind, confidence, description = _class_of(text)
    suggestions: list[dict[str, Any]] = []
    if kind in ("oom_training", "oom_eval"):
        # Top-level keys, which stored configs do not have: the current values are always the defaults.
        name = "per_device_train_batch_size" if kind == "oom_training" else "per_device_eval_batch_size"
        batch = int(config.get(name) or 4)
        accumulation = int(config.get("gradient_accumulation_steps") or 1)
        suggestions = [
            _suggestion(name, batch, max(1, batch // 2), "Reduce memory per step", "high"),
            _suggestion(
                "gradient_accumulation_steps", accumulation, accumulation * 2, "Keep the effective batch", "medium"
            ),
        ]  # fmt: skip
    return {
        "job_id": job["id"], "error_type": kind, "error_phase": _phase_of(kind), "description": description,
        "confidence": confidence, "suggestions": suggestions,
    }  # fmt: skip


def _class_of(text: str) -> tuple[str, str, str]:
    if not text:
        return "no_error", "high", "No error was recorded for this job"
    if "out of memory" in text and "eval" in text:
        return "oom_eval", "high", "GPU ran out of memory during evaluation"
    if "out of memory" in text:
        return "oom_training", "high", "GPU ran out of memory during training"
    if "timeout" in text or "no progress" in text:
        return "timeout", "medium", "Training made no progress"
    if "cuda" in text:
        return "cuda_error", "medium", "CUDA error"
    return "unknown", "low", "Unknown error"


def _phase_of(kind: str) -> str | None:
    return {"oom_eval": "evaluation", "oom_training": "training"}.get(kind)


def _suggestion(field: str, current: int, suggested: int, reason: str, impact: str) -> dict[str, Any]:
    return {
        "field": field, "current_value": current, "suggested_value": suggested, "reason": reason, "impact": impact,
    }  # fmt: skip


async def update_params(request: web.Request) -> web.Response:
    """Recorded and nothing more: no pod asks for it."""
    user, lab = require_session(request, missing=NO_HEADER), request.app[LAB]
    body = await read_json(request, refusal=Refusal(500, "Failed to process parameter update"))
    wanted = {name: body[name] for name in CHANGEABLE if name in body}
    if not wanted:
        raise Refusal(400, "No parameters specified", allowed_params=list(CHANGEABLE))
    job = lab.store.get("jobs", request.match_info["job_id"], user.id)
    if job is None:
        raise Refusal(404, "Training job not found")
    if job["status"] != "running":
        raise Refusal(400, "Can only update parameters for running jobs", current_status=job["status"])
    update = {**wanted, "requested_at": lab.now(), "requested_by": user.id}
    changes: Doc = {
        "parameter_updates": [*(job.get("parameter_updates") or ()), update],
        "last_parameter_update_at": update["requested_at"],
    }
    lab.store.update("jobs", job["id"], changes)
    message = "Parameter update recorded (backend support pending)"
    return json_response(
        {"success": True, "updates": update, "applied_at": update["requested_at"], "message": message}
    )  # fmt: skip


async def resume(request: web.Request) -> web.Response:
    user, lab = require_session(request, missing=NO_HEADER), request.app[LAB]
    body = await read_json(request, refusal=Refusal(500, "Failed to process resume request"))
    job = lab.store.get("jobs", request.match_info["job_id"], user.id)
    if job is None:
        raise Refusal(404, "Training job not found")
    if job["status"] not in RESUMABLE:
        raise Refusal(
            400, "Can only resume failed, cancelled, pending, or queued jobs",
            current_status=job["status"], allowed_statuses=list(RESUMABLE),
        )  # fmt: skip
    if not body.get("checkpoint_path"):
        raise Refusal(
            400, "No checkpoint specified and no best checkpoint found",
            suggestion="Provide checkpoint_path or set resume_from_best to true",
        )  # fmt: skip
    raise Refusal(500, "Failed to submit resumed training job", details="fetch failed")


async def start_local(request: web.Request) -> web.Response:
    """Training on a server of the user's own, which is not there."""
    require_session(request)
    await read_json(request, refusal=Refusal(400, "Invalid JSON in request body"))
    raise Refusal(503, "Failed to connect to local training server")


async def refresh_token(request: web.Request) -> web.Response:
    """Renews nothing: without a refresh token the caller gets back what it sent (trap T-19)."""
    token = bearer_token(request)
    if token is None:
        raise Refusal(401, "Unauthorized: Missing access token")
    if session_user(request) is None:
        raise Refusal(401, "Unauthorized: Token cannot be refreshed")
    return json_response(
        {
            "access_token": token, "expires_at": None, "expires_in": None, "token_type": "bearer",
            "refreshed": False, "message": "Token is still valid; no refresh token was supplied",
        }
    )  # fmt: skip


async def list_checkpoints(request: web.Request) -> web.Response:
    """Open to all, and 200 whatever the id: of a completed cloud job one made-up entry."""
    lab, job_id = request.app[LAB], request.query.get("jobId")
    if not job_id:
        raise Refusal(400, "Missing required parameter: jobId")
    job = lab.store.get("jobs", job_id)
    if job is None or job["status"] != "completed":
        error = "Failed to connect to local training server"
        return json_response(
            {"success": False, "job_id": job_id, "checkpoints": [], "best_checkpoint": None, "error": error}
        )  # fmt: skip
    path = job.get("best_checkpoint_path") or "merged_model"
    entry = {
        "path": path, "epoch": job.get("current_epoch"), "step": job.get("current_step"),
        "eval_loss": job.get("eval_loss"), "train_loss": job.get("loss"), "is_best": True, "is_latest": True,
        "created_at": job.get("completed_at"),
    }  # fmt: skip
    message = "Cloud training completed"
    return json_response(
        {"success": True, "job_id": job_id, "checkpoints": [entry], "best_checkpoint": path, "message": message}
    )  # fmt: skip


async def agent_poll(request: web.Request) -> web.Response:
    """The oldest pending job that no agent holds: also one whose pod is about to start (trap T-14)."""
    user, _agent = require_agent(request)
    jobs = reversed(request.app[LAB].store.newest_first("jobs", user.id))
    job = next((job for job in jobs if job["status"] == "pending" and not job.get("agent_id")), None)
    if job is None:
        message = "No pending jobs available"
        return json_response({"job": None, "poll_interval_seconds": POLL_INTERVAL_S, "message": message})
    return json_response({"job": _claimed(job), "poll_interval_seconds": POLL_INTERVAL_S})


async def agent_claim(request: web.Request) -> web.Response:
    user, agent = require_agent(request)
    lab, job_id = request.app[LAB], request.match_info["job_id"]
    job = lab.store.get("jobs", job_id)
    if job is None:
        raise Refusal(404, "Job not found", code="JOB_NOT_FOUND")
    if job["user_id"] != user.id:
        raise Refusal(403, "Job belongs to another user", code="ACCESS_DENIED")
    if job.get("agent_id"):
        raise Refusal(409, "Job already claimed by another agent", code="ALREADY_CLAIMED")
    if job["status"] != "pending":
        raise Refusal(409, f"Job is not pending (status: {job['status']})", code="INVALID_STATUS")
    now = lab.now()
    lab.store.update("jobs", job_id, {"agent_id": agent, "claimed_at": now, "status": "running", "updated_at": now})
    return json_response({"success": True, "job_token": job["job_token"], "job": _claimed(job)})


def _claimed(job: Mapping[str, Any]) -> dict[str, Any]:
    return {key: job.get(key) for key in CLAIMED_KEYS}


ROUTES = [
    web.get("/api/training/local/{job_id}/analyze-failure", analyze_failure),
    web.patch("/api/training/local/{job_id}/update-params", update_params),
    web.post("/api/training/local/{job_id}/resume", resume),
    web.post("/api/training/local/start", start_local),
    web.post("/api/training/refresh-token", refresh_token),
    web.get("/api/training/checkpoints/list", list_checkpoints),
    web.get("/api/training/agent/poll", agent_poll),
    web.post("/api/training/agent/claim/{job_id}", agent_claim),
]
