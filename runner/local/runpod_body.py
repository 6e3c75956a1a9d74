"""Reads the body of `POST /v2/pods`: every violation in one go, in the words of the real API.

Source: RunPod OpenAPI v2 document (`CreatePodRequest`), read 2026-11.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from runner.local.gpus import GPU_BY_ID, Cloud, GpuType
from runner.local.lifecycle import DATA_CENTER, PodRequest
from runner.local.web_kit import JSON_ERRORS

IDLE_COMMAND = ("sleep", "infinity")
Check = Callable[[str, Any], list[str]]


@dataclass
class BadBody(Exception):  # noqa: N818  # an answer to the caller, not a fault of ours
    """The body is refused: 422 with `errors` when its shape is wrong, else 400 with `detail`."""

    status: int
    detail: str
    errors: tuple[str, ...] = ()


def read_pod_request(body: object) -> PodRequest:
    """Turn a decoded JSON body into a request for a pod.

    Raises:
        BadBody: the body breaks the schema (422) or a rule between fields (400).
    """
    errors = _object(_CREATE, required=("name",))("$", body)
    if isinstance(body, dict) and "templateId" not in body and "image" not in body:
        errors.append("$: missing property 'image'")
    if errors or not isinstance(body, dict):
        raise BadBody(422, "Request validation failed.", tuple(errors))
    _check_rules(body)
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
    )


def _check_rules(body: Mapping[str, Any]) -> None:
    if ("gpu" in body) == ("cpu" in body):
        raise BadBody(400, "exactly one of gpu or cpu must be set")
    if "templateId" in body:
        raise BadBody(404, "resource not found")
    gpu, mounts = body.get("gpu", {}), body.get("mounts", {})
    if "allowedCudaVersions" in gpu and "minCudaVersion" in gpu:
        raise BadBody(400, "allowedCudaVersions and minCudaVersion are mutually exclusive")
    if "persistent" in mounts and "network" in mounts:
        raise BadBody(400, "mounts.persistent and mounts.network are mutually exclusive")
    if "cpu" in body and "persistent" in mounts:
        raise BadBody(400, "mounts.persistent is not supported on CPU pods")
    if mounts.get("network"):
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


def _kind(value: object) -> str:
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
    return "null" if value is None else kinds[type(value)]


def _typed(want: str) -> Check:
    def check(where: str, value: object) -> list[str]:
        return [] if _kind(value) == want else [f"{where}: got {_kind(value)}, want {want}"]

    return check


def _string(*, min_length: int = 0, pattern: str | None = None, one_of: tuple[str, ...] = ()) -> Check:
    def check(where: str, value: object) -> list[str]:
        if not isinstance(value, str):
            return [f"{where}: got {_kind(value)}, want string"]
        if len(value) < min_length:
            return [f"{where}: minLength: got {len(value)}, want {min_length}"]
        if pattern and not re.fullmatch(pattern, value):
            return [f"{where}: '{value}' does not match pattern '^{pattern}$'"]
        if one_of and value not in one_of:
            return [f"{where}: value must be one of " + ", ".join(f"'{choice}'" for choice in one_of)]
        return []

    return check


def _integer(minimum: int) -> Check:
    def check(where: str, value: object) -> list[str]:
        if not isinstance(value, int) or isinstance(value, bool):
            return [f"{where}: got {_kind(value)}, want integer"]
        return [f"{where}: minimum: got {value}, want {minimum}"] if value < minimum else []

    return check


def _array(item: Check, *, max_items: int | None = None) -> Check:
    def check(where: str, value: object) -> list[str]:
        if not isinstance(value, list):
            return [f"{where}: got {_kind(value)}, want array"]
        if max_items is not None and len(value) > max_items:
            return [f"{where}: maxItems: got {len(value)}, want {max_items}"]
        return [error for index, entry in enumerate(value) for error in item(f"{where}.{index}", entry)]

    return check


def _mapping(item: Check) -> Check:
    def check(where: str, value: object) -> list[str]:
        if not isinstance(value, dict):
            return [f"{where}: got {_kind(value)}, want object"]
        return [error for key, entry in value.items() for error in item(f"{where}.{key}", entry)]

    return check


def _object(fields: Mapping[str, Check], *, required: tuple[str, ...] = ()) -> Check:
    def check(where: str, value: object) -> list[str]:
        if not isinstance(value, dict):
            return [f"{where}: got {_kind(value)}, want object"]
        errors = [f"{where}: missing property '{key}'" for key in required if key not in value]
        for key, entry in value.items():
            known = fields.get(key)
            if known is None:
                errors.append(f"{where}: additional properties '{key}' not allowed")
            else:
                errors += known(f"{where}.{key}", entry)
        return errors

    return check


def _nullable(check: Check) -> Check:
    return lambda where, value: [] if value is None else check(where, value)


_STRINGS = _array(_string())
_VERSION = _string(pattern=r"\d+\.\d+")
_GPU = _object(
    {
        "id": _string(), "count": _integer(1), "allowedCudaVersions": _array(_VERSION),
        "minCudaVersion": _VERSION, "minRamPerGpu": _integer(1), "minVcpuCountPerGpu": _integer(1),
    },
    required=("id",),
)  # fmt: skip
_ARGS = _object({"entrypoint": _STRINGS, "cmd": _STRINGS})
_PERSISTENT = _object({"size": _integer(10), "path": _string()}, required=("size", "path"))
_NETWORK = _object({"volumeId": _string(), "path": _string()}, required=("volumeId", "path"))
_CREATE: Mapping[str, Check] = {
    "name": _string(min_length=1),
    "image": _string(),
    "args": _string(),
    "cmd": _STRINGS,
    "entrypoint": _STRINGS,
    "disk": _integer(1),
    "env": _mapping(_string()),
    "ports": _array(_string(pattern=r"\d{1,5}/(tcp|http|udp)")),
    "registry": _nullable(_string()),
    "cloud": _string(one_of=("SECURE", "COMMUNITY")),
    "gpu": _GPU,
    "cpu": _object({"id": _string(min_length=1), "vcpuCount": _integer(2)}, required=("id", "vcpuCount")),
    "dataCenterIds": _STRINGS,
    "globalNetworking": _typed("boolean"),
    "mounts": _object({"persistent": _PERSISTENT, "network": _array(_NETWORK, max_items=1)}),
    "startSsh": _typed("boolean"),
    "startJupyter": _typed("boolean"),
    "templateId": _string(min_length=1),
}
