"""Opens the target of a run: the embedded cloud in this process, or RunPod and FineTune Lab."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path

import click

from runner.artifacts.workshop import Workshop
from runner.cli.pod_downloads import PodDownloads
from runner.cli.pod_kit import open_kit
from runner.cli.staging import AS_ALWAYS, Staging
from runner.cli.system import SystemClock, folder_of_keys
from runner.datasets.source import check_dataset, open_dataset
from runner.datasets.validate import DatasetSummary
from runner.engine.world import LOCAL_PACE, Pace, World
from runner.errors import Diagnostic, PlanError
from runner.events import AnyEvent
from runner.plan import PlannedJob
from runner.ports import Journal
from runner.providers.connect import open_lab, open_runpod
from runner.providers.sdk import SdkMetrics
from runner.providers.settings import Settings
from runner.results import Target

TRAIN_MODULES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")


class Datasets:
    """The rows of planned jobs, from the files beside their specs."""

    def __init__(self, *, checks_rows: bool = True) -> None:
        self._checks_rows = checks_rows

    def check(self, job: PlannedJob) -> DatasetSummary | None:
        """Validate every row, unless this run is to show what happens without."""
        if not self._checks_rows:
            return None
        return check_dataset(job.spec.dataset, base_dir=job.base_dir, needs_reward=job.needs_reward)

    def rows(self, job: PlannedJob) -> bytes:
        """The rows, ready to upload."""
        return open_dataset(job.spec.dataset, base_dir=job.base_dir)


def check_target(target: Target, *, max_spend_usd: float | None, folder: Path, via: str = "lab") -> Settings | None:
    """Refuse a run whose target cannot work, before anything starts.

    Raises:
        PlanError: a package, a key or a spend limit is missing.
    """
    problems = []
    if target is Target.LOCAL:
        missing = [name for name in TRAIN_MODULES if importlib.util.find_spec(name) is None]
        if missing:
            problems.append(
                Diagnostic(
                    "target.no-training",
                    f"the local target really trains, but {', '.join(missing)} cannot be imported",
                    fix="pip install 'finetune-runspec[train]' (with a CPU build of torch first, see the README)",
                )
            )
        if problems:
            raise PlanError(problems)
        return None
    settings = Settings.load(os.environ, folder_of_keys(folder))
    if max_spend_usd is None:
        problems.append(
            Diagnostic(
                "target.no-spend-limit",
                "a run on the cloud costs money and needs a limit",
                fix="add `--max-spend 2` (US dollars, for the whole invocation)",
            )
        )
    if settings.runpod_key is None:
        problems.append(_missing("RUNPOD_API_KEY", "to watch the pod and to prove that it is gone"))
    if via == "runpod" and settings.trainer_url is None:
        problems.append(_missing("RUNSPEC_TRAINER_URL", "by pods of `--via runpod` to download their trainer"))
    if settings.lab_jwt is None and settings.refresh_token is None:
        problems.append(_missing("FINETUNE_LAB_JWT", "to store the configuration, deploy and read alerts"))
    if problems:
        raise PlanError(problems)
    if via == "runpod" and settings.lab_internal_key is None:
        click.echo(
            "warning: `FINETUNE_LAB_INTERNAL_KEY` is not set: the lab will refuse the alerts of `--via runpod` pods",
            err=True,
        )
    return settings


def _missing(name: str, purpose: str) -> Diagnostic:
    return Diagnostic(
        "target.no-credential",
        f"`{name}` is not set; it is needed {purpose}",
        fix=f"export {name}=…, or put it in .env",
    )


@asynccontextmanager
async def open_world(
    target: Target,
    journal: Journal,
    *,
    state_dir: Path,
    settings: Settings | None,
    via: str = "lab",
    staging: Staging = AS_ALWAYS,
) -> AsyncIterator[World]:
    """Everything a run touches, until the block ends; the embedded cloud ends its pods with it."""
    if target is Target.CLOUD and settings is not None:
        opened = _connected(settings, journal, Pace(), state_dir=state_dir, sdk=SdkMetrics(settings), via=via)
        async with opened as world:
            yield world
        return
    from runner.local.cloud import CloudOptions, EmbeddedCloud

    async with EmbeddedCloud((state_dir / "local").resolve(), CloudOptions(faults=staging.faults)) as cloud:
        local = Settings.of_local(asdict(cloud.endpoints))
        # The session token has no request limit there, and a tiny model is watched many times a second.
        # The SDK has nothing but keys.
        ours, sdk = replace(local, lab_api_key=None), SdkMetrics(local)
        ours = replace(ours, trainer_url=f"{local.lab_url}/downloads/standalone_trainer.py")
        opened = _connected(ours, journal, LOCAL_PACE, state_dir=state_dir, sdk=sdk, via=via)
        async with opened as world:
            yield world if staging.checks_rows else replace(world, datasets=Datasets(checks_rows=False))


@asynccontextmanager
async def open_for_ending(settings: Settings) -> AsyncIterator[World]:
    """What it takes to end pods on the cloud, and nothing that a runner beside us might be using."""
    async with open_runpod(settings) as cloud, open_lab(settings) as lab:
        yield World(cloud=cloud, lab=lab, journal=_NoJournal(), clock=SystemClock(), datasets=Datasets())


class _NoJournal:
    """Whoever only ends pods writes into the journals of the runs that left them, and into no other."""

    async def append(self, *events: AnyEvent, durable: bool = False) -> None:
        """Take nothing."""


@asynccontextmanager
async def _connected(
    settings: Settings, journal: Journal, pace: Pace, *, state_dir: Path, sdk: SdkMetrics, via: str
) -> AsyncIterator[World]:
    kit = None
    if via == "runpod" and settings.trainer_url is not None:
        kit = await open_kit(state_dir, trainer_url=settings.trainer_url)
    async with open_runpod(settings) as cloud, open_lab(settings) as lab:
        yield World(
            cloud=cloud,
            lab=lab,
            journal=journal,
            clock=SystemClock(),
            datasets=Datasets(),
            pace=pace,
            models=Workshop(lab if kit is None else PodDownloads(cloud, kit), (state_dir / "models").resolve()),
            sdk=sdk,
            kit=kit,
        )
