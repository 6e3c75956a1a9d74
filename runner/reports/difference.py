"""What is different between two jobs of one spec and phase: settings, versions, data, scaling, timings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.events import AnyEvent, JobEvent, LogsObserved, StepFinished
from runner.history import RecordedRun
from runner.reports import wording
from runner.reports.evidence import JobReport, RunReport, last_attempt, summarise
from runner.results import Outcome

_VERSIONS = re.compile(r"\b(python|torch|transformers|trl|peft|datasets|accelerate|bitsandbytes)[ =]+(\d[\w.+-]{0,40})")
_SLOWER = 1.5
_NOTABLE_S = 2.0
_MOST = 40
_LONGEST = 80


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is not as it was: what, then, now."""

    what: str
    before: str
    now: str


@dataclass(frozen=True, slots=True)
class RecordedJob:
    """A job with its run and the events of its last attempt."""

    run: RunReport
    job: JobReport
    events: tuple[JobEvent, ...]


def recorded_jobs(run: RecordedRun) -> list[RecordedJob]:
    """The jobs of a recorded run; none when not even its start was recorded."""
    report = summarise(run)
    if report is None:
        return []
    by_job: dict[str, list[AnyEvent]] = {}
    for event in run.events:
        if isinstance(event, JobEvent):
            by_job.setdefault(event.job, []).append(event)
    return [RecordedJob(report, job, tuple(_events_of_last_attempt(by_job.get(job.key, [])))) for job in report.jobs]


def _events_of_last_attempt(events: Sequence[AnyEvent]) -> Iterator[JobEvent]:
    _, tried = last_attempt(events)
    return (event for event in tried if isinstance(event, JobEvent))


def last_passed(wanted: RecordedJob, runs: Iterator[RecordedRun] | Sequence[RecordedRun]) -> RecordedJob | None:
    """The newest job of the same spec, phase and target that passed before this one."""
    best: RecordedJob | None = None
    for run in runs:
        for one in recorded_jobs(run):
            is_same = (one.job.record.spec, one.job.record.phase, one.run.target) == (
                wanted.job.record.spec, wanted.job.record.phase, wanted.run.target,
            )  # fmt: skip
            is_older = one.job.at < wanted.job.at
            if (
                is_same
                and is_older
                and one.job.outcome is Outcome.PASSED
                and not one.run.is_staged
                and (best is None or one.job.at > best.job.at)
            ):
                best = one
    return best


def changes(before: RecordedJob, now: RecordedJob) -> list[Change]:
    """Everything that differs, settings first, timings last; at most forty."""
    old, new = before.job, now.job
    found = [
        *_settings(old.record.content, new.record.content),
        *_field("dataset", _dataset(old), _dataset(new)),
        *_field("seed", str(old.record.seed), str(new.record.seed)),
        *_field("GPU", old.gpu or "none", new.gpu or "none"),
        *_field("runspec", before.run.version, now.run.version),
        *_field("commit", old.commit or "unknown", new.commit or "unknown"),
        *_table("version of ", _versions(before.events), _versions(now.events)),
        *_table("scaled ", _scaled(old), _scaled(new)),
        *_timings(before.events, now.events),
    ]
    return found[:_MOST]


def _field(what: str, before: str, now: str) -> Iterator[Change]:
    if before != now:
        yield Change(what, before or "none", now or "none")


def _table(head: str, before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Change]:
    for name in sorted(before.keys() | now.keys()):
        # What only one of two logs says is no difference: the other may have ended before it.
        if name in before and name in now and before[name] != now[name]:
            yield Change(head + name, before[name], now[name])


def _settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    old, new = dict(_leaves("", before)), dict(_leaves("", now))
    if not old or not new:
        return
    for path in sorted(old.keys() | new.keys()):
        yield from _field(path, old.get(path, "not set"), new.get(path, "not set"))


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _leaves(f"{path}.{key}" if path else str(key), one)
    elif isinstance(value, list | tuple):
        for index, one in enumerate(value):
            yield from _leaves(f"{path}[{index}]", one)
    else:
        yield path, str(value)[:_LONGEST]


def _dataset(job: JobReport) -> str:
    if job.dataset is None:
        return (job.record.dataset_digest or "not checked")[:12]
    return f"{wording.count(job.dataset.rows, 'row')}, {job.dataset.digest[:12]}"


def _versions(events: Sequence[JobEvent]) -> dict[str, str]:
    found: dict[str, str] = {}
    for event in events:
        if isinstance(event, LogsObserved):
            for line in event.lines:
                for name, version in _VERSIONS.findall(line.text[:400]):
                    found.setdefault(name, version)
    return found


def _scaled(job: JobReport) -> dict[str, str]:
    return {one.field: one.after for one in job.scaled}


def _timings(before: Sequence[JobEvent], now: Sequence[JobEvent]) -> Iterator[Change]:
    old, new = (_steps(events) for events in (before, now))
    for title in new:
        if title in old and abs(new[title] - old[title]) > _NOTABLE_S and not _is_near(old[title], new[title]):
            yield Change(f"time of “{title}”", wording.duration(old[title]), wording.duration(new[title]))


def _is_near(one: float, other: float) -> bool:
    return max(one, other) < _SLOWER * max(min(one, other), 0.1)


def _steps(events: Sequence[JobEvent]) -> dict[str, float]:
    return {f"step {event.index + 1}": event.elapsed_s for event in events if isinstance(event, StepFinished)}
