"""Reading history: runs, leases, the newest job of each phase, and events nobody knows."""

from __future__ import annotations

import sqlite3

import pytest
import recorded as make

from runner.errors import StoreError
from runner.events import RunStarted
from runner.results import Outcome
from runner.store import Store


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "state") as opened:
        yield opened


async def record(store: Store, run: str, *events) -> None:
    await store.journal(run).append(*events, durable=True)


async def test_a_run_is_summed_up_in_one_line_of_history(store):
    await record(
        store, "r1", make.started("r1", "cpt/basic/1", "sft/full/1"), make.job_done(cost=0.25),
        make.job_done("sft/full/1", Outcome.FAILED, cost=0.5), make.finished("r1", Outcome.FAILED),
    )  # fmt: skip
    (run,) = store.runs()
    assert (run.jobs, run.finished, run.passed, run.cost_usd) == (2, 2, 1, 0.75)
    assert (run.specs, run.phases) == (("cpt", "sft"), ("basic", "full"))
    assert (run.started_at, run.finished_at, run.outcome) == (make.at(0), make.at(60), Outcome.FAILED)


async def test_runs_come_newest_first_and_can_be_limited_and_filtered(store):
    for number, job in enumerate(["cpt/basic/1", "sft/basic/1", "cpt/full/1"]):
        await record(store, f"r{number}", make.started(f"r{number}", job, seconds=number))
    assert [run.run for run in store.runs()] == ["r2", "r1", "r0"]
    assert [run.run for run in store.runs(limit=1)] == ["r2"]
    assert [run.run for run in store.runs(spec="cpt")] == ["r2", "r0"]
    assert [run.run for run in store.recorded_runs(spec="sft")] == ["r1"]


async def test_a_run_without_its_finish_is_unfinished_and_a_resume_makes_it_so_again(store):
    await record(store, "r1", make.started("r1"), make.finished("r1"))
    await record(store, "r2", make.started("r2"))
    assert [run.run for run in store.unfinished_runs()] == ["r2"]
    await record(store, "r1", make.started("r1", seconds=90))
    assert [run.run for run in store.unfinished_runs()] == ["r2", "r1"]
    assert store.runs(spec="cpt")[1].started_at == make.at(0)


async def test_a_run_is_found_by_the_beginning_of_its_id(store):
    for run in ("abc1", "abd2"):
        await record(store, run, make.started(run))
    assert store.load_run("abc").run == "abc1"
    with pytest.raises(StoreError, match="`ab` is the beginning of 2 runs: `abc1`, `abd2`"):
        store.load_run("ab")
    with pytest.raises(StoreError, match="no run is called `abx1`: did you mean `abc1`"):
        store.load_run("abx1")
    with pytest.raises(StoreError, match="no run is called `%`"):
        store.load_run("%")


async def test_a_whole_id_wins_over_longer_ones_that_it_begins(store):
    for run in ("ab", "abc"):
        await record(store, run, make.started(run))
    assert store.load_run("ab").run == "ab"


async def test_pods_without_a_refusal_or_a_proven_end_are_open_leases(store):
    await record(store, "r1", make.requested("a"), make.requested("b", seconds=2), make.requested("c", seconds=3))
    await record(store, "r1", make.created("a", "id-a"), make.refused("b"))
    await record(store, "r2", make.requested("d", seconds=4), make.created("d", "id-d"), make.gone("d", "id-d"))
    leases = store.open_leases()
    assert [(lease.run, lease.name, lease.pod_id, lease.cost_usd_h) for lease in leases] == [
        ("r1", "a", "id-a", 0.2),
        ("r1", "c", None, 0.6),
    ]
    assert (leases[0].deadline, leases[0].via, leases[0].job) == (make.at(3600), "lab", "cpt/basic/1")


async def test_the_second_pod_of_one_name_is_a_lease_of_its_own(store):
    await record(store, "r1", make.requested("a"), make.created("a", "one"), make.created("a", "two"))
    await record(store, "r1", make.gone("a", "one"), make.refused("a"))
    assert [lease.pod_id for lease in store.open_leases()] == ["two"]


async def test_the_end_of_a_pod_that_was_only_asked_for_closes_its_request(store):
    await record(store, "r1", make.requested("a"), make.gone("a", "found-by-name"))
    assert store.open_leases() == []


async def test_a_pod_nobody_asked_for_is_still_a_lease(store):
    await record(store, "r1", make.created("a", "one"))
    assert [(lease.pod_id, lease.deadline) for lease in store.open_leases()] == [("one", None)]


async def test_leases_are_found_by_index(store):
    plan = store._connection.execute(
        "EXPLAIN QUERY PLAN SELECT body FROM events WHERE kind IN "
        "('pod.requested', 'pod.created', 'pod.refused', 'pod.gone') ORDER BY id"
    ).fetchall()
    assert "pod_events" in str(plan)


async def test_events_of_a_newer_version_are_left_out_and_noted(store):
    await record(store, "r1", make.started("r1"))
    with sqlite3.connect(store.path) as newer:
        for seq in (2, 3):
            newer.execute(
                "INSERT INTO events (run, seq, at, job, kind, body) VALUES ('r1', ?, '', NULL, 'pod.moved', '{}')",
                (seq,),
            )
    newer.close()
    run = store.load_run("r1")
    assert [type(event) for event in run.events] == [RunStarted]
    assert run.notes == ("2 events of kind `pod.moved` left out: this version does not know it",)


async def test_a_known_event_that_cannot_be_read_is_named(store):
    with sqlite3.connect(store.path) as newer:
        newer.execute(
            "INSERT INTO events (run, seq, at, job, kind, body) VALUES "
            """('r1', 1, '', NULL, 'run.finished', '{"event":"run.finished","outcome":"splendid"}')"""
        )
    newer.close()
    with pytest.raises(StoreError, match=r"event 1 of run `r1` cannot be read.*newer runspec"):
        store.load_run("r1")
