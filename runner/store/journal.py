"""The journal of one run, as the engine writes it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from runner.errors import StoreError
from runner.events import AnyEvent
from runner.store.database import translated
from runner.store.schema import transaction
from runner.store.writing import write_events

MOST_PENDING = 100
OLDEST_PENDING_S = 1.0


class StoreJournal:
    """Append-only record of one run; serves the `Journal` port.

    Events that need not be durable are committed together: with the next durable one, at the hundredth, or with the
    first one that comes more than a second after the oldest. Nothing runs in the background, so the last few of a
    killed process may be missing; never one before an event that is there.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, run: str, *, monotonic: Callable[[], float]) -> None:
        self.run = run
        self._connection = connection
        self._path = path
        self._monotonic = monotonic
        self._pending: list[AnyEvent] = []
        self._oldest_s = 0.0
        self.is_closed = False
        with translated(path):
            row = connection.execute("SELECT max(seq) FROM events WHERE run = ?", (run,)).fetchone()
        self._next_seq = 1 if row[0] is None else int(row[0]) + 1

    async def append(self, *events: AnyEvent, durable: bool = False) -> None:
        """Record events in order. With `durable` they, and all before them, survive a crash once this returns.

        Raises:
            StoreError: they could not be recorded. The events of this call are then not in the journal and may be
                given again; earlier ones still wait to be committed.
        """
        if self.is_closed:
            raise StoreError(f"the journal of run `{self.run}` is closed")
        if events and not self._pending:
            self._oldest_s = self._monotonic()
        pending = [*self._pending, *events]
        if durable or len(pending) >= MOST_PENDING or self._is_old():
            self._commit(pending)
        else:
            self._pending = pending

    async def flush(self) -> None:
        """Commit what waits."""
        self.flush_now()

    async def close(self) -> None:
        """Commit what waits and take no more."""
        self.close_now()

    def flush_now(self) -> None:
        """`flush` for callers without an event loop: nothing here ever waits for one."""
        self._commit(self._pending)

    def close_now(self) -> None:
        """`close` for callers without an event loop."""
        if not self.is_closed:
            self.flush_now()
            self.is_closed = True

    def _is_old(self) -> bool:
        return bool(self._pending) and self._monotonic() - self._oldest_s >= OLDEST_PENDING_S

    def _commit(self, events: list[AnyEvent]) -> None:
        if events:
            with translated(self._path), transaction(self._connection):
                write_events(self._connection, self.run, self._next_seq, events)
        self._next_seq += len(events)
        self._pending = []
