"""Deploying a config on RunPod: the check order, the pod's environment, and what the lab remembers.

Source: FineTune Lab contract §2.3, §4.1 and §3.2 (generation of December 2025), read 2026-11.
"""

from __future__ import annotations

import base64
import hashlib
import math
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from runner.local.faults import quirks_of
from runner.local.lab_api.auth import User, require_session_to_deploy
from runner.local.lab_api.context import LAB, Lab, Refusal, read_json
from runner.local.lab_api.datasets import signed_url
from runner.local.lab_api.pod_config import DEFAULT_MODEL, pod_config
from runner.local.lab_api.runpod_client import RunPodRefusal, create_pod, get_pod, key_for, terminate_pod, user_key
from runner.local.lab_api.second_generation import with_broken_bootstrap
from runner.local.lab_api.store import Doc
from runner.local.web_kit import json_response

FAILED = "Failed to create RunPod deployment"
DEFAULT_IMAGE = "runpod/pytorch:2.1.0-py3.10-cuda11.8.0-devel"
CONSOLE = "https://www.runpod.io/console/pods"
NULL_POD = "Cannot read properties of null (reading 'desiredStatus')"
TOKENS_PER_HOUR = 20_000_000
ESTIMATE_MARGIN = 1.3

# The command of every training pod: unpack the script from the environment, run it.
START = (
    'cd "${RUNSPEC_WORKSPACE:-/workspace}" && printf %s "$TRAINING_SCRIPT_B64" | base64 -d > bootstrap.py '
    "&& exec python3 bootstrap.py"
)


@dataclass(frozen=True, slots=True)
class LabGpu:
    """A GPU choice of the lab: RunPod's name, and the price the lab estimates with (None: not in its table)."""

    name: str
    usd_h: float | None


_A4000 = LabGpu("NVIDIA RTX A4000", 0.34)
_A5000 = LabGpu("NVIDIA RTX A5000", 0.49)
_A6000 = LabGpu("NVIDIA RTX A6000", 0.79)
_A100 = LabGpu("NVIDIA A100 80GB PCIe", 1.89)
_A100_SXM = LabGpu("NVIDIA A100-SXM4-80GB", 2.89)
_H100 = LabGpu("NVIDIA H100 PCIe", 4.89)
GPUS: Mapping[str, LabGpu] = {
    "RTX_A4000": _A4000, "NVIDIA RTX A4000": _A4000,
    "RTX_A5000": _A5000, "NVIDIA RTX A5000": _A5000,
    "RTX_A6000": _A6000, "NVIDIA RTX A6000": _A6000,
    "NVIDIA A40": LabGpu("NVIDIA A40", None),
    "A100_PCIE": _A100, "NVIDIA A100 40GB": _A100,
    "A100_80GB": _A100_SXM, "A100_SXM": _A100_SXM, "NVIDIA A100 80GB": _A100_SXM,
    "H100_PCIE": _H100, "NVIDIA H100": _H100,
}  # fmt: skip

POD_STATUS: Mapping[str, str] = {
    "STARTING": "starting", "RUNNING": "running", "EXITED": "stopped", "ERROR": "failed", "TERMINATED": "stopped",
}  # fmt: skip


async def deploy(request: web.Request) -> web.Response:
    user, lab = require_session_to_deploy(request), request.app[LAB]
    body = await read_json(request, refusal=Refusal(500, FAILED, details="Unexpected token in JSON"))
    config_id = body.get("training_config_id")
    if not config_id or not isinstance(config_id, str):
        raise Refusal(400, "Missing required field: training_config_id")
    key = user_key(lab, user.id)
    if key is None:
        raise Refusal(400, "RunPod API key not configured. Please add your RunPod credentials in the Secrets Vault.")
    config = lab.store.get("configs", config_id, user.id)
    if config is None:
        raise Refusal(404, "Training configuration not found")
    attached = lab.store.attached(config_id)
    if not attached:
        raise Refusal(400, "Please attach a dataset to this training configuration before deploying")
    try:
        job = _new_job(lab, user, config, attached[0])
    except (ArithmeticError, AttributeError, TypeError, ValueError) as exc:
        raise Refusal(500, "Failed to create training job", details=str(exc)) from exc
    try:
        return await _launch(request, key, config, attached[0], job, body)
    except (RunPodRefusal, AttributeError, TypeError, ValueError) as exc:
        lab.store.update("jobs", job["id"], {"status": "failed", "updated_at": lab.now()})
        raise Refusal(500, FAILED, details=_details(exc, _gpu(body))) from exc


async def _launch(
    request: web.Request, key: str, config: Doc, dataset: Doc, job: Doc, body: Mapping[str, Any]
) -> web.Response:
    lab = request.app[LAB]
    # Whatever can fail on a strange config does so before there is a pod to forget.
    cost = _cost(config, dataset, _gpu(body), body)
    count, asked = int(body.get("gpu_count") or 1), body.get("gpu_type") or "RTX_A4000"
    quirks, wanted = quirks_of(request), _pod_request(lab, config, dataset, job, body)
    pod = await create_pod(lab, key, with_broken_bootstrap(wanted) if quirks.broken_bootstrap else wanted)
    if quirks.orphan_pod:
        raise RunPodRefusal(NULL_POD)
    url = f"{CONSOLE}/{pod['id']}"
    lab.store.insert(
        "deployments",
        pod["id"],
        job["user_id"],
        {
            "platform": "runpod", "deployment_id": pod["id"], "status": "creating", "url": url,
            "config": {"job_id": job["id"], "gpu_type": asked, "gpu_count": count},
            "estimated_cost": cost["estimated_cost"], "cost_per_hour": cost["cost_per_hour"],
            "budget_limit": body.get("budget_limit"), "created_at": lab.now(),
        },
    )  # fmt: skip
    return json_response(
        {
            "job_id": job["id"],
            "deployment_id": pod["id"],
            "pod_id": pod["id"],
            "pod_url": url,
            "status": "creating",
            "gpu_type": asked,
            "gpu_count": count,
            "cost": cost,
            "message": "RunPod deployment created successfully",
        }
    )


async def get_deployment(request: web.Request) -> web.Response:
    lab, key, pod_id = _deployment_request(request)
    try:
        pod = await get_pod(lab, key, pod_id)
    except RunPodRefusal as exc:
        details = NULL_POD if exc.status == 404 else str(exc)
        raise Refusal(500, "Failed to get deployment status", details=details) from exc
    status = POD_STATUS.get(pod["status"], "creating")
    url = f"{CONSOLE}/{pod_id}"
    cost: dict[str, Any] = {"cost_per_hour": pod.get("cost", 0), "currency": "USD", "estimated_cost": 0}
    uptime_s = (pod.get("runtime") or {}).get("uptime")
    if uptime_s is not None:
        cost["actual_cost"] = round(pod["cost"] * uptime_s / 3600, 6)
    lab.store.update("deployments", pod_id, {"status": status})
    return json_response({"deployment_id": pod_id, "status": status, "pod_url": url, "cost": cost})


async def delete_deployment(request: web.Request) -> web.Response:
    """Ends the pod and nothing else: the job keeps its status, and no alert is sent."""
    lab, key, pod_id = _deployment_request(request)
    try:
        await terminate_pod(lab, key, pod_id)
    except RunPodRefusal as exc:
        raise Refusal(500, "Failed to stop deployment", details=str(exc)) from exc
    lab.store.update("deployments", pod_id, {"status": "stopped"})
    return json_response(
        {"deployment_id": pod_id, "status": "stopped", "message": "RunPod deployment stopped successfully"}
    )


def deployment_of(lab: Lab, job_id: str, user_id: str) -> str | None:
    """The pod of a job as far as the lab remembers one; the newest wins."""
    rows = lab.store.newest_first("deployments", user_id)
    return next((row["deployment_id"] for row in rows if row["config"].get("job_id") == job_id), None)


def _deployment_request(request: web.Request) -> tuple[Lab, str, str]:
    user, lab = require_session_to_deploy(request), request.app[LAB]
    pod_id = request.query.get("deployment_id")
    if not pod_id:
        raise Refusal(400, "Missing deployment_id parameter")
    key = key_for(request, user.id)
    if key is None:
        raise Refusal(400, "RunPod API key not configured")
    return lab, key, pod_id


def _gpu(body: Mapping[str, Any]) -> LabGpu:
    # Unknown values become the default without a word, as in the real service.
    return GPUS.get(str(body.get("gpu_type")), _A4000)


def _new_job(lab: Lab, user: User, config: Doc, dataset: Doc) -> Doc:
    now, training = lab.now(), config["config_json"].get("training", {})
    batch = (training.get("batch_size") or 4) * (training.get("gradient_accumulation_steps") or 8)
    # On the whole dataset, although the trainer keeps a fifth of it for evaluation.
    steps = math.ceil(dataset["total_examples"] / batch) * (training.get("num_epochs") or 3)
    job = {
        "id": str(uuid.uuid4()),
        "user_id": user.id,
        "model_name": config["config_json"].get("model", {}).get("name") or DEFAULT_MODEL,
        "dataset_path": dataset["storage_path"],
        "status": "pending",
        "job_token": secrets.token_urlsafe(32),
        "config": config["config_json"],
        "started_at": now,
        "created_at": now,
        "updated_at": now,
        "total_samples": dataset["total_examples"],
        "total_steps": int(steps),
    }
    lab.store.insert("jobs", job["id"], user.id, job)
    return job


def _pod_request(lab: Lab, config: Doc, dataset: Doc, job: Doc, body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": f"training-{config['id'][:8]}",
        "image": body.get("docker_image") or DEFAULT_IMAGE,
        "args": msgspec.json.encode({"cmd": ["bash", "-c", START]}).decode(),
        "gpu": {"id": _gpu(body).name, "count": int(body.get("gpu_count") or 1)},
        "cloud": "SECURE",
        "disk": 100,
        "mounts": {"persistent": {"size": int(body.get("volume_size_gb") or 100), "path": "/workspace"}},
        "ports": ["8080/http"],
        "env": _pod_env(lab, config, dataset, job, body),
    }


def _pod_env(lab: Lab, config: Doc, dataset: Doc, job: Doc, body: Mapping[str, Any]) -> dict[str, str]:
    wanted = body.get("environment_variables") or {}
    return {
        **{str(name): str(value) for name, value in wanted.items()},
        "JOB_ID": job["id"],
        "JOB_TOKEN": job["job_token"],
        "USER_ID": job["user_id"],
        # No Supabase stands behind this lab; the names exist because the product's script expects them.
        "SUPABASE_URL": "",
        "SUPABASE_ANON_KEY": "",
        "SUPABASE_SERVICE_KEY": "",
        "DATASET_URL": signed_url(lab, dataset),
        "MODEL_NAME": job["model_name"],
        "METRICS_API_URL": f"{lab.url}/api/training/local/metrics",
        "RUNSPEC_MODEL_UPLOAD_URL": f"{lab.url}/api/training/{job['id']}/upload/model",
        "ALERT_API_URL": f"{lab.url}/api/alerts/trigger",
        "INTERNAL_API_KEY": lab.credentials.lab_internal_key,
        "DEFAULT_DATALOADER_NUM_WORKERS": "4",
        "DEFAULT_DATALOADER_PREFETCH_FACTOR": "2",
        "DEFAULT_PRETOKENIZE": "true",
        "TRAINING_CONFIG_ID": config["id"],
        "TRAINING_CONFIG_B64": _b64(msgspec.json.encode(pod_config(config["config_json"]))),
        "TRAINING_SCRIPT_B64": _b64(lab.bootstrap.read_bytes()),
        "RUNSPEC_TRAINER_URL": f"{lab.url}/downloads/standalone_trainer.py",
        "RUNSPEC_TRAINER_SHA256": hashlib.sha256(lab.trainer).hexdigest(),
    }


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _cost(config: Doc, dataset: Doc, gpu: LabGpu, body: Mapping[str, Any]) -> dict[str, Any]:
    training = config["config_json"].get("training", {})
    tokens = dataset["total_examples"] * (training.get("max_length") or 512) * (training.get("num_epochs") or 3)
    hours = tokens / TOKENS_PER_HOUR * ESTIMATE_MARGIN
    usd_h = (gpu.usd_h or _A4000.usd_h or 0.0) * int(body.get("gpu_count") or 1)
    return {
        "estimated_cost": round(usd_h * hours, 4),
        "cost_per_hour": usd_h,
        "estimated_hours": round(hours, 4),
        "budget_limit": body.get("budget_limit"),
        "currency": "USD",
    }


def _details(exc: Exception, gpu: LabGpu) -> str:
    if "no longer any instances available" in str(exc):
        return (
            f"No {gpu.name} GPUs currently available on RunPod. "
            "Try: (1) a different GPU type, (2) again in a few minutes, (3) another region."
        )
    status = exc.status if isinstance(exc, RunPodRefusal) else None
    return str(exc) if status is None else f"RunPod API error: {status} - {exc}"


ROUTES = [
    web.post("/api/training/deploy/runpod", deploy),
    web.get("/api/training/deploy/runpod", get_deployment),
    web.delete("/api/training/deploy/runpod", delete_deployment),
]
