"""Opening the database, and saying in words what went wrong with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runner.errors import StoreError
from runner.store.schema import MIGRATIONS, migrate, version_of

FILE = "journal.db"
_BUSY_S = 5.0

_SENTENCES = {
    "FULL": "the disk is full: `{path}` cannot take another event; free some space",
    "READONLY": "`{path}` is read-only: give write access to it and its directory, or choose another with `--state`",
    "PERM": "`{path}` may not be opened: give access to it, or choose another directory with `--state`",
    "AUTH": "`{path}` may not be opened: give access to it, or choose another directory with `--state`",
    "CANTOPEN": "`{path}` cannot be opened: its directory has to exist, with read and write access",
    "CORRUPT": "`{path}` is damaged: move it away, or save what is left with `sqlite3 {path} .recover`",
    "NOTADB": "`{path}` is not a runspec history: move it away, or choose another directory with `--state`",
    "BUSY": "`{path}` is locked by another program: close what has it open and try again",
    "LOCKED": "`{path}` is locked by another program: close what has it open and try again",
    "IOERR": "`{path}` cannot be read or written, the disk reports an error ({detail})",
    "TOOBIG": "an event is too large for `{path}`",
}


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system raise into a `StoreError` with a sentence."""
    try:
        yield
    except sqlite3.Error as exc:
        raise StoreError(_sentence(path, exc)) from exc
    except OSError as exc:
        raise StoreError(f"`{exc.filename or path}` cannot be used: {(exc.strerror or str(exc)).lower()}") from exc


def _sentence(path: Path, exc: sqlite3.Error) -> str:
    name = str(getattr(exc, "sqlite_errorname", "")).removeprefix("SQLITE_")
    template = _SENTENCES.get(name.split("_")[0], "`{path}` cannot be used: {detail}")
    return template.format(path=path, detail=str(exc) or name)


def open_for_writing(path: Path) -> sqlite3.Connection:
    """The database, created and migrated; what is committed survives a power cut."""
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
    try:
        # First a look: a file of another program or of a newer runspec must not be touched.
        version_of(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """The database as it is, for reading only; no file at all is an empty history.

    A history of an older version is copied to memory and brought up to date there.
    """
    if not path.exists():
        return _in_memory(None)
    connection = _connect_read_only(path)
    try:
        if version_of(connection) == len(MIGRATIONS):
            return connection
        copy = _in_memory(connection)
    except BaseException:
        connection.close()
        raise
    connection.close()
    return copy


def _in_memory(source: sqlite3.Connection | None) -> sqlite3.Connection:
    memory = sqlite3.connect(":memory:", isolation_level=None)
    if source is not None:
        source.backup(memory)
    migrate(memory)
    return memory


def _connect_read_only(path: Path) -> sqlite3.Connection:
    uri = path.resolve().as_uri()
    connection = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=_BUSY_S, isolation_level=None)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.OperationalError:
        connection.close()
        # WAL wants a shared-memory file beside the database; on a read-only disk it can be done without when the
        # last writer closed cleanly, because then there is no WAL either.
        if path.with_name(path.name + "-wal").exists():
            raise
        connection = sqlite3.connect(f"{uri}?immutable=1", uri=True, isolation_level=None)
    return connection


def close_quietly(connection: sqlite3.Connection) -> None:
    """Close; what was committed is safe whatever happens here."""
    with suppress(sqlite3.Error):
        connection.close()
