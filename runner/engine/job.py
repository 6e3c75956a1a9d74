"""Runs one job: its steps in order, then, whatever happened, evidence, release and judgement."""

from __future__ import annotations

import contextlib
from typing import assert_never

from runner.conditions.evaluate import evaluate
from runner.conditions.judge import all_decided, job_outcome, judge
from runner.engine.attach import JobPast, restore, seen_of
from runner.engine.context import JobContext, StepResult
from runner.engine.lease import Lease
from runner.engine.shielding import uncancelled
from runner.engine.steps.bargain import check_pod
from runner.engine.steps.cancel import cancel_job, end_lab_job, wind_down
from runner.engine.steps.collect import collect_evidence
from runner.engine.steps.dataset import validate_dataset
from runner.engine.steps.deploy import deploy_template
from runner.engine.steps.model import ask_model, download_model
from runner.engine.steps.wait import awaited, reads_log, wait_for
from runner.engine.stop import NO_VERDICT, StopJob, cut_off_by
from runner.errors import ProviderError
from runner.events import JobFinished, JobJudged, JobStarted, StepFinished, StepStarted
from runner.results import FailureClass, Outcome, Verdict
from runner.spec.conditions import PodIs
from runner.spec.models import Criterion
from runner.spec.steps import (
    CancelStep,
    CollectStep,
    DeployStep,
    DownloadStep,
    GenerateStep,
    Step,
    ValidateStep,
    WaitStep,
)
from runner.spec.titles import step_title


class JobRun:
    """One job from its first step to its last event."""

    def __init__(self, context: JobContext, *, attempt: int = 1, past: JobPast | None = None) -> None:
        """`past` is what an earlier life left of this attempt, together with a pod that is still alive."""
        self._attempt = attempt
        self._past = past
        self._context = context
        self._state = context.state
        self._clock = context.world.clock
        self._stop: StopJob | None = None
        self._steps_done = 0
        self._is_leaked = False
        self._is_cut_off = False

    async def run(self) -> JobFinished:
        """Run the job. However it ends, its pods are given back before this returns or raises."""
        if self._past is None:
            await self._state.record(JobStarted(at=self._state.now(), job=self._state.key, attempt=self._attempt))
        try:
            done = 0 if self._past is None else await self._take_up(self._past)
            await self._run_steps(done)
        except StopJob as stop:
            self._stop = stop
        except BaseException as exc:
            # What cut the job off says nothing about the template, so that it must not be judged as if it had ended.
            self._is_cut_off, self._stop = True, cut_off_by(exc)
            raise
        finally:
            finished = await uncancelled(self._finish())
        return finished

    async def _take_up(self, past: JobPast) -> int:
        """Go on with the pod of an earlier life; how many steps need not be done any more."""
        context, state = self._context, self._state
        restore(state, past)
        if past.lease is not None:
            context.leases.append(Lease.adopted(state, context.world, past.lease))
        self._steps_done = past.step_number
        steps, stopped = state.job.phase.steps, past.stopped_at(state.job.phase.steps)
        state.is_winding_down = past.is_ending
        context.watch.add(state, seen_of(past))
        is_unseen = state.lab_job_id is None or any(isinstance(step, DeployStep) for step in steps[past.steps_done :])
        if is_unseen and not past.is_ending:
            await check_pod(state, context.world, may_be_gone=True)
        if stopped is not None and stopped.failure_class is not None:
            raise StopJob(stopped.detail, stopped.failure_class)
        if stopped is not None and stopped.step is not None:
            raise _missed(steps[stopped.step], stopped.detail)
        return past.steps_done

    async def _run_steps(self, done: int) -> None:
        for place, step in enumerate(self._state.job.phase.steps[done:], done):
            if self._past is not None and isinstance(step, DeployStep):
                continue  # its pod is the one that was taken up
            result = await self._run_step(step, place=place)
            if result.outcome is Outcome.FAILED and not step.optional:
                raise _missed(step, result.detail)

    async def _run_step(self, step: Step, *, place: int | None = None) -> StepResult:
        state, index = self._state, self._steps_done
        self._steps_done += 1
        begun_s = self._clock.monotonic()
        title = step_title(step)
        await state.record(StepStarted(at=state.now(), job=state.key, index=index, title=title, step=place))
        failure_class: FailureClass | None = None
        result = StepResult(Outcome.ERRORED, "ended by an error of runspec itself")
        try:
            result = await self._dispatch(step)
        except StopJob as stop:
            result, failure_class = StepResult(stop.outcome, stop.reason), stop.failure_class
            raise
        finally:
            await state.record_if_possible(
                StepFinished(
                    at=state.now(),
                    job=state.key,
                    index=index,
                    outcome=result.outcome,
                    detail=result.detail,
                    elapsed_s=self._clock.monotonic() - begun_s,
                    step=place,
                    failure_class=failure_class,
                )
            )
        return result

    async def _dispatch(self, step: Step) -> StepResult:
        match step:
            case ValidateStep():
                return await validate_dataset(self._context)
            case DeployStep():
                return await deploy_template(self._context)
            case WaitStep():
                return await wait_for(self._context, step)
            case CancelStep():
                return await cancel_job(self._context)
            case CollectStep():
                return await collect_evidence(self._context, step)
            case DownloadStep():
                return await download_model(self._context, step)
            case GenerateStep():
                return await ask_model(self._context, step)
            case _ as never:
                assert_never(never)

    # --- the end ------------------------------------------------------------------------------------------------

    @property
    def _is_hurried(self) -> bool:
        """Nothing is worth waiting for any more but the end of the pods."""
        return self._is_cut_off or self._context.interrupt.level >= 2

    async def _finish(self) -> JobFinished:
        state = self._state
        try:
            saving = self._saving()
            early = judge(state.job.criteria, state.evidence)
            if self._stop is not None and not (self._past is not None and self._past.is_ending):
                await self._run_on_failure()
        finally:
            # Also when the disk is full or a step has a bug: neither may keep a pod alive.
            await self._release()
        if not self._is_hurried:
            await self._context.watch.look_once_more(state)
        self._context.watch.remove(state)
        if self._context.world.models is not None and state.lab_job_id is not None:
            await self._context.world.models.discard(state.lab_job_id)
        state.evidence.close()
        if self._past is not None and self._past.judged is not None:
            verdicts = self._past.judged.verdicts
        else:
            verdicts = self._judge(early)
            await state.record_if_possible(JobJudged(at=state.now(), job=state.key, verdicts=verdicts))
        await self._record_causes(is_whole=not self._is_hurried)
        finished = self._conclude(verdicts, saving)
        await state.record_if_possible(finished)
        return finished

    async def _record_causes(self, *, is_whole: bool) -> None:
        """What explains the end, beside what the log said while it went on. It changes no verdict: those are given."""
        if self._stop is not None and self._stop.failure_class in (FailureClass.PROVIDER, FailureClass.CAPACITY):
            await self._state.record_api_issue(self._stop.reason)
        if is_whole and (self._stop is None or self._stop.failure_class not in NO_VERDICT):
            await self._state.record_closing_issues()

    async def _run_on_failure(self) -> None:
        for step in self._state.job.phase.on_failure:
            if self._is_hurried:
                return
            try:
                await self._run_step(step)
            except StopJob:
                continue  # the reason that the job ended for is the one to report

    async def _release(self) -> None:
        """Give every pod back, last one first; the lab hears of it too, so that its job does not stay `running`."""
        state = self._state
        # A job that was opened for a pod of our own is in the lab's books although no pod came of it.
        is_known = state.lab_job_id is not None or state.ticket is not None
        if not self._context.leases and not is_known:
            return
        try:
            await wind_down(self._context)
            if is_known and not state.is_job_over:
                # Ending the pod is what counts, and the lease does that.
                with contextlib.suppress(ProviderError):
                    await end_lab_job(self._context)
        finally:
            reason = self._stop.reason if self._stop is not None else "the job is over"
            for lease in reversed(self._context.leases):
                if not await lease.release(reason):
                    self._is_leaked = True

    def _judge(self, early: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
        """Verdicts on closed evidence; where something else broke, or what ended the job may have come unseen, a
        criterion that only never got its chance is errored, not failed."""
        verdicts = judge(self._state.job.criteria, self._state.evidence)
        stop = self._stop
        if stop is None:
            return verdicts
        why = stop.reason if stop.failure_class in NO_VERDICT else self._what_was_not_seen(stop)
        if not why:
            return verdicts
        return tuple(
            verdict
            if verdict.outcome is not Outcome.FAILED or (before.outcome is Outcome.FAILED and before.finding.decided)
            else _errored(verdict, why)
            for verdict, before in zip(verdicts, early, strict=True)
        )

    def _conclude(self, verdicts: tuple[Verdict, ...], saving: str) -> JobFinished:
        state, stop = self._state, self._stop
        outcome = job_outcome(verdicts)
        failure: FailureClass | None = None
        reason = saving
        if stop is not None and outcome is not Outcome.FAILED and (unseen := self._what_was_not_seen(stop)):
            failure, reason = FailureClass.NO_EVIDENCE, f"{stop.reason}; {unseen}"
            outcome = _worse(outcome, Outcome.UNKNOWN)
        elif stop is not None:
            failure, reason = stop.failure_class, stop.reason
            outcome = _worse(outcome, stop.outcome)
        elif outcome is Outcome.FAILED:
            failure = state.root_cause or FailureClass.CRITERION
            reason = next(v.finding.observed for v in verdicts if v.outcome is Outcome.FAILED)
        elif outcome is Outcome.UNKNOWN:
            failure = FailureClass.NO_EVIDENCE
            reason = next((v.finding.observed for v in verdicts if v.outcome is Outcome.UNKNOWN), "no criteria")
        if self._is_leaked:
            outcome, failure = Outcome.ERRORED, FailureClass.LEAK
            reason = f"nobody could confirm that pod {state.pod_id or '(unknown)'} is gone: it may still bill"
        return JobFinished(
            at=state.now(),
            job=state.key,
            outcome=outcome,
            reason=reason,
            failure_class=failure,
            cost_usd=state.cost_usd,
            elapsed_s=self._clock.monotonic() - state.started_s,
        )

    def _what_was_not_seen(self, stop: StopJob) -> str:
        """Why nobody can say whether one of the things that a wait waited for came; empty when it is known."""
        findings = [evaluate(condition, self._state.evidence) for condition in stop.unmet]
        if any(finding.truth for finding in findings):
            # It came too late, unless it stood in a log that could not be read at the time.
            unread = self._state.evidence.missing.get("logs") if any(map(reads_log, stop.unmet)) else None
            return f"it may have come before it was read: {unread.what}" if unread is not None else ""
        return next((finding.observed for finding in findings if finding.truth is None), "")

    def _saving(self) -> str:
        """What deciding early saved, in words; empty when every step ran to its end."""
        state = self._state
        if self._stop is not None or state.pod_since_s is None:
            return ""
        if not all_decided(_required(state.job.criteria), state.evidence):
            return ""
        left_s = state.job.spec.limits.run.total_seconds() - (self._clock.monotonic() - state.pod_since_s)
        return f"every criterion decided; {max(left_s, 0) / 60:.0f} min of the run limit not used"


def _missed(step: Step, detail: str) -> StopJob:
    """What it means for a job that a step which has to pass did not."""
    unmet = awaited(step) if isinstance(step, WaitStep) else ()
    is_of_cloud = bool(unmet) and all(isinstance(condition, PodIs) for condition in unmet)
    failure_class = FailureClass.INFRASTRUCTURE if is_of_cloud else FailureClass.CRITERION
    return StopJob(f"{step_title(step)}: {detail}", failure_class, unmet=unmet)


def _required(criteria: tuple[Criterion, ...]) -> tuple[Criterion, ...]:
    return tuple(criterion for criterion in criteria if not criterion.optional)


def _errored(verdict: Verdict, reason: str) -> Verdict:
    finding = verdict.finding
    return Verdict(
        id=verdict.id,
        title=verdict.title,
        outcome=Outcome.ERRORED,
        optional=verdict.optional,
        finding=type(finding)(
            truth=None,
            decided=True,
            expected=finding.expected,
            observed=f"no verdict: {reason}",
            evidence=finding.evidence,
            parts=finding.parts,
        ),
    )


_SEVERITY = [
    Outcome.PASSED,
    Outcome.SKIPPED,
    Outcome.UNKNOWN,
    Outcome.CANCELLED,
    Outcome.ERRORED,
    Outcome.FAILED,
]


def _worse(one: Outcome, other: Outcome) -> Outcome:
    return max(one, other, key=_SEVERITY.index)
