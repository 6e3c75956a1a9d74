"""Training metrics: three ways in, two ways out, and what they do to the job.

Source: FineTune Lab contract §2.5 and §4.4, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from runner.local.lab_api.auth import check_job_token, require_bearer, require_job_reader, require_training
from runner.local.lab_api.context import LAB, Lab, Refusal, read_json, read_posted_json
from runner.local.lab_api.store import Doc
from runner.local.web_kit import json_response, query_int

CORE = (
    "step", "epoch", "train_loss", "eval_loss", "learning_rate", "grad_norm", "gpu_memory_allocated_gb",
    "gpu_memory_reserved_gb", "gpu_utilization_percent", "perplexity", "train_perplexity", "samples_per_second",
    "tokens_per_second", "timestamp",
)  # fmt: skip
COLUMNS = (
    *CORE, "loss_trend", "best_eval_loss", "best_epoch", "best_step", "epochs_without_improvement",
)  # fmt: skip
# Column of a point -> column of the job row.
COPIED: Mapping[str, str] = {
    "step": "current_step", "epoch": "current_epoch", "train_loss": "loss", "perplexity": "eval_perplexity",
} | {
    key: key for key in COLUMNS if key not in ("step", "epoch", "train_loss", "perplexity", "timestamp")
}  # fmt: skip
KEPT_POINTS = 100_000


async def post_batch(request: web.Request) -> web.Response:
    """What `METRICS_API_URL` points at."""
    lab, token = request.app[LAB], require_bearer(request)
    body = await read_posted_json(request)
    job_id, points = body.get("job_id"), body.get("metrics")
    if not job_id:
        raise Refusal(400, "job_id is required")
    if not isinstance(points, list) or not points:
        raise Refusal(400, "metrics array is required and must not be empty")
    job = lab.store.get("jobs", str(job_id))
    if job is None:
        # The route's own 404 cannot be reached: its query fails first.
        raise Refusal(500, "Job query failed", details=f"no row for job {job_id}")
    check_job_token(job, token)
    _persist(lab, job, points)
    return json_response({"success": True, "count": len(points)})


async def post_one(request: web.Request) -> web.Response:
    lab = request.app[LAB]
    token = require_bearer(request, missing="Missing or invalid authorization header")
    point = await read_json(request, refusal=Refusal(400, "Invalid metrics payload: step is required"))
    if not _is_number(point.get("step")):
        raise Refusal(400, "Invalid metrics payload: step is required")
    job = lab.store.get("jobs", request.match_info["job_id"])
    if job is None:
        raise Refusal(404, "Job not found")
    check_job_token(job, token, wrong="Invalid job token")
    times: dict[str, Any] = {
        key: point.pop(key) for key in ("elapsed_seconds", "remaining_seconds", "progress") if key in point
    }
    loss = point.pop("loss", None)
    point.setdefault("train_loss", loss)
    _persist(lab, job, [point], also=times)
    return json_response({"success": True})


async def put_one(request: web.Request) -> web.Response:
    lab, token = request.app[LAB], require_bearer(request)
    point = await read_json(request, refusal=Refusal(400, "Invalid metric: step and epoch are required"))
    if not point.get("step") or point.get("epoch") is None:
        # Step 0 is refused here and only here (trap T-18).
        raise Refusal(400, "Invalid metric: step and epoch are required")
    job = lab.store.get("jobs", request.match_info["job_id"])
    if job is None:
        raise Refusal(404, "Job not found")
    check_job_token(job, token)
    _persist(lab, job, [point])
    return json_response({"success": True})


async def get_page(request: web.Request) -> web.Response:
    user, lab, job_id = require_training(request), request.app[LAB], request.query.get("job_id")
    if not job_id:
        raise Refusal(400, "job_id query parameter is required")
    if lab.store.get("jobs", job_id, user.id) is None:
        raise Refusal(404, "Training job not found")
    limit = query_int(request, "limit", 1000, low=1, high=5000)
    offset = query_int(request, "offset", 0)
    points = [_shown(point, CORE) for point in lab.store.metrics(job_id, limit=limit, offset=offset)]
    total = lab.store.count_metrics(job_id)
    return json_response({"job_id": job_id, "metrics": points, "total": total, "limit": limit, "offset": offset})


async def get_all(request: web.Request) -> web.Response:
    user, lab, job_id = require_job_reader(request), request.app[LAB], request.match_info["job_id"]
    if lab.store.get("jobs", job_id, user.id) is None:
        raise Refusal(404, "Job not found or unauthorized")
    points = lab.store.metrics(job_id, limit=KEPT_POINTS)
    shown = [{"id": point["id"], "job_id": job_id, **_shown(point, COLUMNS)} for point in points]
    return json_response({"job_id": job_id, "metrics": shown})


def _persist(lab: Lab, job: Doc, points: Sequence[Any], *, also: Mapping[str, Any] | None = None) -> None:
    """Append the points; the one with the highest step overwrites the job's summary, its nulls included."""
    if not all(isinstance(point, dict) and _is_number(point.get("step")) for point in points):
        raise Refusal(500, "Failed to persist metrics", details='null value in column "step"')
    now = lab.now()
    rows = [_row(point, now) for point in points]
    lab.store.add_metrics(job["id"], rows)
    highest = max(enumerate(rows), key=lambda entry: (entry[1]["step"], entry[0]))[1]
    changes = {column: highest.get(key) for key, column in COPIED.items()}
    if job["status"] in ("pending", "queued"):
        changes["status"] = "running"
    lab.store.update("jobs", job["id"], {**changes, **(also or {}), "updated_at": now})


def _row(point: Mapping[str, Any], now: str) -> dict[str, Any]:
    """The known columns, and what else is a number: the local RLHF trainer reports rewards that way."""
    row = {key: point.get(key) for key in COLUMNS}
    row["step"] = int(point["step"])
    row["epoch"] = 0 if row["epoch"] is None else row["epoch"]
    row["timestamp"] = row["timestamp"] or now
    extra = {key: value for key, value in point.items() if key not in COLUMNS and _is_number(value)}
    return row | {key: value for key, value in extra.items() if key not in ("id", "job_id")}


def _shown(point: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    extra = {key: value for key, value in point.items() if key not in COLUMNS and key not in ("id", "job_id")}
    return {key: point.get(key) for key in columns} | extra


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


ROUTES = [
    web.post("/api/training/local/metrics", post_batch),
    web.get("/api/training/local/metrics", get_page),
    web.post("/api/training/jobs/{job_id}/metrics", post_one),
    web.put("/api/training/local/{job_id}/metrics", put_one),
    web.get("/api/training/local/{job_id}/metrics", get_all),
]
