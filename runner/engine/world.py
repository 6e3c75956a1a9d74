"""What a run acts on, and at which pace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from runner.events import AnyEvent, DatasetChecked
from runner.plan import PlannedJob
from runner.ports import Clock, JobTicket, Journal, Lab, MetricsReader, Models, PodCloud, PodRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often the engine looks and how long it insists, in seconds.

    Attributes:
        pods_s, jobs_s, alerts_s: between two list calls, each for all jobs together.
        metrics_s: shortest time between two metric calls of one job.
        tick_s: a wait looks at the clock at least this often, for what only time decides.
        reconcile_s: how long an ambiguous create is looked for; listings may lag.
        reconcile_poll_s: between two such listings.
        proof_s: between the two listings that prove a pod gone.
        retry_s: first pause after a failed call; doubles up to `retry_max_s`.
        grace_s: how long a vanished pod may precede the lab's word that its job ended.
        settle_s: how long the last look at the lab may take.
        stuck_s: how long a pod may be `RUNNING` with an uptime of 0.
        capacity_rounds: how often the list of GPUs is walked down when there is no capacity.
        capacity_pause_s: before the second round; doubles from round to round.
        rate_limit_s: before a create that a rate limit refused is sent again, unless the cloud says how long.
    """

    pods_s: float = 10.0
    jobs_s: float = 10.0
    alerts_s: float = 15.0
    metrics_s: float = 10.0
    tick_s: float = 5.0
    reconcile_s: float = 60.0
    reconcile_poll_s: float = 5.0
    proof_s: float = 3.0
    retry_s: float = 1.0
    retry_max_s: float = 30.0
    grace_s: float = 30.0
    settle_s: float = 60.0
    stuck_s: float = 300.0
    capacity_rounds: int = 3
    capacity_pause_s: float = 30.0
    rate_limit_s: float = 15.0


LOCAL_PACE = Pace(
    pods_s=1.0,
    jobs_s=0.3,
    alerts_s=0.5,
    metrics_s=0.3,
    tick_s=0.5,
    reconcile_s=5.0,
    reconcile_poll_s=0.3,
    proof_s=0.2,
    retry_s=0.2,
    retry_max_s=2.0,
    grace_s=3.0,
    settle_s=10.0,
    stuck_s=15.0,
    capacity_pause_s=1.0,
    rate_limit_s=1.0,
)


class DatasetSource(Protocol):
    """Where the rows of a job come from."""

    def check(self, job: PlannedJob) -> DatasetSummary | None:
        """Validate every row; None when somebody wants them unchecked. Raises `DatasetError` with every problem."""

    def rows(self, job: PlannedJob) -> bytes:
        """The rows as JSON Lines, ready to upload."""


class DatasetSummary(Protocol):
    """What is known of a valid dataset."""

    @property
    def rows(self) -> int:
        """Number of rows."""

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the bytes."""


class PodKit(Protocol):
    """Packs what a pod of `--via runpod` needs: our bootstrap and agent, the configuration and the rows."""

    def request(
        self, job: PlannedJob, ticket: JobTicket, *, name: str, gpu: str, marker: str, deadline: datetime
    ) -> PodRequest:
        """The pod to ask for; it ends itself at `deadline`. Raises `DatasetError` when it does not fit a request."""


Listener = Callable[[AnyEvent], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything outside the engine that a run touches.

    Without `models` and `sdk` what needs them is a gap; without `kit` pods are created by the lab only.
    """

    cloud: PodCloud
    lab: Lab
    journal: Journal
    clock: Clock
    datasets: DatasetSource
    pace: Pace = Pace()
    models: Models | None = None
    sdk: MetricsReader | None = None
    kit: PodKit | None = None


def dataset_checked(job: PlannedJob, summary: DatasetSummary, clock: Clock) -> DatasetChecked:
    """The event that records a valid dataset."""
    return DatasetChecked(
        at=clock.now(),
        job=job.key,
        rows=summary.rows,
        format=job.spec.dataset.format.value,
        digest=summary.sha256,
    )
