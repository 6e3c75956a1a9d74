"""One ledger for the whole invocation, so that parallel jobs cannot spend more than allowed together."""

from __future__ import annotations

import asyncio


class Ledger:
    """Reservations and actual spending, in USD; `cap` None means that only the jobs' own limits count."""

    def __init__(self, cap: float | None) -> None:
        self.cap = cap
        self.spent = 0.0
        self._reserved: dict[str, float] = {}
        self._freed = asyncio.Event()

    @property
    def reserved(self) -> float:
        """What running jobs may still cost."""
        return sum(self._reserved.values())

    async def reserve(self, job: str, amount: float) -> bool:
        """Set money aside for a job, waiting for running ones to give some back.

        Returns:
            False when the cap does not allow it, even with nothing else running.
        """
        while self.cap is not None and self.spent + self.reserved + amount > self.cap:
            if not self._reserved:
                return False
            await self._freed.wait()
        self._reserved[job] = amount
        return True

    def hold(self, job: str, amount: float) -> None:
        """Set money aside for what exists already, whether the cap has room for it or not."""
        self._reserved[job] = amount

    def settle(self, job: str, actual: float) -> None:
        """Replace a reservation by what the job has really cost."""
        self._reserved.pop(job, None)
        self.spent += actual
        self._freed.set()
        self._freed = asyncio.Event()
