"""Reading recorded runs back."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any, get_args

import msgspec

from runner.errors import StoreError, did_you_mean
from runner.events import AnyEvent, decode_event
from runner.history import Lease, RecordedRun, RunSummary, open_leases
from runner.results import Outcome, Target
from runner.store.writing import kind_of

LAST = "last"
KINDS = frozenset(kind_of(event) for event in get_args(AnyEvent))

_SUMMARY = """
    SELECT runs.*,
        (SELECT count(*) FROM jobs WHERE jobs.run = runs.run AND outcome IS NOT NULL),
        (SELECT count(*) FROM jobs WHERE jobs.run = runs.run AND outcome = 'passed'),
        (SELECT coalesce(sum(cost_usd), 0.0) FROM jobs WHERE jobs.run = runs.run),
        (SELECT json_group_array(DISTINCT spec) FROM jobs WHERE jobs.run = runs.run),
        (SELECT json_group_array(DISTINCT phase) FROM jobs WHERE jobs.run = runs.run)
    FROM runs
"""
_POD_EVENTS = """
    SELECT run, seq, kind, body FROM events
    WHERE kind IN ('pod.requested', 'pod.created', 'pod.refused', 'pod.gone') ORDER BY id
"""


def summaries(connection: sqlite3.Connection, limit: int | None, spec: str | None) -> list[RunSummary]:
    """Runs, newest first."""
    where = "WHERE EXISTS (SELECT 1 FROM jobs WHERE jobs.run = runs.run AND spec = ?1)" if spec else ""
    rows = connection.execute(
        f"{_SUMMARY} {where} ORDER BY runs.id DESC LIMIT ?2",
        (spec, -1 if limit is None else limit),
    )
    return [_summary(row) for row in rows]


def unfinished(connection: sqlite3.Connection) -> list[RunSummary]:
    """Runs with a start and no finish, newest first."""
    rows = connection.execute(f"{_SUMMARY} WHERE finished_at IS NULL ORDER BY runs.id DESC")
    return [_summary(row) for row in rows]


def _summary(row: tuple[Any, ...]) -> RunSummary:
    (_, run, started, finished, target, via, outcome, code, jobs, command, version, commit, *counts) = row
    done, passed, cost, specs, phases = counts
    return RunSummary(
        run=run,
        started_at=datetime.fromisoformat(started),
        finished_at=datetime.fromisoformat(finished) if finished else None,
        target=Target(target),
        via=via,
        outcome=Outcome(outcome) if outcome else None,
        exit_code=code,
        jobs=jobs,
        finished=done,
        passed=passed,
        cost_usd=cost,
        specs=tuple(sorted(json.loads(specs))),
        phases=tuple(sorted(json.loads(phases))),
        command=command,
        version=version,
        commit=commit,
    )


def run_named(connection: sqlite3.Connection, prefix: str) -> str:
    """The whole id of the run that `prefix` begins; `last` is the newest one.

    Raises:
        StoreError: none does, or several do.
    """
    if prefix == LAST:
        newest = connection.execute("SELECT run FROM runs ORDER BY id DESC LIMIT 1").fetchone()
        if newest is None:
            raise StoreError("no runs are recorded here yet; `runspec specs/cpt.yaml` makes one")
        return str(newest[0])
    rows = connection.execute(
        """
        SELECT run FROM events WHERE run = ?1
        UNION SELECT run FROM runs WHERE substr(run, 1, length(?1)) = ?1 ORDER BY run
        """,
        (prefix,),
    )
    found = [str(run) for (run,) in rows]
    if prefix in found:
        return prefix
    if len(found) == 1 and prefix:
        return found[0]
    if not found:
        known = [run for (run,) in connection.execute("SELECT run FROM runs ORDER BY id DESC LIMIT 200")]
        hint = did_you_mean(prefix, known) or "`runspec history` lists the runs there are"
        raise StoreError(f"no run is called `{prefix[:80]}`: {hint}")
    names = ", ".join(f"`{run}`" for run in found[:5]) + (" and more" if len(found) > 5 else "")
    raise StoreError(f"`{prefix}` is the beginning of {len(found)} runs: {names}; write more of the id")


def load(connection: sqlite3.Connection, run: str) -> RecordedRun:
    """All events of one run. Kinds that a newer version has written are left out, and noted."""
    unknown: Counter[str] = Counter()
    events = tuple(iterate(connection, run, unknown))
    notes = tuple(
        f"{count} {'event' if count == 1 else 'events'} of kind `{kind}` left out: this version does not know it"
        for kind, count in sorted(unknown.items())
    )
    return RecordedRun(run, events, notes)


def iterate(connection: sqlite3.Connection, run: str, unknown: Counter[str] | None = None) -> Iterator[AnyEvent]:
    """The events of one run, oldest first; kinds nobody knows are counted in `unknown` and left out."""
    rows = connection.execute("SELECT run, seq, kind, body FROM events WHERE run = ? ORDER BY seq", (run,))
    for name, seq, kind, body in rows:
        if kind in KINDS:
            yield _decoded(name, seq, body)
        elif unknown is not None:
            unknown[kind] += 1


def _decoded(run: str, seq: int, body: str) -> AnyEvent:
    try:
        return decode_event(body)
    except msgspec.MsgspecError as exc:
        raise StoreError(
            f"event {seq} of run `{run}` cannot be read ({exc}): it is damaged or was written by a newer runspec"
        ) from exc


def leases(connection: sqlite3.Connection) -> list[Lease]:
    """Pods of all runs that may still be billed, the oldest request first."""
    by_run: dict[str, list[AnyEvent]] = {}
    for run, seq, _, body in connection.execute(_POD_EVENTS):
        by_run.setdefault(run, []).append(_decoded(run, seq, body))
    found = [lease for run, events in by_run.items() for lease in open_leases(run, events)]
    return sorted(found, key=lambda lease: (lease.requested_at, lease.run, lease.name))


def points(connection: sqlite3.Connection, run: str, job: str, metric: str) -> list[tuple[int, float | None]]:
    """One metric of one job, by step."""
    rows = connection.execute(
        "SELECT step, value FROM points WHERE run = ? AND job = ? AND metric = ? ORDER BY step",
        (run, job, metric),
    )
    return [(int(step), value) for step, value in rows]
