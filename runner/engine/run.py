"""Runs a whole plan: so many jobs at a time, one watch, one ledger, one way to interrupt."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from runner.engine.attach import JobPast, names_used, pasts_of
from runner.engine.attempts import Attempts
from runner.engine.exit_code import exit_code
from runner.engine.interrupt import Interrupt
from runner.engine.money import Ledger
from runner.engine.naming import PodNames
from runner.engine.recorder import Recorder
from runner.engine.watch import Watch
from runner.engine.world import Listener, World
from runner.errors import StoreError
from runner.events import AnyEvent, JobFinished, RunFinished, RunStarted
from runner.plan import Plan, PlannedJob
from runner.results import FailureClass, Outcome

CLOCKS_MAY_DIFFER = timedelta(days=1)
"""The lab stamps its alerts by its own clock. They are matched by job; the time only spares reading a long history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What the journal keeps about where a run came from."""

    run: str
    command: str = ""
    version: str = ""
    commit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a plan is run.

    Attributes:
        parallel: jobs at the same time.
        max_fail: stop launching after so many jobs did not pass; None for never.
    """

    parallel: int = 1
    max_fail: int | None = None


@dataclass(slots=True)
class _Progress:
    finished: dict[str, JobFinished] = field(default_factory=dict)

    def bad(self) -> int:
        return sum(job.outcome is not Outcome.PASSED for job in self.finished.values())


async def run_plan(
    plan: Plan,
    world: World,
    *,
    info: RunInfo,
    interrupt: Interrupt,
    options: Options = Options(),
    listeners: Sequence[Listener] = (),
    past: Sequence[AnyEvent] = (),
) -> int:
    """Run every job of a plan and record it; returns the exit code of the run.

    Args:
        past: what an earlier life of the same run has recorded: jobs that ended are left alone, one whose pod is
            alive is taken up again, and the others begin again once their pods are proven gone.
    Raises:
        StoreError: the journal failed; all pods were given back first.
    """
    recorder = Recorder(world.journal, listeners)
    # A second start of the same run is how the record tells that it was taken up again.
    await recorder.record(_started(plan, world, info), durable=True)
    progress = _Progress()
    since = (past[0].at if past else world.clock.now()) - CLOCKS_MAY_DIFFER
    try:
        async with Watch(world, since=since) as watch, asyncio.TaskGroup() as group:
            pasts = pasts_of(info.run, past)
            ledger = _ledger_of(plan, pasts)
            # What has a pod already comes first: it costs money while it waits.
            held = [job for job in plan.jobs if pasts.get(job.key, JobPast()).lease is not None]
            queue = [*(job for job in reversed(plan.jobs) if job not in held), *reversed(held)]
            worker = _Worker(
                world=world,
                watch=watch,
                recorder=recorder,
                interrupt=interrupt,
                ledger=ledger,
                progress=progress,
                options=options,
                names=PodNames(info.run, first=names_used(past) + 1),
                pasts=pasts,
                via=plan.via,
            )
            for _ in range(max(1, min(options.parallel, len(plan.jobs)))):
                group.create_task(worker.work(queue))
    except* StoreError as group_of_errors:
        raise _first(group_of_errors) from None
    if recorder.failure is not None:
        raise recorder.failure
    jobs = [progress.finished[job.key] for job in plan.jobs if job.key in progress.finished]
    code = exit_code(jobs, interrupted=interrupt.level > 0)
    finished = RunFinished(at=world.clock.now(), run=info.run, outcome=_outcome(code), exit_code=code)
    await recorder.record(finished, durable=True)
    return code


def _ledger_of(plan: Plan, pasts: Mapping[str, JobPast]) -> Ledger:
    """What an earlier life of the run has spent, and what its pods that are still there may come to."""
    ledger = Ledger(plan.max_spend_usd)
    for job in plan.jobs:
        past = pasts.get(job.key, JobPast())
        ledger.settle(job.key, past.proven_cost_usd)
        if past.finished is None and past.lease is not None:
            ledger.hold(job.key, job.worst_case_usd)
    return ledger


def _started(plan: Plan, world: World, info: RunInfo) -> RunStarted:
    return RunStarted(
        at=world.clock.now(),
        run=info.run,
        target=plan.target,
        via=plan.via,
        jobs=tuple(job.record() for job in plan.jobs),
        command=info.command,
        version=info.version,
        commit=info.commit,
        max_spend_usd=plan.max_spend_usd,
        staged=plan.staged,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Worker:
    """Takes jobs off the queue until there are none, or nothing more may be launched."""

    world: World
    watch: Watch
    recorder: Recorder
    interrupt: Interrupt
    ledger: Ledger
    progress: _Progress
    options: Options
    names: PodNames
    via: str
    pasts: Mapping[str, JobPast]

    async def work(self, queue: list[PlannedJob]) -> None:
        """Run jobs one after the other; several workers share one queue."""
        while queue:
            job = queue.pop()
            past = self.pasts.get(job.key, JobPast())
            if past.finished is not None:
                self.progress.finished[job.key] = past.finished
            elif past.is_in_the_middle(job.phase.steps):
                await self._run(job, past)
            elif self.interrupt.level:
                await self._skip(job, past, "interrupted before it started", FailureClass.INTERRUPTED)
            elif self.options.max_fail is not None and self.progress.bad() >= self.options.max_fail:
                await self._skip(job, past, f"not started: {self.options.max_fail} failed already", None)
            else:
                await self._run(job, past)

    async def _run(self, job: PlannedJob, past: JobPast) -> None:
        attempts = Attempts(
            job=job,
            world=self.world,
            watch=self.watch,
            recorder=self.recorder,
            interrupt=self.interrupt,
            ledger=self.ledger,
            names=self.names,
            via=self.via,
        )
        finished = await attempts.run(past)
        if finished is not None:
            self.progress.finished[job.key] = finished
            return
        reason = (
            f"not started: it may cost {job.worst_case_usd:.2f} USD, and {self.ledger.spent:.2f} of "
            f"{self.ledger.cap or 0:.2f} USD are spent"
        )
        await self._skip(job, past, reason, FailureClass.LIMIT)

    async def _skip(self, job: PlannedJob, past: JobPast, reason: str, failure: FailureClass | None) -> None:
        finished = JobFinished(
            at=self.world.clock.now(),
            job=job.key,
            outcome=Outcome.SKIPPED if failure is None else Outcome.CANCELLED,
            reason=reason,
            failure_class=failure,
            cost_usd=past.proven_cost_usd,
        )
        self.progress.finished[job.key] = finished
        await self.recorder.record(finished)


def _outcome(code: int) -> Outcome:
    return {0: Outcome.PASSED, 1: Outcome.FAILED, 130: Outcome.CANCELLED, 5: Outcome.SKIPPED}.get(code, Outcome.ERRORED)


def _first(errors: BaseExceptionGroup[StoreError]) -> StoreError:
    found: BaseException = errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    if not isinstance(found, StoreError):  # pragma: no cover - `except*` only lets these through
        raise TypeError(found)
    return found
