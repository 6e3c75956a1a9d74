"""Appending: order, batching, durability, and what happens when the disk says no."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import recorded as make

from runner.errors import StoreError
from runner.store import Store


class Ticker:
    """A monotonic clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ticker() -> Ticker:
    return Ticker()


@pytest.fixture
def store(tmp_path: Path, ticker: Ticker):
    with Store.open(tmp_path / "state", monotonic=ticker) as opened:
        yield opened


def committed(store: Store) -> int:
    """What another process sees."""
    with sqlite3.connect(f"file:{store.path}?mode=ro", uri=True) as other:
        count = other.execute("SELECT count(*) FROM events").fetchone()[0]
    other.close()
    return count


async def test_a_durable_event_is_committed_with_all_before_it(store):
    journal = store.journal("r1")
    await journal.append(make.started("r1"), make.line(1))
    assert committed(store) == 0
    await journal.append(make.requested(), durable=True)
    assert committed(store) == 3


async def test_the_hundredth_waiting_event_commits_all_of_them(store):
    journal = store.journal("r1")
    for number in range(1, 100):
        await journal.append(make.line(number))
    assert committed(store) == 0
    await journal.append(make.line(100))
    assert committed(store) == 100


async def test_an_event_a_second_after_the_oldest_commits_both(store, ticker):
    journal = store.journal("r1")
    await journal.append(make.line(1))
    ticker.now = 0.9
    await journal.append(make.line(2))
    assert committed(store) == 0
    ticker.now = 1.0
    await journal.append(make.line(3))
    assert committed(store) == 3


async def test_events_come_back_equal_and_in_order(store):
    events = [
        make.started("r1"),
        make.requested(),
        make.created(),
        make.metrics(1, 2),
        make.gone(),
        make.finished("r1"),
    ]
    journal = store.journal("r1")
    for index, event in enumerate(events):
        await journal.append(event, durable=index % 2 == 0)
    assert list(store.load_run("r1").events) == events
    assert store.load_run("r1").notes == ()


async def test_a_reopened_journal_goes_on_after_its_last_event(tmp_path):
    with Store.open(tmp_path) as store:
        await store.journal("r1").append(make.started("r1"), make.line(1))
    with Store.open(tmp_path) as store:
        await store.journal("r1").append(make.line(2), durable=True)
        assert [type(event).__name__ for event in store.events("r1")] == ["RunStarted", "LogsObserved", "LogsObserved"]


async def test_a_recorded_event_can_be_neither_changed_nor_removed(store):
    await store.journal("r1").append(make.started("r1"), durable=True)
    with sqlite3.connect(store.path) as other:
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            other.execute("UPDATE events SET body = '{}'")
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            other.execute("DELETE FROM events")
    other.close()


async def test_a_closed_journal_takes_no_more(store):
    journal = store.journal("r1")
    await journal.append(make.started("r1"))
    await journal.close()
    assert committed(store) == 1
    with pytest.raises(StoreError, match="journal of run `r1` is closed"):
        await journal.append(make.line(1))
    await store.journal("r1").append(make.line(1), durable=True)
    assert committed(store) == 2


async def test_half_a_surrogate_pair_is_recorded_as_a_replacement_character(store):
    await store.journal("r1").append(make.line(1, "a\ud800b"), durable=True)
    (event,) = store.events("r1")
    assert event.lines[0].text == "a\ufffdb"


async def test_nul_and_newlines_survive_in_a_log_line(store):
    await store.journal("r1").append(make.line(1, "a\0b\r\n\x1b[31m'); DROP TABLE events;--"), durable=True)
    (event,) = store.events("r1")
    assert event.lines[0].text == "a\0b\r\n\x1b[31m'); DROP TABLE events;--"


async def test_a_full_disk_is_a_sentence_and_the_journal_goes_on_when_there_is_space_again(store):
    journal = store.journal("r1")
    await journal.append(make.started("r1"), durable=True)
    await journal.append(make.line(1))
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match=r"the disk is full: `.*journal.db` cannot take another event"):
        await journal.append(make.line(2, "x" * 50_000), durable=True)
    store._connection.execute("PRAGMA max_page_count = 100000")
    await journal.append(make.line(2), durable=True)
    assert [event.lines[0].text for event in list(store.events("r1"))[1:]] == ["hello", "hello"]
    assert store.integrity() == []


async def test_a_database_locked_by_another_program_is_a_sentence(store):
    store._connection.execute("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked by another program"):
        await store.journal("r1").append(make.started("r1"), durable=True)
    other.execute("ROLLBACK")
    other.close()
    await store.journal("r1").append(make.started("r1"), durable=True)
    assert committed(store) == 1


async def test_points_of_one_step_are_merged_and_a_null_never_hides_a_number(store):
    journal = store.journal("r1")
    await journal.append(make.started("r1"), make.metrics(1, 2), make.metrics(2, 3, value=None), durable=True)
    assert store.points("r1", "cpt/basic/1", "train_loss") == [(1, 1.5), (2, 1.5), (3, None)]


async def test_a_second_attempt_starts_its_curve_afresh(store):
    start = [make.e.JobStarted(at=make.at(3), job="cpt/basic/1", attempt=number) for number in (1, 2)]
    journal = store.journal("r1")
    await journal.append(make.started("r1"), start[0], make.metrics(1, 2, 3), start[1], make.metrics(1, value=9.0))
    assert store.points("r1", "cpt/basic/1", "train_loss") == [(1, 9.0)]
