"""What a run would send and what GPUs cost now: for `runspec plan`, which starts nothing."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from runner.cli.system import folder_of_keys
from runner.datasets.source import open_dataset
from runner.errors import ProviderError
from runner.plan import PlannedJob
from runner.ports import DeployRequest, UploadedDataset
from runner.providers.budget import RateBudget
from runner.providers.clock import SystemClock
from runner.providers.connect import open_runpod
from runner.providers.faults import Call
from runner.providers.finetunelab import FineTuneLab, LabCredentials
from runner.providers.http import Host
from runner.providers.settings import Settings
from runner.reports.foreign import visible
from runner.results import GpuOffer

T = TypeVar("T")
_SHOWN_UPLOAD_LINES = 12
PATIENCE_S = 10.0
"""How long a plan waits for prices: it is useful without them."""


@dataclass
class _DryHost:
    """Keeps the calls that the lab's client makes; nothing is sent."""

    calls: list[Call] = field(default_factory=list)
    budget: RateBudget = field(default_factory=lambda: RateBudget(SystemClock()))

    async def fetch(self, call: Call, _read: Callable[[Any], T]) -> T:
        """Answers with placeholders, which the next call then carries."""
        self.calls.append(call)
        is_upload = call.path.endswith("/dataset")
        answer = UploadedDataset(id="DATASET_ID", rows=0) if is_upload else "CONFIG_ID"
        return cast("T", answer)


def requests_of(job: PlannedJob) -> list[str]:
    """Every request that deploying a job through the lab makes, as text: made by the client that would send them."""
    host = _DryHost()
    # A client on a host that keeps instead of sending: the bodies cannot differ from those of a run.
    lab = FineTuneLab(cast("Host", host), LabCredentials(jwt="<session token>"))
    try:
        asyncio.run(_deploy(lab, job))
    except ProviderError as exc:
        return [*map(_as_text, host.calls), f"cannot be deployed: {exc}"]
    return [_as_text(call) for call in host.calls]


async def _deploy(lab: FineTuneLab, job: PlannedJob) -> None:
    spec = job.spec
    config_id = await lab.create_config(name=f"runspec {job.key} <now>", template=spec.template.key, config=job.config)
    rows = open_dataset(spec.dataset, base_dir=job.base_dir)
    uploaded = await lab.upload_dataset(name=f"runspec {job.key} <now>", row_format=spec.dataset.format, rows=rows)
    await lab.attach_dataset(config_id, uploaded.id)
    await lab.deploy(
        DeployRequest(
            config_id=config_id,
            gpu=spec.gpu.prefer[0],
            gpu_count=spec.gpu.count,
            budget_usd=spec.limits.spend,
            env={},
        )
    )


def _as_text(call: Call) -> str:
    body = call.body or b""
    try:
        text = json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        lines = body.decode("utf-8", "replace").splitlines()
        text = "\n".join(visible(line) for line in lines[:_SHOWN_UPLOAD_LINES])
        text += f"\n… {len(lines) - _SHOWN_UPLOAD_LINES} more lines" if len(lines) > _SHOWN_UPLOAD_LINES else ""
    return f"{call.method} {call.path}\n{text}"


def prices(jobs: Sequence[PlannedJob]) -> Iterator[str]:
    """What the GPUs of a plan cost now and whether there are any, a line each; asks RunPod, and says why it cannot."""
    settings = Settings.load(os.environ, folder_of_keys(jobs[0].base_dir if jobs else Path()))
    wanted = {(job.spec.gpu.cloud, job.spec.gpu.count): None for job in jobs}
    if settings.runpod_key is None:
        yield "GPU prices: set RUNPOD_API_KEY to see them and what is available"
        return
    for cloud, count in wanted:
        gpus = {gpu: None for job in jobs if (job.spec.gpu.cloud, job.spec.gpu.count) == (cloud, count)
                for gpu in job.spec.gpu.prefer}  # fmt: skip
        try:
            offers = asyncio.run(asyncio.wait_for(_offers(settings, cloud, count), PATIENCE_S))
        except (ProviderError, TimeoutError) as exc:
            yield f"GPU prices: not known, {visible(str(exc)) or f'no answer within {PATIENCE_S:.0f} s'}"
            return
        yield f"GPUs now ({cloud} cloud, {count} in the pod)"
        cap = min(job.spec.limits.price for job in jobs)
        yield from (_offer_line(gpu, offers.get(gpu), count, cap) for gpu in gpus)


async def _offers(settings: Settings, cloud: str, count: int) -> dict[str, GpuOffer]:
    async with open_runpod(settings) as runpod:
        return {offer.id: offer for offer in await runpod.gpu_offers(cloud=cloud, count=count)}


def _offer_line(gpu: str, offer: GpuOffer | None, count: int, cap_usd_h: float) -> str:
    if offer is None:
        return f"  {gpu}: not in the catalog"
    if offer.price_usd_h is None:
        return f"  {gpu}: {offer.memory_gib} GB, no price, availability {offer.availability.lower()}"
    price = offer.price_usd_h * count
    over = f", over the limit of {cap_usd_h:.2f} USD/h" if price > cap_usd_h else ""
    return f"  {gpu}: {offer.memory_gib} GB, {price:.2f} USD/h, availability {offer.availability.lower()}{over}"
