"""The events a run is made of. An event is one line of the journal.

Everything after the engine (verdicts, history, reports) is a pure function of events, so a run can be judged, resumed
and rendered again from its journal alone.

Times are UTC. Unless said otherwise, money is USD, durations are seconds, and a `job` is a job key such as
`cpt_standard/basic/1` (spec, phase, number).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from runner.results import (
    Alert,
    FailureClass,
    JobSnapshot,
    LogLine,
    MetricPoint,
    Outcome,
    Pod,
    Record,
    Target,
    Verdict,
)


class Event(Record, tag_field="event", frozen=True, kw_only=True):
    """One line of the journal."""

    at: datetime


class JobEvent(Event, frozen=True, kw_only=True):
    """An event of one job of the plan."""

    job: str


class PlannedJobRecord(Record, frozen=True, kw_only=True):
    """What was going to run: enough to read the result without the spec."""

    job: str
    spec: str
    spec_file: str
    title: str
    phase: str
    phase_title: str
    template: str
    method: str
    model: str
    seed: int
    spec_digest: str
    phase_digest: str
    dataset_format: str
    dataset_rows: int | None = None
    dataset_digest: str | None = None
    limits: dict[str, float] = msgspec.field(default_factory=dict)
    criteria: tuple[tuple[str, str], ...] = ()
    """(id, title) of every criterion."""
    content: dict[str, Any] = msgspec.field(default_factory=dict)
    """The resolved spec and phase as JSON, for `judge`."""


class RunStarted(Event, tag="run.started", frozen=True, kw_only=True):
    """A run began; `jobs` says what it is going to do."""

    run: str
    target: Target
    via: str
    jobs: tuple[PlannedJobRecord, ...]
    command: str = ""
    version: str = ""
    commit: str | None = None
    max_spend_usd: float | None = None
    staged: tuple[str, ...] = ()
    """What went wrong on purpose, in words: such a run shows how failures look, and nothing of the template."""


class RunFinished(Event, tag="run.finished", frozen=True, kw_only=True):
    """A run ended and nothing of it is left to do; without this event it was interrupted."""

    run: str
    outcome: Outcome
    exit_code: int


class JobStarted(JobEvent, tag="job.started", frozen=True, kw_only=True):
    """The job's first step is about to run."""

    attempt: int = 1


class StepStarted(JobEvent, tag="step.started", frozen=True, kw_only=True):
    """A step began.

    Attributes:
        index: its number in the record, from 0; on_failure steps and those of a later life of the run go on counting.
        step: its place among the steps of the phase, from 0; None for one of `on_failure`.
    """

    index: int
    title: str
    step: int | None = None


class StepFinished(JobEvent, tag="step.finished", frozen=True, kw_only=True):
    """A step ended. `index` and `step` as in `StepStarted`.

    `failure_class` is why something ended it from outside, such as a `stop_if`; None when it ran its course.
    """

    index: int
    outcome: Outcome
    detail: str = ""
    elapsed_s: float = 0.0
    step: int | None = None
    failure_class: FailureClass | None = None


class DatasetChecked(JobEvent, tag="dataset.checked", frozen=True, kw_only=True):
    """Every row of the dataset fits its format."""

    rows: int
    format: str
    digest: str


class ConfigCreated(JobEvent, tag="lab.config", frozen=True, kw_only=True):
    """The lab stored the training configuration and the dataset."""

    config_id: str
    dataset_id: str


class PodRequested(JobEvent, tag="pod.requested", frozen=True, kw_only=True):
    """Intent: a pod of this name is about to be created. Durable before the call."""

    name: str
    via: str
    gpu: str
    price_cap_usd_h: float
    deadline: datetime


class PodCreated(JobEvent, tag="pod.created", frozen=True, kw_only=True):
    """A pod exists and is billed. `adopted`: the call's answer was lost and the pod was found by its name."""

    name: str
    pod_id: str
    cost_usd_h: float | None = None
    gpu: str | None = None
    lab_job_id: str | None = None
    adopted: bool = False


class PodRefused(JobEvent, tag="pod.refused", frozen=True, kw_only=True):
    """No pod came of the request with this name, and none will."""

    name: str
    kind: str
    message: str


class PodTerminating(JobEvent, tag="pod.terminating", frozen=True, kw_only=True):
    """Intent: the pod is about to be terminated. Durable before the call."""

    name: str
    pod_id: str | None
    reason: str


class PodGone(JobEvent, tag="pod.gone", frozen=True, kw_only=True):
    """The pod's end is proven: terminated, and missing from two listings."""

    name: str
    pod_id: str
    alive_s: float
    cost_usd: float


class PodUnconfirmed(JobEvent, tag="pod.unconfirmed", frozen=True, kw_only=True):
    """Nobody could prove that the pod is gone: it may still bill."""

    name: str
    pod_id: str | None
    why: str


class PodDoubled(JobEvent, tag="pod.doubled", frozen=True, kw_only=True):
    """A second pod answered to the name of one request, and was given back. It was billed for so long at most."""

    name: str
    pod_id: str
    alive_s: float
    cost_usd: float


class PodObserved(JobEvent, tag="pod.observed", frozen=True, kw_only=True):
    """The pod's description changed."""

    pod: Pod


class PodMissing(JobEvent, tag="pod.missing", frozen=True, kw_only=True):
    """The pod is no longer there although nobody here ended it."""

    pod_id: str


class WatchResumed(JobEvent, tag="watch.resumed", frozen=True, kw_only=True):
    """Nobody could watch the job for so long: the machine slept, the runner was gone, or the lab gave no answers.

    What was not seen in that time was no stall.
    """

    blind_s: float


class LabJobObserved(JobEvent, tag="lab.job", frozen=True, kw_only=True):
    """The lab's description of the training job changed."""

    snapshot: JobSnapshot


class LogsObserved(JobEvent, tag="logs", frozen=True, kw_only=True):
    """New log lines, in order. `first` is the number of the first one; lines count from 1."""

    first: int
    lines: tuple[LogLine, ...]


class MetricsObserved(JobEvent, tag="metrics", frozen=True, kw_only=True):
    """New or completed metric points, merged by step, oldest first."""

    points: tuple[MetricPoint, ...]


class AlertsObserved(JobEvent, tag="alerts", frozen=True, kw_only=True):
    """New alerts of this job, oldest first."""

    alerts: tuple[Alert, ...]


class IssueObserved(JobEvent, tag="issue", frozen=True, kw_only=True):
    """A known issue was recognised. `verdict` is `error`, `expected` or `infrastructure`."""

    issue: str
    title: str
    failure_class: str
    verdict: Literal["error", "expected", "infrastructure"]
    cause: str
    fix: str
    log_line: int | None = None
    text: str = ""


class EvidenceMissing(JobEvent, tag="evidence.missing", frozen=True, kw_only=True):
    """A kind of evidence cannot be had: conditions over it are unknown, never green.

    `source` is one of `logs`, `metrics`, `alerts`, `start-alert` (of all alerts only `job_started`), `job`, `pod`,
    `artifact`, `generation`, `sdk`.
    """

    source: str
    reason: str


class ModelDownloaded(JobEvent, tag="model.downloaded", frozen=True, kw_only=True):
    """The trained model was fetched and its checksum matches."""

    size: int
    sha256: str
    files: tuple[str, ...] = ()


class ModelRejected(JobEvent, tag="model.rejected", frozen=True, kw_only=True):
    """The trained model came, and is not one that can be used: unsafe, broken, or not to be loaded.

    `stage` is `download` for the archive and `load` for what is in it.
    """

    stage: Literal["download", "load"]
    reason: str


class MetricsCompared(JobEvent, tag="metrics.compared", frozen=True, kw_only=True):
    """The metrics were read a second way, `via` the published SDK, and held against our own reading.

    `difference` says where the two disagree first; empty when every point agrees.
    """

    via: str
    points: int
    difference: str = ""


class Generated(JobEvent, tag="generated", frozen=True, kw_only=True):
    """The trained model answered a prompt; `base` is the base model's answer when it was asked too."""

    prompt: str
    answer: str
    base: str | None = None


class JobJudged(JobEvent, tag="job.judged", frozen=True, kw_only=True):
    """The verdict on every criterion of the phase."""

    verdicts: tuple[Verdict, ...]


class JobFinished(JobEvent, tag="job.finished", frozen=True, kw_only=True):
    """The job ended and its pods are accounted for."""

    outcome: Outcome
    reason: str = ""
    failure_class: FailureClass | None = None
    cost_usd: float = 0.0
    elapsed_s: float = 0.0


AnyEvent = (
    RunStarted
    | RunFinished
    | JobStarted
    | StepStarted
    | StepFinished
    | DatasetChecked
    | ConfigCreated
    | PodRequested
    | PodCreated
    | PodRefused
    | PodTerminating
    | PodGone
    | PodUnconfirmed
    | PodDoubled
    | PodObserved
    | PodMissing
    | WatchResumed
    | LabJobObserved
    | LogsObserved
    | MetricsObserved
    | AlertsObserved
    | IssueObserved
    | EvidenceMissing
    | ModelDownloaded
    | ModelRejected
    | MetricsCompared
    | Generated
    | JobJudged
    | JobFinished
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def encode_event(event: AnyEvent) -> bytes:
    """One event as one line of JSON, without the line end."""
    return _encoder.encode(event)


def decode_event(line: bytes | str) -> AnyEvent:
    """The event that `encode_event` wrote.

    Raises:
        msgspec.ValidationError: not an event of this version.
    """
    return _decoder.decode(line)
