"""Traces of calls to models, and sums over them: what the SDK's analytics client asks for.

The FineTune Lab contract does not cover these routes; the forms are those of the product's public repository
(`app/api/analytics`, read 2026-11). What is aggregated is what is here: the traces that somebody sent.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from statistics import fmean
from typing import Any

from aiohttp import web

from runner.local.clock import iso, parse_iso
from runner.local.lab_api.auth import User, require_key_or_session
from runner.local.lab_api.context import LAB, Lab, Refusal, read_json
from runner.local.lab_api.store import Doc
from runner.local.web_kit import json_response, query_int

NEEDED = ("trace_id", "span_id", "span_name", "operation_type")
COLUMNS = (
    *NEEDED, "conversation_id", "message_id", "parent_trace_id", "start_time", "end_time", "duration_ms", "model_name",
    "model_provider", "model_version", "input_data", "output_data", "metadata", "input_tokens", "output_tokens",
    "total_tokens", "cost_usd", "ttft_ms", "tokens_per_second", "status", "error_message", "error_type", "session_tag",
)  # fmt: skip
FILTERS = ("trace_id", "conversation_id", "message_id", "operation_type", "status")
PERIODS = ("hour", "day", "week", "month", "all")
METRICS = ("tokens", "quality", "tools", "conversations", "errors", "latency")
MAX_RANGE = timedelta(days=90)


def _trace_user(request: web.Request) -> User:
    return require_key_or_session(
        request, "production", missing="Unauthorized", bad_session="Unauthorized - invalid token"
    )  # fmt: skip


async def create_trace(request: web.Request) -> web.Response:
    """Keep one span; the same span again replaces it. Answers 200, not the 201 of the product's own documentation."""
    user, lab = _trace_user(request), request.app[LAB]
    body = await read_json(request, refusal=Refusal(500, "Unexpected end of JSON input"))
    if not all(body.get(name) for name in NEEDED):
        raise Refusal(400, f"Missing required fields: {', '.join(NEEDED)}")
    now = lab.now()
    known = lab.store.find("traces", user.id, "span_id", body["span_id"])
    row: Doc = {
        "id": known["id"] if known else str(uuid.uuid4()),
        "user_id": user.id,
        **{name: body.get(name) for name in COLUMNS},
        "start_time": body.get("start_time") or now,
        "metadata": body.get("metadata") or {},
        "status": body.get("status") or "pending",
        "created_at": known["created_at"] if known else now,
    }
    if known:
        lab.store.update("traces", row["id"], row)
    else:
        lab.store.insert("traces", row["id"], user.id, row)
    return json_response({"success": True, "data": row})


async def list_traces(request: web.Request) -> web.Response:
    """Spans, the newest first; those of one `trace_id` as a tree. `total` counts the page, as in the product."""
    user = _trace_user(request)
    wanted = {name: request.query[name] for name in FILTERS if request.query.get(name)}
    rows = [
        row
        for row in request.app[LAB].store.newest_first("traces", user.id)
        if all(str(row.get(name)) == value for name, value in wanted.items())
    ]
    rows.sort(key=lambda row: str(row["start_time"]), reverse=True)
    limit, offset = query_int(request, "limit", 100, low=1), query_int(request, "offset", 0)
    page = rows[offset : offset + limit]
    shown = _tree(page) if "trace_id" in wanted else page
    return json_response(
        {"success": True, "data": shown, "pagination": {"limit": limit, "offset": offset, "total": len(page)}}
    )  # fmt: skip


def _tree(rows: Sequence[Doc]) -> list[dict[str, Any]]:
    nodes: dict[str, dict[str, Any]] = {row["span_id"]: {**row, "children": []} for row in rows}
    roots = []
    for node in nodes.values():
        parent = nodes.get(str(node["parent_trace_id"]))
        if parent is None or parent is node:
            roots.append(node)
        else:
            parent["children"].append(node)
    return roots


async def data(request: web.Request) -> web.Response:
    """Sums over a range of at most 90 days. The SDK may leave the dates out, and then gets a 400."""
    user = require_key_or_session(
        request, "production",
        missing="Unauthorized - no auth header", bad_session="Unauthorized - invalid token",
    )  # fmt: skip
    start, end = _range(request)
    granularity = request.query.get("granularity") or "day"
    period = granularity if granularity in PERIODS else "day"
    wanted = request.query.get("metrics") or "all"
    metrics = [name for name in METRICS if wanted == "all" or name in wanted.replace(" ", "").split(",")]
    if not metrics:
        raise Refusal(400, "At least one metric must be specified")
    lab = request.app[LAB]
    date_range = {"start": iso(start), "end": iso(end), "period": period}
    body = {
        "success": True,
        "data": {
            "userId": user.id, "timeRange": date_range, "generatedAt": lab.now(),
            **_aggregate(_traces_within(lab, user, start, end), metrics, period),
        },
        "metadata": {
            "userId": user.id, "dateRange": date_range, "metrics": metrics, "granularity": granularity,
            "generatedAt": lab.now(),
        },
    }  # fmt: skip
    return json_response(body, headers={"Cache-Control": "private, max-age=300"})


def _range(request: web.Request) -> tuple[datetime, datetime]:
    first, last = request.query.get("startDate"), request.query.get("endDate")
    if not first or not last:
        raise Refusal(400, "startDate and endDate are required")
    try:
        start, end = parse_iso(first), parse_iso(last)
    except ValueError as exc:
        raise Refusal(400, "Invalid date format") from exc
    if start >= end:
        raise Refusal(400, "startDate must be before endDate")
    if end - start > MAX_RANGE:
        raise Refusal(400, f"Date range exceeds maximum of {MAX_RANGE.days} days")
    return start, end


def _traces_within(lab: Lab, user: User, start: datetime, end: datetime) -> list[Doc]:
    rows = lab.store.newest_first("traces", user.id)
    return [row for row in reversed(rows) if start <= parse_iso(row["created_at"]) <= end]


def _aggregate(rows: Sequence[Doc], metrics: Sequence[str], period: str) -> dict[str, Any]:
    tokens = [_tokens(row) for row in rows]
    latencies = [float(row["duration_ms"]) for row in rows if row["duration_ms"] is not None]
    errors = [row for row in rows if row["error_message"] or row["status"] in ("error", "failed")]
    count = len(rows)
    series: dict[str, list[dict[str, Any]]] = {
        "tokenUsage": _by_period(rows, period, lambda group: {"totalTokens": sum(map(_tokens, group))})
        if "tokens" in metrics
        else [],
        "latency": _by_period(rows, period, _latency_of) if "latency" in metrics else [],
        "errors": _by_period(errors, period, lambda group: {"count": len(group)}) if "errors" in metrics else [],
        # Judged answers, tool calls and chats are parts of the product that are not embedded.
        "quality": [],
        "tools": [],
        "conversations": [],
    }
    cost = sum(float(row["cost_usd"] or 0) for row in rows)
    totals = {
        "messages": count, "conversations": len({row["conversation_id"] for row in rows if row["conversation_id"]}),
        "tokens": sum(tokens), "cost": cost, "evaluations": 0, "errors": len(errors),
    }  # fmt: skip
    averages = {
        "tokensPerMessage": sum(tokens) / count if count else 0, "costPerMessage": cost / count if count else 0,
        "rating": 0, "successRate": 1 - len(errors) / count if count else 0,
        "errorRate": len(errors) / count if count else 0, "latencyMs": fmean(latencies) if latencies else 0,
    }  # fmt: skip
    return {"metrics": series, "aggregations": {"totals": totals, "averages": averages}}


def _by_period(
    rows: Sequence[Doc], period: str, summarise: Callable[[Sequence[Doc]], dict[str, Any]]
) -> list[dict[str, Any]]:
    groups: dict[str, list[Doc]] = {}
    for row in rows:
        groups.setdefault(_bucket(parse_iso(row["created_at"]), period), []).append(row)
    return [{"timestamp": name, **summarise(group)} for name, group in sorted(groups.items())]


def _bucket(moment: datetime, period: str) -> str:
    """The start of the period that a moment lies in, as text; all of time has one."""
    match period:
        case "hour":
            return moment.strftime("%Y-%m-%dT%H:00")
        case "week":
            return (moment - timedelta(days=moment.weekday())).date().isoformat()
        case "month":
            return moment.strftime("%Y-%m")
        case "all":
            return ""
        case _:
            return moment.date().isoformat()


def _latency_of(group: Sequence[Doc]) -> dict[str, Any]:
    known = [float(row["duration_ms"]) for row in group if row["duration_ms"] is not None]
    return {"avgLatencyMs": fmean(known) if known else 0, "count": len(known)}


def _tokens(row: Mapping[str, Any]) -> int:
    return int(row["total_tokens"] or (row["input_tokens"] or 0) + (row["output_tokens"] or 0))


ROUTES = [
    web.get("/api/analytics/traces", list_traces),
    web.post("/api/analytics/traces", create_trace),
    web.get("/api/analytics/data", data),
]
