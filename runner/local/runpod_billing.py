"""Bills of the embedded RunPod, in buckets of the calendar.

Source: RunPod OpenAPI v2 document (`ListPodBillingResponse`, parameters of billing), read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from runner.local.clock import iso
from runner.local.lifecycle import Pod
from runner.local.runpod_edge import Problem
from runner.local.runpod_query import read_moment

DEFAULT_SPAN = timedelta(days=30)
STEPS: Mapping[str, timedelta] = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}
"""Buckets that are all of one length; months and years are not."""

_NOTHING: Mapping[str, tuple[tuple[str, ...], str | None]] = {
    "serverless": (("gpuAmount", "cpuAmount", "diskAmount", "feeAmount"), "uniqueServerlessCount"),
    "endpoints": ((), None),
    "network-volumes": (("standardAmount", "highPerformanceAmount"), "uniqueNetworkVolumeCount"),
    "clusters": (("gpuAmount", "diskAmount", "networkingAmount"), "uniqueClusterCount"),
}
_ALL_AMOUNTS = (
    "podGpuAmount", "podCpuAmount", "podDiskAmount", "serverlessGpuAmount", "serverlessCpuAmount",
    "serverlessDiskAmount", "serverlessFeeAmount", "storageStandardAmount", "storageHighPerformanceAmount",
    "endpointAmount", "clusterGpuAmount", "clusterDiskAmount", "clusterNetworkingAmount",
)  # fmt: skip


def billing_of_nothing(kind: str, query: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """The bill for what an account here never has: empty, in the form of its kind."""
    amounts, counted = _NOTHING[kind]
    metadata: dict[str, Any] = {
        "query": _asked(query, now),
        "recordCount": 0,
        "totals": dict.fromkeys(("totalAmount", *amounts), 0.0),
    }
    if counted is not None:
        metadata[counted] = 0
    return {"records": [], "metadata": metadata}


def billing_in_all(pods: Iterable[Pod], query: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """Cost of everything by bucket; here that is the pods."""
    by_start: dict[tuple[str, str], dict[str, Any]] = {}
    for record in billing_for_pods(pods, query, now)["records"]:
        key = (record["startTime"], record["endTime"])
        bucket = by_start.setdefault(
            key, {"startTime": key[0], "endTime": key[1], **dict.fromkeys(("totalAmount", *_ALL_AMOUNTS), 0.0)}
        )
        for ours, theirs in (
            ("totalAmount", "totalAmount"), ("podGpuAmount", "gpuAmount"), ("podCpuAmount", "cpuAmount"),
        ):  # fmt: skip
            bucket[ours] = round(bucket[ours] + record[theirs], 9)
    records = [by_start[key] for key in sorted(by_start)]
    totals = {name: round(sum(record[name] for record in records), 9) for name in ("totalAmount", *_ALL_AMOUNTS)}
    metadata = {"query": _asked(query, now), "recordCount": len(records), "totals": totals}
    return {"records": records, "metadata": metadata}


def _asked(query: Mapping[str, str], now: datetime) -> dict[str, str]:
    size = query.get("bucketSize", "day")
    start, end = _span(query, now, size)
    return {"startTime": iso(start), "endTime": iso(end), "bucketSize": size}


def billing_for_pods(pods: Iterable[Pod], query: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """Cost per pod and bucket.

    Raises:
        Problem: 400 or 422 for a bad query.
    """
    size = query.get("bucketSize", "day")
    start, end = _span(query, now, size)
    records: list[dict[str, Any]] = []
    for pod in pods:
        if query.get("podId", pod.id) == pod.id:
            records += _records(pod, start, end, size, now)
    totals = {key: round(sum(r[key] for r in records), 9) for key in _amounts(0, gpu=True)}
    asked = {"startTime": iso(start), "endTime": iso(end), "bucketSize": size, "podId": query.get("podId")}
    return {
        "records": records,
        "metadata": {
            "query": asked,
            "recordCount": len(records),
            "uniquePodCount": len({record["podId"] for record in records}),
            "totals": totals,
        },
    }


def _span(query: Mapping[str, str], now: datetime, size: str) -> tuple[datetime, datetime]:
    """The whole buckets that a query is about."""
    if "lastN" in query and ("startTime" in query or "endTime" in query):
        raise Problem(400, "lastN and startTime/endTime are mutually exclusive")
    try:
        if "lastN" in query:
            current = _floor(now, size)
            return _moved(current, size, 1 - int(query["lastN"])), _moved(current, size, 1)
        end = read_moment(query["endTime"]) if "endTime" in query else now
        start = _floor(read_moment(query["startTime"]) if "startTime" in query else end - DEFAULT_SPAN, size)
        last = _floor(end, size)
        if last < end or last <= start:
            last = _moved(max(last, start), size, 1)
    except (ValueError, OverflowError) as exc:
        raise Problem(422, "Request validation failed.", errors=[f"$: {exc}"]) from exc
    return start, last


def _floor(moment: datetime, size: str) -> datetime:
    """When the bucket began that `moment` lies in: at a full hour, at midnight UTC, on a Monday, on a first."""
    moment = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if size == "hour":
        return moment
    day = moment.replace(hour=0)
    match size:
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case "year":
            return day.replace(month=1, day=1)
        case _:
            return day


def _moved(first: datetime, size: str, buckets: int) -> datetime:
    """The start of the bucket so many buckets after the one that starts at `first`."""
    if size in STEPS:
        return first + STEPS[size] * buckets
    months = first.year * 12 + first.month - 1 + buckets * (12 if size == "year" else 1)
    return first.replace(year=months // 12, month=months % 12 + 1)


def _records(pod: Pod, start: datetime, end: datetime, size: str, now: datetime) -> Iterable[dict[str, Any]]:
    first = max(start, _floor(pod.created_at, size))
    while first < min(end, now):
        last = _moved(first, size, 1)
        seconds = sum(_overlap_s(p.start, p.end or now, first, last) for p in pod.paid)
        if seconds > 0:
            amounts = _amounts(pod.usd_h * seconds / 3600, gpu=pod.request.gpu is not None)
            yield {"startTime": iso(first), "endTime": iso(last), "podId": pod.id, **amounts}
        first = last


def _overlap_s(start: datetime, end: datetime, first: datetime, last: datetime) -> float:
    return max(0.0, (min(end, last) - max(start, first)).total_seconds())


def _amounts(usd: float, *, gpu: bool) -> dict[str, float]:
    usd = round(usd, 9)
    return {
        "totalAmount": usd, "gpuAmount": usd if gpu else 0.0, "cpuAmount": 0.0 if gpu else usd, "diskAmount": 0.0,
    }  # fmt: skip
