"""Conditions over things that are counted as they come: log lines, alerts, known issues."""

from __future__ import annotations

from collections.abc import Sequence

from runner.conditions.evidence import Seen
from runner.conditions.scope import Scope, cut, quote
from runner.conditions.words import counted, in_words
from runner.events import IssueObserved
from runner.results import Alert, Finding
from runner.spec.conditions import AlertReceived, IssueSeen, LogMatches

_MAX_POINTERS = 5


def find_log(condition: LogMatches, scope: Scope) -> Finding:
    """Lines that match; a line is searched once, however often this is asked."""
    log = scope.evidence.log
    found = lines_in_view(scope, condition.log, condition.source)
    expected = in_words(condition)
    pointers = tuple(f"log line {log.lines[at].number}" for at in found[:_MAX_POINTERS])
    costly = log.too_costly(condition.log, condition.source)
    observed = _lines_in_words(scope, found)
    finding = scope.count(condition.count, len(found), "logs", expected, observed, *pointers)
    # A line that could not be searched may have matched: only what more matches cannot change is known.
    if costly is not None and not scope.is_final(condition.count, len(found)):
        return scope.unknown(expected, cut(costly), *pointers)
    return finding


def lines_in_view(scope: Scope, pattern: str, source: str | None = None) -> Sequence[int]:
    """Positions in the logbook of the lines that match."""
    found = scope.evidence.log.matches(pattern, source)
    return found if scope.until is None else [at for at in found if scope.counts_line(at)]


def _lines_in_words(scope: Scope, found: Sequence[int]) -> str:
    lines = scope.evidence.log.lines
    if not found:
        return f"no such line in {counted(len(lines), 'line')}"
    first = lines[found[0]]
    more = f" and {len(found) - 1:,} more" if len(found) > 1 else ""
    return f"line {first.number}: {quote(first.text)}{more}"


def find_alert(condition: AlertReceived, scope: Scope) -> Finding:
    """Alerts of a type; several rows of one alert (one per webhook) have different ids and count each."""
    found = alerts_in_view(scope, condition.alert)
    pointers = tuple(f"alert {condition.alert} at {seen.stamp:%H:%M:%SZ}" for seen in found[:_MAX_POINTERS])
    observed = ", ".join(pointers) if found else _other_alerts(scope)
    source = "start-alert" if condition.alert == "job_started" and scope.gap("start-alert") else "alerts"
    return scope.count(condition.count, len(found), source, in_words(condition), observed, *pointers)


def alerts_in_view(scope: Scope, kind: str) -> Sequence[Seen[Alert]]:
    """Alerts of a type, in order of their arrival."""
    return [seen for seen in scope.evidence.alerts.values() if seen.what.type == kind and scope.counts(seen)]


def _other_alerts(scope: Scope) -> str:
    others = sorted({seen.what.type for seen in scope.evidence.alerts.values()})
    return f"no such alert; there were {cut(', '.join(others))}" if others else "no alert at all"


def find_issue(condition: IssueSeen, scope: Scope) -> Finding:
    """Known issues of a kind, or one by its id."""
    found = issues_in_view(scope, condition.issue)
    pointers = tuple(_issue_pointer(seen.what) for seen in found[:_MAX_POINTERS])
    observed = "; ".join(_issue_in_words(seen.what) for seen in found[:_MAX_POINTERS])
    if not found:
        observed = f"no such issue in {counted(len(scope.evidence.log.lines), 'line')}"
    return scope.count(None, len(found), "issues", in_words(condition), observed, *pointers)


def issues_in_view(scope: Scope, wanted: str) -> Sequence[Seen[IssueObserved]]:
    """Known issues by verdict (`error`, `expected`, `infrastructure`) or by id."""
    return [
        seen
        for seen in scope.evidence.issues_seen
        if wanted in (seen.what.verdict, seen.what.issue) and scope.counts_issue(seen)
    ]


def _issue_pointer(issue: IssueObserved) -> str:
    where = f" at log line {issue.log_line}" if issue.log_line is not None else ""
    return f"issue {issue.issue}{where}"


def _issue_in_words(issue: IssueObserved) -> str:
    where = f"line {issue.log_line}: " if issue.log_line is not None else ""
    return f"{where}{cut(issue.title)}" + (f" ({quote(issue.text)})" if issue.text else "")
