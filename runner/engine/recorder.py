"""The one way from the engine into the journal, and to whoever listens."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from runner.engine.world import Listener
from runner.errors import StoreError
from runner.events import AnyEvent
from runner.ports import Journal


class Recorder:
    """Writes events to the journal first and tells the listeners afterwards."""

    def __init__(self, journal: Journal, listeners: Sequence[Listener] = ()) -> None:
        self._journal = journal
        self._listeners = listeners
        self.failure: StoreError | None = None
        """The first thing that went wrong with the journal, if anything did."""

    def also_telling(self, listener: Listener) -> Recorder:
        """The same journal, with one listener more."""
        return Recorder(self._journal, [*self._listeners, listener])

    async def record(self, *events: AnyEvent, durable: bool = False) -> None:
        """Record events in order.

        Raises:
            StoreError: the journal cannot take them; no listener was told.
        """
        try:
            await self._journal.append(*events, durable=durable)
        except StoreError as exc:
            self.failure = self.failure or exc
            raise
        self._tell(events)

    async def record_if_possible(self, *events: AnyEvent) -> None:
        """Record events durably, but go on without a journal: a full disk must not keep a pod alive."""
        try:
            await self.record(*events, durable=True)
        except StoreError:
            self._tell(events)

    def _tell(self, events: Sequence[AnyEvent]) -> None:
        for event in events:
            for listener in self._listeners:
                # A reporter that raises must not stop a run that is spending money.
                with contextlib.suppress(Exception):
                    listener(event)
