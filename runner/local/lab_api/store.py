"""The lab's database: JSON documents in SQLite, found by a few indexed columns.

One process, one connection, short statements: they run in the event loop.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

Doc = dict[str, Any]
Kind = Literal[
    "configs", "datasets", "jobs", "deployments", "alerts", "api_keys", "predictions", "webhooks", "models", "suites",
    "batch_runs", "batch_results", "servers", "endpoints", "traces",
]  # fmt: skip
"""What documents there are; predictions belong to their job and batch results to their run instead of to a user."""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE documents (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, owner TEXT NOT NULL,
        doc BLOB NOT NULL, UNIQUE (kind, id)) STRICT;
    CREATE INDEX documents_by_owner ON documents (kind, owner, seq);
    CREATE TABLE attachments (config_id TEXT NOT NULL, dataset_id TEXT NOT NULL, seq INTEGER PRIMARY KEY,
        UNIQUE (config_id, dataset_id)) STRICT;
    CREATE TABLE metrics (seq INTEGER PRIMARY KEY, job_id TEXT NOT NULL, step INTEGER NOT NULL, doc BLOB NOT NULL)
        STRICT;
    CREATE INDEX metrics_by_job ON metrics (job_id, step, seq);
    CREATE TABLE job_logs (seq INTEGER PRIMARY KEY, job_id TEXT NOT NULL, line TEXT NOT NULL) STRICT;
    CREATE INDEX job_logs_by_job ON job_logs (job_id, seq);
    CREATE TABLE settings (owner TEXT NOT NULL, name TEXT NOT NULL, doc BLOB NOT NULL, PRIMARY KEY (owner, name))
        STRICT, WITHOUT ROWID;
    """,
)


class LabStore:
    """Documents by id, in the order of their creation."""

    def __init__(self, path: Path | None) -> None:
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None)
        # The state of a rehearsal may be lost with the machine, so nobody waits for the disk.
        self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;")
        self._migrate()

    def close(self) -> None:
        self._db.close()

    def insert(self, kind: Kind, id_: str, owner: str, doc: Mapping[str, Any]) -> None:
        sql = "INSERT INTO documents (kind, id, owner, doc) VALUES (?, ?, ?, ?)"
        self._db.execute(sql, (kind, id_, owner, _dump(doc)))

    def get(self, kind: Kind, id_: str, owner: str | None = None) -> Doc | None:
        """One document; None when it does not exist or belongs to somebody else."""
        sql = "SELECT owner, doc FROM documents WHERE kind = ? AND id = ?"
        row = self._db.execute(sql, (kind, id_)).fetchone()
        if row is None or (owner is not None and row[0] != owner):
            return None
        return _load(row[1])

    def update(self, kind: Kind, id_: str, changes: Mapping[str, Any]) -> Doc | None:
        """Overwrite some keys of a document; the document as it is then, None when it does not exist."""
        doc = self.get(kind, id_)
        if doc is None:
            return None
        doc.update(changes)
        self._db.execute("UPDATE documents SET doc = ? WHERE kind = ? AND id = ?", (_dump(doc), kind, id_))
        return doc

    def delete(self, kind: Kind, id_: str) -> None:
        self._db.execute("DELETE FROM documents WHERE kind = ? AND id = ?", (kind, id_))

    def newest_first(self, kind: Kind, owner: str, *, limit: int = -1, offset: int = 0) -> list[Doc]:
        """Documents of one owner; all of them unless `limit` says otherwise."""
        sql = "SELECT doc FROM documents WHERE kind = ? AND owner = ? ORDER BY seq DESC LIMIT ? OFFSET ?"
        return [_load(row[0]) for row in self._db.execute(sql, (kind, owner, limit, offset))]

    def find(self, kind: Kind, owner: str, key: str, value: object) -> Doc | None:
        """The newest document of an owner whose top-level `key` (a plain word of ours) has this value."""
        sql = (
            "SELECT doc FROM documents WHERE kind = ? AND owner = ? "
            "AND json_extract(CAST(doc AS TEXT), '$.' || ?) = ? ORDER BY seq DESC LIMIT 1"
        )
        row = self._db.execute(sql, (kind, owner, key, value)).fetchone()
        return _load(row[0]) if row else None

    def count(self, kind: Kind, owner: str) -> int:
        sql = "SELECT count(*) FROM documents WHERE kind = ? AND owner = ?"
        return int(self._db.execute(sql, (kind, owner)).fetchone()[0])

    def attach(self, config_id: str, dataset_id: str) -> bool:
        """Tie a dataset to a config; False when it was tied already."""
        sql = "INSERT OR IGNORE INTO attachments (config_id, dataset_id) VALUES (?, ?)"
        return self._db.execute(sql, (config_id, dataset_id)).rowcount > 0

    def detach(self, config_id: str | None, dataset_id: str) -> None:
        """Untie a dataset from one config, or from all of them."""
        sql = "DELETE FROM attachments WHERE dataset_id = ? AND (config_id = ? OR ? IS NULL)"
        self._db.execute(sql, (dataset_id, config_id, config_id))

    def attached(self, config_id: str) -> list[Doc]:
        """The datasets of a config, the first attached first."""
        sql = (
            "SELECT doc FROM attachments JOIN documents ON kind = 'datasets' AND id = dataset_id "
            "WHERE config_id = ? ORDER BY attachments.seq"
        )
        return [_load(row[0]) for row in self._db.execute(sql, (config_id,))]

    def add_metrics(self, job_id: str, points: Iterable[Mapping[str, Any]]) -> None:
        """Append points as they come: neither merged nor checked for repetition."""
        rows = [(job_id, point["step"], _dump(point)) for point in points]
        self._db.execute("BEGIN")
        self._db.executemany("INSERT INTO metrics (job_id, step, doc) VALUES (?, ?, ?)", rows)
        self._db.execute("COMMIT")

    def metrics(self, job_id: str, *, limit: int, offset: int = 0) -> list[Doc]:
        """Points by step; of one step in the order of their arrival."""
        sql = "SELECT seq, doc FROM metrics WHERE job_id = ? ORDER BY step, seq LIMIT ? OFFSET ?"
        return [{"id": row[0], **_load(row[1])} for row in self._db.execute(sql, (job_id, limit, offset))]

    def newest_metrics(self, job_id: str, *, limit: int) -> list[Doc]:
        """The points of the highest steps, the highest first."""
        sql = "SELECT doc FROM metrics WHERE job_id = ? ORDER BY step DESC, seq DESC LIMIT ?"
        return [_load(row[0]) for row in self._db.execute(sql, (job_id, limit))]

    def count_metrics(self, job_id: str) -> int:
        row = self._db.execute("SELECT count(*) FROM metrics WHERE job_id = ?", (job_id,)).fetchone()
        return int(row[0])

    def append_log(self, job_id: str, lines: Sequence[str], *, keep: int) -> int:
        """Append lines, forget all but the last `keep`; how many are kept."""
        self._db.execute("BEGIN")
        self._db.executemany("INSERT INTO job_logs (job_id, line) VALUES (?, ?)", [(job_id, line) for line in lines])
        self._db.execute(
            "DELETE FROM job_logs WHERE job_id = ?1 AND seq NOT IN "
            "(SELECT seq FROM job_logs WHERE job_id = ?1 ORDER BY seq DESC LIMIT ?2)",
            (job_id, keep),
        )
        self._db.execute("COMMIT")
        return self.count_log(job_id)

    def log(self, job_id: str, *, limit: int, offset: int) -> list[str]:
        sql = "SELECT line FROM job_logs WHERE job_id = ? ORDER BY seq LIMIT ? OFFSET ?"
        return [row[0] for row in self._db.execute(sql, (job_id, limit, offset))]

    def count_log(self, job_id: str) -> int:
        row = self._db.execute("SELECT count(*) FROM job_logs WHERE job_id = ?", (job_id,)).fetchone()
        return int(row[0])

    def setting(self, owner: str, name: str) -> Doc:
        """A user's setting, empty when it was never made."""
        sql = "SELECT doc FROM settings WHERE owner = ? AND name = ?"
        row = self._db.execute(sql, (owner, name)).fetchone()
        return _load(row[0]) if row else {}

    def save_setting(self, owner: str, name: str, doc: Mapping[str, Any]) -> None:
        sql = "INSERT OR REPLACE INTO settings (owner, name, doc) VALUES (?, ?, ?)"
        self._db.execute(sql, (owner, name, _dump(doc)))

    def _migrate(self) -> None:
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            self._db.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")


def _dump(doc: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(doc)


def _load(data: bytes) -> Doc:
    doc: Doc = msgspec.json.decode(data)
    return doc
