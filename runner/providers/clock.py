"""The clock that providers run on when nobody passes another one."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime


class SystemClock:
    """The machine's own time; fits `runner.ports.Clock`."""

    def now(self) -> datetime:
        """UTC, for stamps."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds from anywhere, for durations."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)
