"""GPU catalog and pod billing of the embedded RunPod.

Source: RunPod OpenAPI v2 document (`GpuType`, `ListPodBillingResponse`), read 2026-11.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from runner.local.clock import iso, parse_iso
from runner.local.gpus import GPU_TYPES, GpuType
from runner.local.lifecycle import DATA_CENTER, Pod
from runner.local.runpod_edge import Problem

BUCKETS: Mapping[str, timedelta] = {
    "hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7),
    "month": timedelta(days=30), "year": timedelta(days=365),
}  # fmt: skip


def gpu_item(gpu: GpuType, *, offered: Callable[[str], bool], with_stock: bool) -> dict[str, Any]:
    """One catalog entry. A price of 0 beside a false flag is the vendor's placeholder, not a gift."""
    secure, community = gpu.secure_usd_h, gpu.community_usd_h
    item: dict[str, Any] = {
        "id": gpu.id,
        "name": gpu.name,
        "pool": None,
        "manufacturer": gpu.manufacturer,
        "memory": gpu.memory_gib,
        "secure": secure is not None,
        "community": community is not None,
        "price": {"secure": secure or 0, "community": community or 0},
        "maxCount": {"secure": gpu.max_count("SECURE"), "community": gpu.max_count("COMMUNITY")},
    }
    if with_stock:
        level = "HIGH" if offered(gpu.id) and (secure or community) else "NONE"
        item["availability"] = level
        item["dataCenters"] = [{"id": DATA_CENTER, "name": "This machine", "availability": level}]
        item["cudaVersions"] = [{"version": "12.8", "available": level != "NONE"}]
    return item


@dataclass(frozen=True, slots=True)
class CpuType:
    """A CPU flavour; the price is for one vCPU."""

    id: str
    name: str
    group: str
    gib_per_vcpu: int
    usd_h: float
    min_vcpu: int = 2
    max_vcpu: int = 32


CPU_TYPES: Mapping[str, CpuType] = {
    cpu.id: cpu
    for cpu in (
        CpuType("cpu3c", "Compute-Optimized, 3 GHz", "Compute-Optimized", 2, 0.03),
        CpuType("cpu5c", "Compute-Optimized, 5 GHz", "Compute-Optimized", 2, 0.035),
        CpuType("cpu5g", "General Purpose, 5 GHz", "General Purpose", 4, 0.04),
    )
}


def cpu_item(cpu: CpuType, *, with_stock: bool) -> dict[str, Any]:
    """One CPU flavour of the catalog."""
    item: dict[str, Any] = {
        "id": cpu.id,
        "name": cpu.name,
        "group": cpu.group,
        "vcpu": {"min": cpu.min_vcpu, "max": cpu.max_vcpu},
        "ramGbPerVcpu": cpu.gib_per_vcpu,
        "price": {"securePerVcpu": cpu.usd_h, "serverlessPerVcpu": cpu.usd_h},
    }
    if with_stock:
        item["availability"] = "HIGH"
        item["dataCenters"] = [{"id": DATA_CENTER, "name": "This machine", "availability": "HIGH"}]
    return item


def data_center_item(include: Collection[str], *, offered: Callable[[str], bool]) -> dict[str, Any]:
    """The one data center there is: this machine."""
    item: dict[str, Any] = {
        "id": DATA_CENTER,
        "name": "This machine",
        "region": "UNKNOWN",
        "globalNetwork": True,
        "networkVolumeTypes": ["STANDARD"],
        "compliance": [],
    }
    if "GPU_AVAILABILITY" in include:
        item["gpuAvailability"] = [
            {"id": gpu.id, "name": gpu.name, "availability": "HIGH" if offered(gpu.id) else "NONE"} for gpu in GPU_TYPES
        ]
    if "CPU_AVAILABILITY" in include:
        item["cpuAvailability"] = [
            {"id": cpu.id, "name": cpu.name, "availability": "HIGH"} for cpu in CPU_TYPES.values()
        ]
    return item


def is_wanted(data_center: Mapping[str, Any], query: Mapping[str, str]) -> bool:
    """Whether a data center passes the filters of a query."""
    regions, kinds = _words(query, "regions"), _words(query, "networkVolumeTypes")
    return (
        (not regions or data_center["region"] in regions)
        and (not kinds or bool(kinds & set(data_center["networkVolumeTypes"])))
        and _words(query, "compliance") <= set(data_center["compliance"])
        and query.get("globalNetwork") != "false"
    )


def _words(query: Mapping[str, str], name: str) -> set[str]:
    return set(filter(None, query.get(name, "").split(",")))


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
    start, end = _span(query, now, BUCKETS[size])
    return {"startTime": iso(start), "endTime": iso(end), "bucketSize": size}


def billing_for_pods(pods: Iterable[Pod], query: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """Cost per pod and bucket. Buckets longer than an hour begin at midnight UTC.

    Raises:
        Problem: 400 or 422 for a bad query.
    """
    size = query.get("bucketSize", "day")
    if size not in BUCKETS:
        raise Problem(422, "Request validation failed.", errors=["$.bucketSize: unknown bucket size"])
    start, end = _span(query, now, BUCKETS[size])
    records: list[dict[str, Any]] = []
    for pod in pods:
        if query.get("podId", pod.id) == pod.id:
            records += _records(pod, start, end, BUCKETS[size], now)
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


def _span(query: Mapping[str, str], now: datetime, bucket: timedelta) -> tuple[datetime, datetime]:
    if "lastN" in query and ("startTime" in query or "endTime" in query):
        raise Problem(400, "lastN and startTime/endTime are mutually exclusive")
    try:
        end = parse_iso(_plus(query["endTime"])) if "endTime" in query else now
        if "lastN" in query:
            start = end - bucket * (int(query["lastN"]) - 1)
        else:
            start = parse_iso(_plus(query["startTime"])) if "startTime" in query else end - timedelta(days=30)
    except (ValueError, OverflowError) as exc:
        raise Problem(422, "Request validation failed.", errors=[f"$: {exc}"]) from exc
    return _floor(start, bucket), max(_floor(end, bucket), _floor(start, bucket)) + bucket


def _plus(stamp: str) -> str:
    # A plus sign that nobody encoded arrives as a space.
    return stamp.replace(" ", "+").upper()


def _floor(moment: datetime, bucket: timedelta) -> datetime:
    moment = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return moment if bucket < timedelta(days=1) else moment.replace(hour=0)


def _records(pod: Pod, start: datetime, end: datetime, bucket: timedelta, now: datetime) -> Iterable[dict[str, Any]]:
    first = max(start, _floor(pod.created_at, bucket))
    while first < min(end, now):
        last = first + bucket
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
