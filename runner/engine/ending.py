"""Finding pods by name, and ending them until their end is proven. Needs no journal, so teardown works without one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runner.engine.world import World
from runner.errors import ProviderError
from runner.ports import ProviderErrorKind
from runner.results import Pod


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What came of ending a pod.

    Attributes:
        is_proven: two listings in a row did not show it, and asked for by id it is gone.
        pod_id: the pod that was ended; None when none ever showed.
        last_error: why it is not proven.
    """

    is_proven: bool
    pod_id: str | None
    last_error: str = ""


def pods_of(pods: Sequence[Pod], *, name: str, pod_id: str | None) -> list[Pod]:
    """Live pods of one lease: by exact name, or by the id that the create was answered with."""
    ours = (pod for pod in pods if pod.is_alive and (pod.name == name or pod.id == pod_id))
    return sorted(ours, key=lambda pod: pod.id)


async def look_for(world: World, *, name: str) -> list[Pod]:
    """Live pods of this name; listings may lag behind a create, so one empty answer is not believed."""
    clock, pace = world.clock, world.pace
    deadline = clock.monotonic() + pace.reconcile_s
    while True:
        try:
            if pods := pods_of(await world.cloud.list_pods(), name=name, pod_id=None):
                return pods
        except ProviderError:
            pass  # the next listing may work; running out of time is an answer too
        if clock.monotonic() >= deadline:
            return []
        await clock.sleep(pace.reconcile_poll_s)


async def end_pod(world: World, *, name: str, pod_id: str | None, within_s: float) -> Ending:
    """Terminate every live pod of a lease and prove them gone; insists with growing pauses for `within_s`.

    A machine that slept meanwhile has not insisted: the time of a sleep longer than `within_s` does not count.
    """
    clock, pace = world.clock, world.pace
    tried_s = clock.monotonic()
    deadline = tried_s + within_s
    pause_s = pace.retry_s
    while True:
        ending = await _try_to_end(world, name=name, pod_id=pod_id)
        passed_s, tried_s = clock.monotonic() - tried_s, clock.monotonic()
        if passed_s > within_s:
            deadline += passed_s
        if ending.is_proven or tried_s >= deadline:
            return ending
        pod_id = ending.pod_id
        await clock.sleep(pause_s)
        pause_s = min(pause_s * 2, pace.retry_max_s)


async def _try_to_end(world: World, *, name: str, pod_id: str | None) -> Ending:
    try:
        if pod_id is not None:
            await world.cloud.terminate_pod(pod_id)
        for look in range(2):
            if look:
                await world.clock.sleep(world.pace.proof_s)
            left = pods_of(await world.cloud.list_pods(), name=name, pod_id=pod_id)
            if left:
                pod_id = pod_id or left[0].id
                for pod in left:
                    await world.cloud.terminate_pod(pod.id)
                return Ending(is_proven=False, pod_id=pod_id, last_error=f"it is still listed as {left[0].status}")
        if pod_id is not None and (alive := await _alive(world, pod_id)):
            return Ending(is_proven=False, pod_id=pod_id, last_error=f"it is not listed, but {alive.status}")
    except ProviderError as exc:
        return Ending(is_proven=False, pod_id=pod_id, last_error=str(exc))
    return Ending(is_proven=True, pod_id=pod_id)


async def _alive(world: World, pod_id: str) -> Pod | None:
    """The pod, if it still lives: a young pod may be missing from listings that lag behind its create."""
    try:
        pod = await world.cloud.get_pod(pod_id)
    except ProviderError as exc:
        if exc.kind == ProviderErrorKind.GONE:
            return None
        raise
    return pod if pod.is_alive else None
