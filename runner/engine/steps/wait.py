"""`wait: CONDITION`: looks again at every new observation, and watches for what ends the job early."""

from __future__ import annotations

from runner.conditions.evaluate import evaluate
from runner.conditions.judge import all_decided
from runner.engine.context import JobContext, StepResult
from runner.engine.stop import StopJob
from runner.events import EvidenceMissing
from runner.results import FailureClass, Finding, Outcome
from runner.spec.conditions import AllOf, AnyOf, Condition, IssueSeen, LogMatches, PodIs
from runner.spec.scalars import format_duration
from runner.spec.steps import WaitStep


async def wait_for(context: JobContext, step: WaitStep) -> StepResult:
    """Wait until the condition, or its `or`, holds. Time in which nobody could watch does not count.

    Raises:
        StopJob: a `stop_if` condition came true, a limit was reached, the pod died, or the user interrupts.
    """
    state, clock = context.state, context.world.clock
    limit = step.timeout or state.job.spec.limits.run
    deadline = clock.monotonic() + limit.total_seconds() - state.blinded_s
    while True:
        state.evidence.advance(state.now())
        stop_if_needed(context)
        findings = [evaluate(condition, state.evidence) for condition in awaited(step)]
        if result := _result_of(context, findings):
            return result
        left_s = deadline + state.blinded_s - clock.monotonic()
        if _is_all_over(context) and all(map(_is_out_of_reach, awaited(step), findings)):
            detail = f"can no longer come: the pod is gone and its job is over; {findings[0].observed}"
            return await _in_vain(context, step, detail)
        if left_s <= 0:
            detail = f"expected {findings[0].expected} within {format_duration(limit)}; {findings[0].observed}"
            return await _in_vain(context, step, detail)
        await _next_look(context, within_s=min(left_s, context.world.pace.tick_s))


async def _in_vain(context: JobContext, step: WaitStep, detail: str) -> StepResult:
    """The wait is over; if what it waited for may be in a log that cannot be read just now, that is put on record."""
    state = context.state
    if state.log_trouble is not None and any(map(reads_log, awaited(step))):
        missing = EvidenceMissing(at=state.now(), job=state.key, source="logs", reason=state.log_trouble)
        await state.record(missing)
    return StepResult(Outcome.FAILED, detail)


def awaited(step: WaitStep) -> tuple[Condition, ...]:
    """What a step waits for; one of them is enough."""
    return (step.wait,) if step.or_ is None else (step.wait, step.or_)


async def _next_look(context: JobContext, *, within_s: float) -> None:
    """Return when there is something new to look at, or after `within_s`.

    After a sleep of the machine the watch has to look again before anything is called stalled, late or too dear.
    """
    state, clock, pace = context.state, context.world.clock, context.world.pace
    await state.changed(within_s=within_s)
    await state.notice_sleep()
    look_s = 2 * max(pace.pods_s, pace.jobs_s, pace.alerts_s)
    while (left_s := state.woke_s + look_s - clock.monotonic()) > 0 and not context.interrupt.level:
        await state.changed(within_s=left_s)


def _result_of(context: JobContext, findings: list[Finding]) -> StepResult | None:
    for finding in findings:
        if finding.truth:
            return StepResult(Outcome.PASSED, finding.observed)
    if all_decided(context.state.job.criteria, context.state.evidence):
        return StepResult(Outcome.SKIPPED, "every criterion is decided already")
    if all(finding.decided for finding in findings):
        return StepResult(Outcome.FAILED, f"can no longer come true: {findings[0].observed}")
    return None


def _is_all_over(context: JobContext) -> bool:
    """Nobody is left who could write a line, and whoever reads the log had time to read the last one."""
    state, pace = context.state, context.world.pace
    pod = state.evidence.pod
    if pod is None or pod.state != "gone" or not state.is_job_over:
        return False
    over_at = max(pod.states[-1].arrival.seen_at, *(end.arrival.seen_at for end in state.evidence.ends.values()))
    return (state.now() - over_at).total_seconds() > pace.grace_s + pace.retry_max_s


def reads_log(condition: Condition) -> bool:
    """Whether something of it stands in the log of a pod."""
    match condition:
        case LogMatches() | IssueSeen():
            return True
        case AllOf():
            return any(map(reads_log, condition.all))
        case AnyOf():
            return any(map(reads_log, condition.any))
        case _:
            return False


def _is_out_of_reach(condition: Condition, finding: Finding) -> bool:
    """Only what a pod writes could make it true."""
    match condition:
        case LogMatches() | IssueSeen():
            return True
        case AllOf():
            return any(
                part.truth is not True and _is_out_of_reach(inner, part)
                for inner, part in zip(condition.all, finding.parts, strict=True)
            )
        case AnyOf():
            return all(map(_is_out_of_reach, condition.any, finding.parts))
        case _:
            return False


def stop_if_needed(context: JobContext) -> None:
    """Raise `StopJob` for the first reason to end this job now."""
    state, evidence = context.state, context.state.evidence
    if context.interrupt.level:
        raise StopJob("interrupted", FailureClass.INTERRUPTED)
    for condition in state.job.phase.stop_if:
        finding = evaluate(condition, evidence)
        if finding.truth:
            blamed = FailureClass.INFRASTRUCTURE if isinstance(condition, PodIs) else FailureClass.CRITERION
            raise StopJob(f"{finding.expected}: {finding.observed}", state.root_cause or blamed)
    if set(evidence.ends) == {"cancelled"} and not state.is_winding_down:
        raise StopJob("the job was cancelled at the lab, and not by this run", FailureClass.INTERRUPTED)
    _check_pod(context)
    _check_limits(context)


def _check_pod(context: JobContext) -> None:
    """A pod that died without its job having ended says nothing about the template."""
    state = context.state
    if state.is_job_over:
        return
    if state.evidence.pod_failed is not None:
        raise StopJob(f"the pod failed: {state.evidence.pod_failed}", FailureClass.INFRASTRUCTURE)
    if state.vigil is not None and (complaint := state.vigil.complaint(context.world.clock.monotonic())):
        raise StopJob(f"the pod is given back: {complaint}", FailureClass.INFRASTRUCTURE)
    missing = state.evidence.pod_missing_since
    # The lab ends the pod when the job completes, and its own word may come a moment later.
    if missing is not None and (state.now() - missing).total_seconds() > context.world.pace.grace_s:
        raise StopJob("the pod vanished before its job ended", FailureClass.INFRASTRUCTURE)


def _check_limits(context: JobContext) -> None:
    state, limits = context.state, context.state.job.spec.limits
    if state.evidence.pod_missing_since is not None:
        return  # it costs nothing any more
    burnt = state.burnt_usd() + state.spent_before_usd()
    if burnt >= limits.spend:
        raise StopJob(f"the spend limit of {limits.spend:.2f} USD is reached", FailureClass.LIMIT)
    if state.pod_since_s is None:
        return
    alive_s = context.world.clock.monotonic() - state.pod_since_s
    if alive_s > (limits.provision + limits.run).total_seconds():
        raise StopJob(
            f"the pod lived longer than its limits allow ({format_duration(limits.provision + limits.run)})",
            FailureClass.LIMIT,
        )
