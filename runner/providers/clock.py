"""The clock that providers and the engine run on when nobody passes another one."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


def _awake_or_not_s() -> float:
    """Seconds from anywhere that go on while the machine sleeps, as a pod's bill does.

    `time.monotonic` stands still meanwhile, on Linux and on macOS.
    """
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":
        return time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.monotonic()


def _time_of_day() -> datetime:
    return datetime.now(UTC)


class SystemClock:
    """The machine's own time; fits `runner.ports.Clock`.

    The time of day is read once and carried on from there: a clock that is set while a run goes on must not look like
    an hour without news from a pod.
    """

    def __init__(
        self, *, time_of_day: Callable[[], datetime] = _time_of_day, steady_s: Callable[[], float] = _awake_or_not_s
    ) -> None:
        self._steady_s = steady_s
        self._zero = time_of_day() - timedelta(seconds=steady_s())

    def now(self) -> datetime:
        """UTC, for stamps; never goes back."""
        return self._zero + timedelta(seconds=self._steady_s())

    def monotonic(self) -> float:
        """Seconds from anywhere, for durations; a machine's sleep counts."""
        return self._steady_s()

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)
