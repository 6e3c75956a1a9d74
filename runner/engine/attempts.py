"""The attempts of one job: taken up from an earlier life, run, and run again on a bigger GPU where that is allowed."""

from __future__ import annotations

from dataclasses import dataclass

from runner.conditions.evidence import Evidence
from runner.engine.attach import JobPast
from runner.engine.context import JobContext
from runner.engine.interrupt import Interrupt
from runner.engine.job import JobRun
from runner.engine.money import Ledger
from runner.engine.naming import PodNames
from runner.engine.recorder import Recorder
from runner.engine.recover import recover
from runner.engine.state import JobState
from runner.engine.steps.bargain import bigger, catalog
from runner.engine.watch import Watch
from runner.engine.world import World
from runner.errors import ProviderError
from runner.events import AnyEvent, JobFinished, PodGone
from runner.history import Lease as OpenLease
from runner.plan import PlannedJob
from runner.results import FailureClass, Outcome

MOST_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """Runs one job until it has its verdict, one attempt at a time."""

    job: PlannedJob
    world: World
    watch: Watch
    recorder: Recorder
    interrupt: Interrupt
    ledger: Ledger
    names: PodNames
    via: str

    async def run(self, past: JobPast) -> JobFinished | None:
        """The end of the last attempt, with every pod accounted for; None when there is no money for an attempt."""
        if await self._is_to_be_taken_up(past):
            state, number = self._new_state(Evidence()), past.attempt
            finished = await self._one(state, attempt=number, past=past)
        else:
            if past.lease is not None and not await self._clear_away(past, past.lease):
                return await self._leaked(past)
            if not await self.ledger.reserve(self.job.key, self.job.worst_case_usd):
                return None
            state, number = self._new_state(_evidence_of(past)), past.attempt + 1
            finished = await self._one(state, attempt=number)
        for attempt in range(number + 1, number + MOST_ATTEMPTS):
            gpus = await self._bigger_gpus(finished, state)
            if not gpus or not await self.ledger.reserve(self.job.key, self.job.worst_case_usd):
                return finished
            state = self._new_state(state.evidence)
            state.gpus = gpus
            finished = await self._one(state, attempt=attempt)
        return finished

    async def _clear_away(self, past: JobPast, lease: OpenLease) -> bool:
        """End what an earlier life left, and put it on the bill; False when nobody can prove its end."""
        events: list[AnyEvent] = []
        left = await recover([lease], self.world, self.recorder.also_telling(events.append))
        past.events += events
        self.ledger.settle(self.job.key, sum(event.cost_usd for event in events if isinstance(event, PodGone)))
        return not left

    def _new_state(self, evidence: Evidence) -> JobState:
        state = JobState(self.job, recorder=self.recorder, clock=self.world.clock)
        state.evidence = evidence
        self.interrupt.on_change(state.wake)
        return state

    async def _one(self, state: JobState, *, attempt: int, past: JobPast | None = None) -> JobFinished:
        context = JobContext(
            state=state,
            world=self.world,
            watch=self.watch,
            interrupt=self.interrupt,
            leases=[],
            names=self.names,
            via=self.via,
        )
        # What an earlier life has spent is in the ledger already, and comes back into the evidence with its events.
        before_usd = state.cost_usd if past is None else past.proven_cost_usd
        try:
            return await JobRun(context, attempt=attempt, past=past).run()
        finally:
            self.interrupt.forget(state.wake)
            self.ledger.settle(self.job.key, state.cost_usd - before_usd)

    async def _is_to_be_taken_up(self, past: JobPast) -> bool:
        """Whether the attempt can go on, or lacks no more than its verdict: neither is a reason for a second pod."""
        if past.is_ending:
            return past.has_come_to_its_end(self.job.phase.steps)
        if not past.has_pod:
            return False
        match await self._status_of(past):
            case "failed":
                return True  # that is its verdict, and another attempt would hide it
            case "cancelled":
                return False  # by the life before, which could not write it down any more
            case _:
                return await self._is_alive(past)

    async def _is_alive(self, past: JobPast) -> bool:
        """Whether the pod is still there. Not knowing counts as yes: the watch finds out, and nothing is created."""
        lease = past.lease
        try:
            pods = await self.world.cloud.list_pods()
        except ProviderError:
            return True
        return any(pod.is_alive and lease is not None and pod.id == lease.pod_id for pod in pods)

    async def _status_of(self, past: JobPast) -> str:
        """What the lab says became of the training meanwhile; empty when it does not say."""
        if past.lease is None or past.lease.lab_job_id is None:
            return ""
        try:
            return (await self.world.lab.job_status(past.lease.lab_job_id)).status
        except ProviderError:
            return ""

    async def _bigger_gpus(self, finished: JobFinished, state: JobState) -> tuple[str, ...]:
        """Where to go after an out-of-memory; empty when it was something else, is not allowed, or not to be had."""
        gpu, limits = self.job.spec.gpu, self.job.spec.limits
        is_wanted = gpu.on_oom == "escalate" and finished.failure_class is FailureClass.OUT_OF_MEMORY
        if not is_wanted or self.interrupt.level or state.gpu is None:
            return ()
        offers = await catalog(self.world, cloud=gpu.cloud, count=gpu.count)
        found = bigger(
            list(offers.values()), than=state.gpu, price_cap=limits.price, count=gpu.count, prefer=gpu.prefer
        )
        return tuple(found)

    async def _leaked(self, past: JobPast) -> JobFinished:
        lease = past.lease
        name = "" if lease is None else lease.pod_id or lease.name
        finished = JobFinished(
            at=self.world.clock.now(),
            job=self.job.key,
            outcome=Outcome.ERRORED,
            reason=f"nobody could confirm that pod {name} of an earlier life is gone: it may still bill",
            failure_class=FailureClass.LEAK,
        )
        await self.recorder.record_if_possible(finished)
        return finished


def _evidence_of(past: JobPast) -> Evidence:
    """What is known of earlier attempts: their pods stay in the bill."""
    evidence = Evidence()
    evidence.apply_all(past.events)
    return evidence
