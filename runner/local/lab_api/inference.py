"""Serving models: local servers, vLLM pods on RunPod, and serverless endpoints.

Whatever serves, the lab's own model server does the answering, through `POST /api/v1/predict` with the row's id. A
`runpod` server is a real pod, so that it is billed and can be forgotten; its program only waits. Serverless endpoints
have no counterpart in the embedded RunPod, so they are records of the lab.

Source: FineTune Lab contract §2.11, read 2026-11.
"""

from __future__ import annotations

import secrets
import string
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from runner.local.lab_api.auth import User, require_session, session_user
from runner.local.lab_api.context import LAB, Lab, Refusal, read_json
from runner.local.lab_api.models import add_model
from runner.local.lab_api.runpod_client import RunPodRefusal, create_pod, terminate_pod, user_key
from runner.local.lab_api.store import Doc
from runner.local.web_kit import json_response

SERVER_TYPES = ("vllm", "ollama", "runpod", "runpod-serverless", "fireworks")
BAD_TYPE = 'Invalid server_type. Must be "vllm", "ollama", "runpod", "runpod-serverless", or "fireworks"'
NO_RUNPOD_KEY = "RunPod API key not configured. Please add your RunPod credentials in Settings > Secrets."
TRAINED = "trained:"
"""`config.model_path` of a model that a job here has trained: this, and the job's id. The product takes a repository
of the Hugging Face hub there, which nothing here is uploaded to."""
DEPLOY_FIELDS = ("provider", "deployment_name", "base_model", "model_type", "model_storage_url", "budget_limit")
MODEL_TYPES = ("lora-adapter", "merged-model", "quantized", "gguf")
IDLE = "import time\nwhile True: time.sleep(3600)"


# --- POST, GET, DELETE /api/training/deploy


async def deploy(request: web.Request) -> web.Response:
    if not request.headers.get("Authorization", "").startswith("Bearer "):
        raise Refusal(401, "Unauthorized - Authorization header required")
    lab = request.app[LAB]
    body = await read_json(request, refusal=Refusal(500, "Deployment failed", details="Unexpected end of JSON input"))
    user = _session(request)
    kind, job_id = body.get("server_type"), body.get("job_id")
    config = body["config"] if isinstance(body.get("config"), dict) else {}
    if kind not in SERVER_TYPES:
        raise Refusal(400, BAD_TYPE)
    if not job_id and not config.get("model_path"):
        raise Refusal(400, "Either job_id or config.model_path must be provided")
    job = lab.store.get("jobs", str(job_id), user.id) if job_id else None
    if job is not None and job["status"] != "completed":
        details = f'Job status is "{job["status"]}". Only completed jobs can be deployed.'
        raise Refusal(400, "Training job not completed", details=details)
    wanted = _Wanted(lab, user, job, str(job_id) if job_id else None, config, body.get("name"))
    match kind:
        case "runpod":
            return await _serve_on_pod(wanted)
        case "runpod-serverless":
            return _serve_serverless(wanted)
        case "fireworks":
            raise Refusal(400, "Fireworks API key not configured. Please add your credentials in Settings > Secrets.")
        case _:
            return _serve_here(wanted, str(kind))


class _Wanted:
    """One wish for a server: what it serves, and under which name."""

    def __init__(
        self, lab: Lab, user: User, job: Doc | None, job_id: str | None, config: Mapping[str, Any], name: Any
    ) -> None:
        self.lab, self.user, self.job, self.job_id, self.config = lab, user, job, job_id, config
        path = str(config.get("model_path") or "")
        self.base_model = str(job["model_name"] if job else path)
        self.name = str(name) if name else f"{self.base_model.replace('/', '-').replace(':', '-')}-finetuned"
        self._path_job = path.removeprefix(TRAINED) if path.startswith(TRAINED) else None
        for named in (job_id, self._path_job):
            if named is not None and lab.store.get("jobs", named, user.id) is None:
                raise Refusal(500, "Deployment failed", details=f"job {named} has no model here")

    def source(self, *, remote: bool) -> dict[str, Any] | None:
        """What answers. A remote server with a `job_id` serves the base of the job, not what it trained (T-28)."""
        if self._path_job is not None:
            return {"kind": "job", "job_id": self._path_job, "adapter": True}
        if self.job_id is not None:
            return {"kind": "job", "job_id": self.job_id, "adapter": not remote}
        return None

    def register(self, base_url: str, provider: str, *, remote: bool) -> Doc:
        return add_model(
            self.lab, owner=self.user.id, name=self.name, base_url=base_url, model=self.base_model,
            source=self.source(remote=remote), provider=provider, base_model=self.base_model,
            metadata={"training_job_id": self.job_id, "deployed_at": self.lab.now()},
        )  # fmt: skip


def _serve_here(wanted: _Wanted, kind: str) -> web.Response:
    lab, server_id = wanted.lab, str(uuid.uuid4())
    base_url = f"{lab.url}/api/v1"
    model = wanted.register(base_url, kind, remote=False)
    port = int(lab.url.rpartition(":")[2])
    row: Doc = {
        "id": server_id, "user_id": wanted.user.id, "server_type": kind, "status": "running", "base_url": base_url,
        "port": port, "model_id": model["id"], "model_name": wanted.name, "created_at": lab.now(),
    }  # fmt: skip
    lab.store.insert("servers", server_id, wanted.user.id, row)
    return json_response(
        {
            "success": True, "server_id": server_id, "status": "running", "base_url": base_url, "port": port,
            "model_id": model["id"], "model_name": wanted.name,
            "message": f"{kind} server is serving the model; ask it through /api/v1/predict with its model_id",
        }
    )  # fmt: skip


async def _serve_on_pod(wanted: _Wanted) -> web.Response:
    lab, key = wanted.lab, _runpod_key(wanted.lab, wanted.user)
    body = {
        "name": f"vllm-{wanted.name}"[:60],
        "image": "vllm/vllm-openai:latest",
        "args": msgspec.json.encode({"cmd": ["python3", "-c", IDLE]}).decode(),
        "gpu": {"id": str(wanted.config.get("gpu_type") or "NVIDIA RTX A4000"), "count": 1},
        "cloud": "SECURE",
        "disk": 50,
        "ports": ["8000/http"],
        "env": {"MODEL_NAME": wanted.base_model},
    }
    try:
        pod = await create_pod(lab, key, body)
    except RunPodRefusal as exc:
        raise Refusal(500, "Deployment failed", details=str(exc)) from exc
    base_url = f"https://{pod['id']}-8000.proxy.runpod.net/v1"
    model = wanted.register(base_url, "runpod", remote=True)
    row = _add_endpoint(wanted, provider="runpod", endpoint_id=pod["id"], url=base_url, status="deploying")
    return json_response(
        {
            "success": True, "server_id": pod["id"], "pod_id": pod["id"], "status": "deploying", "base_url": base_url,
            "model_id": model["id"], "inference_deployment_id": row["id"], "model_name": wanted.name,
            "message": "vLLM pod is being deployed on RunPod; it is ready in 2-5 minutes",
        }
    )  # fmt: skip


def _serve_serverless(wanted: _Wanted) -> web.Response:
    _runpod_key(wanted.lab, wanted.user)
    endpoint_id = _endpoint_id()
    url = f"https://api.runpod.ai/v2/{endpoint_id}/runsync"
    model = wanted.register(url, "runpod", remote=True)
    row = _add_endpoint(wanted, provider="runpod-serverless", endpoint_id=endpoint_id, url=url, status="deploying")
    return json_response(
        {
            "success": True, "endpoint_id": endpoint_id, "deployment_id": endpoint_id, "status": "deploying",
            "endpoint_url": url, "model_id": model["id"], "inference_deployment_id": row["id"],
            "deployment_name": wanted.name, "message": "RunPod serverless endpoint is being deployed",
        }
    )  # fmt: skip


async def get_server(request: web.Request) -> web.Response:
    """Local servers only: a pod is not found by its id (contract §2.11)."""
    row = _own_server(request)
    return json_response({"success": True, **row, "server_id": row["id"]})


async def delete_server(request: web.Request) -> web.Response:
    lab, row = request.app[LAB], _own_server(request)
    lab.store.update("servers", row["id"], {"status": "stopped"})
    return json_response({"success": True, "server_id": row["id"], "message": "Server stopped"})


def _own_server(request: web.Request) -> Doc:
    if not request.headers.get("Authorization", "").startswith("Bearer "):
        raise Refusal(401, "Unauthorized - Authorization header required")
    user = _session(request)
    server_id = request.query.get("server_id")
    if not server_id:
        raise Refusal(400, "Missing server_id parameter")
    row = request.app[LAB].store.get("servers", server_id, user.id)
    if row is None:
        raise Refusal(404, "Server not found")
    return row


def _session(request: web.Request) -> User:
    return require_session(request, bad="Unauthorized - please login to deploy models")


# --- /api/inference


class InferenceRefusal(Refusal):
    """An error of these routes: `{"success": false, "error": {"code", "message"}}`."""

    def __init__(self, status: int, code: str, message: str, **more: Any) -> None:
        super().__init__(status, message)
        self.body = {"success": False, "error": {"code": code, "message": message, **more}}


async def deploy_endpoint(request: web.Request) -> web.Response:
    """Answers with the provider's id of the endpoint, although the other two routes want the id of the row."""
    user, lab = _inference_user(request), request.app[LAB]
    body = await read_json(request, refusal=InferenceRefusal(500, "INTERNAL_ERROR", "Unexpected end of JSON input"))
    for name in DEPLOY_FIELDS:
        if not body.get(name):
            raise InferenceRefusal(400, "VALIDATION_ERROR", f"Missing required field: {name}")
    if body["provider"] != "runpod-serverless":
        raise InferenceRefusal(400, "UNSUPPORTED_PROVIDER", f"Provider '{body['provider']}' is not supported")
    if body["model_type"] not in MODEL_TYPES:
        raise InferenceRefusal(400, "VALIDATION_ERROR", f"Invalid model_type: {body['model_type']}")
    if user_key(lab, user.id) is None:
        raise InferenceRefusal(401, "NO_CREDENTIALS", "RunPod API key not configured")
    config = {"model_path": body["model_storage_url"]}
    wanted = _Wanted(lab, user, None, None, config, body["deployment_name"])
    endpoint_id = _endpoint_id()
    url = f"https://api.runpod.ai/v2/{endpoint_id}/runsync"
    wanted.register(url, "runpod", remote=True)
    _add_endpoint(wanted, provider="runpod-serverless", endpoint_id=endpoint_id, url=url, status="deploying", body=body)
    return json_response(
        {"success": True, "deployment_id": endpoint_id, "endpoint_url": url, "status": "deploying"}
    )  # fmt: skip


async def endpoint_status(request: web.Request) -> web.Response:
    """An endpoint that exists is always active and has never cost anything."""
    row, lab = _own_endpoint(request), request.app[LAB]
    if row["status"] == "deploying":
        row = lab.store.update("endpoints", row["id"], {"status": "active"}) or row
    shown = {key: row[key] for key in ("deployment_name", "provider", "status", "endpoint_url", "budget_limit")}
    return json_response(
        {"success": True, "deployment": {"id": row["id"], "deployment_id": row["deployment_id"], **shown,
                                         "current_spend": 0}}
    )  # fmt: skip


async def stop_endpoint(request: web.Request) -> web.Response:
    row, lab = _own_endpoint(request), request.app[LAB]
    if row["provider"] == "runpod":
        key = user_key(lab, row["user_id"]) or ""
        try:
            await terminate_pod(lab, key, row["deployment_id"])
        except RunPodRefusal as exc:
            if exc.status != 404:
                raise InferenceRefusal(500, "PROVIDER_ERROR", str(exc)) from exc
    lab.store.update("endpoints", row["id"], {"status": "stopped", "stopped_at": lab.now()})
    return json_response({"success": True, "deployment_id": row["id"], "status": "stopped"})


def _own_endpoint(request: web.Request) -> Doc:
    user = _inference_user(request)
    row = request.app[LAB].store.get("endpoints", request.match_info["row_id"], user.id)
    if row is None:
        raise InferenceRefusal(404, "NOT_FOUND", "Deployment not found")
    return row


def _inference_user(request: web.Request) -> User:
    user = session_user(request)
    if user is None:
        raise InferenceRefusal(401, "UNAUTHORIZED", "Unauthorized")
    return user


def _add_endpoint(
    wanted: _Wanted,
    *,
    provider: str,
    endpoint_id: str,
    url: str,
    status: str,
    body: Mapping[str, Any] | None = None,
) -> Doc:
    lab, config = wanted.lab, body or wanted.config
    row: Doc = {
        "id": str(uuid.uuid4()), "user_id": wanted.user.id, "provider": provider, "deployment_id": endpoint_id,
        "deployment_name": wanted.name, "base_model": wanted.base_model, "endpoint_url": url, "status": status,
        "budget_limit": config.get("budget_limit") or 5, "created_at": lab.now(),
    }  # fmt: skip
    lab.store.insert("endpoints", row["id"], wanted.user.id, row)
    return row


def _runpod_key(lab: Lab, user: User) -> str:
    key = user_key(lab, user.id)
    if key is None:
        raise Refusal(400, NO_RUNPOD_KEY)
    return key


def _endpoint_id() -> str:
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(14))


ROUTES = [
    web.post("/api/training/deploy", deploy),
    web.get("/api/training/deploy", get_server),
    web.delete("/api/training/deploy", delete_server),
    web.post("/api/inference/deploy", deploy_endpoint),
    web.get("/api/inference/deployments/{row_id}/status", endpoint_status),
    web.delete("/api/inference/deployments/{row_id}/stop", stop_endpoint),
]
