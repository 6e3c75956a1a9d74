"""The ladder of a user's impatience: collect and release, release only, leave."""

from __future__ import annotations

from collections.abc import Callable


class Interrupt:
    """How urgently the user wants the run to end.

    Level 0: not at all. Level 1: launch nothing more, collect evidence, release pods. Level 2: release pods only.
    A third request is the command line's: it leaves at once and prints how to reap.
    """

    def __init__(self) -> None:
        self.level = 0
        self._listeners: list[Callable[[], None]] = []

    def escalate(self) -> int:
        """One more request to end; returns the new level."""
        self.level += 1
        for listener in tuple(self._listeners):
            listener()
        return self.level

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` at every escalation, so that waits notice at once."""
        self._listeners.append(listener)

    def forget(self, listener: Callable[[], None]) -> None:
        """Call `listener` no more: it would keep all that it knows in memory until the run ends."""
        self._listeners.remove(listener)
