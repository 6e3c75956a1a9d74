"""Engine and providers against the embedded servers, over wires that break: lives one schedule through."""

from __future__ import annotations

import gc
import random
import tempfile
import warnings
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web_app

from runner.engine.interrupt import Interrupt
from runner.engine.recorder import Recorder
from runner.engine.recover import recover
from runner.engine.run import Options, RunInfo, run_plan
from runner.engine.world import World
from runner.events import AnyEvent, JobFinished, PodRequested, RunFinished, RunStarted, decode_event
from runner.history import open_leases
from runner.local.cloud import CloudOptions, EmbeddedCloud
from runner.local.faults import Rule, When
from runner.local.gpus import GPU_TYPES
from runner.local.lifecycle import Delays, PodRequest
from runner.local.lifecycle import Pod as HostPod
from runner.local.scripted import ScriptedPods
from runner.plan import Plan
from runner.ports import Journal
from runner.providers.connect import open_lab, open_runpod
from runner.providers.settings import Settings
from runner.results import Target
from tests.sim import coverage
from tests.sim import invariants as of_any_run
from tests.sim import wire_invariants as invariants
from tests.sim.disk import Disk, SimJournal
from tests.sim.loop import DeadlockError, SimClock
from tests.sim.schedule import PACE, _Kit, _Rows, planned_jobs
from tests.sim.wire import Wires
from tests.sim.wire_loop import WireLife, WireLoop
from tests.sim.wire_schedule import SERVER_FAULTS, WireReport, WireSchedule, what_happens
from tests.sim.wire_surroundings import Heard, listening, seeded_ids
from tests.sim.wire_trainings import Trainings

LONGEST_LIFE_S = 6 * 3600.0
SECRETS = ("runpod_api_key", "lab_api_key", "lab_api_key_testing", "lab_jwt", "lab_internal_key")
SILENT = {"answer lost", "black hole", "late answer", "late request", "slow body"}
FOREIGN = ("training-deadbeef", "somebody-elses-pod")


class WireSimulation:
    """Lives one schedule through, from the servers' start to their end."""

    def __init__(self, schedule: WireSchedule, folder: Path) -> None:
        self.schedule = schedule
        self.folder = folder
        self.loop = WireLoop(random.Random(f"loop {schedule.seed}"))
        self.clock = SimClock(self.loop)
        self.wires = Wires(self.loop, random.Random(f"wire {schedule.seed}"), {})
        self.disk = Disk(random.Random(f"disk {schedule.seed}"))
        self.report = WireReport(schedule)
        rng = random.Random(f"training {schedule.seed}")
        self.trainings = Trainings(rng, self.wires.connector, is_healthy=schedule.healthy)
        trainer = folder / "trainer.py"
        trainer.write_text("print('trainer')\n")
        options = CloudOptions(
            backend=ScriptedPods(self.clock, self.trainings),
            clock=self.clock,
            trainer=trainer,
            network=self.wires,
            delays=Delays(provision_s=rng.uniform(1, 60), start_s=2, terminate_s=rng.uniform(1, 8)),
            faults=[
                Rule(
                    where=SERVER_FAULTS[fault],
                    what=what_happens(fault),
                    when=When(probability=rate, seed=schedule.seed),
                )
                for fault, rate in schedule.server.items()
            ],
        )
        self.cloud = EmbeddedCloud(folder / "cloud", options)
        self._count_faults()
        self.settings = Settings()
        self.pods: list[HostPod] = []

    # --- the whole ------------------------------------------------------------------------------------------------

    def run(self) -> WireReport:
        """Run, die, recover, until a life ends by itself; then check what is left."""
        with listening() as heard:
            try:
                self._start_servers()
                self.wires.rates = self.schedule.wire
                self._live_all()
                self.wires.rates = {}
                # A request that was on its way when its sender died takes effect within this time.
                self.loop.run_until_complete(self.clock.sleep(120))
                self._check_rest(heard)
                self.loop.run_until_complete(self.cloud.aclose())
                self.loop.run_until_complete(self.clock.sleep(1))
                self._check_loop()
            except DeadlockError:
                self._violate("I0: deadlock: nothing is ready and no timer runs")
            finally:
                self.report.virtual_s = self.loop.virtual_s
                self.report.happened = self.wires.happened + self.trainings.happened
                self.loop.close()
        return self.report

    def _count_faults(self) -> None:
        names = {id(what_happens(name)): name for name in SERVER_FAULTS}
        choose = self.cloud.faults.choose

        async def counted(server: Any, request: Any) -> Any:
            what = await choose(server, request)
            if what is not None:
                self.wires.happened[names.get(id(what), "other")] += 1
            return what

        self.cloud.faults.choose = counted  # type: ignore[method-assign]

    def _violate(self, text: str) -> None:
        self.report.violations.append(text)

    def _start_servers(self) -> None:
        endpoints = self.loop.run_until_complete(self.cloud.start())
        self.trainings.lab_key = endpoints.lab_api_key
        settings = Settings.of_local(asdict(endpoints))
        self.settings = settings if self.schedule.with_key else replace(settings, lab_api_key=None)
        host, create = self.cloud.pods, self.cloud.pods.create
        gpu = GPU_TYPES[0]
        for name in FOREIGN:
            request = PodRequest(name=name, image="theirs", argv=("sleep",), gpu=gpu)
            # Made in the loop, as every pod is, since its life is a task.
            self.loop.run_until_complete(_calling(lambda request=request: create(request, usd_h=0.2, env=_nothing)))

        def watched(request: PodRequest, **more: Any) -> HostPod:
            self._check_create(request.name)
            pod = create(request, **more)
            self.pods.append(pod)
            return pod

        host.create = watched  # type: ignore[method-assign]

    def _live_all(self) -> None:
        kills = list(self.schedule.kills)
        for act in (self._run_once, *([self._come_back] * 6)):
            if self._live(act, kills.pop(0) if kills else None):
                if act == self._run_once and self.report.exit_code not in (None, 6):
                    return
                if act == self._come_back and not self._can_resume():
                    return

    # --- lives ----------------------------------------------------------------------------------------------------

    def _live(self, act: Any, kill_at: int | None) -> bool:
        """One life; False when it was killed."""
        life = WireLife(self.loop, kill_at)
        acknowledged = list(self.disk.synced[: self.disk.acknowledged])
        task = self.loop.live_among_others(act(life), life, within_s=LONGEST_LIFE_S)
        self.report.points.append(life.points)
        self.report.trace += life.trace
        if task is None:
            if life.points != kill_at:
                self._violate(f"I9: a life did not end within {LONGEST_LIFE_S:.0f} s")
            self.wires.cut_off(life)
            self.disk.crash()
            if self.disk.synced[: len(acknowledged)] != acknowledged:
                self._violate("I5: an acknowledged event was lost or rewritten")
            return False
        exc = task.exception()
        if exc is not None:
            self._violate(f"I0: {type(exc).__name__} got out of the engine: {exc!r}")
        if left := self.loop.pending_of(life):
            self._violate(f"I0: {len(left)} tasks are left: {left[0].get_coro()}")
        self.report.exit_code = None if exc is not None else task.result()
        return True

    async def _run_once(self, life: WireLife, past: Sequence[AnyEvent] = ()) -> int:
        schedule, interrupt = self.schedule, Interrupt()
        timers = [self.loop.call_later(delay_s, interrupt.escalate) for delay_s in schedule.interrupt_s]
        plan = Plan(
            jobs=planned_jobs(schedule.jobs), target=Target.SCRIPTED, max_spend_usd=schedule.cap_usd, via=schedule.via
        )
        try:
            async with self._connected(life) as world:
                return await run_plan(
                    plan,
                    world,
                    info=RunInfo(run="sim"),
                    interrupt=interrupt,
                    options=Options(parallel=schedule.parallel),
                    past=past,
                )
        finally:
            for timer in timers:
                timer.cancel()

    @asynccontextmanager
    async def _connected(self, life: WireLife) -> AsyncIterator[World]:
        jitter = random.Random(f"jitter {self.schedule.seed} {self.loop.virtual_s}").random
        connector = self.wires.connector()
        common: dict[str, Any] = {"clock": self.clock, "jitter": jitter, "connector": connector}
        try:
            async with open_runpod(self.settings, **common) as cloud, open_lab(self.settings, **common) as lab:
                yield World(
                    cloud=cloud,
                    lab=lab,
                    journal=self.journal_of(life),
                    clock=self.clock,
                    datasets=_Rows(),
                    pace=PACE,
                    kit=_Kit(),
                )
        finally:
            connector._close()

    def journal_of(self, life: WireLife) -> Journal:
        """What a life writes to."""
        return SimJournal(self.disk, life)

    async def _come_back(self, life: WireLife) -> int:
        """What a user does after a crash: take the run up again, or only end what it left."""
        if self._can_resume():
            self.report.marks.add("resumed")
            return await self._run_once(life, self.disk.events())
        async with self._connected(life) as world:
            left = await recover(open_leases("sim", self.disk.events()), world, Recorder(world.journal))
        return 6 if left else 0

    def _can_resume(self) -> bool:
        events = self.disk.events()
        is_started = any(isinstance(event, RunStarted) for event in events)
        return self.schedule.resumes and is_started and not any(isinstance(event, RunFinished) for event in events)

    # --- invariants -----------------------------------------------------------------------------------------------

    def _check_create(self, name: str) -> None:
        """I2, at the moment at which a create takes effect."""
        events = (decode_event(line) for line in self.disk.synced)
        planned = {event.name: event.job for event in events if isinstance(event, PodRequested)}
        if name not in planned:
            self._violate(f"I2: a create of {name} without a synced intent before it")
        living = [pod for pod in self.pods if not pod.is_ended]
        if any(planned.get(pod.request.name) == planned.get(name) for pod in living):
            self._violate(f"I2: a second live pod for {planned.get(name)}: {name}")

    def _check_rest(self, heard: Heard) -> None:
        events = self.disk.events()
        kept = [pod.request.name for pod in self.cloud.pods.pods() if not pod.is_ended]
        for foreign in FOREIGN:
            if foreign not in kept:
                self._violate(f"I8: {foreign} was ended")
        report = self.report
        report.finished = [event for event in events if isinstance(event, JobFinished)]
        report.violations += invariants.left_alive(self.pods, events, exit_code=report.exit_code)
        report.violations += invariants.false_greens(events, self.folder / "cloud" / "lab.sqlite")
        if not self.schedule.kills:  # a dead runner watches no clock; what it left is recovery's, and I1's
            patience_s = invariants.PATIENCE_S * (2 if SILENT & self.schedule.wire.keys() else 1)
            report.violations += invariants.overstayed(self.pods, patience_s=patience_s)
        report.violations += [f"I0: a server crashed: {crash}" for crash in heard.crashes]
        texts = {
            "the journal": msgspec.json.encode([*events]).decode(),
            "the log": "\n".join(heard.lines),
            "an exception": "\n".join(report.violations + self.loop.problems),
        }
        secrets = [value for name, value in asdict(self.cloud.endpoints).items() if name in SECRETS]
        report.violations += invariants.shown_secrets(texts, [*secrets, *sorted(self.trainings.secrets)])
        report.marks |= invariants.marks(events)
        self.wires.happened.update(coverage.traps_met(events, report.trace, self.trainings.played))
        jobs = {job.key: job for job in planned_jobs(self.schedule.jobs)}
        report.violations += [
            *of_any_run.replayed_otherwise(events, jobs),
            *of_any_run.asked_too_often(report.trace, _of_lab_key, a_minute=of_any_run.LAB_A_MINUTE),
        ]

    def _check_loop(self) -> None:
        self.report.violations += [f"I0: {problem}" for problem in self.loop.problems]
        if left := [task for task in self.loop.tasks if not task.done() and not task.is_of_the_dead]:
            self._violate(f"I0: {len(left)} tasks are left at the very end: {left[0].get_coro()}")


def _of_lab_key(line: str) -> bool:
    """Whether a request counts against the API key: reads of jobs and of what they reported."""
    return " GET /api/training/jobs" in line or " GET /api/training/local/" in line


async def _calling(make: Any) -> Any:
    return make()


def _nothing(_: str) -> Mapping[str, str]:
    return {}


def simulate_wire(schedule: WireSchedule, *more: Rule) -> WireReport:
    """Live one schedule through, with more faults of the servers than it has drawn."""
    try:
        return _live_through(schedule, more)
    finally:
        # aiohttp remembers the applications of a thousand handlers, and with them whole simulations.
        web_app._cached_build_middleware.cache_clear()
        if schedule.kills:
            _forget_the_dead()


def _live_through(schedule: WireSchedule, more: Sequence[Rule]) -> WireReport:
    with tempfile.TemporaryDirectory(prefix="runspec-wire-") as folder, seeded_ids(schedule.seed):
        simulation = WireSimulation(schedule, Path(folder))
        simulation.cloud.faults.add(*more)
        return simulation.run()


def _forget_the_dead() -> None:
    """Collect what a killed life has left open now: it would complain of that in some later test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()
