"""Journals of earlier versions are read, judged and priced as they were then; they are added to and never rewritten.

They come from the simulation. What a version changes in its events or in its conditions must leave them as they are: a
run that somebody recorded keeps its meaning.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.engine.exit_code import exit_code
from runner.events import JobFinished, RunFinished, decode_event
from runner.replan import plan_of_record, started_of
from tests.sim.invariants import replayed_otherwise

JOURNALS = sorted((Path(__file__).parent / "journals").glob("*.jsonl"))


@pytest.mark.parametrize("path", JOURNALS, ids=lambda path: path.stem)
def test_a_journal_of_an_earlier_version_means_today_what_it_meant_then(path):
    events = [decode_event(line) for line in path.read_bytes().splitlines()]
    started = started_of(events)
    assert started is not None
    jobs = {job.key: job for job in plan_of_record(started).jobs}
    assert replayed_otherwise(events, jobs) == []
    last = {event.job: event for event in events if isinstance(event, JobFinished)}
    (finished,) = (event for event in events if isinstance(event, RunFinished))
    assert exit_code(last.values(), interrupted=finished.exit_code == 130) == finished.exit_code


def test_there_are_journals_of_every_kind_of_end():
    outcomes = {
        event.outcome.value
        for path in JOURNALS
        for line in path.read_bytes().splitlines()
        if isinstance(event := decode_event(line), JobFinished)
    }
    assert {"passed", "failed", "errored", "unknown", "cancelled"} <= outcomes
