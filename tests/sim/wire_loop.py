"""The loop that servers and the runner's lives share: one life can be buried while everything else goes on."""

from __future__ import annotations

import asyncio
import contextlib
import random
import warnings
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

from tests.sim.life import Life
from tests.sim.loop import SimLoop, SimTask

_H = TypeVar("_H", bound=asyncio.Handle)
LIFE: ContextVar[WireLife | None] = ContextVar("life", default=None)
"""Whose code this is; None for servers and pods. Tasks and callbacks inherit it from what started them."""


class WireLife(Life):
    """A life that can also die in the middle of a request."""

    def pass_by(self, name: str) -> None:
        """A point without an await: a request leaves or not."""
        if self.is_dead:
            return
        self.points += 1
        self.trace.append(f"{self.loop.world_s:.3f} {name}")
        if self.points == self.kill_at:
            self.is_dead = True
            self.loop.stop()


class WireTask(SimTask):
    """Remembers whose life it belongs to."""

    def __init__(self, coro: Any, *, loop: SimLoop, **kwargs: Any) -> None:
        context = kwargs.get("context")
        self.life = context.get(LIFE) if context is not None else LIFE.get()
        super().__init__(coro, loop=loop, **kwargs)
        if self.is_of_the_dead:
            self._log_destroy_pending = False

    @property
    def is_of_the_dead(self) -> bool:
        """Whether its life was killed: such a task never runs, and nobody waits for it."""
        return self.life is not None and self.life.is_dead


class WireLoop(SimLoop):
    """A virtual loop without threads that outlives the lives in it."""

    def __init__(self, rng: random.Random, *, start_s: float = 0.0) -> None:
        super().__init__(rng, start_s=start_s)
        self.set_task_factory(lambda loop, coro, **kwargs: WireTask(coro, loop=loop, **kwargs))

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        done: asyncio.Future[Any] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as exc:
            done.set_exception(exc)
        return done

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        return _unless_dead(super().call_soon(callback, *args, context=context))

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:
        return _unless_dead(super().call_at(when, callback, *args, context=context))

    def live_among_others(self, main: Coroutine[Any, Any, int], life: WireLife, *, within_s: float) -> WireTask | None:
        """Run one life to its end; None when it was killed, or was not over after `within_s`."""
        context = copy_context()
        context.run(LIFE.set, life)
        task = self.create_task(main, context=context)
        assert isinstance(task, WireTask)
        task.add_done_callback(lambda _: self.stop(), context=context)
        late = self.call_later(within_s, self.stop)
        self.run_forever()
        late.cancel()
        if task.done() and not life.is_dead:
            # What still arrives at its connections is nothing that it could be killed at.
            life.kill_at = None
            return task
        life.is_dead = True
        context.run(self._bury_life, life)
        return None

    def pending_of(self, life: WireLife) -> list[WireTask]:
        """Tasks of one life that are still alive."""
        return [task for task in self.tasks if isinstance(task, WireTask) and task.life is life and not task.done()]

    def _bury_life(self, life: WireLife) -> None:
        asyncio._set_running_loop(self)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            buried: set[int] = set()
            # Closing a coroutine runs its `finally`, which may make tasks of its own: they are buried too.
            while left := [task for task in self.pending_of(life) if task.number not in buried]:
                task = left[0]
                buried.add(task.number)
                task._log_destroy_pending = False
                for _ in range(20):
                    with contextlib.suppress(BaseException):
                        task.get_coro().close()
                        break
        asyncio._set_running_loop(None)
        for handle in [*self._ready, *self._scheduled]:
            _unless_dead(handle)
        # A task that is neither done nor ever run again; nobody may wait for it.
        self.tasks = [task for task in self.tasks if not (isinstance(task, WireTask) and task.life is life)]


def _unless_dead(handle: _H) -> _H:
    """Cancel what would run in a killed life: its tasks wait for things that others may still bring about."""
    life = handle._context.get(LIFE)
    if life is not None and life.is_dead:
        handle.cancel()
    return handle
