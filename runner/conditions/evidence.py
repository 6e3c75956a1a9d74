"""Everything that was observed of one job, folded from its events: what conditions are judged on.

The fold is cheap: applying an event looks at nothing but that event. It never looks at a clock; time is what the
events and `Evidence.advance` say.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Generic, NamedTuple, TypeVar

from runner.conditions.logbook import Arrival, Logbook, as_utc
from runner.conditions.series import Series
from runner.events import (
    AlertsObserved,
    AnyEvent,
    DatasetChecked,
    EvidenceMissing,
    Generated,
    IssueObserved,
    JobJudged,
    JobStarted,
    LabJobObserved,
    LogsObserved,
    MetricsCompared,
    MetricsObserved,
    ModelDownloaded,
    ModelRejected,
    PodCreated,
    PodDoubled,
    PodGone,
    PodMissing,
    PodObserved,
    PodTerminating,
    PodUnconfirmed,
    RunFinished,
    RunStarted,
    WatchResumed,
)
from runner.results import Alert, JobSnapshot, MetricPoint, Pod

STEP = "step"
"""Name under which the newest optimizer step is asked for like a metric."""

_END_OF_ALERT = {
    "job_completed": "completed",
    "job_failed": "failed",
    "gpu_oom": "failed",  # the lab's own server sends it instead of `job_failed`
    "job_cancelled": "cancelled",
}
LATE = timedelta(seconds=60)
"""How long after a step was reached an observation from before it may still arrive."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Seen(Generic[T]):
    """Something observed: `stamp` is the time it carries itself, `arrival` when it reached us."""

    what: T
    stamp: datetime
    arrival: Arrival


class Mark(NamedTuple):
    """When an optimizer step was first known to be reached."""

    step: int
    stamp: datetime
    arrival: Arrival


@dataclass(slots=True)
class PodRecord:
    """One pod of the job and what became of it."""

    pod_id: str
    created_at: datetime
    price_usd_h: float | None = None
    states: list[Seen[str]] = field(default_factory=list)
    """Lower-case words of the cloud in order of their arrival, and `gone`."""
    gone_cost_usd: float | None = None
    unconfirmed: str | None = None
    missing_since: datetime | None = None
    is_over: bool = False

    @property
    def state(self) -> str:
        """The newest state; a proven end is final, whatever an answer that was late says."""
        return "gone" if self.is_over else self.states[-1].what

    def cost_usd(self, now: datetime) -> float | None:
        """What it has cost by observed time and its own price; None when the price is not known."""
        if self.gone_cost_usd is not None:
            return self.gone_cost_usd
        if self.price_usd_h is None:
            return None
        return max(0.0, (now - self.created_at).total_seconds()) / 3600 * self.price_usd_h


class Evidence:
    """The fold of one job's events. `apply` them in the order of the journal, `close` when no more can come.

    A later attempt (`JobStarted` with a higher number) starts afresh, because the verdict reads the last attempt;
    only the pods stay in the bill. `JobJudged` closes: replaying a journal sees what the live run saw. Closed
    evidence ignores everything but a later attempt.

    Attributes:
        now: time of the newest event, or what `advance` said later; never goes back.
        step: newest optimizer step by metric points and job snapshots; None before the first.
        closed: nothing more will be observed.
        missing: kinds of evidence that cannot be had, by source.
    """

    def __init__(self) -> None:
        self.now = _EPOCH
        self.attempt = 1
        self.past_pods: list[PodRecord] = []
        self._seq = 0
        self._begin()

    def _begin(self) -> None:
        self.closed = False
        self.step: int | None = None
        self.started_at: datetime | None = None
        self.ended_at: datetime | None = None
        self.pods: dict[str, PodRecord] = {}
        self.log = Logbook()
        self.log_events: list[int] = []
        self.marks: list[Mark] = []
        self.first_step_at: datetime | None = None
        self.series: dict[str, Series] = {}
        self.step_series = Series(STEP)
        self.step_times: dict[int, datetime] = {}
        self.job: JobSnapshot | None = None
        self.job_states: list[Seen[str]] = []
        self.ends: dict[str, Seen[str]] = {}
        self.alerts: dict[str, Seen[Alert]] = {}
        self.issues_seen: list[Seen[IssueObserved]] = []
        self.missing: dict[str, Seen[str]] = {}
        self.downloads: list[ModelDownloaded] = []
        self.rejection: ModelRejected | None = None
        self.dataset_digest: str | None = None
        self.gpu: str | None = None
        self.generations: dict[str, Generated] = {}
        self.comparisons: dict[str, MetricsCompared] = {}
        self._caught_up: dict[int, int] = {}

    # --- folding ------------------------------------------------------------------------------------------------

    def apply(self, event: AnyEvent) -> None:
        """Take in one event of the job; events that observe nothing only move `now`."""
        if isinstance(event, RunStarted | RunFinished):
            return
        if isinstance(event, JobStarted) and event.attempt > self.attempt:
            self._next_attempt(event.attempt)
        if self.closed:
            return
        self.advance(event.at)
        self._seq += 1
        self._take(event, Arrival(self._seq, self.step, self.now))

    def apply_all(self, events: Iterable[AnyEvent]) -> None:
        """Take in several events."""
        for event in events:
            self.apply(event)

    def advance(self, now: datetime) -> None:
        """Let time pass, so that a stall can be seen while nothing happens."""
        if not self.closed:
            self.now = max(self.now, as_utc(now))

    def close(self) -> None:
        """Nothing more will be observed: every finding is decided from here on."""
        self.closed = True

    def _next_attempt(self, attempt: int) -> None:
        self.past_pods += self.pods.values()
        self.attempt = attempt
        self._begin()

    def _take(self, event: AnyEvent, arrival: Arrival) -> None:
        match event:
            case LogsObserved():
                self.log.extend(event.first, event.lines, arrival)
                self.log_events.append(arrival.seq)
            case MetricsObserved():
                self._take_points(event.points, arrival)
            case LabJobObserved():
                self._take_snapshot(event.snapshot, arrival)
            case AlertsObserved():
                for alert in event.alerts:
                    self._take_alert(alert, arrival)
            case PodDoubled():
                self.past_pods.append(PodRecord(event.pod_id, self.now, gone_cost_usd=event.cost_usd, is_over=True))
            case PodCreated() | PodObserved() | PodMissing() | PodTerminating() | PodGone() | PodUnconfirmed():
                self._take_pod_event(event, arrival)
            case WatchResumed():
                self._look_away(timedelta(seconds=event.blind_s))
            case _:
                self._take_other(event, arrival)

    def _take_other(self, event: AnyEvent, arrival: Arrival) -> None:
        match event:
            case IssueObserved():
                self.issues_seen.append(Seen(event, self.now, arrival))
            case EvidenceMissing():
                self.missing.setdefault(event.source, Seen(event.reason, self.now, arrival))
            case ModelDownloaded():
                self.downloads.append(event)
            case ModelRejected():
                self.rejection = event
            case DatasetChecked():
                self.dataset_digest = event.digest
            case MetricsCompared():
                self.comparisons[event.via] = event
            case Generated():
                self.generations[event.prompt] = event
            case JobStarted():
                self.started_at = self.started_at or self.now
            case JobJudged():
                self.close()
            case _:
                pass

    def _take_pod_event(self, event: AnyEvent, arrival: Arrival) -> None:
        match event:
            case PodCreated():
                record = self._pod(event.pod_id, arrival)
                record.price_usd_h = event.cost_usd_h if event.cost_usd_h is not None else record.price_usd_h
            case PodObserved():
                self._take_pod(event.pod, arrival)
            case PodMissing():
                record = self._pod(event.pod_id, arrival)
                record.missing_since = record.missing_since or self.now
                self._put_state(record, "gone", arrival)
                self._end()
            case PodTerminating():
                self._end()
            case PodGone():
                record = self._pod(event.pod_id, arrival)
                self._put_state(record, "gone", arrival)
                record.is_over = True
                record.gone_cost_usd = event.cost_usd
                self._end()
            case PodUnconfirmed(pod_id=str(pod_id)):
                self._pod(pod_id, arrival).unconfirmed = event.why
            case _:
                pass

    def _pod(self, pod_id: str, arrival: Arrival) -> PodRecord:
        if pod_id not in self.pods:
            self.pods[pod_id] = PodRecord(pod_id, self.now)
            self._put_state(self.pods[pod_id], "created", arrival)
            self._run_again()
        return self.pods[pod_id]

    def _take_pod(self, pod: Pod, arrival: Arrival) -> None:
        record = self._pod(pod.id, arrival)
        self.gpu = pod.gpu or self.gpu
        if pod.cost_usd_h:  # a stopped pod says 0, which is not what it cost so far
            record.price_usd_h = pod.cost_usd_h
        if pod.is_alive:
            record.missing_since = None  # a listing that lacked it was wrong
        record.is_over |= not pod.is_alive
        self._put_state(record, pod.status.lower() if pod.is_alive else "gone", arrival)
        if record.state in ("gone", "exited", "error"):
            self._end()

    def _put_state(self, record: PodRecord, state: str, arrival: Arrival) -> None:
        if not record.states or record.states[-1].what != state:
            record.states.append(Seen(state, self.now, arrival))

    def _take_points(self, points: tuple[MetricPoint, ...], arrival: Arrival) -> None:
        for point in sorted(points, key=lambda point: point.step):
            stamp = as_utc(point.at) if point.at else self.now
            self._reach(point.step, stamp, arrival)
            self.step_times.setdefault(point.step, stamp)
            for name, value in point.values.items():
                series = self.series.get(name)
                if series is None:
                    series = self.series[name] = Series(name)
                series.put(point.step, value, at=self.now, newest_step=arrival.step)

    def _reach(self, step: int, stamp: datetime, arrival: Arrival) -> None:
        if step > 0 and self.first_step_at is None:
            self.first_step_at = self.now
        if self.step is None or step > self.step:
            self.step = step
            self.marks.append(Mark(step, stamp, arrival))
            self.step_series.put(step, step, at=self.now, newest_step=arrival.step)

    def _take_snapshot(self, snapshot: JobSnapshot, arrival: Arrival) -> None:
        self.job = snapshot
        if snapshot.step:  # the lab says 0 as long as it knows nothing
            self._reach(snapshot.step, self.now, arrival)
        if not self.job_states or self.job_states[-1].what != snapshot.status:
            self.job_states.append(Seen(snapshot.status, self.now, arrival))
        if snapshot.is_finished:
            self.ends.setdefault(snapshot.status, Seen("status of the job", self.now, arrival))
            self._end()

    def _take_alert(self, alert: Alert, arrival: Arrival) -> None:
        if alert.id in self.alerts:
            return
        stamp = as_utc(alert.at)
        self.alerts[alert.id] = Seen(alert, stamp, arrival)
        end = _END_OF_ALERT.get(alert.type)
        if end is not None:
            self.ends.setdefault(end, Seen(f"alert `{alert.type}`", stamp, arrival))
            self._end()

    def _end(self) -> None:
        self.ended_at = self.ended_at or self.now

    def _look_away(self, length: timedelta) -> None:
        for series in (*self.series.values(), self.step_series):
            series.look_away(self.now, length)

    def _run_again(self) -> None:
        """A further pod: the pause between two pods is no stall."""
        for series in (*self.series.values(), self.step_series):
            series.end_wait(self.ended_at or self.now)
        self.ended_at = None

    # --- questions ----------------------------------------------------------------------------------------------

    @property
    def pod(self) -> PodRecord | None:
        """The newest pod."""
        return next(reversed(self.pods.values()), None)

    @property
    def completed(self) -> bool:
        """The lab said that the job completed, and never that it failed."""
        return "completed" in self.ends and "failed" not in self.ends

    @property
    def job_is_finished(self) -> bool:
        """The lab said, by status or by alert, that the job ended in whatever way."""
        return bool(self.ends)

    @property
    def issues(self) -> tuple[IssueObserved, ...]:
        """The known issues that were recognised, in order."""
        return tuple(seen.what for seen in self.issues_seen)

    @property
    def pod_failed(self) -> str | None:
        """Why the newest pod can no longer train: an error, or an exit that nobody explained within a minute."""
        state = self.pod.states[-1] if self.pod is not None else None
        if state is None or state.what not in ("error", "exited"):
            return None
        if state.what == "exited" and self.now - state.stamp < LATE:
            return None
        return f"the cloud says `{state.what.upper()}` since {state.stamp:%H:%M:%SZ}"

    @property
    def pod_missing_since(self) -> datetime | None:
        """Since when the newest pod is gone although nobody here ended it."""
        return self.pod.missing_since if self.pod is not None else None

    @property
    def all_pods(self) -> tuple[PodRecord, ...]:
        """The pods of every attempt."""
        return (*self.past_pods, *self.pods.values())

    @property
    def cost_usd(self) -> float:
        """What all pods of all attempts have cost so far; pods whose price nobody said count nothing."""
        return sum(pod.cost_usd(self.now) or 0.0 for pod in self.all_pods)

    def metric(self, name: str) -> Series:
        """One metric; empty when nothing was ever reported under this name."""
        return self.step_series if name == STEP else self.series.get(name) or Series(name)

    def reached(self, step: int) -> Mark | None:
        """When a step, or a later one, was first known to be reached."""
        found = bisect_left(self.marks, step, key=lambda mark: mark.step)
        return self.marks[found] if found < len(self.marks) else None

    def caught_up(self, step: int) -> int | None:
        """Position of the first log line that was surely written after a step; None while there is none."""
        known = self._caught_up.get(step)
        mark = self.reached(step)
        if known is None and mark is not None:
            for position in range(self.log.first_after(mark.arrival.seq), len(self.log.lines)):
                line = self.log.lines[position]
                if line.stamp >= mark.stamp or line.arrival.seen_at > mark.arrival.seen_at + LATE:
                    known = self._caught_up[step] = position
                    break
        return known
