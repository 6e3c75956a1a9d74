"""An event loop on a virtual clock: it never waits, and a seed decides the order of what is ready at once."""

from __future__ import annotations

import asyncio
import contextlib
import random
import selectors
import warnings
from collections.abc import Callable, Coroutine
from typing import Any


class DeadlockError(Exception):
    """Nothing is ready and no timer runs: the code under test waits for ever."""


class _VirtualTime(selectors.BaseSelector):
    """Moves the clock to the next timer instead of waiting for it."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self._map: dict[Any, Any] = {}

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise DeadlockError
        ready = self._loop._ready
        if len(ready) > 1:
            order = list(ready)
            self._loop.rng.shuffle(order)
            ready.clear()
            ready.extend(order)
        if timeout > 0:
            self._loop.virtual_s += timeout
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> Any:
        raise NotImplementedError("the simulation has no files")

    unregister = modify = register

    def get_map(self) -> dict[Any, Any]:
        return self._map

    def close(self) -> None:
        self._map.clear()


class SimTask(asyncio.Task[Any]):
    """A task that hashes by the order of its creation, so that sets of tasks have the same order every time."""

    number = 0

    def __init__(self, coro: Any, *, loop: SimLoop, **kwargs: Any) -> None:
        loop.tasks_made += 1
        self.number = loop.tasks_made
        super().__init__(coro, loop=loop, **kwargs)
        loop.tasks.append(self)

    def __hash__(self) -> int:
        return self.number


class SimLoop(asyncio.BaseEventLoop):
    """The loop of one life.

    Attributes:
        virtual_s: the time by which its timers run; goes on from one life to the next.
        slept_s: how long the machine was suspended: the world went on, and no timer ran.
    """

    def __init__(self, rng: random.Random, *, start_s: float = 0.0, slept_s: float = 0.0) -> None:
        self.rng = rng
        self.virtual_s = start_s
        self.slept_s = slept_s
        self.tasks_made = 0
        self.tasks: list[SimTask] = []
        super().__init__()
        self._selector = _VirtualTime(self)
        self._clock_resolution = 1e-9
        self.set_task_factory(lambda loop, coro, **kwargs: SimTask(coro, loop=loop, **kwargs))
        self.problems: list[str] = []
        self.set_exception_handler(lambda _, context: self.problems.append(str(context.get("exception") or context)))

    def time(self) -> float:
        return self.virtual_s

    @property
    def world_s(self) -> float:
        """The time of everything that does not sleep with this machine."""
        return self.virtual_s + self.slept_s

    def suspend(self, seconds: float) -> None:
        """The lid is closed and opened again."""
        self.slept_s += seconds

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def live(self, main: Coroutine[Any, Any, Any], *, was_killed: Callable[[], bool]) -> SimTask | None:
        """Run one life to its end; None when it was killed.

        A kill is a fence, not an exception: the loop stops, nothing of this life runs again, and what its coroutines
        would do on being finalised is refused by their ports.
        """
        task = self.create_task(main)
        assert isinstance(task, SimTask)
        task.add_done_callback(lambda _: self.stop())
        self.run_forever()
        if was_killed():
            self._bury()
            return None
        return task

    def pending(self) -> list[SimTask]:
        """Tasks that are still alive."""
        return [task for task in self.tasks if not task.done()]

    def _bury(self) -> None:
        """Close the coroutines of a killed life now, so that no later life is disturbed when they are collected."""
        self._ready.clear()
        self._scheduled.clear()
        # What a `finally` does needs a running loop, or its coroutines would be left over, never awaited.
        asyncio._set_running_loop(self)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            buried = 0
            # Closing a coroutine runs its `finally`, which may make tasks of its own: they are buried too.
            while buried < len(self.tasks):
                task = self.tasks[buried]
                buried += 1
                task._log_destroy_pending = False
                for _ in range(0 if task.done() else 20):
                    with contextlib.suppress(BaseException):
                        task.get_coro().close()  # type: ignore[union-attr]
                        break
        asyncio._set_running_loop(None)
        self._ready.clear()
        self._scheduled.clear()
        self.tasks.clear()
        self.close()


class SimClock:
    """The engine's clock in a simulation, which may be wrong by `offset_s`; like the real one it counts a sleep."""

    EPOCH_S = 1_767_225_600.0

    def __init__(self, loop: SimLoop, *, offset_s: float = 0.0) -> None:
        self._loop = loop
        self.offset_s = offset_s

    def now(self) -> Any:
        from datetime import UTC, datetime

        return datetime.fromtimestamp(self.EPOCH_S + self._loop.world_s + self.offset_s, UTC)

    def monotonic(self) -> float:
        return self._loop.world_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
