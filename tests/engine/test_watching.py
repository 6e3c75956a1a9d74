"""The watch, on virtual time, against a cloud and a lab that fail at the wrong moment."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any

from runner.engine.recorder import Recorder
from runner.engine.state import JobState
from runner.engine.watch import Watch
from runner.engine.world import Pace, World
from runner.errors import ProviderError
from runner.events import AlertsObserved, AnyEvent, MetricsObserved, PodMissing
from runner.ports import ProviderErrorKind
from runner.results import Alert, JobSnapshot, MetricPoint, Pod
from tests.sim.loop import SimClock, SimLoop
from tests.sim.schedule import planned_jobs

BROKEN = ProviderError("502", kind=ProviderErrorKind.TRANSIENT, retryable=True)


class ListJournal:
    def __init__(self) -> None:
        self.events: list[AnyEvent] = []

    async def append(self, *events: AnyEvent, durable: bool = False) -> None:
        self.events += events


class VanishingCloud:
    """Its pod is gone; the first question about it by id is not answered."""

    def __init__(self) -> None:
        self.asked = 0

    async def list_pods(self) -> Sequence[Pod]:
        return []

    async def get_pod(self, pod_id: str) -> Pod:
        self.asked += 1
        if self.asked == 1:
            raise BROKEN
        raise ProviderError("pod not found", kind=ProviderErrorKind.GONE, status=404)

    async def stream_logs(self, pod_id: str, *, after: str) -> Any:
        await asyncio.sleep(3600)
        yield []


class PartlyBrokenLab:
    """It lists no job, and cannot say anything about `broken`."""

    async def list_jobs(self) -> Sequence[JobSnapshot]:
        return []

    async def job_status(self, lab_job_id: str) -> JobSnapshot:
        if lab_job_id == "broken":
            raise BROKEN
        return JobSnapshot(lab_job_id=lab_job_id, status="running", step=3)

    async def metrics(self, lab_job_id: str) -> Sequence[MetricPoint]:
        return [MetricPoint(step=3, values={"train_loss": 1.0})]

    async def alerts(self, *, since: datetime) -> Sequence[Alert]:
        return []


def watched_for(seconds: float, lab_ids: Sequence[str], *, lab: PartlyBrokenLab | None = None) -> list[AnyEvent]:
    """The events of jobs with these ids at the lab, watched for some virtual time and then looked at once more."""
    loop = SimLoop(random.Random(0))
    journal, clock = ListJournal(), SimClock(loop)
    world: Any = World(
        cloud=VanishingCloud(),  # type: ignore[arg-type]
        lab=lab or PartlyBrokenLab(),  # type: ignore[arg-type]
        journal=journal,
        clock=clock,
        datasets=None,  # type: ignore[arg-type]
        pace=Pace(),
    )

    async def watch_them() -> None:
        async with Watch(world, since=clock.now()) as watch:
            for job, lab_id in zip(planned_jobs(len(lab_ids)), lab_ids, strict=True):
                state = JobState(job, recorder=Recorder(journal), clock=clock)
                state.pod_id, state.lab_job_id = f"pod-{lab_id}", lab_id
                watch.add(state)
            await clock.sleep(seconds)
            await watch.look_once_more(state)

    _run(loop, watch_them())
    return journal.events


def _run(loop: SimLoop, main: Coroutine[Any, Any, None]) -> None:
    task = loop.live(main, was_killed=lambda: False)
    assert task is not None
    task.result()
    loop.close()


def test_a_vanished_pod_is_noticed_although_the_first_question_about_it_fails():
    events = watched_for(120, ["fine"])
    assert len([event for event in events if isinstance(event, PodMissing)]) == 1


def test_a_job_that_cannot_be_asked_about_does_not_keep_the_others_from_being_watched():
    events = watched_for(120, ["broken", "fine"])
    assert {event.job for event in events if isinstance(event, MetricsObserved)} == {planned_jobs(2)[1].key}


class AlertingLab(PartlyBrokenLab):
    """It has an alert of each of two jobs."""

    def __init__(self) -> None:
        self.asked_since: list[datetime] = []

    async def alerts(self, *, since: datetime) -> Sequence[Alert]:
        self.asked_since.append(since)
        return [
            Alert(id=job, type="job_started", lab_job_id=job, at=datetime(2026, 11, 22, tzinfo=UTC)) for job in "ab"
        ]


def test_alerts_are_read_whole_at_the_first_and_the_last_look_and_the_newest_ones_between():
    lab = AlertingLab()
    watched_for(60, ["a"], lab=lab)
    begun, *between, last = lab.asked_since
    assert begun == last < datetime(2026, 11, 21, tzinfo=UTC)
    assert set(between) == {datetime(2026, 11, 21, 23, 50, tzinfo=UTC)}


def test_nothing_is_recorded_of_a_job_that_ended_while_another_one_was_looked_at():
    loop = SimLoop(random.Random(0))
    clock = SimClock(loop)
    states: list[JobState] = []

    class EndingJournal(ListJournal):
        """The second job ends while an alert of the first one is being written."""

        async def append(self, *events: AnyEvent, durable: bool = False) -> None:
            await super().append(*events, durable=durable)
            if isinstance(events[0], AlertsObserved):
                watch.remove(states[1])

    journal = EndingJournal()
    world: Any = World(
        cloud=VanishingCloud(),  # type: ignore[arg-type]
        lab=AlertingLab(),  # type: ignore[arg-type]
        journal=journal,
        clock=clock,
        datasets=None,  # type: ignore[arg-type]
    )
    watch = Watch(world, since=clock.now())

    async def watch_them() -> None:
        async with watch:
            # Before any loop looks: the first look is at both.
            for job, lab_id in zip(planned_jobs(2), "ab", strict=True):
                states.append(JobState(job, recorder=Recorder(journal), clock=clock))
                states[-1].lab_job_id = lab_id
                watch.add(states[-1])
            await clock.sleep(60)

    _run(loop, watch_them())
    assert [event.job for event in journal.events if isinstance(event, AlertsObserved)] == [states[0].key]
