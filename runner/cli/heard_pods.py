"""What a run did with pods, as far as the engine told it: when the journal fails, nothing else knows."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from runner.cli.options import state_flag
from runner.events import AnyEvent, PodCreated, PodGone, PodRefused, PodRequested, PodUnconfirmed
from runner.history import open_leases

NO_VERDICT = 3
UNCONFIRMED = 6
_OF_PODS = (PodRequested, PodCreated, PodRefused, PodGone, PodUnconfirmed)


class HeardPods:
    """A listener that keeps what concerns pods."""

    def __init__(self) -> None:
        self._events: list[AnyEvent] = []

    def __call__(self, event: AnyEvent) -> None:
        """Keep one event."""
        if isinstance(event, _OF_PODS):
            self._events.append(event)

    def remember(self, past: Iterable[AnyEvent]) -> None:
        """Take over what an earlier life of the run did."""
        for event in past:
            self(event)

    @property
    def was_any(self) -> bool:
        """Something was launched."""
        return bool(self._events)

    @property
    def open_names(self) -> list[str]:
        """The names of pods that nobody has proven gone."""
        return [lease.name for lease in open_leases("", self._events)]

    def conclude(self, state_dir: Path) -> tuple[int, str]:
        """The exit code of a run whose record broke off, and what to say of its pods."""
        if names := self.open_names:
            return (
                UNCONFIRMED,
                f"pods may still be billed: {', '.join(names)}; run `runspec reap{state_flag(state_dir)}`",
            )
        return NO_VERDICT, "the run ends without a verdict; every pod was given back"
