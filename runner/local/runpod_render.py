"""How the RunPod API shows a pod.

Source: RunPod OpenAPI v2 document (`Pod`), read 2026-11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from runner.local.clock import iso
from runner.local.faults import Quirks
from runner.local.lifecycle import ACTIONS, Pod, PodRequest
from runner.local.runpod_catalog import CPU_TYPES

GIB_PER_GPU = 32
VCPU_PER_GPU = 8
LOOPBACK = "127.0.0.1"
Port = Callable[[Pod, int], int]


def pod_document(pod: Pod, now: datetime, *, port: Port, quirks: Quirks) -> dict[str, Any]:
    """The pod as JSON; `quirks` bend it the way misbehaving servers do."""
    request = pod.request
    uptime_s = pod.uptime_s(now)
    runtime = None if uptime_s is None else _runtime(pod, 0 if quirks.zero_uptime else uptime_s, port)
    document: dict[str, Any] = {
        "id": pod.id,
        "name": request.name,
        "status": quirks.pod_status or str(pod.status),
        "actions": list(ACTIONS[pod.status]),
        "image": request.image,
        "args": request.args,
        "disk": request.disk_gb,
        "ports": list(request.ports),
        "env": dict(request.env),
        "registry": request.registry,
        "mounts": dict(request.mounts),
        "cloud": request.cloud,
        "dataCenterId": request.data_center,
        "cudaVersion": None,
        "ssh": {"proxy": None, "direct": _ssh(runtime)},
        "template": None,
        "cost": pod.cost_usd_h,
        "locked": pod.locked,
        "globalNetworking": {"enabled": True, "ip": LOOPBACK} if request.global_networking else {"enabled": False},
        "runtime": {} if runtime is None and quirks.empty_runtime else runtime,
        "createdAt": iso(pod.created_at),
        "startedAt": iso(pod.started_at) if pod.started_at else None,
    }
    document |= _compute(request, quirks)
    return _odd(document) if quirks.odd_shape else document


def _ssh(runtime: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The way to port 22 of a running pod. Whether an sshd listens there is another matter, as at RunPod."""
    ports = [port for port in (runtime or {}).get("ports", ()) if (port["private"], port["type"]) == (22, "tcp")]
    if not ports:
        return None
    host, public = ports[0]["ip"], ports[0]["public"]
    return {"host": host, "port": public, "username": "root", "command": f"ssh root@{host} -p {public}"}


def _odd(document: dict[str, Any]) -> dict[str, Any]:
    """The same pod as another generation of servers would show it, which a reader has to tolerate."""
    cost = document.pop("cost")
    created = str(document["createdAt"]).replace("T", " ").replace("Z", " +0000 UTC")
    return {**document, "costPerHr": str(cost), "createdAt": created, "interruptible": False, "labels": {"new": [1]}}


def _compute(request: PodRequest, quirks: Quirks) -> dict[str, Any]:
    if request.gpu is None:
        flavour = CPU_TYPES[request.cpu_flavour or ""]
        memory = flavour.gib_per_vcpu * request.vcpu_count
        return {"cpu": {"id": request.cpu_flavour, "vcpuCount": request.vcpu_count, "memory": memory}}
    count = request.gpu_count if quirks.gpu_count is None else quirks.gpu_count
    return {
        "gpu": {
            "id": request.gpu.id, "count": count, "vcpuCount": VCPU_PER_GPU * count, "memory": GIB_PER_GPU * count,
        }
    }  # fmt: skip


def _runtime(pod: Pod, uptime_s: int, port: Port) -> dict[str, Any]:
    ports = []
    for entry in pod.request.ports:
        private, _, kind = entry.partition("/")
        public = port(pod, int(private))
        ports.append({"private": int(private), "public": public, "type": kind, "ip": LOOPBACK})
    return {
        "uptime": uptime_s,
        "gpus": [{"util": 0, "memoryUtil": 0} for _ in range(pod.request.gpu_count)],
        "cpu": {"util": 0},
        "memory": {"util": 0},
        "ports": ports,
    }
