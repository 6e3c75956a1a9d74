"""Alerts: what trainers trigger, what is remembered of it, and what it does to job and pod.

Source: FineTune Lab contract §2.9, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from runner.local.faults import quirks_of
from runner.local.lab_api.auth import require_internal_key, require_session
from runner.local.lab_api.context import LAB, Lab, Refusal, read_json
from runner.local.lab_api.delivery import DEFAULT_PREFERENCES, AlertMessage, preferences_of, send_alert
from runner.local.lab_api.deploy import deployment_of
from runner.local.lab_api.jobs import end_pod
from runner.local.lab_api.runpod_client import key_for
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
    await send_alert(lab, _message(lab, kind, job_id=str(job_id), user_id=str(user_id), payload=body))
    if not quirks_of(request).job_untouched:
        key = key_for(request, str(user_id))
        await _carry_out(lab, kind, job_id=str(job_id), user_id=str(user_id), payload=body, key=key)
    return json_response({"success": True})


async def _carry_out(
    lab: Lab, kind: str, *, job_id: str, user_id: str, payload: Mapping[str, Any], key: str | None
) -> None:
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
    pod_id = deployment_of(lab, job_id, user_id)
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
    return json_response({"preferences": preferences_of(request.app[LAB], user.id)})


async def put_preferences(request: web.Request) -> web.Response:
    user, lab = require_session(request), request.app[LAB]
    body = await read_json(request, refusal=Refusal(400, "Invalid JSON"))
    wanted = body.get("preferences") if isinstance(body.get("preferences"), dict) else body
    known = {key: value for key, value in (wanted or {}).items() if key in DEFAULT_PREFERENCES}
    merged = {**preferences_of(lab, user.id), **known}
    lab.store.save_setting(user.id, "preferences", merged)
    return json_response({"preferences": merged})


def _message(lab: Lab, kind: str, *, job_id: str, user_id: str, payload: Mapping[str, Any]) -> AlertMessage:
    job = lab.store.get("jobs", job_id) or {}
    model = payload.get("model_name") or job.get("model_name") or "Job"
    error = str(payload.get("error_message") or "")
    return AlertMessage(
        type=kind,
        user_id=user_id,
        title=TITLES.get(kind, f"Training Alert: {kind}").replace("{model}", str(model)),
        message=MESSAGES.get(kind, "").replace("{error}", error).strip(),
        metadata=_metadata(lab, job, job_id=job_id, user_id=user_id, payload=payload),
        job_id=job_id,
    )


def _metadata(lab: Lab, job: Doc, *, job_id: str, user_id: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """What trainers say, completed from the database; the last metrics belong to an end only."""
    training = (job.get("config") or {}).get("training", {})
    ended = payload.get("type") in ("job_completed", "job_failed")
    last = next(iter(lab.store.newest_metrics(job_id, limit=1)), {}) if ended else {}
    dataset = lab.store.find("datasets", user_id, "storage_path", job.get("dataset_path")) or {}
    return {
        "jobId": job_id,
        "userId": user_id,
        "modelName": payload.get("model_name") or job.get("model_name"),
        "baseModel": payload.get("base_model"),
        "status": payload.get("status"),
        "progress": payload.get("progress"),
        "currentStep": _first(payload.get("current_step"), last.get("step")),
        "totalSteps": _first(payload.get("total_steps"), job.get("total_steps")),
        "loss": _first(payload.get("loss"), last.get("train_loss")),
        "duration": payload.get("duration"),
        "errorMessage": payload.get("error_message"),
        "errorType": payload.get("error_type"),
        "trainingMethod": training.get("method"),
        "learningRate": training.get("learning_rate"),
        "batchSize": training.get("batch_size"),
        "numEpochs": training.get("num_epochs"),
        "datasetName": dataset.get("name"),
        "datasetSize": job.get("total_samples"),
    }


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


ROUTES = [
    web.post("/api/alerts/trigger", trigger),
    web.get("/api/alerts/history", history),
    web.get("/api/alerts/preferences", get_preferences),
    web.put("/api/alerts/preferences", put_preferences),
]
