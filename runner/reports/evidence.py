"""One recorded run as reports tell it: a typed reading of its events, and the last guard against a false green."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from runner.events import (
    AnyEvent,
    DatasetChecked,
    EvidenceMissing,
    IssueObserved,
    JobEvent,
    JobFinished,
    JobJudged,
    JobStarted,
    LabJobObserved,
    LogsObserved,
    MetricsObserved,
    ModelDownloaded,
    PlannedJobRecord,
    PodCreated,
    PodDoubled,
    PodGone,
    PodObserved,
    PodRequested,
    PodUnconfirmed,
    RunFinished,
    RunStarted,
)
from runner.history import Lease, RecordedRun, open_leases
from runner.reports.measures import measure
from runner.results import FailureClass, Finding, Outcome, Target, Verdict

_SCALED = re.compile(r"\[Local\] Scaled ([\w.-]{1,60}): (.{1,120}?) -> (.{1,120}?)(?: \((.{1,200})\))?\s*$")
_WORST_FIRST = (Outcome.FAILED, Outcome.ERRORED, Outcome.UNKNOWN, Outcome.CANCELLED, Outcome.SKIPPED, Outcome.PASSED)

UNJUDGED = "was not judged"
"""What a criterion's finding says when its job ended before a verdict."""

E = TypeVar("E", bound=AnyEvent)


@dataclass(frozen=True, slots=True)
class Series:
    """One metric that was collected: how many steps have a number, how many have none, first and last number."""

    name: str
    points: int
    missing: int
    first: float | None
    last: float | None


@dataclass(frozen=True, slots=True)
class Scaled:
    """A setting that the local trainer made smaller than the template has it."""

    field: str
    before: str
    after: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReport:
    """What became of one planned job, by its last attempt; the cost is that of all attempts.

    Attributes:
        outcome: None when it was interrupted or never began; never `passed` without evidence for each criterion.
        verdicts: one for each criterion of the plan, unknown where nobody judged.
        measures: figures that templates are compared by, by name; what was not reported is not in it.
    """

    run: str
    target: Target
    at: datetime
    commit: str | None
    record: PlannedJobRecord
    outcome: Outcome | None
    reason: str
    failure_class: FailureClass | None
    verdicts: tuple[Verdict, ...]
    is_judged: bool
    attempt: int
    cost_usd: float
    elapsed_s: float
    lab_job_id: str | None
    gpu: str | None
    series: tuple[Series, ...]
    scaled: tuple[Scaled, ...]
    issues: tuple[IssueObserved, ...]
    missing: tuple[EvidenceMissing, ...]
    dataset: DatasetChecked | None
    model: ModelDownloaded | None
    unconfirmed: tuple[PodUnconfirmed, ...]
    measures: Mapping[str, float] = field(default_factory=dict)
    failed_before: bool = False

    @property
    def key(self) -> str:
        """The job key, `spec/phase/number`."""
        return self.record.job

    @property
    def passed_criteria(self) -> int:
        """How many criteria hold."""
        return sum(verdict.outcome is Outcome.PASSED for verdict in self.verdicts)

    @property
    def is_flaky(self) -> bool:
        """It passed, but an earlier attempt did not. One that was cut short, as by a killed runner, says nothing."""
        return self.outcome is Outcome.PASSED and self.failed_before


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What became of one run.

    Attributes:
        outcome: None when the run was interrupted.
        last_at: time of the newest event.
        open_pods: pods that may still be billed.
    """

    run: str
    target: Target
    via: str
    started_at: datetime
    finished_at: datetime | None
    last_at: datetime
    outcome: Outcome | None
    exit_code: int | None
    jobs: tuple[JobReport, ...]
    max_spend_usd: float | None
    open_pods: tuple[Lease, ...]
    pods_opened: int
    commit: str | None
    version: str
    notes: tuple[str, ...]
    is_staged: bool = False
    """It went wrong on purpose, so it shows nothing of the template."""

    @property
    def cost_usd(self) -> float:
        """What all jobs cost together."""
        return sum(job.cost_usd for job in self.jobs)

    @property
    def elapsed_s(self) -> float:
        """From the first event to the last."""
        return max(0.0, (self.last_at - self.started_at).total_seconds())


def summarise(run: RecordedRun) -> RunReport | None:
    """A recorded run as reports tell it; None when not even its start was recorded."""
    start = _first(run.events, RunStarted)
    if start is None:
        return None
    by_job: dict[str, list[AnyEvent]] = {}
    for event in run.events:
        if isinstance(event, JobEvent):
            by_job.setdefault(event.job, []).append(event)
    jobs = tuple(_job(start, record, by_job.get(record.job, [])) for record in start.jobs)
    finish = _last(run.events[_last_start(run.events) :], RunFinished)
    pods = tuple(open_leases(run.run, run.events))
    return RunReport(
        run=run.run,
        target=start.target,
        via=start.via,
        started_at=start.at,
        finished_at=finish.at if finish else None,
        last_at=max(event.at for event in run.events),
        outcome=_run_outcome(finish, jobs, pods),
        exit_code=finish.exit_code if finish else None,
        jobs=jobs,
        max_spend_usd=start.max_spend_usd,
        open_pods=pods,
        pods_opened=len({event.pod_id for event in run.events if isinstance(event, PodCreated)}),
        commit=start.commit,
        version=start.version,
        notes=(*run.notes, *_staged(start)),
        is_staged=bool(start.staged),
    )


def _staged(start: RunStarted) -> tuple[str, ...]:
    words = "; ".join(start.staged)
    return (f"this run was made to go wrong, so no status comes from it: {words}",) if words else ()


def _last_start(events: Sequence[AnyEvent]) -> int:
    # A second start is a resume: what was finished before it is not finished any more.
    return max(index for index, event in enumerate(events) if isinstance(event, RunStarted))


def _run_outcome(finish: RunFinished | None, jobs: Sequence[JobReport], pods: Sequence[Lease]) -> Outcome | None:
    if finish is None:
        return None
    if finish.outcome is not Outcome.PASSED:
        return finish.outcome
    if pods:
        return Outcome.ERRORED
    return worst(job.outcome or Outcome.ERRORED for job in jobs)


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The one that decides; of nothing at all: unknown."""
    return min(outcomes, key=_WORST_FIRST.index, default=Outcome.UNKNOWN)


def _job(start: RunStarted, record: PlannedJobRecord, events: Sequence[AnyEvent]) -> JobReport:
    attempt, tried = last_attempt(events)
    finish = _last(events, JobFinished)
    judged = _last(tried, JobJudged)
    unconfirmed = tuple(_still_unconfirmed(events))
    verdicts = _verdicts(record, judged)
    return JobReport(
        run=start.run,
        target=start.target,
        at=finish.at if finish else events[-1].at if events else start.at,
        commit=start.commit,
        record=record,
        outcome=_job_outcome(finish, judged, verdicts, tried, has_pod=bool(unconfirmed)),
        reason=finish.reason if finish else "",
        failure_class=finish.failure_class if finish else None,
        verdicts=verdicts,
        is_judged=judged is not None,
        attempt=attempt,
        failed_before=attempt > 1 and not _was_cut_short(events[: len(events) - len(tried)]),
        cost_usd=_cost_usd(start, finish, events),
        elapsed_s=finish.elapsed_s if finish else _span_s(events),
        lab_job_id=_lab_job_id(tried),
        gpu=_gpu(tried),
        series=_series(tried),
        scaled=_scaled(tried),
        issues=tuple({e.issue: e for e in tried if isinstance(e, IssueObserved)}.values()),
        missing=tuple({e.source: e for e in tried if isinstance(e, EvidenceMissing)}.values()),
        dataset=_last(tried, DatasetChecked),
        model=_last(tried, ModelDownloaded),
        unconfirmed=unconfirmed,
        measures=measure(
            tried,
            elapsed_s=finish.elapsed_s if finish else _span_s(events),
            cost_usd=_cost_usd(start, finish, events),
        ),
    )


def _cost_usd(start: RunStarted, finish: JobFinished | None, events: Sequence[AnyEvent]) -> float:
    # A local pod has the price of the machine that it stands for, so that limits are rehearsed; nobody pays it.
    if start.target is not Target.CLOUD:
        return 0.0
    if finish is not None:
        return finish.cost_usd
    return sum(event.cost_usd for event in events if isinstance(event, PodGone | PodDoubled))


def last_attempt(events: Sequence[AnyEvent]) -> tuple[int, Sequence[AnyEvent]]:
    """The number of a job's last attempt, and its events."""
    # The first start with the highest number: a resume may announce the same attempt twice.
    starts = [(event.attempt, -index) for index, event in enumerate(events) if isinstance(event, JobStarted)]
    attempt, position = max(starts, default=(1, 0))
    return attempt, events if attempt == 1 else events[-position:]


def _was_cut_short(earlier: Sequence[AnyEvent]) -> bool:
    """Whether the attempts before the last one are on record, and none of them came to an end of its own."""
    ended = [event for event in earlier if isinstance(event, JobFinished)]
    is_on_record = any(isinstance(event, JobStarted) for event in earlier)
    return is_on_record and all(event.outcome in (Outcome.CANCELLED, Outcome.SKIPPED) for event in ended)


def _still_unconfirmed(events: Sequence[AnyEvent]) -> list[PodUnconfirmed]:
    found: dict[str, PodUnconfirmed] = {}
    for event in events:
        if isinstance(event, PodUnconfirmed):
            found[event.name] = event
        elif isinstance(event, PodGone):
            found.pop(event.name, None)
    return list(found.values())


def _verdicts(record: PlannedJobRecord, judged: JobJudged | None) -> tuple[Verdict, ...]:
    given = {verdict.id: verdict for verdict in judged.verdicts} if judged else {}
    missing = tuple(_unjudged(id_, title) for id_, title in record.criteria if id_ not in given)
    return (*given.values(), *missing)


def _unjudged(id_: str, title: str) -> Verdict:
    finding = Finding(truth=None, decided=False, expected=title, observed=UNJUDGED)
    return Verdict(id=id_, title=title, outcome=Outcome.UNKNOWN, finding=finding)


def _job_outcome(
    finish: JobFinished | None,
    judged: JobJudged | None,
    verdicts: Sequence[Verdict],
    tried: Sequence[AnyEvent],
    *,
    has_pod: bool,
) -> Outcome | None:
    if finish is None:
        return None
    outcome = finish.outcome
    by_verdicts = _by_verdicts(verdicts)
    # A run that was judged again ends as its newest verdicts say, unless it ended for another reason than verdicts.
    rejudged = judged is not None and tried.index(judged) > _position(tried, finish)
    if rejudged and finish.failure_class in (None, FailureClass.CRITERION, FailureClass.NO_EVIDENCE):
        outcome = by_verdicts
    if outcome is not Outcome.PASSED:
        return outcome
    return Outcome.ERRORED if has_pod else by_verdicts


def _by_verdicts(verdicts: Sequence[Verdict]) -> Outcome:
    # Nothing to hold is nothing shown: a job without criteria is never green.
    needed = [verdict.outcome for verdict in verdicts if not verdict.optional]
    return worst(Outcome.UNKNOWN if outcome is Outcome.SKIPPED else outcome for outcome in needed)


def _position(events: Sequence[AnyEvent], wanted: AnyEvent) -> int:
    return next((index for index, event in enumerate(events) if event is wanted), len(events))


def _span_s(events: Sequence[AnyEvent]) -> float:
    return max(0.0, (events[-1].at - events[0].at).total_seconds()) if events else 0.0


def _first(events: Iterable[AnyEvent], kind: type[E]) -> E | None:
    return next((event for event in events if isinstance(event, kind)), None)


def _last(events: Sequence[AnyEvent], kind: type[E]) -> E | None:
    return next((event for event in reversed(events) if isinstance(event, kind)), None)


def _lab_job_id(events: Sequence[AnyEvent]) -> str | None:
    for event in reversed(events):
        found = None
        if isinstance(event, LabJobObserved):
            found = event.snapshot.lab_job_id
        elif isinstance(event, PodCreated):
            found = event.lab_job_id
        elif isinstance(event, PodObserved):
            found = event.pod.lab_job_id
        if found:
            return found
    return None


def _gpu(events: Sequence[AnyEvent]) -> str | None:
    created = _last(events, PodCreated)
    observed = _last(events, PodObserved)
    asked = _last(events, PodRequested)
    return (observed and observed.pod.gpu) or (created and created.gpu) or (asked.gpu if asked and created else None)


def _series(events: Sequence[AnyEvent]) -> tuple[Series, ...]:
    values: dict[str, dict[int, float | None]] = {}
    for event in events:
        if isinstance(event, MetricsObserved):
            for point in event.points:
                _merge(values, point.step, point.values)
    return tuple(_one_series(name, values[name]) for name in sorted(values))


def _merge(values: dict[str, dict[int, float | None]], step: int, new: Mapping[str, float | None]) -> None:
    for name, value in new.items():
        steps = values.setdefault(name, {})
        steps[step] = steps.get(step) if value is None else value


def _one_series(name: str, steps: Mapping[int, float | None]) -> Series:
    numbers = [value for _, value in sorted(steps.items()) if value is not None]
    first, last = (numbers[0], numbers[-1]) if numbers else (None, None)
    return Series(name, len(numbers), len(steps) - len(numbers), first, last)


def _scaled(events: Sequence[AnyEvent]) -> tuple[Scaled, ...]:
    found = (
        _SCALED.search(line.text[:600]) for event in events if isinstance(event, LogsObserved) for line in event.lines
    )
    by_field = {match[1]: Scaled(match[1], match[2], match[3], match[4] or "") for match in found if match}
    return tuple(by_field.values())
