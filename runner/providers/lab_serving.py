"""Models of the lab and what serves them: registered models, inference pods and serverless endpoints.

What is deployed here is billed by RunPod until it is stopped.

Source: FineTune Lab contract §2.11, read from the public repository of 2026-07.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runner.errors import ProviderError
from runner.ports import ProviderErrorKind as Kind
from runner.providers.lab_access import Ask, LabAccess, segment
from runner.providers.lab_wire import read_done
from runner.providers.readers import items, mapping, maybe_mapping, needed_text, text

DEPLOY_S = 180.0
SERVERLESS = "runpod-serverless"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredModel:
    """A model that prompts can be put to; `id` is what `predict` takes for a model of one's own."""

    id: str
    name: str
    provider: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A model that is being served.

    Attributes:
        server_id: the pod, the endpoint or the local server.
        model_id: row of the model, for `predict`.
        row_id: row of the deployment, which status and stop want; None for local servers.
    """

    server_id: str
    model_id: str
    status: str
    base_url: str
    row_id: str | None


class LabServing:
    """Deploys trained models for inference, and stops them."""

    def __init__(self, access: LabAccess) -> None:
        self._access = access

    async def models(self) -> Sequence[RegisteredModel]:
        """Global models and the user's own."""
        ask = Ask(method="GET", path="/api/models", to="list models")
        return await self._access.by_session(ask, lambda answer: [_model(row) for row in items(answer, "models")])

    async def serve(
        self,
        *,
        kind: str,
        name: str,
        job_id: str | None = None,
        model_path: str | None = None,
        gpu: str | None = None,
        budget_usd: float | None = None,
    ) -> Served:
        """Serve a model. Sent once, because it may start a pod.

        Args:
            kind: `vllm`, `ollama` (on the lab's own machine), `runpod` or `runpod-serverless`.
            job_id: whose model. Refused with a `runpod` kind, which would serve the base model of the job (T-28).
            model_path: a repository of the Hugging Face hub with the model itself.
        """
        if job_id is not None and kind.startswith("runpod"):
            raise ProviderError(
                f"`{kind}` with a job serves its base model, not what was trained: give `model_path`",
                kind=Kind.UNSUPPORTED,
            )
        settings = {"model_path": model_path, "gpu_type": gpu, "budget_limit": budget_usd}
        config = {key: value for key, value in settings.items() if value is not None}
        body = {"server_type": kind, "name": name, "config": config} | ({"job_id": job_id} if job_id else {})
        ask = Ask(method="POST", path="/api/training/deploy", body=body, to="serve a model", total_s=DEPLOY_S)
        return await self._access.by_session(ask, _served)

    async def stop_server(self, server_id: str) -> None:
        """Stop a local server; fine when there is none. The lab does not find pods by this route."""
        ask = Ask(
            method="DELETE", path="/api/training/deploy", params={"server_id": server_id}, to="stop serving a model"
        )  # fmt: skip
        await self._tolerating_absence(ask)

    async def deploy_endpoint(
        self, *, name: str, base_model: str, model_type: str, storage_url: str, budget_usd: float
    ) -> str:
        """Deploy a serverless endpoint; the provider's id of it, which neither status nor stop accepts. Sent once.

        The lab answers `deploying` even when it could not remember the endpoint: stop it at RunPod by its id.
        """
        body = {
            "provider": SERVERLESS, "deployment_name": name, "base_model": base_model, "model_type": model_type,
            "model_storage_url": storage_url, "budget_limit": budget_usd,
        }  # fmt: skip
        ask = Ask(method="POST", path="/api/inference/deploy", body=body, to="deploy an endpoint", total_s=DEPLOY_S)
        return await self._access.by_session(
            ask, lambda answer: needed_text(mapping(answer, "the answer"), "deployment_id", "the endpoint")
        )  # fmt: skip

    async def endpoint_status(self, row_id: str) -> str:
        """Status of a deployment by its row; an endpoint that exists always reads `active`."""
        path = f"/api/inference/deployments/{segment(row_id)}/status"
        ask = Ask(method="GET", path=path, to="read a deployment")
        return await self._access.by_session(ask, _endpoint_status)

    async def stop_endpoint(self, row_id: str) -> None:
        """Stop a deployment by its row; fine when there is none."""
        path = f"/api/inference/deployments/{segment(row_id)}/stop"
        await self._tolerating_absence(Ask(method="DELETE", path=path, to="stop a deployment"))

    async def _tolerating_absence(self, ask: Ask) -> None:
        try:
            await self._access.by_session(ask, read_done)
        except ProviderError as failed:
            if failed.kind != Kind.GONE:
                raise


def _model(value: Any) -> RegisteredModel:
    row = mapping(value, "a model")
    return RegisteredModel(
        id=needed_text(row, "id", "a model"),
        name=text(row.get("name")) or "",
        provider=text(row.get("provider")) or "",
        model=text(row.get("model_id")) or "",
    )


def _served(answer: Any) -> Served:
    found = mapping(answer, "the answer")
    server_id = text(found.get("server_id")) or needed_text(found, "endpoint_id", "the server")
    return Served(
        server_id=server_id,
        model_id=needed_text(found, "model_id", "the server"),
        status=text(found.get("status")) or "unknown",
        base_url=text(found.get("base_url")) or text(found.get("endpoint_url")) or "",
        row_id=text(found.get("inference_deployment_id")),
    )


def _endpoint_status(answer: Any) -> str:
    found = mapping(answer, "the answer")
    row = maybe_mapping(found.get("deployment")) or found
    return needed_text(row, "status", "the deployment")
