"""Conditions over what the pod and the training job are, and were."""

from __future__ import annotations

from collections.abc import Sequence

from runner.conditions.evidence import Seen
from runner.conditions.scope import Scope, cut
from runner.conditions.words import in_words
from runner.results import Finding
from runner.spec.conditions import JobIs, PodIs

_WORD_OF_STATE = {"running": "running", "exited": "exited", "failed": "error", "gone": "gone"}
_STATUSES = {"pending": ("pending", "queued"), "running": ("running",)}


def find_pod(condition: PodIs, scope: Scope) -> Finding:
    """The newest pod's state. `created` and `started` stay; the others are what is the case now."""
    match condition.pod:
        case "created":
            return _sticky(condition, scope, _states(scope, None), "no pod was created")
        case "started":
            return _started(condition, scope)
        case state:
            return _pod_state(condition, scope, _WORD_OF_STATE[state])


def _states(scope: Scope, word: str | None) -> Sequence[Seen[str]]:
    states = (seen for pod in scope.evidence.pods.values() for seen in pod.states)
    return [seen for seen in states if word in (None, seen.what) and scope.counts(seen)]


def _sticky(condition: PodIs, scope: Scope, seen: Sequence[Seen[str]], otherwise: str) -> Finding:
    expected = in_words(condition)
    if seen:
        when = f"pod {seen[0].what} at {seen[0].stamp:%H:%M:%SZ}"
        return scope.fixed(True, expected, when, when)
    return scope.settle(False, "pod", expected, otherwise)


def _started(condition: PodIs, scope: Scope) -> Finding:
    """A pod that is gone between two looks has started all the same, if its container wrote a line."""
    ran = _states(scope, "running")
    if ran:
        return _sticky(condition, scope, ran, "")
    lines = enumerate(scope.evidence.log.lines)
    line = next((line for at, line in lines if line.source == "container" and scope.counts_line(at)), None)
    if line is not None:
        return scope.fixed(True, in_words(condition), "its container wrote a line", f"log line {line.number}")
    return _sticky(condition, scope, (), _pod_in_words(scope))


def _pod_state(condition: PodIs, scope: Scope, word: str) -> Finding:
    expected = in_words(condition)
    seen = _states(scope, word)
    if scope.ever and seen:
        return _sticky(condition, scope, seen, "")
    pod = scope.evidence.pod
    truth = not scope.ever and pod is not None and pod.state == word
    return scope.settle(truth, "pod", expected, _pod_in_words(scope))


def _pod_in_words(scope: Scope) -> str:
    pod = scope.evidence.pod
    if pod is None:
        return "no pod was created"
    return f"pod {cut(pod.state)} since {pod.states[-1].stamp:%H:%M:%SZ}"


def find_job(condition: JobIs, scope: Scope) -> Finding:
    """The job's state by status and by alerts, because either may be lost (contract T-09).

    An end stays. `completed` loses against `failed` when both were reported, in whatever order.
    """
    expected = in_words(condition)
    ends = {end: seen for end, seen in scope.evidence.ends.items() if scope.counts(seen)}
    match condition.job:
        case "pending" | "running":
            return _job_status(condition, scope)
        case "completed":
            truth = "completed" in ends and "failed" not in ends
            if "failed" in ends:
                return scope.fixed(False, expected, *_end_in_words(ends, "failed"))
        case "finished":
            truth = bool(ends)
        case end:
            truth = end in ends
    if truth and condition.job != "completed":
        first = condition.job if condition.job in ends else next(iter(ends))
        return scope.fixed(True, expected, *_end_in_words(ends, first))
    if truth:
        return scope.settle(True, "job", expected, *_end_in_words(ends, "completed"))
    return scope.settle(False, "job", expected, _job_in_words(scope))


def _end_in_words(ends: dict[str, Seen[str]], end: str) -> tuple[str, str]:
    seen = ends[end]
    pointer = f"{seen.what} at {seen.stamp:%H:%M:%SZ}"
    return f"job {end} by {pointer}", pointer


def _job_status(condition: JobIs, scope: Scope) -> Finding:
    expected = in_words(condition)
    wanted = _STATUSES[condition.job]
    evidence = scope.evidence
    if scope.ever:
        seen = [seen for seen in evidence.job_states if seen.what in wanted and scope.counts(seen)]
        if seen:
            return scope.fixed(True, expected, f"job {seen[0].what} at {seen[0].stamp:%H:%M:%SZ}")
    now = evidence.job is not None and not evidence.ends and evidence.job.status in wanted
    return scope.settle(now and not scope.ever, "job", expected, _job_in_words(scope))


def _job_in_words(scope: Scope) -> str:
    evidence = scope.evidence
    if evidence.ends:
        return "; ".join(_end_in_words(evidence.ends, end)[0] for end in evidence.ends)
    if evidence.job is None:
        return "no status of the job was seen"
    error = f": {cut(evidence.job.error)}" if evidence.job.error else ""
    return f"job {cut(evidence.job.status)}{error}"
