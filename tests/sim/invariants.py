"""What must be true of any simulated run, of ports or of wires; each answer is a list of violations."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from runner.conditions.evidence import Evidence
from runner.conditions.judge import judge
from runner.events import AnyEvent, JobEvent, JobFinished, JobJudged, JobStarted, decode_event, encode_event
from runner.plan import PlannedJob
from runner.results import FailureClass, Outcome, Verdict

# What the vendors allow in a minute: the example in RunPod's own document, and the lab's default for one key.
RUNPOD_A_MINUTE = 60
LAB_A_MINUTE = 100


def replayed_otherwise(events: Sequence[AnyEvent], jobs: Mapping[str, PlannedJob]) -> list[str]:
    """I6: the journal alone gives the verdicts and costs of the live run, and its lines give the same events again."""
    found = [f"I6: {event} is read back otherwise" for event in events if decode_event(encode_event(event)) != event]
    for number, finished in enumerate(events):
        if not isinstance(finished, JobFinished):
            continue
        own = [event for event in events[:number] if isinstance(event, JobEvent) and event.job == finished.job]
        judged = _judged_last(own)
        evidence = Evidence()
        evidence.apply_all(own)
        # A pod that nobody could prove gone goes on costing with every further event.
        is_settled = finished.failure_class is not FailureClass.LEAK
        if is_settled and abs(evidence.cost_usd - finished.cost_usd) > 1e-9:
            found.append(f"I6: {finished.job} cost {finished.cost_usd}, by its journal {evidence.cost_usd}")
        if judged is not None:
            again = judge(jobs[finished.job].criteria, evidence)
            found += _differences(finished, judged.verdicts, again)
    return found


def _judged_last(own: Sequence[JobEvent]) -> JobJudged | None:
    """The verdicts of the last attempt; None when it ended without any, as one that is not taken up again."""
    found = None
    for event in own:
        if isinstance(event, JobStarted | JobJudged):
            found = event if isinstance(event, JobJudged) else None
    return found


def _differences(finished: JobFinished, live: Sequence[Verdict], again: Sequence[Verdict]) -> list[str]:
    by_verdicts = finished.failure_class in (None, FailureClass.CRITERION)
    return [
        f"I6: {finished.job} {one.id} was {one.outcome}, by its journal {other.outcome}"
        for one, other in zip(live, again, strict=True)
        # Where something else broke or was not seen, what only never got its chance is errored in place of failed.
        if one.outcome is not other.outcome
        and (by_verdicts or (one.outcome, other.outcome) != (Outcome.ERRORED, Outcome.FAILED))
    ]


def failed_without_cause(
    finished: Sequence[JobFinished], happened: Mapping[str, int], *, causes: set[str]
) -> list[str]:
    """I3 the other way round: red means that a template, or what the lab did with it, was not as it should be."""
    if any(happened.get(fault) for fault in causes):
        return []
    return [f"I3: {job.job} failed: {job.reason}" for job in finished if job.outcome is Outcome.FAILED]


def asked_too_often(trace: Sequence[str], counts: Callable[[str], bool], *, a_minute: int) -> list[str]:
    """I10: never more requests in any minute than the vendor allows; a trace line begins with its time in seconds."""
    times = [float(line.split(" ", 1)[0]) for line in trace if counts(line)]
    for first, begin_s in enumerate(times):
        number = bisect_right(times, begin_s + 60, lo=first) - first
        if number > a_minute:
            return [f"I10: {number} requests within a minute from {begin_s:.0f} s on, {a_minute} are allowed"]
    return []


def looked_away(trace: Sequence[str], call: str, *, every_s: float) -> list[str]:
    """I10: on a healthy cloud no two looks are further apart than three times the interval."""
    times = [float(line.split(" ", 1)[0]) for line in trace if line.endswith(call)]
    return [
        f"I10: nobody looked from {one:.0f} s to {other:.0f} s ({call})"
        for one, other in pairwise(times)
        if other - one > 3 * every_s
    ]
