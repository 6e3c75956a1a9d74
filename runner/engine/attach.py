"""Takes up a job where a runner that was killed left it: from its journal, on the pod that is still there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from runner.engine.state import JobState
from runner.events import (
    AlertsObserved,
    AnyEvent,
    IssueObserved,
    JobEvent,
    JobFinished,
    JobJudged,
    JobStarted,
    LogsObserved,
    MetricsObserved,
    PodCreated,
    PodDoubled,
    PodGone,
    PodObserved,
    PodRequested,
    PodTerminating,
    StepFinished,
    StepStarted,
)
from runner.history import Lease as OpenLease
from runner.history import open_leases
from runner.results import FailureClass, MetricPoint, Outcome
from runner.spec.steps import Step

DONE = (Outcome.PASSED, Outcome.SKIPPED, Outcome.UNKNOWN, Outcome.FAILED)
"""Outcomes of a step that the job went on after; a failure that ended it has no step behind it."""


@dataclass(slots=True)
class JobPast:
    """What the journal says of one job.

    Attributes:
        events: all that is recorded of it.
        latest: what is recorded of the newest attempt, from its start on.
        attempt: the newest one that began; 0 before any.
        steps_done: how many steps of the phase are over in that attempt.
        step_number: the next free number of a step, for the record.
        finished: how it ended, when it did.
        lease: its pod, when nobody has proven that gone.
        is_ending: the pod was being given back: no step is left to do.
        broken: the last step that failed, or that something ended from outside.
        judged: the verdicts of that attempt, when they were given already.
    """

    events: list[AnyEvent] = field(default_factory=list)
    latest: list[AnyEvent] = field(default_factory=list)
    attempt: int = 0
    steps_done: int = 0
    step_number: int = 0
    finished: JobFinished | None = None
    lease: OpenLease | None = None
    is_ending: bool = False
    broken: StepFinished | None = None
    judged: JobJudged | None = None

    @property
    def proven_cost_usd(self) -> float:
        """What the pods that are gone have cost."""
        return sum(event.cost_usd for event in self.events if isinstance(event, PodGone | PodDoubled))

    @property
    def has_pod(self) -> bool:
        """A pod that was seen and a job that began: the training may still be going on."""
        return self.finished is None and self.attempt > 0 and self.lease is not None and self.lease.pod_id is not None

    def stopped_at(self, steps: Sequence[Step]) -> StepFinished | None:
        """The step that ended the job for a reason of its own; None when all went well, or somebody interrupted."""
        broken = self.broken
        if broken is None or broken.step is None or broken.failure_class is FailureClass.INTERRUPTED:
            return None
        return broken if broken.failure_class is not None or not steps[broken.step].optional else None

    def is_in_the_middle(self, steps: Sequence[Step]) -> bool:
        """A pod is left to be given back, or a verdict to be given."""
        return self.finished is None and (self.lease is not None or self.has_come_to_its_end(steps))

    def has_come_to_its_end(self, steps: Sequence[Step]) -> bool:
        """Nothing but the verdict is left: the pod was being given back, and not because somebody cut the job off."""
        is_over = self.steps_done == len(steps) or self.stopped_at(steps) is not None
        return self.finished is None and self.is_ending and is_over


def pasts_of(run: str, events: Sequence[AnyEvent]) -> dict[str, JobPast]:
    """The past of every job of a run, by its key."""
    pasts: dict[str, JobPast] = {}
    for event in events:
        if isinstance(event, JobEvent):
            past = pasts.setdefault(event.job, JobPast())
            past.events.append(event)
            _learn(past, event)
            past.latest.append(event)
    for lease in open_leases(run, events):
        if lease.job in pasts:
            pasts[lease.job].lease = lease
    return pasts


def _learn(past: JobPast, event: JobEvent) -> None:
    match event:
        case JobStarted():
            past.attempt, past.steps_done, past.step_number = event.attempt, 0, 0
            past.finished, past.broken, past.judged, past.is_ending, past.latest = None, None, None, False, []
        case StepStarted():
            past.step_number = event.index + 1
        case StepFinished():
            if event.step is None:
                return
            if event.outcome in DONE:
                past.steps_done = event.step + 1
            if event.outcome is Outcome.FAILED or event.failure_class is not None:
                past.broken = event
        case PodTerminating():
            past.is_ending = True
        case JobJudged():
            past.judged, past.is_ending = event, True
        case JobFinished():
            past.finished = event
        case _:
            pass


def names_used(events: Sequence[AnyEvent]) -> int:
    """How many pods a run has asked for; a later life counts on from there."""
    return sum(isinstance(event, PodRequested) for event in events)


def restore(state: JobState, past: JobPast) -> None:
    """Let a fresh state know what the journal knows of its job.

    Durations go on from the recorded times, so a pod that was left alone for an hour has used an hour of its limits.
    """
    state.evidence.apply_all(past.events)
    state.blind_for((state.now() - state.evidence.now).total_seconds())
    if past.lease is not None:
        state.adopt(past.lease, billed_s=max(0.0, (state.now() - past.lease.requested_at).total_seconds()))
    for event in past.latest:
        if isinstance(event, PodCreated):
            state.lab_job_id = event.lab_job_id
        elif isinstance(event, PodObserved):
            state.lab_job_id = state.lab_job_id or event.pod.lab_job_id
        elif isinstance(event, JobStarted) and past.lease is None:
            state.started_s -= max(0.0, (state.now() - event.at).total_seconds())
    state.remember(
        issues=[event.issue for event in past.latest if isinstance(event, IssueObserved)],
        log_lines=max((e.first + len(e.lines) - 1 for e in past.latest if isinstance(e, LogsObserved)), default=0),
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """What a watch had seen of a job before, so that it records nothing twice."""

    log_cursor: str = ""
    points: dict[int, MetricPoint] = field(default_factory=dict)
    alerts: set[str] = field(default_factory=set)


def seen_of(past: JobPast) -> Seen:
    """The last log cursor, the points and the alerts of the newest attempt: an earlier one had a pod of its own."""
    cursor = ""
    points: dict[int, MetricPoint] = {}
    alerts: set[str] = set()
    for event in past.latest:
        match event:
            case LogsObserved():
                cursor = next((line.cursor for line in reversed(event.lines) if line.cursor), cursor)
            case MetricsObserved():
                points.update((point.step, point) for point in event.points)
            case AlertsObserved():
                alerts.update(alert.id for alert in event.alerts)
            case _:
                pass
    return Seen(cursor, points, alerts)
