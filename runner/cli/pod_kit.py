"""Packs a pod of `--via runpod`: bootstrap, agent, configuration and rows, all within one request body.

The rows travel inside the request, packed, since the lab gives signed addresses of a dataset only to pods that it
deploys itself. RunPod takes 102,400 bytes; what does not fit is refused before anything is created.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import json
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from runner.datasets.source import open_dataset
from runner.errors import DatasetError, Diagnostic, PlanError
from runner.local.lab_api.pod_config import pod_config
from runner.plan import Plan, PlannedJob
from runner.ports import JobTicket, PodRequest
from runner.providers.http import USER_AGENT
from runner.providers.runpod_wire import create_body

POD = Path(__file__).parents[1] / "pod"
IMAGE = "runpod/pytorch:2.1.0-py3.10-cuda11.8.0-devel"
"""The lab's own default, so that both ways of deploying test the same thing."""
DISK_GB = 100
AGENT_PORT = 8080
MAX_BODY = 100_000
"""RunPod refuses 102,400 bytes; the rest is left for what it adds."""
UNPACK = (
    "import base64,gzip,os; "
    "open('bootstrap.py','wb').write(gzip.decompress(base64.b64decode(os.environ['RUNSPEC_BOOTSTRAP_B64'])))"
)
START = f'cd "${{RUNSPEC_WORKSPACE:-/workspace}}" && python3 -c "{UNPACK}" && exec python3 bootstrap.py'


@dataclass(frozen=True, slots=True)
class Trainer:
    """Where a pod downloads its trainer, and what it must be."""

    url: str
    sha256: str


class Kit:
    """Packs pods. The token of a pod's agent is made from its name, so that a later process can ask it too.

    Args:
        key: secret of this state directory.
    """

    def __init__(self, trainer: Trainer, key: bytes) -> None:
        self._trainer = trainer
        self._key = key
        self.names: dict[str, str] = {}
        """Names of the pods by the lab's job id, the newest of each."""

    def request(
        self, job: PlannedJob, ticket: JobTicket, *, name: str, gpu: str, marker: str, deadline: datetime
    ) -> PodRequest:
        """The pod to ask for.

        Raises:
            DatasetError: the rows are too many to travel in a request.
        """
        rows = open_dataset(job.spec.dataset, base_dir=job.base_dir)
        request = PodRequest(
            name=name,
            image=IMAGE,
            gpu=gpu,
            gpu_count=job.spec.gpu.count,
            cloud=job.spec.gpu.cloud,
            disk_gb=DISK_GB,
            env={**ticket.env, **self._env(job, rows, name=name, marker=marker, deadline=deadline)},
            command=["bash", "-c", START],
            ports=[f"{AGENT_PORT}/http"],
        )
        size = len(json.dumps(create_body(request, command_in="args")).encode())
        if size > MAX_BODY:
            raise DatasetError([_too_large(job, rows, size)])
        self.names[ticket.lab_job_id] = name
        return request

    def token_of(self, name: str) -> str:
        """What opens the agent of the pod with this name."""
        return hmac.digest(self._key, name.encode(), hashlib.sha256).hex()

    def _env(self, job: PlannedJob, rows: bytes, *, name: str, marker: str, deadline: datetime) -> dict[str, str]:
        dataset = gzip.compress(rows, mtime=0)
        return {
            "RUNSPEC_POD": marker,
            "RUNSPEC_DEADLINE": str(int(deadline.timestamp())),
            "RUNSPEC_AGENT_TOKEN": self.token_of(name),
            "RUNSPEC_BOOTSTRAP_B64": _packed((POD / "bootstrap.py").read_bytes()),
            "RUNSPEC_AGENT_B64": _packed((POD / "agent.py").read_bytes()),
            "RUNSPEC_TRAINER_URL": self._trainer.url,
            "RUNSPEC_TRAINER_SHA256": self._trainer.sha256,
            "DATASET_B64": base64.b64encode(dataset).decode(),
            "RUNSPEC_DATASET_SHA256": hashlib.sha256(dataset).hexdigest(),
            "TRAINING_CONFIG_B64": base64.b64encode(json.dumps(pod_config(job.config)).encode()).decode(),
            "MODEL_NAME": job.spec.template.model,
        }


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, mtime=0)).decode()


def _too_large(job: PlannedJob, rows: bytes, size: int) -> Diagnostic:
    return Diagnostic(
        "runpod.request-too-large",
        f"{job.key}: its {len(rows):,} bytes of rows make a request of {size:,} bytes, and RunPod takes {MAX_BODY:,}",
        fix="deploy it with `--via lab`, or train on fewer rows",
    )


def check_plan(plan: Plan) -> None:
    """Pack every job of a plan once, so that what does not fit is found before anything is created.

    Raises:
        DatasetError: with every job that does not fit.
    """
    kit = Kit(Trainer("https://example.invalid/" + "x" * 200, "0" * 64), b"")
    blank = JobTicket(lab_job_id="0" * 36, token="", env={f"V{n}": "x" * 120 for n in range(7)})
    some_day = datetime(2027, 1, 1, tzinfo=UTC)
    problems: list[Diagnostic] = []
    for job in plan.jobs:
        try:
            kit.request(job, blank, name="x" * 60, gpu="x" * 60, marker="x" * 90, deadline=some_day)
        except DatasetError as exc:
            problems += exc.diagnostics
    if problems:
        raise DatasetError(problems)


async def open_kit(state_dir: Path, *, trainer_url: str) -> Kit:
    """A kit for one target; the trainer is downloaded once here, so that a pod gets exactly what was seen.

    Raises:
        PlanError: there is no trainer at that address.
    """
    headers = {"User-Agent": USER_AGENT}
    try:
        async with (
            aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=60)) as session,
            session.get(trainer_url) as answer,
        ):
            answer.raise_for_status()
            content = await answer.read()
    except (aiohttp.ClientError, TimeoutError) as exc:
        reason = f"answered {exc.status}" if isinstance(exc, aiohttp.ClientResponseError) else type(exc).__name__
        raise PlanError([_no_trainer(trainer_url, reason)]) from exc
    return Kit(Trainer(trainer_url, hashlib.sha256(content).hexdigest()), _key(state_dir))


def _no_trainer(url: str, reason: str) -> Diagnostic:
    return Diagnostic(
        "target.no-trainer",
        f"the trainer cannot be downloaded from {url}: {reason}",
        fix="set `RUNSPEC_TRAINER_URL` to an address of `standalone_trainer.py` that a pod can reach",
    )


def _key(state_dir: Path) -> bytes:
    """The secret of this state directory, made when it is first needed; readable by its owner only."""
    path = state_dir / "agent.key"
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
    except FileExistsError:
        pass
    return path.read_bytes()
