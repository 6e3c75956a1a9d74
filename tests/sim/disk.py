"""A journal on a disk that may lose what was not synced."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from runner.errors import StoreError
from runner.events import AnyEvent, decode_event, encode_event
from tests.sim.life import Life


@dataclass(slots=True)
class Disk:
    """What survives a crash, and what only might."""

    rng: random.Random
    synced: list[bytes] = field(default_factory=list)
    tail: list[bytes] = field(default_factory=list)
    acknowledged: int = 0
    full_after: int | None = None
    appends: int = 0

    def crash(self) -> None:
        """Lose a random part of what was never synced; a prefix stays, as with an append-only file."""
        kept = self.rng.randint(0, len(self.tail))
        self.synced += self.tail[:kept]
        self.tail.clear()

    def events(self) -> list[AnyEvent]:
        """Everything that can be read back."""
        return [decode_event(line) for line in [*self.synced, *self.tail]]


class SimJournal:
    """The engine's journal on such a disk."""

    def __init__(self, disk: Disk, life: Life) -> None:
        self._disk = disk
        self._life = life

    async def append(self, *events: AnyEvent, durable: bool = False) -> None:
        disk = self._disk
        kinds = ",".join(type(event).__name__ for event in events)
        await self._life.point(f"journal< {kinds}")
        disk.appends += 1
        if disk.full_after is not None and disk.appends > disk.full_after:
            raise StoreError("no space left on device")
        disk.tail += [encode_event(event) for event in events]
        if durable:
            await self._life.point(f"journal= {kinds}")
            disk.synced += disk.tail
            disk.tail.clear()
            disk.acknowledged = len(disk.synced)
        await self._life.point(f"journal> {kinds}")
