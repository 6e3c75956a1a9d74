"""What counts as a proof that a pod is gone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from runner.engine.ending import Ending, end_pod
from runner.engine.world import Pace, World
from runner.errors import ProviderError
from runner.ports import ProviderErrorKind
from runner.results import Pod
from tests.sim.loop import SimClock, SimLoop


class YoungPodCloud:
    """Its pod is so young that no listing shows it, and the first delete of it does nothing."""

    def __init__(self) -> None:
        self.deletes = 0

    async def list_pods(self) -> Sequence[Pod]:
        return []

    async def terminate_pod(self, pod_id: str) -> None:
        self.deletes += 1

    async def get_pod(self, pod_id: str) -> Pod:
        if self.deletes < 2:
            return Pod(id=pod_id, name="young", status="PROVISIONING")
        raise ProviderError("pod not found", kind=ProviderErrorKind.GONE, status=404)


def ended(cloud: Any) -> Ending:
    loop = SimLoop(random.Random(0))
    world: Any = World(cloud=cloud, lab=None, journal=None, clock=SimClock(loop), datasets=None, pace=Pace())  # type: ignore[arg-type]
    task = loop.live(end_pod(world, name="young", pod_id="pod1", within_s=600), was_killed=lambda: False)
    assert task is not None
    loop.close()
    return task.result()


def test_a_young_pod_that_no_listing_shows_is_not_believed_gone_while_it_answers_by_id():
    cloud = YoungPodCloud()
    assert ended(cloud).is_proven
    assert cloud.deletes == 2


def test_a_pod_that_never_goes_is_reported_with_what_it_last_said():
    cloud = YoungPodCloud()
    cloud.deletes = -10_000
    ending = ended(cloud)
    assert not ending.is_proven
    assert ending.last_error == "it is not listed, but PROVISIONING"
