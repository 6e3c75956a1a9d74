"""What a model under training says to its samples: posted by trainers, read by pages, trends and a stream.

Source: FineTune Lab contract §2.8, read 2026-11.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import msgspec
from aiohttp import web

from runner.local.lab_api.auth import check_job_token, require_bearer, require_reader
from runner.local.lab_api.context import LAB, Refusal, read_posted_json
from runner.local.lab_api.store import Doc
from runner.local.web_kit import json_response, query_int

NEEDED = ("job_id", "user_id", "epoch", "step", "sample_index", "prompt", "prediction")
OPTIONAL = (
    "ground_truth", "source_index", "prompt_id", "sample_source", "sample_source_id", "exact_match",
    "char_error_rate", "length_ratio", "word_overlap", "prompt_tokens", "completion_tokens", "total_tokens",
    "latency_ms", "max_new_tokens", "do_sample", "validation_pass", "validation_kind", "validation_errors",
)  # fmt: skip
HEARTBEAT_S = 15.0
LOOK_EVERY_S = 1.0


async def post(request: web.Request) -> web.Response:
    """Unlike metrics, the body is judged before the token is asked for."""
    lab = request.app[LAB]
    body = await read_posted_json(request)
    job_id, records = body.get("job_id"), body.get("predictions")
    if not job_id:
        raise Refusal(400, "job_id is required")
    if not isinstance(records, list) or not records:
        raise Refusal(400, "predictions array is required and must not be empty")
    token = require_bearer(request)
    job = lab.store.get("jobs", str(job_id))
    if job is None:
        raise Refusal(404, "Job not found")
    check_job_token(job, token)
    rows = [_row(record, lab.now()) for record in records]
    for row in rows:
        lab.store.insert("predictions", row["id"], row["job_id"], row)
    return json_response({"success": True, "count": len(rows)})


def _row(record: Any, now: str) -> Doc:
    values = record if isinstance(record, dict) else {}
    for name in NEEDED:
        if values.get(name) is None:
            # The database refuses it, the ids that every record has to repeat included.
            details = f'null value in column "{name}" of relation "training_predictions" violates not-null constraint'
            raise Refusal(500, "Failed to persist predictions", details=details)
    kept = {name: values.get(name) for name in (*NEEDED, *OPTIONAL)}
    return {"id": str(uuid.uuid4()), **kept, "created_at": now}


async def get_page(request: web.Request) -> web.Response:
    job_id, rows = _own_predictions(request)
    epochs = {row["epoch"] for row in rows}
    if request.query.get("epoch", "").isdigit():
        rows = [row for row in rows if row["epoch"] == int(request.query["epoch"])]
    limit, offset = query_int(request, "limit", 50, low=1), query_int(request, "offset", 0)
    page = rows[offset : offset + limit]
    return json_response(
        {"job_id": job_id, "predictions": page, "total_count": len(rows), "epoch_count": len(epochs)}
    )  # fmt: skip


async def get_epochs(request: web.Request) -> web.Response:
    job_id, rows = _own_predictions(request)
    epochs = [
        {"epoch": epoch, "prediction_count": len(group), "latest_step": max(row["step"] for row in group)}
        for epoch, group in _by_epoch(rows).items()
    ]
    return json_response({"job_id": job_id, "epochs": epochs})


async def get_trends(request: web.Request) -> web.Response:
    job_id, rows = _own_predictions(request)
    trends = [_trend(epoch, group) for epoch, group in _by_epoch(rows).items()]
    return json_response({"job_id": job_id, "trends": trends, "overall_improvement": _improvement(trends)})


async def stream(request: web.Request) -> web.StreamResponse:
    """Server-sent events: what is there, then what comes, with a heartbeat every 15 s."""
    job_id, _ = _own_predictions(request)
    lab = request.app[LAB]
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await answer.prepare(request)
    await answer.write(_event("connected", {"job_id": job_id}))
    sent: set[str] = set()
    quiet_s = 0.0
    while request.transport is not None and not request.transport.is_closing():
        fresh = [row for row in _sorted(lab.store.newest_first("predictions", job_id)) if row["id"] not in sent]
        for row in fresh:
            sent.add(row["id"])
            await answer.write(_event("prediction", row))
        quiet_s = 0.0 if fresh else quiet_s + LOOK_EVERY_S
        if quiet_s >= HEARTBEAT_S:
            quiet_s = 0.0
            await answer.write(_event("heartbeat", {"timestamp": lab.now()}))
        await asyncio.sleep(LOOK_EVERY_S)
    return answer


def _own_predictions(request: web.Request) -> tuple[str, list[Doc]]:
    user = require_reader(request, missing="Unauthorized", bad_session="Unauthorized")
    lab, job_id = request.app[LAB], request.match_info["job_id"]
    if lab.store.get("jobs", job_id, user.id) is None:
        raise Refusal(404, "Job not found")
    return job_id, _sorted(lab.store.newest_first("predictions", job_id))


def _sorted(rows: Iterable[Doc]) -> list[Doc]:
    return sorted(rows, key=lambda row: (row["epoch"], row["sample_index"], row["step"]))


def _by_epoch(rows: Sequence[Doc]) -> dict[int, list[Doc]]:
    groups: dict[int, list[Doc]] = {}
    for row in rows:
        groups.setdefault(row["epoch"], []).append(row)
    return dict(sorted(groups.items()))


def _trend(epoch: int, rows: Sequence[Doc]) -> dict[str, Any]:
    def known(name: str) -> list[float]:
        return [float(row[name]) for row in rows if row[name] is not None]

    def mean(name: str) -> float | None:
        return fmean(known(name)) if known(name) else None

    errors = known("char_error_rate")
    return {
        "epoch": epoch,
        "step": max(row["step"] for row in rows),
        "sample_count": len(rows),
        "avg_exact_match": mean("exact_match"),
        "avg_char_error_rate": mean("char_error_rate"),
        "avg_length_ratio": mean("length_ratio"),
        "avg_word_overlap": mean("word_overlap"),
        "min_char_error_rate": min(errors, default=None),
        "max_char_error_rate": max(errors, default=None),
        "validation_pass_rate": mean("validation_pass"),
    }


def _improvement(trends: Sequence[Mapping[str, Any]]) -> float | None:
    """By how many percent the error rate fell from the first epoch to the last."""
    if len(trends) < 2:
        return None
    first, last = trends[0]["avg_char_error_rate"], trends[-1]["avg_char_error_rate"]
    return (first - last) / first * 100 if first and last is not None else None


def _event(name: str, data: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(data))


ROUTES = [
    web.post("/api/training/local/predictions", post),
    web.get("/api/training/predictions/{job_id}", get_page),
    web.get("/api/training/predictions/{job_id}/epochs", get_epochs),
    web.get("/api/training/predictions/{job_id}/trends", get_trends),
    web.get("/api/training/predictions/{job_id}/stream", stream),
]
