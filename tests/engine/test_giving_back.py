"""A pod is given back whatever breaks at the end of its job, and a job that was cut off has no verdict."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest

from runner.engine.attach import pasts_of
from runner.engine.attempts import Attempts
from runner.engine.interrupt import Interrupt
from runner.engine.money import Ledger
from runner.engine.naming import PodNames
from runner.engine.recorder import Recorder
from runner.engine.run import Options, RunInfo, run_plan
from runner.engine.watch import Watch
from runner.engine.world import World
from runner.errors import ProviderError, StoreError
from runner.events import JobFinished, JobStarted, PodCreated, PodGone, PodRequested
from runner.plan import Plan, PlannedJob
from runner.ports import Deployment, DeployRequest, JobTicket, PodRequest
from runner.results import FailureClass, Outcome, Pod, Target
from runner.spec.models import Phase
from tests.sim import cloud as sim
from tests.sim.disk import Disk, SimJournal
from tests.sim.life import Life
from tests.sim.loop import SimClock, SimLoop
from tests.sim.products import SimModels, SimSdk
from tests.sim.schedule import planned_jobs


class Rows:
    """A dataset that needs no disk."""

    rows_and_digest = SimpleNamespace(rows=2, sha256="0" * 64)

    def check(self, job: PlannedJob) -> Any:
        return self.rows_and_digest

    def rows(self, job: PlannedJob) -> bytes:
        return b'{"text": "one"}\n{"text": "two"}\n'


class Kit:
    """A kit with nothing in it but names."""

    def request(self, job: PlannedJob, ticket: JobTicket, *, name: str, gpu: str, **_: Any) -> PodRequest:
        return PodRequest(
            name=name, image="i", gpu=gpu, gpu_count=1, cloud="secure", disk_gb=20, env=dict(ticket.env), command=[]
        )


@dataclass
class Lived:
    """What one run of the basic phase on the simulated cloud left."""

    error: BaseException | None
    code: int | None
    world: sim.World
    disk: Disk

    @property
    def pods(self) -> list[str]:
        return [pod.name for pod in self.world.living() if pod.job is not None]

    def finished(self) -> list[JobFinished]:
        return [event for event in self.disk.events() if isinstance(event, JobFinished)]


def live(
    rates: Mapping[str, float],
    *,
    full_after: int | None = None,
    make_lab: Callable[..., sim.SimLab] = sim.SimLab,
    jobs: int = 1,
    phase: Phase | None = None,
    interrupt: Interrupt | None = None,
    via: str = "lab",
) -> Lived:
    loop = SimLoop(random.Random("loop"))
    life, disk = Life(loop), Disk(random.Random("disk"), full_after=full_after)
    world = sim.World(random.Random("world"), rates)
    world.synced_names = lambda: {event.name: event.job for event in disk.events() if isinstance(event, PodRequested)}
    around = World(
        cloud=sim.SimCloud(world, loop, life),
        lab=make_lab(world, loop, life),
        journal=SimJournal(disk, life),
        clock=SimClock(loop),
        datasets=Rows(),
        models=SimModels(world, loop, life),
        sdk=SimSdk(world, loop, life),
        kit=Kit(),
    )
    planned = planned_jobs(jobs)
    if phase is not None:
        planned = tuple(replace(job, phase=phase, criteria=phase.success) for job in planned)
    plan = Plan(jobs=planned, target=Target.SCRIPTED, max_spend_usd=None, via=via)
    main = run_plan(
        plan,
        around,
        info=RunInfo(run="r"),
        interrupt=interrupt or Interrupt(),
        options=Options(parallel=jobs),
        listeners=[],
    )
    task = loop.live(main, was_killed=lambda: False)
    assert task is not None
    error = task.exception()
    loop.close()
    world.catch_up(loop.virtual_s + 120)
    return Lived(error, None if error else task.result(), world, disk)


def test_no_pod_outlives_a_failed_job_whichever_write_finds_the_disk_full():
    for n in itertools.count():
        lived = live({"trainer killed": 1.0}, full_after=n)
        assert lived.pods == [], f"left alive when the disk was full after {n} writes"
        if lived.error is None:
            break
        assert isinstance(lived.error, StoreError)
    assert n > 20
    assert [job.outcome for job in lived.finished()] == [Outcome.FAILED]


class LosingLab(sim.SimLab):
    """The first deploy takes long and loses its answer; the pod shows in listings only later."""

    deploys = 0

    async def deploy(self, request: DeployRequest) -> Deployment:
        type(self).deploys += 1
        if type(self).deploys > 1:
            await asyncio.sleep(5)
            raise TypeError("a bug, while the other job's pod is being created")
        name = self.pod_name(request.config_id)
        await asyncio.sleep(30)
        self._world.catch_up(self._loop.virtual_s)
        self._world.start(name, self._world.open_job(request.config_id), request.gpu).listed_from_s = (
            self._loop.virtual_s + 25
        )
        raise ProviderError("no answer", kind="ambiguous", ambiguous=True)


def test_a_pod_whose_create_lost_its_answer_after_a_bug_elsewhere_is_still_looked_for(monkeypatch):
    monkeypatch.setattr(LosingLab, "deploys", 0)
    lived = live({}, make_lab=LosingLab, jobs=2)
    assert isinstance(lived.error, ExceptionGroup)
    assert lived.pods == []


class BuggyLab(sim.SimLab):
    """Creates the pod, and then trips over its answer."""

    async def deploy(self, request: DeployRequest) -> Deployment:
        await super().deploy(request)
        raise TypeError("a bug in reading the answer")


def test_a_pod_is_ended_although_reading_the_answer_of_its_create_has_a_bug():
    lived = live({}, make_lab=BuggyLab)
    assert isinstance(lived.error, ExceptionGroup)
    assert lived.pods == []
    assert [job.outcome for job in lived.finished()] == [Outcome.ERRORED]


class LateBugLab(sim.SimLab):
    """Works until the training goes on, and then has a bug."""

    async def list_jobs(self) -> Any:
        if self._loop.virtual_s > 100:
            raise TypeError("a bug in the watch")
        return await super().list_jobs()


@pytest.mark.parametrize("rates", [{"pod stuck": 1.0}, {"trainer stalls": 1.0}])
def test_a_job_that_a_bug_cut_off_is_neither_passed_nor_failed(rates):
    lived = live(rates, make_lab=LateBugLab)
    if lived.error is None:
        pytest.fail("the bug was never reached")
    assert lived.pods == []
    assert [job.outcome for job in lived.finished()] in ([Outcome.ERRORED], [Outcome.CANCELLED])


class ShyCloud:
    """Its pod is listed once, and never answered for when anybody looks closer."""

    def __init__(self) -> None:
        self.listings = 0

    async def list_pods(self) -> list[Pod]:
        self.listings += 1
        return [Pod(id="pod2", name="two", status="RUNNING", cost_usd_h=1.0)] if self.listings == 1 else []

    async def get_pod(self, pod_id: str) -> Pod:
        if self.listings > 1:
            raise ProviderError("pod not found", kind="gone", status=404)
        raise ProviderError("503", kind="transient", status=503)

    async def terminate_pod(self, pod_id: str) -> None:
        return None


def test_a_run_that_is_taken_up_again_pays_for_the_pods_of_earlier_attempts_once():
    loop = SimLoop(random.Random(0))
    clock, (job,) = SimClock(loop), planned_jobs(1)
    at, disk, life = clock.now(), Disk(random.Random(0)), Life(loop)
    asked = {"via": "runpod", "gpu": sim.SMALL, "price_cap_usd_h": 1.0, "deadline": at}
    events = [
        JobStarted(at=at, job=job.key),
        PodRequested(at=at, job=job.key, name="one", **asked),
        PodCreated(at=at, job=job.key, name="one", pod_id="pod1", cost_usd_h=1.0),
        PodGone(at=at, job=job.key, name="one", pod_id="pod1", alive_s=1800, cost_usd=0.5),
        JobStarted(at=at, job=job.key, attempt=2),
        PodRequested(at=at, job=job.key, name="two", **asked),
        PodCreated(at=at, job=job.key, name="two", pod_id="pod2", cost_usd_h=1.0),
    ]
    past = pasts_of("r", events)[job.key]
    ledger = Ledger(None)
    ledger.settle(job.key, past.proven_cost_usd)
    world: Any = World(
        cloud=ShyCloud(),  # type: ignore[arg-type]
        lab=sim.SimLab(sim.World(random.Random(0), {}), loop, life),
        journal=SimJournal(disk, life),
        clock=clock,
        datasets=Rows(),
    )
    attempts = Attempts(
        job=job,
        world=world,
        watch=Watch(world, since=at),
        recorder=Recorder(world.journal),
        interrupt=Interrupt(),
        ledger=ledger,
        names=PodNames("r"),
        via="runpod",
    )

    async def take_up() -> JobFinished | None:
        await clock.sleep(360)
        async with attempts.watch:
            return await attempts.run(past)

    task = loop.live(take_up(), was_killed=lambda: False)
    assert task is not None
    loop.close()
    finished = task.result()
    assert finished is not None
    assert finished.cost_usd == pytest.approx(0.6, abs=0.01)
    assert ledger.spent == pytest.approx(finished.cost_usd)


def test_a_run_keeps_nothing_of_the_jobs_that_are_over():
    interrupt = Interrupt()
    assert live({}, jobs=2, interrupt=interrupt).code == 0
    assert interrupt._listeners == []


def test_a_job_that_got_no_pod_does_not_stay_open_at_the_lab():
    lived = live({"sold out": 1.0}, via="runpod")
    assert [job.failure_class for job in lived.finished()] == [FailureClass.CAPACITY]
    assert [job.status for job in lived.world.jobs.values()] == ["cancelled"]
