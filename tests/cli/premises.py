"""An embedded cloud whose pods play a short training, and `runspec` as real processes against it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from runner.local.clock import SystemClock
from runner.local.cloud import CloudOptions, EmbeddedCloud
from runner.local.faults import Rule
from runner.local.lifecycle import Delays, Pod
from runner.local.pods import ContainerSpec
from runner.local.scripted import Do, Say, Scenario, ScriptedPods
from tests.cli.workshop import COMMAND, Said, Workshop, furnish

STEPS = 4
PHASE = f"""\
runspec-phase: 1
name: quick
title: A training of a second
vars: {{last: {STEPS}}}
steps:
  - {{deploy: template, title: Deploy}}
  - {{wait: {{log: Training started}}, title: It starts, timeout: 1m}}
  - {{wait: {{log: 'Step ${{vars.last}}/'}}, title: It goes on, timeout: 1m}}
success:
  - {{id: trains, title: It trains, expect: {{log: 'Step ${{vars.last}}/'}}}}
"""


@dataclass
class Trainings:
    """What a pod plays: it prints its keys as trainers do, posts a few metrics, and goes on until it is ended."""

    given: set[str] = field(default_factory=set)
    """The secrets that pods were given."""

    def __call__(self, spec: ContainerSpec) -> Scenario:
        env = spec.env
        self.given |= {env[name] for name in ("JOB_TOKEN", "INTERNAL_API_KEY", "RUNSPEC_AGENT_TOKEN") if env.get(name)}
        shown = " ".join(f"{name}={value}" for name, value in env.items())
        steps = range(1, STEPS + 1)
        return [
            Say(0, shown),
            Say(0.05, "[MetricsCallback] Training started"),
            *(Do(0.05 + step / 5, _metric(step)) for step in steps),
            *(Say(0.1 + step / 5, f"[Progress] Epoch 1/3 | Step {step}/{STEPS}") for step in steps),
        ]


def _metric(step: int) -> Any:
    async def post(spec: ContainerSpec) -> None:
        body = {"job_id": spec.env["JOB_ID"], "metrics": [{"step": step, "epoch": 0, "train_loss": 3 - step / 10}]}
        headers = {"Authorization": f"Bearer {spec.env['JOB_TOKEN']}"}
        async with ClientSession() as http, http.post(spec.env["METRICS_API_URL"], json=body, headers=headers):
            pass

    return post


@dataclass
class Premises:
    """A workshop whose `cloud` target is an embedded cloud of this process."""

    workshop: Workshop
    cloud: EmbeddedCloud
    trainings: Trainings
    created: list[Pod] = field(default_factory=list)
    """Every pod that was ever made, in order."""

    @property
    def keys(self) -> dict[str, str]:
        """The environment of somebody who has an account there."""
        at = self.cloud.endpoints
        return {
            "RUNPOD_API_KEY": at.runpod_api_key,
            "RUNSPEC_RUNPOD_URL": at.runpod_url,
            "FINETUNE_LAB_API_KEY": at.lab_api_key,
            "FINETUNE_LAB_API_URL": at.lab_url,
            "FINETUNE_LAB_JWT": at.lab_jwt,
            "FINETUNE_LAB_INTERNAL_KEY": at.lab_internal_key,
            "RUNSPEC_TRAINER_URL": f"{at.lab_url}/downloads/standalone_trainer.py",
        }

    def run_args(self, *more: str, via: str = "lab") -> Sequence[str]:
        """The command line of a quick run."""
        return (
            "run", "specs/quick.yaml", "--target", "cloud", "--via", via, "--max-spend", "2",
            "--progress", "plain", *more,
        )  # fmt: skip

    def alive(self) -> list[str]:
        """The names of the pods that cost money."""
        return [pod.request.name for pod in self.cloud.pods.pods() if not pod.is_ended]

    def processes(self) -> dict[int, bytes]:
        """The processes that work below the workshop's folder, by id, with their command lines."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (entry / "cwd").readlink().is_relative_to(self.workshop.folder):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes()
        return found

    @asynccontextmanager
    async def started(
        self, *args: str, env: Mapping[str, str] | None = None
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """`runspec` as a process; it and what it started are ended with the block."""
        process = await asyncio.create_subprocess_exec(
            *COMMAND, *args,
            cwd=self.workshop.folder,
            env=self.workshop.environment({**self.keys, **(env or {})}),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()

    async def runspec(self, *args: str, env: Mapping[str, str] | None = None, timeout_s: float = 60) -> Said:
        """`runspec` to its end."""
        async with self.started(*args, env=env) as process:
            return await ended(process, timeout_s=timeout_s)


async def ended(process: asyncio.subprocess.Process, *, timeout_s: float = 60) -> Said:
    """What a process came to."""
    async with asyncio.timeout(timeout_s):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Said(process.returncode, out.decode(), err.decode())


@asynccontextmanager
async def open_premises(folder: Path, *faults: Rule) -> AsyncIterator[Premises]:
    """An account and a workshop in a folder, until the block ends."""
    workshop = furnish(folder)
    (folder / "specs" / "phases" / "quick.yaml").write_text(PHASE)
    workshop.write_spec("quick", phases=["quick"])
    trainer = folder / "trainer.py"
    trainer.write_text("print('trainer')\n")
    trainings = Trainings()
    options = CloudOptions(
        backend=ScriptedPods(SystemClock(), trainings),
        trainer=trainer,
        delays=Delays(provision_s=0.3, start_s=0.1, terminate_s=0.1),
        faults=faults,
    )
    async with EmbeddedCloud(folder / "cloud", options) as cloud:
        premises = Premises(workshop, cloud, trainings)
        create = cloud.pods.create

        def noted(request: Any, **more: Any) -> Pod:
            pod = create(request, **more)
            premises.created.append(pod)
            return pod

        cloud.pods.create = noted  # type: ignore[method-assign]
        try:
            yield premises
        finally:
            for pid in premises.processes():  # such as a watchdog that looks on for a while
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
