"""The shared vocabulary: how things end, what is observed, and what became of a criterion.

Times are UTC. Unless said otherwise, money is USD and durations are seconds; `lab_job_id` is the lab's own id of a
training job.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec


class Outcome(StrEnum):
    """How a criterion, a step, a job or a run ended."""

    PASSED = "passed"
    FAILED = "failed"
    ERRORED = "errored"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class Target(StrEnum):
    """Where pods run."""

    LOCAL = "local"
    SCRIPTED = "scripted"
    CLOUD = "cloud"


class FailureClass(StrEnum):
    """Why a job did not pass, as far as it decides what happens next."""

    CRITERION = "criterion"
    CAPACITY = "capacity"
    OUT_OF_MEMORY = "out-of-memory"
    TRAINER_KILLED = "trainer-killed"
    TRAINER_ERROR = "trainer-error"
    DATASET = "dataset"
    INFRASTRUCTURE = "infrastructure"
    PROVIDER = "provider"
    LIMIT = "limit"
    NO_EVIDENCE = "no-evidence"
    INTERRUPTED = "interrupted"
    LEAK = "leak"


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A value that is compared, stored and never changed."""


# --- what is observed -------------------------------------------------------------------------------------------


class Pod(Record, frozen=True, kw_only=True):
    """A pod as its cloud describes it.

    Attributes:
        status: `PROVISIONING`, `STARTING`, `RUNNING`, `EXITED`, `ERROR`, `TERMINATED`, or any word a newer cloud uses;
            a word nobody knows means alive and billed.
        cost_usd_h: price per hour now; 0 when it is stopped; None when the cloud does not say.
        uptime_s: since its container last started; None unless it runs.
        env_marker: value of the environment variable `RUNSPEC_POD` or `TRAINING_CONFIG_ID`, the only tags there are.
    """

    id: str
    name: str
    status: str
    gpu: str | None = None
    gpu_count: int | None = None
    cost_usd_h: float | None = None
    uptime_s: float | None = None
    env_marker: str | None = None
    lab_job_id: str | None = None

    @property
    def is_alive(self) -> bool:
        """True unless the cloud says that it is terminated: an unknown status is alive and billed."""
        return self.status != "TERMINATED"


class JobSnapshot(Record, frozen=True, kw_only=True):
    """A training job as the lab describes it.

    `status` is one of `pending queued running paused completed failed cancelled`.
    """

    lab_job_id: str
    status: str
    step: int | None = None
    total_steps: int | None = None
    loss: float | None = None
    error: str | None = None
    warning: str | None = None

    @property
    def is_finished(self) -> bool:
        """True once the lab says that it ended, in whatever way."""
        return self.status in ("completed", "failed", "cancelled")


class MetricPoint(Record, frozen=True, kw_only=True):
    """Metrics of one optimizer step. `values` by the lab's names; NaN and infinity arrive as None from the lab."""

    step: int
    values: dict[str, float | None]
    at: datetime | None = None


class Alert(Record, frozen=True, kw_only=True):
    """One row of the lab's alert history."""

    id: str
    type: str
    lab_job_id: str | None
    at: datetime
    title: str = ""
    message: str = ""


class LogLine(Record, frozen=True, kw_only=True):
    """One line a pod wrote. `source` is `container` or `system`; `cursor` is the stream's own event id."""

    at: datetime
    source: str
    text: str
    cursor: str = ""


class GpuOffer(Record, frozen=True, kw_only=True):
    """One GPU type as the catalog offers it. `price_usd_h` is for one GPU; availability is a hint, never a promise."""

    id: str
    memory_gib: int
    price_usd_h: float | None
    availability: str = "UNKNOWN"


class Finding(Record, frozen=True, kw_only=True):
    """What a condition came to on recorded evidence.

    Attributes:
        truth: True, False, or None when the evidence could not be had.
        decided: no later observation can change it.
        expected: the condition in words.
        observed: what was seen instead or in support, in words.
        evidence: where to look, such as `log line 214` or `train_loss steps 0-99`.
        parts: the findings it was made from.
    """

    truth: bool | None
    decided: bool
    expected: str
    observed: str
    evidence: tuple[str, ...] = ()
    parts: tuple[Finding, ...] = ()


class Verdict(Record, frozen=True, kw_only=True):
    """What became of one criterion."""

    id: str
    title: str
    outcome: Outcome
    finding: Finding
    optional: bool = False
