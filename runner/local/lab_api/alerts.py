"""Alerts: what trainers trigger, what is remembered of it, and what it does to job and pod.

Source: FineTune Lab contract §2.9, read 2026-11.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from runner.local.faults import quirks_of
from runner.local.lab_api.auth import require_internal_key, require_session
from runner.local.lab_api.context import LAB, Lab, Refusal, read_json
from runner.local.lab_api.deploy import deployment_of
from runner.local.lab_api.jobs import end_pod, is_uuid
from runner.local.lab_api.runpod_client import user_key
from runner.local.lab_api.store import Doc
from runner.local.web_kit import json_response, query_int

TYPES = (
    "job_started", "job_completed", "job_failed", "job_cancelled", "gpu_oom", "disk_warning", "timeout_warning",
)  # fmt: skip
TITLES: Mapping[str, str] = {
    "job_started": "Training Started: {model}", "job_completed": "Training Complete: {model}",
    "job_failed": "Training Failed: {model}", "job_cancelled": "Training Cancelled: {model}",
    "gpu_oom": "GPU OOM: {model}", "timeout_warning": "Timeout Warning: {model}",
}  # fmt: skip
MESSAGES: Mapping[str, str] = {
    "job_started": "Your training job has started.",
    "job_completed": "Your training job completed successfully.",
    "job_failed": "Your training job failed. {error}",
    "job_cancelled": "Your training job was cancelled.",
    "gpu_oom": "GPU out of memory detected during training.",
    "timeout_warning": "No progress detected for an extended period.",
}
DEFAULT_PREFERENCES: Mapping[str, Any] = {
    "email_enabled": True, "alert_job_started": False, "alert_job_completed": True, "alert_job_failed": True,
    "alert_job_cancelled": False, "alert_batch_test_completed": False, "alert_batch_test_failed": True,
    "alert_gpu_oom": True, "alert_disk_warning": True, "alert_timeout_warning": True,
    "quiet_hours_enabled": False, "quiet_hours_start": 22, "quiet_hours_end": 8, "quiet_hours_timezone": "UTC",
}  # fmt: skip


async def trigger(request: web.Request) -> web.Response:
    """Everything happens before the answer, the end of the pod that asks included."""
    require_internal_key(request)
    lab = request.app[LAB]
    body = await read_json(request, refusal=Refusal(500, "Failed to process alert trigger"))
    kind, job_id, user_id = body.get("type"), body.get("job_id"), body.get("user_id")
    if kind not in TYPES:
        raise Refusal(400, f"Invalid alert type. Must be one of: {', '.join(TYPES)}")
    if not job_id or not user_id:
        raise Refusal(400, "job_id and user_id are required")
    remember_alert(lab, kind, job_id=str(job_id), user_id=str(user_id), payload=body)
    if not quirks_of(request).job_untouched:
        await _carry_out(lab, kind, job_id=str(job_id), user_id=str(user_id), payload=body)
    return json_response({"success": True})


async def _carry_out(lab: Lab, kind: str, *, job_id: str, user_id: str, payload: Mapping[str, Any]) -> None:
    """What an alert does to its job, and to the pod of a job that has ended."""
    if kind not in ("job_completed", "job_failed"):
        return
    now = lab.now()
    if kind == "job_completed":
        changes: Doc = {"status": "completed", "completed_at": now}
    else:
        error = payload.get("error_message") or "Training failed"
        changes = {"status": "failed", "error": error, "failed_at": now}
    lab.store.update("jobs", job_id, {**changes, "updated_at": now})
    pod_id, key = deployment_of(lab, job_id, user_id), user_key(lab, user_id)
    if pod_id and key:
        # A failure is logged by the real service and goes no further.
        await end_pod(lab, key, pod_id)


async def history(request: web.Request) -> web.Response:
    user = require_session(request)
    limit, offset = query_int(request, "limit", 50, low=1, high=100), query_int(request, "offset", 0)
    store = request.app[LAB].store
    page = store.newest_first("alerts", user.id, limit=limit, offset=offset)
    total = store.count("alerts", user.id)
    return json_response({"alerts": page, "total": total, "limit": limit, "offset": offset})


async def get_preferences(request: web.Request) -> web.Response:
    user = require_session(request)
    return json_response({"preferences": _preferences(request.app[LAB], user.id)})


async def put_preferences(request: web.Request) -> web.Response:
    user, lab = require_session(request), request.app[LAB]
    body = await read_json(request, refusal=Refusal(400, "Invalid JSON"))
    wanted = body.get("preferences") if isinstance(body.get("preferences"), dict) else body
    known = {key: value for key, value in (wanted or {}).items() if key in DEFAULT_PREFERENCES}
    merged = {**_preferences(lab, user.id), **known}
    lab.store.save_setting(user.id, "preferences", merged)
    return json_response({"preferences": merged})


def _preferences(lab: Lab, user_id: str) -> dict[str, Any]:
    return {**DEFAULT_PREFERENCES, **lab.store.setting(user_id, "preferences")}


def remember_alert(lab: Lab, kind: str, *, job_id: str, user_id: str, payload: Mapping[str, Any]) -> None:
    """Write the history row of an alert."""
    if not is_uuid(job_id):
        # The history's column is a UUID: the insert of any other id fails, and nobody is told.
        return
    job = lab.store.get("jobs", job_id) or {}
    model = payload.get("model_name") or job.get("model_name") or "Job"
    error = str(payload.get("error_message") or "")
    row: Doc = {
        "id": str(uuid.uuid4()),
        "user_id": user_id,
        "alert_type": kind,
        "title": TITLES.get(kind, f"Training Alert: {kind}").replace("{model}", str(model)),
        "message": MESSAGES.get(kind, "").replace("{error}", error).strip(),
        "metadata": _metadata(job, job_id=job_id, user_id=user_id, payload=payload),
        "job_id": job_id,
        "email_sent": False,
        "email_sent_at": None,
        "email_message_id": None,
        "email_error": _why_no_email(lab, kind, user_id),
        "webhook_sent": False,
        "webhook_sent_at": None,
        "webhook_id": None,
        "webhook_status_code": None,
        "webhook_error": None,
        "created_at": lab.now(),
    }
    lab.store.insert("alerts", row["id"], user_id, row)


def _metadata(job: Doc, *, job_id: str, user_id: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    training = (job.get("config") or {}).get("training", {})
    return {
        "jobId": job_id,
        "userId": user_id,
        "modelName": payload.get("model_name") or job.get("model_name"),
        "status": payload.get("status"),
        "progress": payload.get("progress"),
        "currentStep": payload.get("current_step"),
        "totalSteps": payload.get("total_steps"),
        "loss": payload.get("loss"),
        "errorMessage": payload.get("error_message"),
        "errorType": payload.get("error_type"),
        "trainingMethod": training.get("method"),
        "learningRate": training.get("learning_rate"),
        "batchSize": training.get("batch_size"),
        "numEpochs": training.get("num_epochs"),
        "datasetSize": job.get("total_samples"),
    }


def _why_no_email(lab: Lab, kind: str, user_id: str) -> str:
    """No mail leaves this machine; the reason is the first that the real service would have had."""
    preferences = _preferences(lab, user_id)
    if not preferences["email_enabled"]:
        return "Email disabled"
    if not preferences.get(f"alert_{kind.removeprefix('alert_')}", True):
        return f"Alert type {kind} disabled"
    return "No email address"


ROUTES = [
    web.post("/api/alerts/trigger", trigger),
    web.get("/api/alerts/history", history),
    web.get("/api/alerts/preferences", get_preferences),
    web.put("/api/alerts/preferences", put_preferences),
]
