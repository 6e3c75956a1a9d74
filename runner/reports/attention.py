"""What needs attention after a run: a job's failures under their one cause, jobs that failed alike together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from runner.reports import wording
from runner.reports.evidence import JobReport, RunReport
from runner.reports.explain import Explanation, title_of
from runner.reports.foreign import visible
from runner.results import Outcome, Verdict

MOST_LOG_LINES = 3
MOST_NAMES = 3
_DIGITS = re.compile(r"\d+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a problem: a label (empty for a heading), its text, and the outcome that it is about."""

    label: str
    text: str
    outcome: Outcome | None = None
    is_heading: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """Jobs that did not pass for one reason, first one first."""

    jobs: tuple[JobReport, ...]
    lines: tuple[Line, ...]


def problems(report: RunReport, explanations: Mapping[str, Explanation], flags: str = "") -> list[Problem]:
    """What did not pass: failures before what came to no verdict, most jobs first.

    Args:
        explanations: by job key, as far as they are known.
        flags: what a command needs to find the run.
    """
    groups: dict[tuple[object, ...], list[JobReport]] = {}
    for job in report.jobs:
        if job.outcome is not Outcome.PASSED or _open(job):
            groups.setdefault(_alike(job, explanations.get(job.key)), []).append(job)
    ordered = sorted(groups.values(), key=lambda jobs: (jobs[0].outcome is not Outcome.FAILED, -len(jobs)))
    return [Problem(tuple(jobs), tuple(_lines(report, jobs, explanations.get(jobs[0].key), flags))) for jobs in ordered]


def _open(job: JobReport) -> list[Verdict]:
    """Criteria that do not hold, those that decide first: failed before unknown, what is optional last."""
    found = [verdict for verdict in job.verdicts if verdict.outcome is not Outcome.PASSED] if job.is_judged else []
    return sorted(found, key=lambda one: (one.optional, one.outcome is not Outcome.FAILED))


def _alike(job: JobReport, why: Explanation | None) -> tuple[object, ...]:
    found = why.diagnosis if why else None
    criteria = tuple((one.id, one.outcome, _DIGITS.sub("0", one.finding.observed)) for one in _open(job))
    if found is not None and found.issue:
        return job.record.phase, job.outcome, found.issue, tuple(one[:2] for one in criteria)
    return job.record.phase, job.outcome, _DIGITS.sub("0", job.reason), criteria


def _lines(report: RunReport, jobs: Sequence[JobReport], why: Explanation | None, flags: str) -> Iterator[Line]:
    job = jobs[0]
    yield Line("", f"{word(job)}  {_names(jobs)}", job.outcome, is_heading=True)
    if not job.is_judged or not _open(job) or _broke(job):
        yield from _broken(report, job)
    yield from _cause(why)
    yield from _criteria(job)
    command = f"runspec resume {report.run}" if job.outcome is None else f"runspec explain {report.run}"
    yield Line("next", visible(command + flags))


def word(job: JobReport) -> str:
    """`✗ failed`, `! interrupted`, `≈ flaky`."""
    if job.outcome is None:
        return "! interrupted"
    return "≈ flaky" if job.is_flaky else f"{wording.SIGNS[job.outcome]} {job.outcome.value}"


def _names(jobs: Sequence[JobReport]) -> str:
    shown = ", ".join(visible(job.key) for job in jobs[:MOST_NAMES])
    more = f" and {len(jobs) - MOST_NAMES} more" if len(jobs) > MOST_NAMES else ""
    alike = f"  ({len(jobs)} jobs alike)" if len(jobs) > 1 else ""
    return shown + more + alike


def _broke(job: JobReport) -> bool:
    return job.outcome in (Outcome.ERRORED, Outcome.CANCELLED, None) and bool(job.reason or job.outcome is None)


def _broken(report: RunReport, job: JobReport) -> Iterator[Line]:
    why = job.reason or ("nothing more was recorded" if job.outcome is None else "no reason was recorded")
    # A cancelled job's reason begins with its class already.
    is_said = job.failure_class is None or why.startswith(job.failure_class.value)
    cause = "" if job.failure_class is None or is_said else f" ({job.failure_class.value})"
    tries = f", after {job.attempt} attempts" if job.attempt > 1 else ""
    yield Line("expected", "a verdict on every criterion")
    yield Line("observed", visible(why) + cause + tries + f"; {wording.money(job.cost_usd)} spent")


def _cause(why: Explanation | None) -> Iterator[Line]:
    found = why.diagnosis if why else None
    if why is None or found is None:
        return
    yield Line("cause", visible(f"{title_of(found)}: {found.cause}", longest=400))
    if found.line is not None:
        last = next((index for index, line in enumerate(why.lines) if line.number == found.line), 0)
        for index, line in enumerate(why.lines[max(0, last - MOST_LOG_LINES + 1) : last + 1]):
            yield Line("log" if index == 0 else "", f"{line.number} | {visible(line.text, longest=160)}")
    if found.fix:
        yield Line("fix", visible(found.fix))


def _criteria(job: JobReport) -> Iterator[Line]:
    """Criteria that were seen to fail one by one; those with one reason for all of them together."""
    by_reason: dict[tuple[Outcome, str], list[Verdict]] = {}
    for verdict in _open(job):
        by_reason.setdefault((verdict.outcome, verdict.finding.observed), []).append(verdict)
    for (outcome, observed), verdicts in by_reason.items():
        titles = ", ".join(_title(verdict) for verdict in verdicts)
        yield Line("", f"{wording.SIGNS[outcome]} {titles}", outcome)
        if len(verdicts) == 1:
            yield Line("expected", visible(verdicts[0].finding.expected))
        if observed and f"no verdict: {job.reason}" != observed:
            yield Line("observed", visible(observed))
        evidence = dict.fromkeys(item for verdict in verdicts for item in verdict.finding.evidence)
        if evidence:
            yield Line("evidence", visible(", ".join(evidence)))


def _title(verdict: Verdict) -> str:
    optional = " (optional)" if verdict.optional else ""
    return visible(verdict.title.replace("`", "")) + optional
