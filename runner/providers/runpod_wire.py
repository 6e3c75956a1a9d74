"""RunPod REST v2 on the wire: what its answers say, and what its refusals mean.

Source: RunPod contract §1.2-1.4, from the v2 OpenAPI document and docs, read 2026-11.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from runner.ports import PodRequest
from runner.ports import ProviderErrorKind as Kind
from runner.providers.faults import Answer, Call, Refusal, refuse_by_status
from runner.providers.readers import (
    ShapeError,
    decode_json,
    mapping,
    maybe_mapping,
    moment,
    needed_text,
    number,
    text,
    whole,
)
from runner.providers.sse import SseEvent
from runner.results import GpuOffer, LogLine, Pod

# A full catalogue has no code of its own: it is one 400 among others, told apart by these words only.
CAPACITY_WORDS = re.compile(
    r"no longer any instances available|no instances (?:are )?currently available"
    r"|does not have the resources to deploy your pod",
    re.IGNORECASE,
)
MAX_LINE_CHARS = 65_536


def refuse(call: Call, answer: Answer, now: datetime) -> Refusal:
    """RunPod's answer that is not 2xx.

    A 403 in RunPod's own JSON is `capacity` for a create, because it says that this pool is not open to the account:
    the next candidate may work. For every other call it is `auth`: the key lacks the right.
    """
    problem = answer.problem()
    detail = None if problem is None else _detail(problem)
    if detail is not None and call.creates and answer.status in (400, 403):
        if answer.status == 403:
            return Refusal(kind=Kind.CAPACITY, detail=f"{detail}: this GPU pool is not open to the account")
        if CAPACITY_WORDS.search(detail):
            return Refusal(kind=Kind.CAPACITY, detail=detail)
    refusal = refuse_by_status(call, answer, detail, now)
    if refusal.kind is Kind.AUTH:
        return Refusal(kind=Kind.AUTH, detail=f"{refusal.detail}; check `RUNPOD_API_KEY` and its rights")
    return refusal


def _detail(problem: Mapping[str, Any]) -> str | None:
    """RunPod's words; None for JSON that is not RunPod's, so that a proxy's 404 never reads as "no such pod"."""
    errors = problem.get("errors")
    words = [problem.get(key) for key in ("detail", "error", "message")]
    said = next((word for word in words if isinstance(word, str) and word), None)
    if said is None:
        return None
    listed = "; ".join(entry for entry in errors if isinstance(entry, str)) if isinstance(errors, list) else ""
    return f"{said} {listed}".strip()


def create_body(request: PodRequest, *, command_in: str) -> dict[str, Any]:
    """The body of `POST /pods`.

    Args:
        command_in: `cmd`, or `args` for servers that do not know `cmd` yet.
    """
    body: dict[str, Any] = {
        "name": request.name,
        "image": request.image,
        # The count is always sent: without it RunPod has answered that there is no capacity.
        "gpu": {"id": request.gpu, "count": request.gpu_count},
        "cloud": request.cloud.upper(),
        "disk": request.disk_gb,
        "env": dict(request.env),
    }
    if request.ports:
        body["ports"] = list(request.ports)
    if request.command and command_in == "cmd":
        body["cmd"] = list(request.command)
    elif request.command:
        # A string with JSON in it keeps the quoting that a shell-like string would lose.
        body["args"] = json.dumps({"cmd": list(request.command)}, separators=(",", ":"))
    return body


def read_pod(answer: Any) -> Pod:
    """One pod; unknown statuses are kept as they are, since they mean alive and billed.

    Raises:
        ShapeError: it has no id.
    """
    source = mapping(answer, "a pod")
    gpu = maybe_mapping(source.get("gpu"))
    env = _environment(source.get("env"))
    cost = number(source.get("cost"))
    return Pod(
        id=needed_text(source, "id", "a pod"),
        name=text(source.get("name")) or "",
        status=text(source.get("status")) or "UNKNOWN",
        gpu=text(gpu.get("id")),
        gpu_count=whole(gpu.get("count")),
        cost_usd_h=number(source.get("costPerHr")) if cost is None else cost,
        # `{}` while provisioning means the same as null.
        uptime_s=number(maybe_mapping(source.get("runtime")).get("uptime")),
        env_marker=env.get("RUNSPEC_POD") or env.get("TRAINING_CONFIG_ID"),
        lab_job_id=env.get("JOB_ID"),
    )


def _environment(value: Any) -> dict[str, str]:
    if isinstance(value, list):
        pairs = (entry.partition("=") for entry in value if isinstance(entry, str))
        return {name: content for name, _, content in pairs}
    return {name: content for name, content in maybe_mapping(value).items() if isinstance(content, str) and content}


def read_offer(answer: Any, *, cloud: str, count: int) -> GpuOffer:
    """One GPU type for `count` GPUs in one cloud; the price of a cloud that does not have it is a placeholder.

    Raises:
        ShapeError: it has no id.
    """
    source = mapping(answer, "a GPU type")
    most = whole(maybe_mapping(source.get("maxCount")).get(cloud))
    is_there = source.get(cloud) is not False and (most is None or most >= count)
    price = number(maybe_mapping(source.get("price")).get(cloud))
    return GpuOffer(
        id=needed_text(source, "id", "a GPU type"),
        memory_gib=whole(source.get("memory")) or 0,
        price_usd_h=price if is_there and price is not None and price > 0 else None,
        availability=(text(source.get("availability")) or "UNKNOWN") if is_there else "NONE",
    )


def next_cursor(answer: Any) -> str | None:
    """Where the next page begins; None on the last one, and when the server knows no pages.

    Raises:
        ShapeError: there is a next page, but the answer does not say where.
    """
    pagination = maybe_mapping(maybe_mapping(answer).get("pagination"))
    cursor = text(pagination.get("nextCursor"))
    if pagination.get("hasNextPage") is False:
        return None
    if cursor is None and pagination.get("hasNextPage"):
        raise ShapeError("the listing has a next page but no `nextCursor`")
    return cursor


def read_log_event(event: SseEvent, *, now: datetime) -> LogLine | None:
    """The log line in one event; None for an event that is not one.

    Args:
        now: the time for a line that has none.
    """
    if event.event not in ("", "message", "log"):
        return None
    try:
        source = decode_json(event.data.encode("utf-8", "replace"))
    except ShapeError:
        source = None
    if not isinstance(source, dict):
        source = {"line": event.data}
    line = source.get("line")
    if not isinstance(line, str):
        return None
    return LogLine(
        at=moment(source.get("ts")) or moment(event.id.partition("/")[0]) or now,
        source=text(source.get("source")) or "container",
        text=line[:MAX_LINE_CHARS],
        cursor=event.id,
    )
