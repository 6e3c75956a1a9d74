"""Putting events into the database, and the rows derived from them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from runner.events import (
    AnyEvent,
    JobEvent,
    JobFinished,
    JobJudged,
    JobStarted,
    MetricsObserved,
    RunFinished,
    RunStarted,
    encode_event,
)


def kind_of(event: type[AnyEvent] | AnyEvent) -> str:
    """The tag of an event, such as `pod.created`."""
    return str(event.__struct_config__.tag)


def stamp(at: datetime) -> str:
    """UTC with microseconds, so that stamps sort as text; a stamp without a zone is taken for UTC."""
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return at.isoformat(timespec="microseconds")


def encoded(event: AnyEvent) -> str:
    """The event as JSON. Half a surrogate pair, which is no text at all, becomes U+FFFD."""
    try:
        return encode_event(event).decode()
    except UnicodeEncodeError:
        return msgspec.json.encode(_mended(msgspec.to_builtins(event))).decode()


def _mended(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case dict():
            return {_mended(key): _mended(item) for key, item in value.items()}
        case list() | tuple():
            return [_mended(item) for item in value]
        case _:
            return value


def write_events(connection: sqlite3.Connection, run: str, first_seq: int, events: Sequence[AnyEvent]) -> None:
    """Append events to a run; the caller opens and commits the transaction."""
    for seq, event in enumerate(events, first_seq):
        job = event.job if isinstance(event, JobEvent) else None
        cursor = connection.execute(
            "INSERT INTO events (run, seq, at, job, kind, body) VALUES (?, ?, ?, ?, ?, ?)",
            (run, seq, stamp(event.at), job, kind_of(event), encoded(event)),
        )
        derive = _DERIVED.get(type(event))
        if derive is not None:
            derive(connection, run, seq, cursor.lastrowid, event)


def _run_started(connection: sqlite3.Connection, run: str, seq: int, _id: int, event: RunStarted) -> None:
    # A second start of the same run is a resume: it is unfinished again.
    connection.execute(
        """
        INSERT INTO runs (run, started_at, target, via, jobs, command, version, revision)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (run) DO UPDATE SET finished_at = NULL, outcome = NULL, exit_code = NULL
        """,
        (
            run,
            stamp(event.at),
            event.target.value,
            event.via,
            len(event.jobs),
            event.command,
            event.version,
            event.commit,
        ),
    )
    connection.executemany(
        "INSERT INTO jobs (run, job, spec, phase, planned_seq) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [(run, job.job, job.spec, job.phase, seq) for job in event.jobs],
    )


def _run_finished(connection: sqlite3.Connection, run: str, _seq: int, _id: int, event: RunFinished) -> None:
    connection.execute(
        "UPDATE runs SET finished_at = ?, outcome = ?, exit_code = ? WHERE run = ?",
        (stamp(event.at), event.outcome.value, event.exit_code, run),
    )


def _job_started(connection: sqlite3.Connection, run: str, _seq: int, _id: int, event: JobStarted) -> None:
    newer = connection.execute(
        "UPDATE jobs SET attempt = ? WHERE run = ? AND job = ? AND attempt < ?",
        (event.attempt, run, event.job, event.attempt),
    )
    if newer.rowcount and event.attempt > 1:
        # Curves of different attempts would be one line with two meanings; the events keep both.
        connection.execute("DELETE FROM points WHERE run = ? AND job = ?", (run, event.job))


def _metrics(connection: sqlite3.Connection, run: str, _seq: int, _id: int, event: MetricsObserved) -> None:
    connection.executemany(
        """
        INSERT INTO points (run, job, metric, step, value) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET value = coalesce(excluded.value, value)
        """,
        [
            (run, event.job, metric, point.step, value)
            for point in event.points
            for metric, value in point.values.items()
        ],
    )


def _judged(connection: sqlite3.Connection, run: str, seq: int, _id: int, event: JobJudged) -> None:
    connection.execute("UPDATE jobs SET judged_seq = ? WHERE run = ? AND job = ?", (seq, run, event.job))


def _finished(connection: sqlite3.Connection, run: str, seq: int, event_id: int, event: JobFinished) -> None:
    connection.execute(
        """
        UPDATE jobs SET outcome = ?, cost_usd = ?, finished_seq = ?, finished_id = ? WHERE run = ? AND job = ?
        """,
        (event.outcome.value, event.cost_usd, seq, event_id, run, event.job),
    )


_DERIVED: dict[type, Callable[..., None]] = {
    RunStarted: _run_started,
    RunFinished: _run_finished,
    JobStarted: _job_started,
    MetricsObserved: _metrics,
    JobJudged: _judged,
    JobFinished: _finished,
}
