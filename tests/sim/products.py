"""Trained models and the SDK in the simulated world: what `download`, `generate` and `collect via: sdk` reach."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from runner.errors import ModelError, ProviderError
from runner.ports import FetchedModel, ModelAnswer, ProviderErrorKind
from runner.results import MetricPoint
from tests.sim.cloud import SimLab, _Port

TIME_TO_LOAD_S = 8.0


class SimModels(_Port):
    """The `Models` port as one life sees it; models of one life are not there in the next."""

    async def fetch(self, lab_job_id: str, *, max_bytes: int) -> FetchedModel:
        await self._arrive("fetch_model")
        self._may_fail("download error")
        if self._world.strikes("no download route") or self._world.jobs[lab_job_id].status != "completed":
            raise ProviderError("404: Model not found", kind=ProviderErrorKind.GONE, status=404)
        if self._world.strikes("hostile archive"):
            raise ModelError("the archive is refused: `../x` has a path that leads elsewhere")
        if self._world.strikes("download hangs"):
            await asyncio.sleep(10_000)
        await self._answer("fetch_model")
        return FetchedModel(size=1_000_000, sha256="0" * 64, files=("adapter_model.safetensors",))

    async def generate(self, lab_job_id: str, prompts: Sequence[str], *, max_tokens: int) -> Sequence[ModelAnswer]:
        await self._arrive("ask_model")
        await asyncio.sleep(TIME_TO_LOAD_S)
        await self._life_goes_on("ask_model")
        if self._world.strikes("model broken"):
            raise ModelError("the model cannot be loaded: SafetensorError: header too large")
        if self._world.strikes("no torch"):
            raise ProviderError("torch cannot be imported", kind=ProviderErrorKind.UNSUPPORTED)
        await self._answer("ask_model")
        return [ModelAnswer(prompt=prompt, answer="yes", base="no") for prompt in prompts]

    async def discard(self, lab_job_id: str) -> None:
        await self._life_goes_on("discard_model")


class SimSdk(_Port):
    """The `MetricsReader` port: what the lab says, unless a fault says otherwise."""

    name = "finetune-lab sim"

    async def metrics(self, lab_job_id: str) -> Sequence[MetricPoint]:
        if self._world.strikes("sdk missing"):
            raise ProviderError("the SDK is not installed", kind=ProviderErrorKind.UNSUPPORTED)
        points = await SimLab(self._world, self._loop, self._life).metrics(lab_job_id)
        if points and self._world.strikes("sdk reads otherwise"):
            return [*points[:-1], replace_loss(points[-1])]
        return points


def replace_loss(point: MetricPoint) -> MetricPoint:
    """The point with another loss."""
    values = {**point.values, "train_loss": 99.0}
    return MetricPoint(step=point.step, values=values, at=point.at)
