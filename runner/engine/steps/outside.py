"""Work of a step that happens outside: raced against the step's time limit and the user's interruption."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from runner.engine.context import JobContext
from runner.engine.stop import StopJob
from runner.errors import ModelError, ProviderError
from runner.results import FailureClass
from runner.spec.scalars import format_duration

T = TypeVar("T")


async def insisting(context: JobContext, work: Callable[[], Awaitable[T]], *, what: str, within_s: float) -> T:
    """The result of `work`, which is tried again while its failure says that this may help.

    Raises:
        ProviderError: the failure of the last try.
        ModelError: as `work` raises it; never tried again.
        StopJob: the user interrupts, or `within_s` seconds are over.
    """
    clock, pace = context.world.clock, context.world.pace
    deadline = clock.monotonic() + within_s
    pause_s = pace.retry_s
    while True:
        try:
            return await _raced(context, work, what=what, deadline=deadline, within_s=within_s)
        except ProviderError as exc:
            if not exc.retryable or clock.monotonic() + pause_s > deadline:
                raise
        await clock.sleep(pause_s)
        pause_s = min(pause_s * 2, pace.retry_max_s)


async def _raced(
    context: JobContext, work: Callable[[], Awaitable[T]], *, what: str, deadline: float, within_s: float
) -> T:
    state, clock = context.state, context.world.clock

    async def caught() -> T | ProviderError | ModelError:
        # As a value, because an exception would cancel the group before anybody can tell which it was.
        try:
            return await work()
        except (ProviderError, ModelError) as exc:
            return exc

    async with asyncio.TaskGroup() as group:
        task = group.create_task(caught())
        task.add_done_callback(lambda _: state.wake())
        stop: StopJob | None = None
        while not task.done() and stop is None:
            left_s = deadline - clock.monotonic()
            if context.interrupt.level:
                stop = StopJob("interrupted", FailureClass.INTERRUPTED)
            elif left_s <= 0:
                limit = format_duration(timedelta(seconds=within_s))
                stop = StopJob(f"{what} took longer than {limit}", FailureClass.LIMIT)
            else:
                await state.changed(within_s=min(left_s, context.world.pace.tick_s))
        if stop is not None:
            task.cancel()
    if stop is not None:
        raise stop
    result = task.result()
    if isinstance(result, ProviderError | ModelError):
        raise result
    return result
