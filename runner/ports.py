"""What the engine needs from outside, as Protocols: a cloud, a lab, a journal, a clock.

Every call may raise `ProviderError`, and nothing else. The same Protocols are served by the real clients, by the
embedded cloud through these clients, and by the in-process fakes of the simulation.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from runner.results import Alert, AnyEvent, GpuOffer, JobSnapshot, LogLine, MetricPoint, Pod
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
class UploadedDataset:
    """A dataset as the lab stored it."""

    id: str
    rows: int | None


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

        Ends when the stream was cut or idle; the caller asks again with the last cursor it saw.
        """

    async def gpu_offers(self, *, cloud: str, count: int) -> Sequence[GpuOffer]:
        """GPU types with their price and availability."""


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
