"""Runs a whole plan: so many jobs at a time, one watch, one ledger, one way to interrupt."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from runner.engine.context import JobContext
from runner.engine.interrupt import Interrupt
from runner.engine.job import JobRun
from runner.engine.money import Ledger
from runner.engine.naming import PodNames
from runner.engine.recorder import Recorder
from runner.engine.state import JobState
from runner.engine.watch import Watch
from runner.engine.world import Listener, World
from runner.errors import StoreError
from runner.plan import Plan, PlannedJob
from runner.results import FailureClass, JobFinished, Outcome, RunFinished, RunStarted, exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What the journal keeps about where a run came from; `first_pod` goes on where an earlier life stopped."""

    run: str
    first_pod: int = 1
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
) -> int:
    """Run every job of a plan and record it; returns the exit code of the run.

    Raises:
        StoreError: the journal failed; all pods were given back first.
    """
    recorder = Recorder(world.journal, listeners)
    await recorder.record(_started(plan, world, info), durable=True)
    progress = _Progress()
    try:
        async with Watch(world, since=world.clock.now()) as watch, asyncio.TaskGroup() as group:
            queue = list(reversed(plan.jobs))
            worker = _Worker(
                world=world,
                watch=watch,
                recorder=recorder,
                interrupt=interrupt,
                ledger=Ledger(plan.max_spend_usd),
                progress=progress,
                options=options,
                names=PodNames(info.run, first=info.first_pod),
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

    async def work(self, queue: list[PlannedJob]) -> None:
        """Run jobs one after the other; several workers share one queue."""
        while queue:
            job = queue.pop()
            if self.interrupt.level:
                await self._skip(job, "interrupted before it started", FailureClass.INTERRUPTED, Outcome.CANCELLED)
            elif self.options.max_fail is not None and self.progress.bad() >= self.options.max_fail:
                await self._skip(job, f"not started: {self.options.max_fail} failed already", None, Outcome.SKIPPED)
            else:
                await self._run(job)

    async def _run(self, job: PlannedJob) -> None:
        if not await self.ledger.reserve(job.key, job.worst_case_usd):
            reason = (
                f"not started: it may cost {job.worst_case_usd:.2f} USD, and {self.ledger.spent:.2f} of "
                f"{self.ledger.cap or 0:.2f} USD are spent"
            )
            await self._skip(job, reason, FailureClass.LIMIT, Outcome.CANCELLED)
            return
        state = JobState(job, recorder=self.recorder, clock=self.world.clock)
        self.interrupt.on_change(state.wake)
        context = JobContext(
            state=state,
            world=self.world,
            watch=self.watch,
            interrupt=self.interrupt,
            leases=[],
            names=self.names,
            via=self.via,
        )
        try:
            self.progress.finished[job.key] = await JobRun(context).run()
        finally:
            self.ledger.settle(job.key, state.cost_usd)

    async def _skip(self, job: PlannedJob, reason: str, failure: FailureClass | None, outcome: Outcome) -> None:
        finished = JobFinished(
            at=self.world.clock.now(), job=job.key, outcome=outcome, reason=reason, failure_class=failure
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
