"""Reads the body of `POST /v2/pods`: every violation in one go, in the words of the real API.

Source: RunPod OpenAPI v2 document (`CreatePodRequest`), read 2026-11.
"""

from __future__ import annotations

import shlex
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from runner.local.faults import CAPACITY
from runner.local.gpus import CUDA_VERSION, GPU_BY_ID, Cloud, GpuType, allows_cuda
from runner.local.json_checks import Check, array, integer, mapping_of, nullable, object_of, string, typed
from runner.local.lifecycle import DATA_CENTER, PodRequest
from runner.local.runpod_catalog import CPU_TYPES
from runner.local.web_kit import JSON_ERRORS

IDLE_COMMAND = ("sleep", "infinity")


@dataclass
class BadBody(Exception):  # noqa: N818  # an answer to the caller, not a fault of ours
    """The body is refused: 422 with `errors` when its shape is wrong, else 400 with `detail`."""

    status: int
    detail: str
    errors: tuple[str, ...] = ()


def read_pod_request(body: object, *, volumes: Container[str]) -> PodRequest:
    """Turn a decoded JSON body into a request for a pod.

    Args:
        volumes: ids of the account's network volumes.
    Raises:
        BadBody: the body breaks the schema (422), a rule between fields (400), or names what is not there (404).
    """
    errors = object_of(_CREATE, required=("name",))("$", body)
    if isinstance(body, dict) and "templateId" not in body and "image" not in body:
        errors.append("$: missing property 'image'")
    if errors or not isinstance(body, dict):
        raise BadBody(422, "Request validation failed.", tuple(errors))
    _check_compute(body)
    _check_mounts(body, volumes)
    gpu, cpu = body.get("gpu"), body.get("cpu")
    cloud: Cloud = body.get("cloud", "SECURE")
    return PodRequest(
        name=body["name"],
        image=body["image"],
        argv=_argv(body),
        args=body.get("args", ""),
        env=dict(body.get("env", {})),
        gpu=_gpu_type(gpu["id"]) if gpu else None,
        gpu_count=gpu.get("count", 1) if gpu else 0,
        cpu_flavour=cpu["id"] if cpu else None,
        vcpu_count=cpu["vcpuCount"] if cpu else 0,
        cloud=cloud,
        disk_gb=body.get("disk", 50),
        ports=tuple(body.get("ports", ())),
        mounts=dict(body.get("mounts", {})),
        registry=body.get("registry"),
        data_center=(body.get("dataCenterIds") or [DATA_CENTER])[0],
        global_networking=body.get("globalNetworking", False),
        start_ssh=body.get("startSsh", False),
        start_jupyter=body.get("startJupyter", False),
    )


def read_pod_changes(body: object, request: PodRequest) -> PodRequest:
    """A pod's request with the changes of a PATCH; `locked` is left to the caller.

    Raises:
        BadBody: the body breaks the schema (422) or a rule (400).
    """
    errors = object_of(_UPDATE)("$", body)
    if errors or not isinstance(body, dict):
        raise BadBody(422, "Request validation failed.", tuple(errors))
    if body.get("globalNetworking"):
        _check_global_networking(request.gpu)
    return replace(
        request,
        name=body.get("name", request.name),
        image=body.get("image", request.image),
        argv=_argv(body) if body.keys() & {"args", "cmd", "entrypoint"} else request.argv,
        args=body.get("args", request.args),
        env=dict(body.get("env", request.env)),
        disk_gb=body.get("disk", request.disk_gb),
        ports=tuple(body.get("ports", request.ports)),
        registry=body.get("registry", request.registry),
        mounts=_moved(body.get("mounts", {}), request.mounts),
        global_networking=body.get("globalNetworking", request.global_networking),
    )


def _moved(mounts: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """The mounts after a PATCH: nothing said is nothing changed, and what was mounted stays mounted."""
    if not mounts:
        return dict(before)
    if set(mounts) != set(before) or not all(mounts.values()):
        raise BadBody(400, "mounts cannot be added, removed or changed in kind")
    if _volume_ids(mounts) != _volume_ids(before):
        raise BadBody(400, "the volume of a network mount cannot be changed")
    return dict(mounts)


def _volume_ids(mounts: Mapping[str, Any]) -> list[str]:
    return [mount["volumeId"] for mount in mounts.get("network", ())]


def _check_compute(body: Mapping[str, Any]) -> None:
    if ("gpu" in body) == ("cpu" in body):
        raise BadBody(400, "exactly one of gpu or cpu must be set")
    if "cpu" in body:
        _check_cpu(body["cpu"]["id"], body["cpu"]["vcpuCount"])
    gpu = body.get("gpu", {})
    if body.get("globalNetworking"):
        _check_global_networking(_gpu_type(gpu["id"]) if gpu else None)
    exact, floor = gpu.get("allowedCudaVersions", ()), gpu.get("minCudaVersion")
    if exact and floor is not None:
        raise BadBody(400, "allowedCudaVersions and minCudaVersion are mutually exclusive")
    if not allows_cuda(CUDA_VERSION, exact=exact, floor=floor):
        raise BadBody(400, CAPACITY)


def _check_cpu(flavour: str, vcpu_count: int) -> None:
    cpu = CPU_TYPES.get(flavour)
    if cpu is None:
        raise BadBody(400, f"cpu flavor '{flavour}' not found")
    if vcpu_count.bit_count() != 1:
        raise BadBody(400, "cpu.vcpuCount must be a power of two")
    if not cpu.min_vcpu <= vcpu_count <= cpu.max_vcpu:
        raise BadBody(400, f"cpu flavor '{flavour}' has {cpu.min_vcpu} to {cpu.max_vcpu} vCPUs")


def _check_global_networking(gpu: GpuType | None) -> None:
    if gpu is None or gpu.manufacturer != "NVIDIA":
        raise BadBody(400, "globalNetworking requires an NVIDIA GPU")


def _check_mounts(body: Mapping[str, Any], volumes: Container[str]) -> None:
    mounts = body.get("mounts", {})
    if "persistent" in mounts and "network" in mounts:
        raise BadBody(400, "mounts.persistent and mounts.network are mutually exclusive")
    if "cpu" in body and "persistent" in mounts:
        raise BadBody(400, "mounts.persistent is not supported on CPU pods")
    if any(volume_id not in volumes for volume_id in _volume_ids(mounts)):
        raise BadBody(404, "resource not found")


def _gpu_type(gpu_id: str) -> GpuType:
    if gpu_id not in GPU_BY_ID:
        raise BadBody(400, f"gpu type '{gpu_id}' not found")
    return GPU_BY_ID[gpu_id]


def _argv(body: Mapping[str, Any]) -> tuple[str, ...]:
    """The program to run: `entrypoint` and `cmd`, else `args` as JSON or as a shell-like string.

    Images cannot run here. One without a command of its own stands for a machine that idles.
    """
    entrypoint, cmd = list(body.get("entrypoint", ())), list(body.get("cmd", ()))
    args = body.get("args", "").strip()
    if args.startswith("{"):
        try:
            parsed = msgspec.json.decode(args)
        except JSON_ERRORS as exc:
            raise BadBody(400, "args is neither a command nor JSON") from exc
        errors = _ARGS("$.args", parsed)
        if errors:
            raise BadBody(400, "; ".join(errors))
        entrypoint = entrypoint or parsed.get("entrypoint", [])
        cmd = cmd or parsed.get("cmd", [])
    elif args and not cmd:
        try:
            cmd = shlex.split(args)
        except ValueError as exc:
            raise BadBody(400, f"args cannot be split: {exc}") from exc
    return (*entrypoint, *cmd) or IDLE_COMMAND


_STRINGS = array(string())
_VERSION = string(pattern=r"\d+\.\d+")
_GPU = object_of(
    {
        "id": string(), "count": integer(1), "allowedCudaVersions": array(_VERSION),
        "minCudaVersion": _VERSION, "minRamPerGpu": integer(1), "minVcpuCountPerGpu": integer(1),
    },
    required=("id",),
)  # fmt: skip
_ARGS = object_of({"entrypoint": _STRINGS, "cmd": _STRINGS})
_PERSISTENT = object_of({"size": integer(10), "path": string()}, required=("size", "path"))
_NETWORK = object_of({"volumeId": string(), "path": string()}, required=("volumeId", "path"))
_CREATE: Mapping[str, Check] = {
    "name": string(min_length=1),
    "image": string(),
    "args": string(),
    "cmd": _STRINGS,
    "entrypoint": _STRINGS,
    "disk": integer(1),
    "env": mapping_of(string()),
    "ports": array(string(pattern=r"\d{1,5}/(tcp|http|udp)")),
    "registry": nullable(string()),
    "cloud": string(one_of=("SECURE", "COMMUNITY")),
    "gpu": _GPU,
    "cpu": object_of({"id": string(min_length=1), "vcpuCount": integer(2)}, required=("id", "vcpuCount")),
    "dataCenterIds": _STRINGS,
    "globalNetworking": typed("boolean"),
    "mounts": object_of({"persistent": _PERSISTENT, "network": array(_NETWORK, max_items=1)}),
    "startSsh": typed("boolean"),
    "startJupyter": typed("boolean"),
    "templateId": string(min_length=1),
}
_UPDATE: Mapping[str, Check] = {
    **{
        name: _CREATE[name]
        for name in (
            "name", "image", "args", "cmd", "entrypoint", "disk", "env", "ports", "registry", "mounts",
            "globalNetworking",
        )
    },
    "locked": typed("boolean"),
    "templateId": string(min_length=1),
}  # fmt: skip
