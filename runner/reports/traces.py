"""What was observed of one job, for a reader who wants to see the evidence: curves, log lines, and a timeline."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from runner.events import (
    AlertsObserved,
    AnyEvent,
    IssueObserved,
    JobEvent,
    JobFinished,
    JobStarted,
    LabJobObserved,
    LogsObserved,
    MetricsObserved,
    PodCreated,
    PodDoubled,
    PodGone,
    PodMissing,
    PodObserved,
    PodRefused,
    PodRequested,
    PodUnconfirmed,
    StepFinished,
    WatchResumed,
)
from runner.reports.charts import Point
from runner.reports.evidence import last_attempt
from runner.reports.foreign import visible
from runner.reports.wording import duration
from runner.results import LogLine, MetricPoint, Outcome

_LOSS = "train_loss"
LANES = ("pod", "log", "metric", "alert", "runspec")
_LINE = re.compile(r"\b(?:log )?lines? (\d+)")
_TELLING = re.compile(r"Training started|trainer\.py (?:downloaded|created)|Traceback|out of memory|POST failed|Saved")
_BAD_LINES = ("Traceback", "out of memory", "POST failed")
_BAD_ALERT = re.compile(r"fail|oom")
_MOST_MARKS = 24
_CONTEXT = 3
_MOST_LINES = 24
_LONGEST_LINE = 220


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing that happened. `at_s` counts from the job's start; `is_bad` when it speaks against the job."""

    at_s: float
    lane: str
    words: str
    is_bad: bool = False


@dataclass(frozen=True, slots=True)
class ShownLine:
    """One log line by its number. `weight` is 2 when it speaks against the job, 1 for other evidence, else 0."""

    number: int
    text: str
    weight: int


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The log around the evidence. `cut` is how many lines are not shown."""

    lines: tuple[ShownLine, ...]
    cut: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Everything observed of one job, in order."""

    points: dict[str, tuple[Point, ...]]
    log: tuple[tuple[int, LogLine], ...]
    marks: tuple[Mark, ...]
    billed: tuple[tuple[float, float], ...]
    steps: tuple[StepFinished, ...]
    length_s: float


def trace(events: Sequence[AnyEvent], job: str) -> Trace:
    """What the events of a run say of one of its jobs."""
    own = [event for event in events if isinstance(event, JobEvent) and event.job == job]
    start = next((event.at for event in own if isinstance(event, JobStarted)), own[0].at if own else None)
    if start is None:
        return Trace(points={}, log=(), marks=(), billed=(), steps=(), length_s=0.0)
    return Trace(
        points=_points(last_attempt(own)[1]),
        log=tuple(_log(last_attempt(own)[1])),
        marks=tuple(_thinned([mark for event in own for mark in _marks(event, start)])),
        billed=tuple(_billed(own, start)),
        steps=tuple(event for event in own if isinstance(event, StepFinished)),
        length_s=max(0.0, (own[-1].at - start).total_seconds()),
    )


def _points(events: Sequence[AnyEvent]) -> dict[str, tuple[Point, ...]]:
    values: dict[str, dict[int, float | None]] = {}
    for event in events:
        if isinstance(event, MetricsObserved):
            for point in event.points:
                for name, value in point.values.items():
                    steps = values.setdefault(name, {})
                    steps[point.step] = steps.get(point.step, _lost(name, point)) if value is None else value
    return {name: tuple(sorted(steps.items())) for name, steps in values.items()}


def _lost(name: str, point: MetricPoint) -> float | None:
    """NaN for a training loss that was due: points of evaluations carry no learning rate, and no loss of training."""
    return math.nan if name == _LOSS and point.values.get("learning_rate") is not None else None


def _log(events: Sequence[AnyEvent]) -> Iterator[tuple[int, LogLine]]:
    for event in events:
        if isinstance(event, LogsObserved):
            yield from enumerate(event.lines, event.first)


def _billed(events: Sequence[JobEvent], start: datetime) -> Iterator[tuple[float, float]]:
    last = events[-1].at
    for event in events:
        if isinstance(event, PodCreated):
            ends = [one.at for one in events if isinstance(one, PodGone) and one.pod_id == event.pod_id]
            end = ends[0] if ends else last
            yield ((event.at - start).total_seconds(), (end - start).total_seconds())


def _marks(event: JobEvent, start: datetime) -> Iterator[Mark]:
    at = (event.at - start).total_seconds()
    pod = _of_pod(event)
    if pod is not None:
        yield Mark(at, "pod", pod[0], is_bad=pod[1])
    elif isinstance(event, LogsObserved):
        yield from _of_log(event, at)
    elif isinstance(event, MetricsObserved) and event.points:
        yield Mark(at, "metric", f"step {event.points[-1].step}")
    elif isinstance(event, AlertsObserved):
        yield from (Mark(at, "alert", one.type, is_bad=bool(_BAD_ALERT.search(one.type))) for one in event.alerts)
    else:
        own = _of_runspec(event)
        if own is not None:
            yield Mark(at, "runspec", own[0], is_bad=own[1])


def _of_pod(event: JobEvent) -> tuple[str, bool] | None:
    match event:
        case PodRequested():
            return f"asked for {event.gpu}", False
        case PodRefused():
            return f"refused: {event.message}", True
        case PodCreated():
            return "created, billed from here", False
        case PodObserved():
            return event.pod.status.lower(), event.pod.status == "ERROR"
        case PodMissing():
            return "vanished", True
        case PodGone():
            return "proven gone", False
        case PodDoubled():
            return f"a second pod, {event.pod_id}, was given back", True
        case PodUnconfirmed():
            return f"not proven gone: {event.why}", True
    return None


def _of_log(event: LogsObserved, at: float) -> Iterator[Mark]:
    for line in event.lines:
        found = _TELLING.search(line.text[:600])
        if found is not None:
            yield Mark(at, "log", found.group(), is_bad=found.group() in _BAD_LINES)


def _of_runspec(event: JobEvent) -> tuple[str, bool] | None:
    match event:
        case WatchResumed():
            return f"not watched for {duration(event.blind_s)}", False
        case IssueObserved():
            return f"issue {event.issue}", event.verdict == "error"
        case LabJobObserved() if event.snapshot.is_finished:
            return f"lab says {event.snapshot.status}", event.snapshot.status == "failed"
        case StepFinished() if event.outcome is not Outcome.PASSED:
            return f"step {event.index + 1} {event.outcome.value}", True
        case JobFinished():
            return event.outcome.value, event.outcome is Outcome.FAILED
    return None


def _thinned(marks: Sequence[Mark]) -> list[Mark]:
    """Each lane's first mark of a kind, all bad ones, and of steps the first and the last: a picture, not a log."""
    kept: list[Mark] = []
    seen: set[tuple[str, str]] = set()
    metric = [mark for mark in marks if mark.lane == "metric"]
    ends = {id(mark) for mark in (metric[:1] + metric[-1:])}
    for mark in marks:
        if mark.lane == "metric" and id(mark) not in ends:
            continue
        if (mark.lane, mark.words) not in seen:
            seen.add((mark.lane, mark.words))
            kept.append(mark)
    return kept[: _MOST_MARKS - 1] + kept[-1:] if len(kept) > _MOST_MARKS else kept


def excerpt(found: Trace, against: Sequence[str], other: Sequence[str], *, is_good: bool) -> Excerpt:
    """The log lines that some evidence names: what speaks against the job with the lines around it.

    The last lines of a job that is not good and of which no line is named.
    """
    worst, named = _named(against), _named(other)
    around = {number + offset for number in worst for offset in range(-_CONTEXT, _CONTEXT + 1)}
    if not around and not is_good and found.log:
        last = found.log[-1][0]
        around = set(range(last - 2 * _CONTEXT, last + 1))
    wanted = [(number, line) for number, line in found.log if number in around or number in named]
    shown = wanted if len(wanted) <= _MOST_LINES else [one for one in wanted if one[0] in around][:_MOST_LINES]
    lines = tuple(
        ShownLine(number, visible(line.text, longest=_LONGEST_LINE), 2 if number in worst else int(number in named))
        for number, line in shown
    )
    return Excerpt(lines, len(found.log) - len(lines))


def _named(evidence: Sequence[str]) -> set[int]:
    return {int(number) for one in evidence for number in _LINE.findall(one)}
