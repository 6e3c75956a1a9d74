"""One life of the runner: from its start to its end or to `kill -9`, and the points at which that can happen."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

from tests.sim.loop import SimLoop


class _Never:
    """Awaiting this never comes back; the loop of a killed life is gone."""

    def __await__(self) -> Generator[None, None, None]:
        while True:
            yield


@dataclass(slots=True)
class Life:
    """Counts every point at which the process can be killed, and kills it at the one that was chosen.

    Attributes:
        kill_at: number of the point (from 1) at which this life ends; None to let it live.
    """

    loop: SimLoop
    kill_at: int | None = None
    points: int = 0
    is_dead: bool = False
    was_given_up: bool = False
    trace: list[str] = field(default_factory=list)

    async def point(self, name: str) -> None:
        """Pass a point, or die at it."""
        if self.is_dead:
            await _Never()
        self.points += 1
        self.trace.append(f"{self.loop.world_s:.3f} {name}")
        if self.points == self.kill_at:
            self.is_dead = True
            self.loop.stop()
            await _Never()

    def give_up(self) -> None:
        """End a life that goes on for too long."""
        self.is_dead = self.was_given_up = True
        self.loop.stop()
