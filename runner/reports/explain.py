"""Why a job did not pass: the criteria that failed and why, the cause in the log, its fix, and what is different."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from runner.events import IssueObserved, LogsObserved
from runner.issues.catalogue import IssueRule
from runner.issues.diagnose import Diagnosis, diagnose
from runner.issues.logtext import Line, LogText
from runner.issues.matcher import IssueMatcher
from runner.reports import wording
from runner.reports.difference import Change, RecordedJob, changes
from runner.results import Finding, Outcome, Verdict
from runner.spec.models import Method

CONTEXT = 3
_SAYS_NOTHING = ("healthy", "healthy_with_warnings", "unknown")
_DEEPEST = 6
_MARKS = {True: "✓", False: "✗", None: "?"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why one job is as it is.

    Attributes:
        diagnosis: the cause; None when neither log nor API said anything that is known.
        verdicts: criteria that do not hold.
        lines: the log around the cause.
        before: the run that passed last; None when there is none.
        changes: what is different since.
    """

    job: RecordedJob
    diagnosis: Diagnosis | None
    verdicts: tuple[Verdict, ...]
    lines: tuple[Line, ...]
    before: RecordedJob | None
    changes: tuple[Change, ...]

    def as_json(self) -> dict[str, object]:
        """The fields that `runspec explain RUN --json` prints for a job."""
        job = self.job.job
        found = self.diagnosis or Diagnosis(failure_class=_class_of(self.job), cause=job.reason)
        return {
            "job": job.key,
            "outcome": job.outcome.value if job.outcome else "interrupted",
            "reason": job.reason,
            **found.as_json(),
            "criteria": [_verdict_json(verdict) for verdict in self.verdicts],
            "lines": [{"line": line.number, "text": line.text} for line in self.lines],
            "last_passed": self.before.run.run if self.before else None,
            "changes": [{"what": one.what, "before": one.before, "now": one.now} for one in self.changes],
        }


def explain(job: RecordedJob, before: RecordedJob | None = None) -> Explanation:
    """Why a recorded job did not pass; `before` is the job that passed last."""
    log, numbers = _log_of(job)
    found = _cause(job, log)
    lines = log.around(found.line, CONTEXT) if found and found.line else []
    return Explanation(
        job=job,
        diagnosis=_renumbered(found, numbers),
        verdicts=tuple(one for one in job.job.verdicts if one.outcome is not Outcome.PASSED),
        lines=tuple(Line(_real(line.number, numbers), line.text, line.start) for line in lines),
        before=before,
        changes=tuple(changes(before, job)) if before else (),
    )


def cause_of(job: RecordedJob) -> Diagnosis | None:
    """The cause that explains most of what a job did, with the number of its line as recorded."""
    log, numbers = _log_of(job)
    return _renumbered(_cause(job, log), numbers)


def _cause(job: RecordedJob, log: LogText) -> Diagnosis | None:
    report = job.job
    if report.outcome is Outcome.PASSED:
        return None
    method = next((one for one in Method if one.value == report.record.method), None)
    found = diagnose(log, method=method)
    if found.failure_class not in _SAYS_NOTHING:
        return found
    matcher = IssueMatcher(method=method)
    by_reason = matcher.match_api(report.reason) if report.reason else None
    if by_reason is not None and by_reason.verdict != "expected":
        return _of_rule(by_reason, report.reason)
    seen = [issue for issue in report.issues if issue.verdict != "expected"]
    root = matcher.root_cause(issue.issue for issue in seen)
    chosen = next((issue for issue in seen if root and issue.issue == root.id), seen[0] if seen else None)
    return _of_event(chosen) if chosen else None


def _of_rule(rule: IssueRule, evidence: str) -> Diagnosis:
    return Diagnosis(
        failure_class=rule.failure_class, issue=rule.id, title=rule.title, evidence=evidence, cause=rule.cause,
        fix=rule.fix,
    )  # fmt: skip


def _of_event(issue: IssueObserved) -> Diagnosis:
    return Diagnosis(
        failure_class=issue.failure_class, issue=issue.issue, title=issue.title, evidence=issue.text or None,
        line=issue.log_line, cause=issue.cause, fix=issue.fix,
    )  # fmt: skip


def _class_of(job: RecordedJob) -> str:
    report = job.job
    if report.outcome is Outcome.PASSED:
        return "healthy"
    return report.failure_class.value if report.failure_class else "unknown"


def _log_of(job: RecordedJob) -> tuple[LogText, list[int]]:
    rows, numbers = [], []
    for event in job.events:
        if isinstance(event, LogsObserved):
            for number, line in enumerate(event.lines, event.first):
                rows.append(line.text.replace("\n", " "))
                numbers.append(number)
    return LogText("\n".join(rows)), numbers


def _real(row: int, numbers: Sequence[int]) -> int:
    return numbers[row - 1] if 0 < row <= len(numbers) else row


def _renumbered(found: Diagnosis | None, numbers: Sequence[int]) -> Diagnosis | None:
    return replace(found, line=_real(found.line, numbers)) if found and found.line else found


def tree(finding: Finding, depth: int = 0) -> Iterator[tuple[int, str]]:
    """A finding and what it was made from, as depth and text; what decided comes with what was seen."""
    observed = f": {finding.observed}" if finding.observed and finding.observed != finding.expected else ""
    yield depth, f"{_MARKS[finding.truth]} {finding.expected}{observed}"
    if depth < _DEEPEST:
        for part in finding.parts:
            yield from tree(part, depth + 1)


def title_of(diagnosis: Diagnosis) -> str:
    """`out of memory … (oom, rule oom-cuda)`: title, class and rule in one line."""
    rule = f", rule {diagnosis.issue}" if diagnosis.issue else ""
    return f"{diagnosis.title or diagnosis.failure_class} ({diagnosis.failure_class}{rule})"


def when(job: RecordedJob) -> str:
    """`run 7f3a of 2026-01-04`."""
    return f"run {job.run.run} of {wording.day(job.job.at)}"


def _verdict_json(verdict: Verdict) -> dict[str, object]:
    return {
        "id": verdict.id, "title": verdict.title, "outcome": verdict.outcome.value, "optional": verdict.optional,
        "finding": _finding_json(verdict.finding),
    }  # fmt: skip


def _finding_json(finding: Finding) -> dict[str, object]:
    return {
        "truth": finding.truth, "expected": finding.expected, "observed": finding.observed,
        "evidence": list(finding.evidence), "parts": [_finding_json(part) for part in finding.parts],
    }  # fmt: skip
