"""The database's shape: numbered migrations, each applied in a transaction of its own.

`events` is the truth and is never changed, which triggers hold. `runs`, `jobs` and `points` are derived from it in the
same transaction, so that listing history needs no replay; a later migration may drop and rebuild them.
"""

from __future__ import annotations

import sqlite3

from runner.errors import StoreError

APPLICATION_ID = 0x52534A31  # "RSJ1", so that a database of somebody else is never written to

_EVENTS = (
    """
    CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        run TEXT NOT NULL,
        seq INTEGER NOT NULL,
        at TEXT NOT NULL,
        job TEXT,
        kind TEXT NOT NULL,
        body TEXT NOT NULL,
        UNIQUE (run, seq)
    ) STRICT
    """,
    """
    CREATE INDEX pod_events ON events (id)
        WHERE kind IN ('pod.requested', 'pod.created', 'pod.refused', 'pod.gone')
    """,
    """
    CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
        BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END
    """,
    """
    CREATE TRIGGER events_are_never_removed BEFORE DELETE ON events
        BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END
    """,
)

_HISTORY = (
    """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        run TEXT NOT NULL UNIQUE,
        started_at TEXT NOT NULL,
        finished_at TEXT,
        target TEXT NOT NULL,
        via TEXT NOT NULL,
        outcome TEXT,
        exit_code INTEGER,
        jobs INTEGER NOT NULL,
        command TEXT NOT NULL,
        version TEXT NOT NULL,
        revision TEXT
    ) STRICT
    """,
    """
    CREATE TABLE jobs (
        run TEXT NOT NULL,
        job TEXT NOT NULL,
        spec TEXT NOT NULL,
        phase TEXT NOT NULL,
        attempt INTEGER NOT NULL DEFAULT 0,
        outcome TEXT,
        cost_usd REAL NOT NULL DEFAULT 0,
        planned_seq INTEGER NOT NULL,
        judged_seq INTEGER,
        finished_seq INTEGER,
        finished_id INTEGER,
        PRIMARY KEY (run, job)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX jobs_by_phase ON jobs (spec, phase, finished_id)",
    """
    CREATE TABLE points (
        run TEXT NOT NULL,
        job TEXT NOT NULL,
        metric TEXT NOT NULL,
        step INTEGER NOT NULL,
        value REAL,
        PRIMARY KEY (run, job, metric, step)
    ) STRICT, WITHOUT ROWID
    """,
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_EVENTS, _HISTORY)


def version_of(connection: sqlite3.Connection) -> int:
    """How many migrations the database has seen; 0 when it is new.

    Raises:
        StoreError: it belongs to another program, or to a newer runspec.
    """
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if owner not in (0, APPLICATION_ID) or (owner == 0 and _has_tables(connection)):
        raise StoreError("the file is a database of another program: choose another directory with `--state`")
    if version > len(MIGRATIONS):
        raise StoreError(
            f"the history was written by a newer runspec (format {version}, this one knows {len(MIGRATIONS)}): "
            "update runspec, or choose another directory with `--state`"
        )
    return version


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the database to this version, one transaction a migration."""
    for number in range(version_of(connection) + 1, len(MIGRATIONS) + 1):
        with transaction(connection):
            for statement in MIGRATIONS[number - 1]:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number}")


class transaction:  # noqa: N801 - reads as a statement
    """All or nothing: commits at the end of the block, rolls back when it raises."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            try:
                self._connection.execute("COMMIT")
            except sqlite3.Error:
                self._rollback()
                raise
        else:
            self._rollback()

    def _rollback(self) -> None:
        # SQLite has already rolled back by itself after a full disk or an I/O error.
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
