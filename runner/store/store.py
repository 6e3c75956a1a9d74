"""The state directory: the journal of every run, and history read from it."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from runner.errors import StoreError
from runner.events import AnyEvent
from runner.history import Lease, RecordedRun, RunSummary
from runner.store import database, reading
from runner.store.database import translated
from runner.store.journal import StoreJournal
from runner.store.lock import DirectoryLock


class Store:
    """Recorded runs in one state directory.

    Reading methods see everything that was appended through this store, committed or not; another process sees what
    was committed. Every problem with the directory, the disk or the database is a `StoreError`.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        lock: DirectoryLock | None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._connection = connection
        self._lock = lock
        self._monotonic = monotonic
        self._journals: dict[str, StoreJournal] = {}

    @classmethod
    def open(
        cls,
        state_dir: Path | str,
        *,
        read_only: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Open a state directory; a missing one is created, or read as an empty history.

        Args:
            read_only: take no lock and write nothing: for reports, beside a running runner too.
            monotonic: seconds from anywhere, for how long events may wait to be committed.
        Raises:
            StoreError: another runner owns the directory, or it cannot be used.
        """
        directory = Path(state_dir)
        path = directory / database.FILE
        if read_only:
            with translated(path):
                return cls(database.open_for_reading(path), path, None, monotonic=monotonic)
        with translated(directory):
            _create(directory)
            lock = DirectoryLock(directory)
        try:
            with translated(path):
                return cls(database.open_for_writing(path), path, lock, monotonic=monotonic)
        except BaseException:
            lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Commit what waits, and give the directory back; again is harmless."""
        try:
            for journal in self._journals.values():
                journal.close_now()
        finally:
            self._journals.clear()
            database.close_quietly(self._connection)
            if self._lock is not None:
                self._lock.release()

    def journal(self, run: str) -> StoreJournal:
        """The journal of a run; goes on after its last event when there is one already (a resume)."""
        if self._lock is None:
            raise StoreError(f"`{self.path}` was opened for reading only")
        open_one = self._journals.get(run)
        if open_one is None or open_one.is_closed:
            open_one = StoreJournal(self._connection, self.path, run, monotonic=self._monotonic)
            self._journals[run] = open_one
        return open_one

    def runs(self, limit: int | None = None, spec: str | None = None) -> list[RunSummary]:
        """Runs, newest first; only those with a job of `spec` when it is given."""
        with self._reading() as connection:
            return reading.summaries(connection, limit, spec)

    def unfinished_runs(self) -> list[RunSummary]:
        """Runs with a start and no finish (interrupted, or still going elsewhere), newest first."""
        with self._reading() as connection:
            return reading.unfinished(connection)

    def load_run(self, run: str) -> RecordedRun:
        """One run by its id or the beginning of it.

        Raises:
            StoreError: none or several runs begin like this, or an event cannot be read.
        """
        with self._reading() as connection:
            return reading.load(connection, reading.run_named(connection, run))

    def recorded_runs(self, limit: int | None = None, spec: str | None = None) -> Iterator[RecordedRun]:
        """Whole runs, newest first, one in memory at a time."""
        for summary in self.runs(limit, spec):
            yield self.load_run(summary.run)

    def events(self, run: str) -> Iterator[AnyEvent]:
        """The events of one run, oldest first, read as they are asked for."""
        with self._reading() as connection:
            yield from reading.iterate(connection, reading.run_named(connection, run))

    def open_leases(self) -> list[Lease]:
        """Pods of all runs that were asked for and are neither refused nor proven gone, oldest first."""
        with self._reading() as connection:
            return reading.leases(connection)

    def points(self, run: str, job: str, metric: str) -> list[tuple[int, float | None]]:
        """One metric of one job's last attempt: (step, value) by step; None where the lab has no number."""
        with self._reading() as connection:
            return reading.points(connection, run, job, metric)

    def integrity(self) -> list[str]:
        """What SQLite finds wrong with the file; empty when it is sound."""
        with self._reading() as connection:
            rows = connection.execute("PRAGMA integrity_check").fetchall()
        return [str(row[0]) for row in rows if row[0] != "ok"]

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        # Own events that wait are committed first, so that a reader never sees less than was appended.
        for journal in self._journals.values():
            journal.flush_now()
        with translated(self.path):
            yield self._connection


def _create(directory: Path) -> None:
    """The directory, private and out of git, its entry on disk before anything in it counts as durable."""
    if directory.is_dir():
        return
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    (directory / ".gitignore").write_text("*\n", encoding="ascii")
    parent = os.open(directory.parent, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)
