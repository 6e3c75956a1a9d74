"""What the engine needs from outside, as Protocols: a cloud, a lab, a journal, a clock.

Every call may raise `ProviderError`, and nothing else. The same Protocols are served by the real clients, by the
embedded cloud through these clients, and by the in-process fakes of the simulation.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from runner.events import AnyEvent
from runner.results import Alert, GpuOffer, JobSnapshot, LogLine, MetricPoint, Pod
from runner.spec.models import DatasetFormat


class ProviderErrorKind(StrEnum):
    """What a failed call means for the caller; `ProviderError.kind` is one of these."""

    CAPACITY = "capacity"
    BALANCE = "balance"
    AUTH = "auth"
    BLOCKED = "blocked"
    VALIDATION = "validation"
    CONFLICT = "conflict"
    GONE = "gone"
    RATE_LIMITED = "rate-limited"
    TRANSIENT = "transient"
    AMBIGUOUS = "ambiguous"
    UNSUPPORTED = "unsupported"
    PROTOCOL = "protocol"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRequest:
    """A pod to create.

    Attributes:
        name: exact and unique; the only thing an ambiguous create can be found by.
        disk_gb: container disk, in GB.
    """

    name: str
    image: str
    gpu: str
    gpu_count: int
    cloud: str
    disk_gb: int
    env: Mapping[str, str]
    command: Sequence[str]
    ports: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployRequest:
    """A training to deploy through the lab; budget in USD."""

    config_id: str
    gpu: str
    gpu_count: int
    budget_usd: float
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What the lab answered to a deploy."""

    lab_job_id: str
    pod_id: str
    cost_usd_h: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTicket:
    """A training job at the lab for a pod that we create ourselves.

    Attributes:
        token: opens the job's own routes (metrics, status); a secret.
        env: what a trainer needs in its environment to report to the lab; has secrets.
    """

    lab_job_id: str
    token: str = field(repr=False)
    env: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedDataset:
    """A dataset as the lab stored it."""

    id: str
    rows: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelArchive:
    """A trained model as the lab sent it; `sha256` is of the bytes that arrived, and was promised if `is_checked`."""

    size: int
    sha256: str
    is_checked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedModel:
    """A trained model that was unpacked; `files` are relative paths, sorted."""

    size: int
    sha256: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAnswer:
    """What a model says to a prompt; `base` is what it says without what the training added, if that could be asked."""

    prompt: str
    answer: str
    base: str | None = None


class PodCloud(Protocol):
    """Machines that cost money while they exist."""

    async def create_pod(self, request: PodRequest) -> Pod:
        """Create one pod. Never repeated by the provider; `ambiguous` errors may have created it."""

    async def get_pod(self, pod_id: str) -> Pod:
        """One pod; raises `gone` when the cloud's own answer says that there is none."""

    async def list_pods(self) -> Sequence[Pod]:
        """All pods of the account, all pages, all states."""

    async def terminate_pod(self, pod_id: str) -> None:
        """End one pod; returns also when it is already gone."""

    def stream_logs(self, pod_id: str, *, after: str) -> AsyncIterator[Sequence[LogLine]]:
        """Log lines as they come, in batches, from after the cursor (empty: from the start).

        The first batch comes as soon as the stream is open, and is empty while there is no line.
        Ends when the stream was cut or idle; the caller asks again with the last cursor it saw.
        """

    async def gpu_offers(self, *, cloud: str, count: int) -> Sequence[GpuOffer]:
        """GPU types with their price and availability."""

    async def balance(self) -> float | None:
        """Credit of the account in USD; None where it cannot be had. Never raises."""


class Lab(Protocol):
    """The service whose templates are tested."""

    async def create_config(self, *, name: str, template: str, config: Mapping[str, Any]) -> str:
        """Store a training configuration; returns its id."""

    async def upload_dataset(self, *, name: str, row_format: DatasetFormat, rows: bytes) -> UploadedDataset:
        """Store a dataset (JSON Lines); the provider translates our format into the lab's name for it."""

    async def attach_dataset(self, config_id: str, dataset_id: str) -> None:
        """Let a configuration train on a dataset."""

    def pod_name(self, config_id: str) -> str:
        """The name that the lab gives to the pod of this configuration; how an ambiguous deploy is reconciled."""

    async def deploy(self, request: DeployRequest) -> Deployment:
        """Start training on a new pod. Never repeated by the provider; `ambiguous` errors may have created it."""

    async def open_job(self, *, model: str, config: Mapping[str, Any]) -> JobTicket:
        """Register a job whose pod the lab knows nothing of. Repeated on failure: a second one costs nothing."""

    async def close_job(self, ticket: JobTicket, *, status: str) -> None:
        """Set the status of a job that `open_job` registered; nobody else does when its pod is ended from outside."""

    async def cancel_job(self, lab_job_id: str) -> None:
        """Cancel a training job; the lab ends its pod. Idempotent."""

    async def list_jobs(self) -> Sequence[JobSnapshot]:
        """The newest training jobs (the lab says how many), newest first."""

    async def job_status(self, lab_job_id: str) -> JobSnapshot:
        """One training job."""

    async def metrics(self, lab_job_id: str) -> Sequence[MetricPoint]:
        """All metric points of one job, merged by step (the last value that is not null wins), oldest first."""

    async def alerts(self, *, since: datetime) -> Sequence[Alert]:
        """Alert history of the account since a time, oldest first."""


class Models(Protocol):
    """Trained models: fetched, unpacked and asked, all outside of the engine's process.

    Raises beside `ProviderError` only `ModelError`: what came is unsafe, broken or cannot be loaded.
    """

    async def fetch(self, lab_job_id: str, *, max_bytes: int) -> FetchedModel:
        """Download and unpack the model of a job; raises `gone` or `unsupported` where there is no route to it."""

    async def generate(self, lab_job_id: str, prompts: Sequence[str], *, max_tokens: int) -> Sequence[ModelAnswer]:
        """Load the fetched model and let it answer; raises `unsupported` where the libraries for that are missing."""

    async def discard(self, lab_job_id: str) -> None:
        """Forget a fetched model; fine when there is none."""


class MetricsReader(Protocol):
    """A second way to read metrics, such as the published SDK, to hold against our own."""

    name: str

    async def metrics(self, lab_job_id: str) -> Sequence[MetricPoint]:
        """As `Lab.metrics`; raises `unsupported` where it is not installed."""


class Journal(Protocol):
    """Append-only record of one run."""

    async def append(self, *events: AnyEvent, durable: bool = False) -> None:
        """Record events in order. With `durable` they, and all before them, survive a crash once this returns."""


class Clock(Protocol):
    """Time, as the engine knows it."""

    def now(self) -> datetime:
        """UTC, for stamps."""

    def monotonic(self) -> float:
        """Seconds from anywhere, for durations."""

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
