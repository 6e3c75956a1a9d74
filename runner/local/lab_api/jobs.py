"""Training jobs: status, lists, control and stored logs.

Source: FineTune Lab contract §2.4, §2.6, §2.7 and §3.1, read 2026-11.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import fmean
from typing import Any

import msgspec
from aiohttp import web

from runner.local.clock import parse_iso
from runner.local.faults import quirks_of
from runner.local.lab_api.auth import (
    check_job_token,
    presented_key,
    require_bearer,
    require_job_reader,
    require_reader,
    require_session,
    require_training,
    session_user,
)
from runner.local.lab_api.context import LAB, Lab, Refusal, read_json, read_posted_json
from runner.local.lab_api.deploy import deployment_of
from runner.local.lab_api.runpod_client import RunPodRefusal, key_for, terminate_pod
from runner.local.lab_api.store import Doc
from runner.local.web_kit import JSON_ERRORS, json_response, query_int

SETTABLE = ("running", "completed", "failed", "cancelled", "paused")
TERMINAL = frozenset(("completed", "failed", "cancelled"))
STALE_AFTER_S = 300
MAX_JOBS = 50
KEPT_LOG_LINES = 10_000

LIST_KEYS = (
    "id", "model_name", "dataset_path", "status", "progress", "current_step", "current_epoch", "total_steps",
    "total_epochs", "loss", "eval_loss", "best_eval_loss", "started_at", "completed_at", "created_at",
    "error_message",
)  # fmt: skip
STATUS_KEYS = (
    "model_name", "model_display_name", "job_name", "dataset_path", "gpu_total_memory_gb", "total_steps",
    "total_epochs", "total_samples", "loss", "eval_loss", "best_eval_loss", "best_epoch", "best_step",
    "best_checkpoint_path", "train_perplexity", "eval_perplexity", "learning_rate", "grad_norm",
    "gpu_memory_allocated_gb", "gpu_memory_reserved_gb", "gpu_utilization_percent", "samples_per_second",
    "tokens_per_second", "started_at", "completed_at", "elapsed_seconds", "remaining_seconds",
    "resumed_from_job_id", "resume_from_checkpoint",
)  # fmt: skip
POSTED_KEYS = frozenset((
    "model_name", "dataset_path", "status", "config", "total_epochs", "total_steps", "final_loss",
    "final_eval_loss", "best_eval_loss", "best_epoch", "best_step", "started_at", "completed_at", "progress",
    "current_epoch", "current_step", "loss", "eval_loss", "learning_rate", "grad_norm", "samples_per_second",
    "elapsed_seconds", "remaining_seconds", "perplexity", "train_perplexity", "gpu_memory_allocated_gb",
    "gpu_memory_reserved_gb", "gpu_utilization_percent", "epochs_without_improvement", "loss_trend",
    "total_samples", "train_samples", "val_samples", "total_tokens_processed", "resume_from_checkpoint",
    "num_gpus", "distributed_strategy", "parameter_updates", "last_parameter_update_at", "error_message",
    "job_token", "batch_size", "gradient_accumulation_steps", "max_learning_rate",
))  # fmt: skip


async def list_recent(request: web.Request) -> web.Response:
    """The newest 50 jobs, whatever `limit` says; unfinished ones are stale because no local server answers."""
    user = require_reader(request, missing="Missing authorization", bad_session="Unauthorized")
    jobs = []
    for job in request.app[LAB].store.newest_first("jobs", user.id, limit=MAX_JOBS):
        row = {key: job.get(key) for key in ("id", "model_name", "status", "started_at", "completed_at", "created_at")}
        if job["status"] in ("running", "pending", "queued"):
            row |= {"_stale": True, "_originalStatus": job["status"]}
        jobs.append(row)
    return json_response({"success": True, "count": len(jobs), "jobs": jobs})


async def list_local(request: web.Request) -> web.Response:
    user = require_training(request)
    limit = query_int(request, "limit", 50, low=1, high=100)
    offset = query_int(request, "offset", 0)
    wanted = request.query.get("status")
    found = [
        {**{key: job.get(key) for key in LIST_KEYS}, "progress": _progress(job)}
        for job in request.app[LAB].store.newest_first("jobs", user.id)
        if wanted in (None, "", job["status"])
    ]
    page = found[offset : offset + limit]
    return json_response({"jobs": page, "total": len(found), "limit": limit, "offset": offset})


async def persist(request: web.Request) -> web.Response:
    """Create or change a job by its id, whoever owns it: the checks of the real route, and those it lacks."""
    lab = request.app[LAB]
    if not request.content_length:
        raise Refusal(400, "Request body is required")
    if not request.headers.get("Content-Type", "").startswith("application/json"):
        raise Refusal(400, "Content-Type must be application/json")
    body = await read_posted_json(request)
    named = body.get("user_id")
    credentials = presented_key(request) is not None or "Authorization" in request.headers
    owner = str(named) if named and not credentials else require_training(request).id
    job_id = body.get("job_id")
    if not job_id:
        raise Refusal(400, "job_id is required")
    accepted = quirks_of(request).only_accepted
    if accepted == "never":
        return _only_accepted(str(job_id), owner)
    job = _upserted(lab, str(job_id), owner, {key: body[key] for key in body.keys() & POSTED_KEYS})
    if accepted == "late":
        return _only_accepted(job["id"], job["user_id"])
    return json_response(
        {
            "success": True, "persisted": True, "job_id": job["id"], "user_id": job["user_id"],
            "job_token": job["job_token"],
        }
    )  # fmt: skip


def _only_accepted(job_id: str, owner: str) -> web.Response:
    """What a lab says whose database takes too long, or refuses for good: no token, and no hint which of both."""
    message = "Persistence in progress"
    return json_response(
        {
            "success": True, "accepted": True, "persisted": False, "message": message, "job_id": job_id,
            "user_id": owner,
        },
        status=202,
    )  # fmt: skip


def _upserted(lab: Lab, job_id: str, owner: str, changes: Mapping[str, Any]) -> Doc:
    now = lab.now()
    known = lab.store.update("jobs", job_id, {**changes, "updated_at": now})
    if known is not None:
        return known
    token = changes.get("job_token") or secrets.token_urlsafe(32)
    job = {
        "id": job_id, "user_id": owner, "status": "pending", "config": {}, "started_at": now, "created_at": now,
        "updated_at": now, **changes, "job_token": token,
    }  # fmt: skip
    lab.store.insert("jobs", job_id, owner, job)
    return job


async def get_status(request: web.Request) -> web.Response:
    user, lab = require_training(request), request.app[LAB]
    job = lab.store.get("jobs", request.match_info["job_id"], user.id)
    if job is None:
        raise Refusal(404, "Training job not found")
    return json_response(_status(lab, job))


async def patch_status(request: web.Request) -> web.Response:
    lab, job_id, token = request.app[LAB], request.match_info["job_id"], require_bearer(request)
    body = await read_json(request, refusal=Refusal(400, "Invalid JSON in request body"))
    status = body.get("status")
    if status not in SETTABLE:
        raise Refusal(400, f"Invalid status. Must be one of: {', '.join(SETTABLE)}")
    job = lab.store.get("jobs", job_id)
    if job is None:
        raise Refusal(404, "Job not found")
    check_job_token(job, token)
    changes: Doc = {"status": status, "updated_at": lab.now()}
    if status in TERMINAL:
        changes["completed_at"] = changes["updated_at"]
    if status == "failed" and body.get("error"):
        changes["config"] = {**(job.get("config") or {}), "error": body["error"]}
    lab.store.update("jobs", job_id, changes)
    return json_response({"success": True, "status": status, "updated_at": changes["updated_at"]})


async def control(request: web.Request) -> web.Response:
    lab, job_id = request.app[LAB], request.match_info["job_id"]
    action = (await _body_or_empty(request)).get("action")
    if action not in ("cancel", "pause", "resume"):
        raise Refusal(400, "Invalid or missing action. Expected cancel, pause, or resume.")
    user = require_session(request)
    if lab.store.get("jobs", job_id, user.id) is None:
        raise Refusal(404, "Training job not found or access denied")
    pod_id = deployment_of(lab, job_id, user.id)
    if action != "cancel" or pod_id is None:
        # Pause and resume never reach a pod: they go to a training server that does not exist here.
        unavailable = f"Unable to {action} job. Training server unavailable."
        return json_response({"success": False, "error": unavailable}, status=502)
    key = key_for(request, user.id)
    if key is None:
        return json_response({"success": False, "error": "RunPod API key not configured"}, status=400)
    if not await end_pod(lab, key, pod_id):
        return json_response({"success": False, "error": "Failed to terminate RunPod pod"}, status=500)
    lab.store.update("jobs", job_id, {"status": "cancelled", "completed_at": lab.now(), "updated_at": lab.now()})
    message = "RunPod pod terminated successfully"
    return json_response({"success": True, "action": "cancel", "job_id": job_id, "message": message})


async def end_pod(lab: Lab, key: str, pod_id: str) -> bool:
    """Terminate a pod and remember that it is stopped; a pod that is gone already counts as ended."""
    try:
        await terminate_pod(lab, key, pod_id)
    except RunPodRefusal as exc:
        if exc.status != 404:
            return False
    lab.store.update("deployments", pod_id, {"status": "stopped"})
    return True


async def append_logs(request: web.Request) -> web.Response:
    lab, job_id, token = request.app[LAB], request.match_info["job_id"], require_bearer(request)
    job = lab.store.get("jobs", job_id)
    if job is None:
        raise Refusal(404, "Job not found")
    check_job_token(job, token)
    lines = (await _body_or_empty(request)).get("logs")
    if not isinstance(lines, list):
        raise Refusal(400, "Invalid request: logs must be an array")
    if not all(isinstance(line, str) for line in lines):
        raise Refusal(400, "Invalid request: all log entries must be strings")
    if not lines:
        return json_response({"success": True, "message": "No logs to append"})
    total = lab.store.append_log(job_id, lines, keep=KEPT_LOG_LINES)
    return json_response({"success": True, "logs_appended": len(lines), "total_logs": total})


async def get_logs(request: web.Request) -> web.Response:
    """Lines that an agent posted. Pods post none, and no training server is here to ask."""
    user, lab, job_id = require_job_reader(request), request.app[LAB], request.match_info["job_id"]
    if lab.store.get("jobs", job_id, user.id) is None:
        raise Refusal(404, "Job not found or unauthorized")
    total = lab.store.count_log(job_id)
    if not total:
        raise Refusal(503, "Failed to connect to local training server")
    limit, offset = query_int(request, "limit", 100, low=1), query_int(request, "offset", 0)
    lines = lab.store.log(job_id, limit=limit, offset=offset)
    return json_response({"logs": lines, "total_lines": total, "offset": offset, "limit": limit})


async def get_errors(request: web.Request) -> web.Response:
    user = require_job_reader(request)
    if request.app[LAB].store.get("jobs", request.match_info["job_id"], user.id) is None:
        raise Refusal(404, "Job not found or unauthorized")
    raise Refusal(503, "Failed to connect to local training server")


async def cloud_check(request: web.Request) -> web.Response:
    user = session_user(request)
    if user is None:
        raise Refusal(401, "Unauthorized")
    pod_id = deployment_of(request.app[LAB], request.match_info["job_id"], user.id)
    return json_response({"isCloudJob": pod_id is not None, "platform": "runpod" if pod_id else None})


async def _body_or_empty(request: web.Request) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(await request.read())
    except JSON_ERRORS:
        return {}
    return body if isinstance(body, dict) else {}


def _status(lab: Lab, job: Doc) -> dict[str, Any]:
    now = lab.clock.now()
    datasets = lab.store.newest_first("datasets", job["user_id"])
    dataset = next((row for row in datasets if row["storage_path"] == job.get("dataset_path")), {})
    return {
        "job_id": job["id"],
        "status": job["status"],
        **{key: job.get(key) for key in STATUS_KEYS},
        "dataset_name": dataset.get("name"),
        "current_step": job.get("current_step") or 0,
        "current_epoch": job.get("current_epoch") or 0,
        "epochs_without_improvement": job.get("epochs_without_improvement") or 0,
        "progress": _progress(job),
        "loss_trend": job.get("loss_trend") or _trend(lab, job["id"]),
        "error": _error(job),
        "warning": _warning(job, now),
    }


def _progress(job: Mapping[str, Any]) -> int:
    total = job.get("total_steps") or 0
    # The local trainer makes more steps than the lab expects where a dataset is tiny, so this is bounded here.
    return min(100, round(100 * (job.get("current_step") or 0) / total)) if total else 0


def _error(job: Mapping[str, Any]) -> str | None:
    """Only `config.error` is read, never the columns that alerts write (trap T-27)."""
    if job["status"] != "failed":
        return None
    return str((job.get("config") or {}).get("error") or "Training failed")


def _warning(job: Mapping[str, Any], now: datetime) -> str | None:
    silent_s = (now - parse_iso(job["updated_at"])).total_seconds()
    if job["status"] not in ("running", "pending") or silent_s <= STALE_AFTER_S:
        return None
    minutes = int(silent_s // 60)
    return f"⚠️ No updates received in {minutes} minute(s). The training process may have terminated unexpectedly."


def _trend(lab: Lab, job_id: str) -> str | None:
    points: Sequence[Doc] = lab.store.newest_metrics(job_id, limit=10)
    losses = [point["train_loss"] for point in reversed(points) if point.get("train_loss") is not None]
    if len(losses) < 5:
        return None
    half = len(losses) // 2
    before, after = fmean(losses[:half]), fmean(losses[half:])
    change = (after - before) / before if before else 0.0
    return "improving" if change < -0.05 else "degrading" if change > 0.05 else "stable"


ROUTES = [
    web.get("/api/training/jobs", list_recent),
    web.get("/api/training/local/jobs", list_local),
    web.post("/api/training/local/jobs", persist),
    web.get("/api/training/local/{job_id}/status", get_status),
    web.patch("/api/training/local/{job_id}/status", patch_status),
    web.post("/api/training/local/{job_id}/control", control),
    web.get("/api/training/local/{job_id}/logs", get_logs),
    web.post("/api/training/local/{job_id}/logs", append_logs),
    web.get("/api/training/local/{job_id}/errors", get_errors),
    web.get("/api/training/cloud-check/{job_id}", cloud_check),
]
