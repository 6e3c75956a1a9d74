"""The GPU ladder: try the spec's GPUs in order, in a bounded number of rounds, and say what to make of refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runner.engine.context import JobContext
from runner.engine.lease import CreatePod, Lease
from runner.engine.steps.bargain import affordable
from runner.engine.stop import StopJob, stop_for_provider
from runner.errors import ProviderError
from runner.ports import ProviderErrorKind
from runner.results import FailureClass

TRY_NEXT = {ProviderErrorKind.CAPACITY, ProviderErrorKind.UNSUPPORTED, ProviderErrorKind.VALIDATION}
"""Refusals that another GPU may not meet: none of this kind is free, the lab cannot ask for it, or it is a 400, which
RunPod also answers to what it has not got."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One attempt at a pod: its exact name, and the call that creates it."""

    name: str
    via: str
    create: CreatePod


async def first_available(context: JobContext, order: Callable[[str], Order]) -> Lease:
    """A lease on the first GPU that can be had.

    Only a refusal for want of machines leads on, to the next GPU and to the next round after a pause; the whole climb
    may take no longer than the spec's `provision` limit.

    Raises:
        StopJob: nothing could be had, the request itself is wrong, or the user interrupts.
    """
    state, world = context.state, context.world
    clock, pace = world.clock, world.pace
    deadline = clock.monotonic() + state.job.spec.limits.provision.total_seconds()
    gpus = await affordable(state, world)
    pause_s = pace.capacity_pause_s
    for number in range(1, pace.capacity_rounds + 1):
        refusals: dict[str, ProviderError] = {}
        for gpu in gpus:
            lease = await _try(context, gpu, order, refusals, deadline=deadline)
            if lease is not None:
                return lease
        has_capacity_refusal = any(exc.kind == ProviderErrorKind.CAPACITY for exc in refusals.values())
        is_last = number == pace.capacity_rounds or clock.monotonic() + pause_s > deadline
        if is_last or not has_capacity_refusal:
            break
        await pause(context, pause_s)
        pause_s *= 2
    raise _nothing_to_be_had(refusals, rounds=number)


async def _try(
    context: JobContext, gpu: str, order: Callable[[str], Order], refusals: dict[str, ProviderError], *, deadline: float
) -> Lease | None:
    """One GPU; waits out rate limits, which refuse a create for good, so that sending it again makes no second pod."""
    state, world = context.state, context.world
    while True:
        _stop_if_interrupted(context)
        wanted = order(gpu)
        lease = Lease(state, world, name=wanted.name, via=wanted.via, gpu=gpu)
        context.leases.append(lease)
        try:
            await lease.open(wanted.create)
        except ProviderError as exc:
            wait_s = exc.retry_after_s or world.pace.rate_limit_s
            if exc.kind == ProviderErrorKind.RATE_LIMITED and world.clock.monotonic() + wait_s <= deadline:
                await pause(context, wait_s)
                continue
            if exc.kind not in TRY_NEXT:
                raise stop_for_provider("the deploy failed", exc) from exc
            refusals[gpu] = exc
            return None
        state.gpu = gpu
        return lease


def _nothing_to_be_had(refusals: dict[str, ProviderError], *, rounds: int) -> StopJob:
    kinds = {exc.kind for exc in refusals.values()}
    said = "; ".join(f"{gpu}: {exc}" for gpu, exc in refusals.items())
    tries = f" in {rounds} rounds" if rounds > 1 else ""
    if kinds == {ProviderErrorKind.VALIDATION}:
        suspect = "every GPU was refused with a 400" if len(refusals) > 1 else "the request was refused with a 400"
        return StopJob(f"{suspect}, so the request itself is suspect: {said}", FailureClass.PROVIDER)
    words = {str(exc) for exc in refusals.values()}
    # Capacity has no code of its own at RunPod: a wrong disk, count or CUDA filter gets the same words.
    hint = (
        " (all in the same words: if machines are free elsewhere, disk, count or CUDA version may be what is refused)"
        if kinds == {ProviderErrorKind.CAPACITY} and len(refusals) > 1 and len(words) == 1
        else ""
    )
    return StopJob(f"no GPU of the list could be had{tries}{hint}: {said}", FailureClass.CAPACITY)


async def pause(context: JobContext, seconds: float) -> None:
    """Wait, unless the user interrupts."""
    clock = context.world.clock
    until_s = clock.monotonic() + seconds
    while (left_s := until_s - clock.monotonic()) > 0:
        _stop_if_interrupted(context)
        await context.state.changed(within_s=left_s)
    _stop_if_interrupted(context)


def _stop_if_interrupted(context: JobContext) -> None:
    if context.interrupt.level:
        raise StopJob("interrupted before a pod was created", FailureClass.INTERRUPTED)
