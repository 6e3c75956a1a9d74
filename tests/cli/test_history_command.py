"""`runspec history` as people type it."""

from __future__ import annotations

import sys
from pathlib import Path

from runner.store.store import Store

sys.path.insert(0, str(Path(__file__).parents[1] / "reports"))

import fake_runs as fake


async def test_the_advice_below_a_run_names_the_state_that_it_is_recorded_in(workshop, runspec, monkeypatch):
    with Store.open("my state") as store:
        await store.journal("8c1d").append(*fake.failing().events, durable=True)
    assert (
        "  next      runspec explain 8c1d --state 'my state'\n" in runspec("history", "last", "--state", "my state").out
    )
    monkeypatch.setenv("RUNSPEC_STATE", "my state")
    assert "  next      runspec explain 8c1d\n" in runspec("history", "last").out
