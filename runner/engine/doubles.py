"""Second pods of one request: a proxy that sends a create again makes them, and each of them bills."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from runner.engine.state import JobState
from runner.engine.world import World
from runner.errors import ProviderError
from runner.events import PodDoubled
from runner.results import Pod


async def end_doubles(state: JobState, world: World, pods: Iterable[Pod]) -> None:
    """One lease keeps one pod: end the others of its name among `pods`, and put them on the job's bill.

    One that does not go is asked again with the next listing, and goes by its name when the lease is released.
    """
    if state.pod_id is None:
        return
    for pod in pods:
        if pod.name != state.pod_name or pod.id == state.pod_id or not pod.is_alive:
            continue
        with suppress(ProviderError):
            await world.cloud.terminate_pod(pod.id)
            if pod.id not in state.doubles:
                state.doubles.add(pod.id)
                await state.record(_doubled(state, world, pod))


def _doubled(state: JobState, world: World, pod: Pod) -> PodDoubled:
    """Nobody saw it begin, so that it is billed from the request on."""
    now_s = world.clock.monotonic()
    alive_s = now_s - (now_s if state.pod_since_s is None else state.pod_since_s)
    price = state.job.spec.limits.price if pod.cost_usd_h is None else pod.cost_usd_h
    return PodDoubled(
        at=state.now(),
        job=state.key,
        name=pod.name,
        pod_id=pod.id,
        alive_s=alive_s,
        cost_usd=alive_s * price / 3600,
    )
