"""One seeded schedule of faults, lives and deaths, and the invariants that must hold in each."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from runner.engine.interrupt import Interrupt
from runner.engine.recorder import Recorder
from runner.engine.recover import recover
from runner.engine.run import Options, RunInfo, run_plan
from runner.engine.world import Pace, World
from runner.errors import StoreError
from runner.events import (
    AnyEvent,
    Generated,
    IssueObserved,
    JobFinished,
    JobJudged,
    JobStarted,
    MetricsCompared,
    MetricsObserved,
    ModelDownloaded,
    PodCreated,
    PodGone,
    PodRequested,
    PodUnconfirmed,
    RunFinished,
    RunStarted,
    WatchResumed,
)
from runner.history import open_leases
from runner.plan import Plan, PlannedJob, Selection, make_plan
from runner.ports import JobTicket, PodRequest
from runner.results import Outcome, Target
from runner.spec.loader import find_phase, load_spec
from runner.spec.models import Spec
from tests.sim import cloud as sim
from tests.sim import invariants
from tests.sim.disk import Disk, SimJournal
from tests.sim.life import Life
from tests.sim.loop import DeadlockError, SimClock, SimLoop
from tests.sim.products import SimModels, SimSdk

RATES = (0.02, 0.1, 0.3)
PACE = Pace()
SUSPENDED_S = 8 * 3600.0
ATTEMPTS = 3
SPECS = Path(__file__).parents[2] / "specs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What happens in one simulated run; everything else follows from the seed.

    Attributes:
        kills: in life n, the process is killed at this point (counted from 1).
        interrupt_s: virtual times at which the user presses Ctrl-C.
        full_disk_after: journal writes after which the disk is full.
        cap_usd: what the whole invocation may cost.
        phase: the real phase that the jobs run.
        via: who creates the pods.
        resumes: after a crash the run is taken up again, in place of only ending its pods.
        escalates: jobs that run out of memory try a bigger GPU.
        suspend_s: virtual time at which the machine is suspended for eight hours.
        skew_s: how far the runner's clock is ahead of everybody else's.
        away_s: how long nobody comes back after a crash.
    """

    seed: int
    jobs: int = 1
    parallel: int = 1
    rates: Mapping[str, float] = field(default_factory=dict)
    kills: Sequence[int] = ()
    interrupt_s: Sequence[float] = ()
    full_disk_after: int | None = None
    cap_usd: float | None = None
    phase: str = "basic"
    via: str = "lab"
    resumes: bool = False
    escalates: bool = False
    suspend_s: float | None = None
    skew_s: float = 0.0
    away_s: float = 0.0

    @classmethod
    def drawn(cls, seed: int) -> Schedule:
        """The schedule of a seed: a swarm in which each kind of fault is off, rare or common.

        Every third seed is about one kind in turn, so that the rare ones happen in any large number of seeds.
        """
        rng = random.Random(f"schedule {seed}")
        focus = sim.FAULTS[seed // 3 % len(sim.FAULTS)] if seed % 3 == 0 else None
        kinds = [0, 1, 2] if focus else [0, 2, 4, 8, 16]
        rates = {fault: rng.choice(RATES) for fault in rng.sample(sim.FAULTS, rng.choice(kinds))}
        if "capacity" in rates:
            rates["capacity"] = rng.choice([0.1, 0.9])  # only every GPU of the list refused is a refusal
        if focus:
            rates[focus] = 0.9
        ending = rng.choice(["finish", "finish", "interrupt", "kill", "kill", "kill twice", "disk"])
        return cls(
            seed=seed,
            jobs=rng.randint(1, 3),
            parallel=rng.randint(1, 3),
            rates=rates,
            kills=[rng.randint(1, 400) for _ in range({"kill": 1, "kill twice": 2}.get(ending, 0))],
            interrupt_s=sorted(rng.uniform(0, 400) for _ in range(rng.randint(1, 2))) if ending == "interrupt" else (),
            full_disk_after=rng.randint(1, 60) if ending == "disk" else None,
            cap_usd=rng.choice([None, None, None, 0.8, 1.6]),
            phase="full" if focus in sim.OF_FINISHED_JOBS else rng.choice(["basic", "full"]),
            via="runpod" if focus in sim.OF_OUR_PODS else rng.choice(["lab", "lab", "runpod"]),
            resumes=rng.random() < 0.5,
            escalates=rng.random() < 0.5,
            suspend_s=rng.uniform(1, 300) if rng.random() < 0.1 else None,
            skew_s=rng.choice([0, 0, 0, -3600, -40, 40, 3600]),
            away_s=rng.choice([0, 0, 0, 5, 200, 1500]),
        )


@dataclass(slots=True)
class Report:
    """What one schedule came to."""

    schedule: Schedule
    violations: list[str] = field(default_factory=list)
    exit_code: int | None = None
    points: list[int] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    happened: Mapping[str, int] = field(default_factory=dict)
    marks: set[str] = field(default_factory=set)
    finished: list[JobFinished] = field(default_factory=list)

    def __str__(self) -> str:
        lines = "\n".join(f"  {line}" for line in self.violations)
        return f"repeat with: Schedule {self.schedule}\n{lines}\nlast calls:\n  " + "\n  ".join(self.trace[-40:])


class _Rows:
    """A dataset that needs no disk."""

    rows_ = b'{"text": "one"}\n{"text": "two"}\n'

    @dataclass(frozen=True)
    class Summary:
        rows: int = 2
        sha256: str = "0" * 64

    def check(self, job: PlannedJob) -> Any:
        return self.Summary()

    def rows(self, job: PlannedJob) -> bytes:
        return self.rows_


class _Kit:
    """A kit with nothing in it but names."""

    def request(
        self, job: PlannedJob, ticket: JobTicket, *, name: str, gpu: str, marker: str, deadline: datetime
    ) -> PodRequest:
        env = {**ticket.env, "RUNSPEC_POD": marker}
        return PodRequest(
            name=name, image="image", gpu=gpu, gpu_count=1, cloud="secure", disk_gb=20, env=env, command=[]
        )


@cache
def planned_jobs(count: int, phase: str = "basic", *, escalates: bool = False) -> tuple[PlannedJob, ...]:
    """Jobs of the real CPT spec and a real phase."""
    selection = Selection(phases=[phase], repeat=count)
    jobs = make_plan(
        [load_spec(SPECS / "cpt.yaml")], find_phase=find_phase, selection=selection, target=Target.SCRIPTED
    ).jobs
    on_oom = "escalate" if escalates else "stop"
    return tuple(replace(job, spec=_with_gpu(job.spec, on_oom=on_oom)) for job in jobs)


def _with_gpu(spec: Spec, **changes: Any) -> Spec:
    return spec.model_copy(update={"gpu": spec.gpu.model_copy(update=changes)})


class Simulation:
    """Lives one schedule through, from the first start to the last recovery."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.rng = random.Random(f"world {schedule.seed}")
        self.world = sim.World(self.rng, schedule.rates)
        self.disk = Disk(random.Random(f"disk {schedule.seed}"), full_after=schedule.full_disk_after)
        self.report = Report(schedule)
        self._virtual_s = 0.0
        self._slept_s = 0.0
        self._woke_s = 0.0

    def run(self) -> Report:
        """Run, die, recover, until a life ends by itself; then check what is left."""
        kills = list(self.schedule.kills)
        acts = [self._run_once, *([self._come_back] * 6)]
        for act in acts:
            kill_at = kills.pop(0) if kills else None
            if self._live(act, kill_at):
                if act == self._run_once and not self._needs_recovery():
                    break
                if act == self._come_back and not self._can_resume():
                    break
        self._check_rest()
        self.world.happened["clock wrong"] += bool(self.schedule.skew_s)
        self.report.happened = self.world.happened
        self.report.violations += self.world.violations
        return self.report

    # --- lives --------------------------------------------------------------------------------------------------

    def _live(self, act: Any, kill_at: int | None) -> bool:
        """One life; False when it was killed."""
        rng = random.Random(f"loop {self.schedule.seed} {self._virtual_s}")
        loop = SimLoop(rng, start_s=self._virtual_s, slept_s=self._slept_s)
        life = Life(loop, kill_at)
        acknowledged = list(self.disk.synced[: self.disk.acknowledged])
        too_long = loop.call_later(self._longest_s(), life.give_up)
        try:
            task = loop.live(act(loop, life), was_killed=lambda: life.is_dead)
        except DeadlockError:
            self.report.violations.append("I0: deadlock: nothing is ready and no timer runs")
            task = None
            life.is_dead = True
        too_long.cancel()
        if life.was_given_up:
            self.report.violations.append(f"I9: a life did not end within {self._longest_s():.0f} s")
        self._virtual_s, self._slept_s = loop.virtual_s, loop.slept_s
        self.report.points.append(life.points)
        self.report.trace += life.trace
        if task is None:
            self._virtual_s += self.schedule.away_s
            self.disk.crash()
            if self.disk.synced[: len(acknowledged)] != acknowledged:
                self.report.violations.append("I5: an acknowledged event was lost or rewritten")
            return False
        self._check_ended_life(loop, task)
        return True

    def _longest_s(self) -> float:
        """How long a life may take: each attempt of each job its own limits, ten minutes and one outage more."""
        job, outage = planned_jobs(1)[0], self.world.outage
        outage_s = 0.0 if outage is None else outage[1] - outage[0]
        return self.schedule.jobs * ATTEMPTS * (job.worst_case_s + outage_s + 600)

    def _check_ended_life(self, loop: SimLoop, task: asyncio.Task[Any]) -> None:
        exc = task.exception()
        if exc is not None and not (isinstance(exc, StoreError) and self.schedule.full_disk_after is not None):
            self.report.violations.append(f"I0: {type(exc).__name__} got out of the engine: {exc!r}")
        if left := loop.pending():
            self.report.violations.append(f"I0: {len(left)} tasks are left: {left[0].get_coro()}")
        self.report.violations += [f"I0: {problem}" for problem in loop.problems]
        self.report.exit_code = None if exc is not None else task.result()
        loop.close()

    def _world(self, loop: SimLoop, life: Life) -> World:
        return World(
            cloud=sim.SimCloud(self.world, loop, life),
            lab=sim.SimLab(self.world, loop, life),
            journal=SimJournal(self.disk, life),
            clock=SimClock(loop, offset_s=self.schedule.skew_s),
            datasets=_Rows(),
            pace=PACE,
            models=SimModels(self.world, loop, life),
            sdk=SimSdk(self.world, loop, life),
            kit=_Kit(),
        )

    async def _run_once(self, loop: SimLoop, life: Life, past: Sequence[AnyEvent] = ()) -> int:
        jobs = planned_jobs(self.schedule.jobs, self.schedule.phase, escalates=self.schedule.escalates)
        interrupt = Interrupt()
        timers = [loop.call_later(delay_s, interrupt.escalate) for delay_s in self.schedule.interrupt_s]
        if self.schedule.suspend_s is not None and not past:
            timers.append(loop.call_later(self.schedule.suspend_s, self._close_the_lid, loop))
        self.world.synced_names = self._synced_names
        try:
            return await run_plan(
                Plan(jobs=jobs, target=Target.SCRIPTED, max_spend_usd=self.schedule.cap_usd, via=self.schedule.via),
                self._world(loop, life),
                info=RunInfo(run="sim"),
                interrupt=interrupt,
                options=Options(parallel=self.schedule.parallel),
                past=past,
            )
        finally:
            for timer in timers:
                timer.cancel()

    def _close_the_lid(self, loop: SimLoop) -> None:
        loop.suspend(SUSPENDED_S)
        self._woke_s = loop.world_s
        self.world.happened["suspended"] += 1

    async def _come_back(self, loop: SimLoop, life: Life) -> int:
        """What a user does after a crash: take the run up again, or only end what it left."""
        if self._can_resume():
            self.disk.full_after = None
            self.report.marks.add("resumed")
            return await self._run_once(loop, life, self.disk.events())
        return await self._recover_once(loop, life)

    def _can_resume(self) -> bool:
        events = self.disk.events()
        is_started = any(isinstance(event, RunStarted) for event in events)
        return self.schedule.resumes and is_started and not any(isinstance(event, RunFinished) for event in events)

    async def _recover_once(self, loop: SimLoop, life: Life) -> int:
        world = self._world(loop, life)
        self.disk.full_after = None
        left = await recover(open_leases("sim", self.disk.events()), world, Recorder(world.journal))
        return 6 if left else 0

    def _synced_names(self) -> dict[str, str]:
        """The planned job by the name of a pod that was asked for, as far as it would survive a crash."""
        from runner.events import decode_event

        events = (decode_event(line) for line in self.disk.synced)
        return {event.name: event.job for event in events if isinstance(event, PodRequested)}

    def _needs_recovery(self) -> bool:
        return self.report.exit_code in (None, 6)

    # --- at rest --------------------------------------------------------------------------------------------------

    def _check_rest(self) -> None:
        # A request that was still on its way when its sender died takes effect within this time.
        self.world.catch_up(self._virtual_s + self._slept_s + 60)
        events = self.disk.events()
        finished = self.report.finished = [event for event in events if isinstance(event, JobFinished)]
        living = [pod for pod in self.world.living() if pod.job is not None]
        unconfirmed = {event.name for event in events if isinstance(event, PodUnconfirmed)}
        for pod in living:
            if not (self.report.exit_code == 6 and pod.name in unconfirmed):
                self.report.violations.append(f"I1: pod {pod.id} ({pod.name}) is left alive")
        for foreign in ("training-deadbeef", "somebody-elses-pod"):
            if self.world.pods[foreign].gone_s is not None:
                self.report.violations.append(f"I8: {foreign} was ended")
        self._check_green(events, finished)
        self.report.violations += invariants.failed_without_cause(
            finished, self.world.happened, causes=sim.OF_TEMPLATES
        )
        self._check_money(events)
        if len(self.report.points) == 1 and not any(self.world.happened[fault] for fault in sim.OF_SILENCE):
            blind = [event.blind_s for event in events if isinstance(event, WatchResumed)]
            self.report.violations += [f"I10: {blind_s:.0f} s taken for a sleep that was none" for blind_s in blind]
        jobs = planned_jobs(self.schedule.jobs, self.schedule.phase, escalates=self.schedule.escalates)
        self.report.violations += invariants.replayed_otherwise(events, {job.key: job for job in jobs})
        self._check_pace()
        for event in events:
            if isinstance(event, PodCreated) and event.adopted:
                self.report.marks.add("adopted after an ambiguous create")
            if isinstance(event, JobStarted) and event.attempt > 1:
                self.report.marks.add("another attempt")
            if isinstance(event, PodUnconfirmed):
                self.report.marks.add("pod unconfirmed")
        self.report.marks |= {f"job {event.outcome}" for event in finished}
        self.report.marks |= {f"issue {event.issue}" for event in events if isinstance(event, IssueObserved)}
        self.report.marks |= {f"class {event.failure_class}" for event in finished if event.failure_class}

    def _check_green(self, events: Sequence[Any], finished: Sequence[JobFinished]) -> None:
        for job in finished:
            if job.outcome is not Outcome.PASSED:
                continue
            verdicts = [e.verdicts for e in events if isinstance(e, JobJudged) and e.job == job.job]
            required = [verdict for verdict in verdicts[-1] if not verdict.optional] if verdicts else []
            if not required or any(v.outcome is not Outcome.PASSED or not v.finding.truth for v in required):
                self.report.violations.append(f"I3: {job.job} is green without green criteria")
            lab_ids = {e.lab_job_id for e in events if isinstance(e, PodCreated) and e.job == job.job}
            truth = [self.world.jobs[lab_id] for lab_id in lab_ids if lab_id is not None]
            needed = "job_started" if self.schedule.phase == "basic" else "job_completed"
            alerts = {alert.lab_job_id for alert in self.world.alerts if alert.type == needed}
            if not any(one.started_s is not None and one.id in alerts and not one.refused for one in truth):
                self.report.violations.append(f"I3: {job.job} is green, but its job never trained as it had to")
            if not any(isinstance(e, MetricsObserved) and e.job == job.job for e in events):
                self.report.violations.append(f"I3: {job.job} is green without a metric on record")
            products = (ModelDownloaded, Generated, MetricsCompared) if self.schedule.phase == "full" else ()
            for kind in products:
                if not any(isinstance(e, kind) and e.job == job.job for e in events):
                    self.report.violations.append(f"I3: {job.job} is green without {kind.__name__} on record")

    def _check_money(self, events: Sequence[Any]) -> None:
        self._check_reservations(events)
        if self.schedule.kills:
            return  # a dead runner watches no clock; what it left is recovery's, and I1's
        job = planned_jobs(1)[0]
        outage_s = 0.0 if self.world.outage is None else self.world.outage[1] - self.world.outage[0]
        for pod in self.world.pods.values():
            if pod.job is None or pod.gone_s is None:
                continue
            lived_s = pod.gone_s - pod.created_s
            to_end_s = 60 + outage_s + (job.spec.limits.teardown.total_seconds() if self.schedule.rates else 0)
            if pod.created_s < self._woke_s and self._woke_s - SUSPENDED_S < pod.gone_s < self._woke_s + to_end_s:
                continue  # nobody was awake to end it; it was ended as soon as somebody was, or ended by itself
            if lived_s > job.worst_case_s + outage_s + 120:
                self.report.violations.append(f"I4: {pod.id} lived {lived_s:.0f} s, longer than all its limits")
            if pod.price > job.spec.limits.price and lived_s > 300 + outage_s:
                self.report.violations.append(f"I7: the overpriced {pod.id} lived {lived_s:.0f} s")

    def _check_pace(self) -> None:
        """On a cloud without faults; with them it is the client that keeps to its budget, see the wires."""
        trace, schedule = self.report.trace, self.schedule
        if schedule.rates:
            return
        of_runpod = ("list_pods", "get_pod", "terminate_pod", "create_pod", "gpu_offers")
        of_lab = ("list_jobs", "job_status", "metrics")
        self.report.violations += [
            *invariants.asked_too_often(trace, _calls(of_runpod), a_minute=invariants.RUNPOD_A_MINUTE),
            *invariants.asked_too_often(trace, _calls(of_lab), a_minute=invariants.LAB_A_MINUTE),
        ]
        if schedule.jobs == 1 and not (schedule.kills or schedule.suspend_s):
            self.report.violations += invariants.looked_away(trace, "call< list_pods", every_s=PACE.pods_s)

    def _check_reservations(self, events: Sequence[Any]) -> None:
        """At no instant may the jobs that run be able to cost more than the invocation was allowed."""
        if self.schedule.cap_usd is None:
            return
        running: set[str] = set()
        spent_usd = 0.0
        for number, event in enumerate(events):
            if isinstance(event, RunStarted):
                ended = {event.job for event in events[:number] if isinstance(event, JobFinished)}
                running = {lease.job for lease in open_leases("sim", events[:number])} - ended
            elif isinstance(event, JobStarted):
                running.add(event.job)
            elif isinstance(event, PodGone):
                # What is left of its reservation is free, also when an earlier life had made it.
                running.discard(event.job)
                spent_usd += event.cost_usd
            elif isinstance(event, JobFinished):
                running.discard(event.job)
            # What a suspended machine could not end in time was not to be had cheaper.
            prices = [max(pod.price, sim.QUOTE_USD_H) for pod in self.world.pods.values() if pod.job]
            asleep_usd = self._slept_s / 3600 * sum(prices)
            reserved = len(running) * planned_jobs(1)[0].worst_case_usd
            if spent_usd + reserved > self.schedule.cap_usd + asleep_usd + 1e-9:
                self.report.violations.append(f"I4: {len(running)} jobs run at once under {self.schedule.cap_usd} USD")
                return


def _calls(names: Sequence[str]) -> Callable[[str], bool]:
    wanted = {f"call< {name}" for name in names}
    return lambda line: line.split(" ", 1)[1] in wanted


def simulate(schedule: Schedule) -> Report:
    """Live one schedule through."""
    return Simulation(schedule).run()
