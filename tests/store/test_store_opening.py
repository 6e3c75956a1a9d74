"""Opening a state directory: the lock, reading beside a runner, and files that are not ours."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import recorded as make

from runner.errors import StoreError
from runner.store import Store
from runner.store.schema import MIGRATIONS


def test_a_second_runner_is_refused_with_the_first_ones_process_id(tmp_path):
    with Store.open(tmp_path), pytest.raises(StoreError, match=rf"another runspec \(process {os.getpid()}\).*--state"):
        Store.open(tmp_path)
    Store.open(tmp_path).close()


def test_the_lock_dies_with_its_process(tmp_path):
    code = "import os, sys; from runner.store import Store; Store.open(sys.argv[1]); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[2])
    assert done.returncode == -9
    Store.open(tmp_path).close()


def test_a_child_process_does_not_inherit_the_lock(tmp_path):
    with Store.open(tmp_path):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        Store.open(tmp_path).close()
    finally:
        child.kill()
        child.wait()


async def test_reports_read_beside_a_running_runner(tmp_path):
    with Store.open(tmp_path) as writer, Store.open(tmp_path, read_only=True) as reader:
        assert reader.runs() == []
        await writer.journal("r1").append(make.started("r1"), durable=True)
        assert [run.run for run in reader.runs()] == ["r1"]
        with pytest.raises(StoreError, match="opened for reading only"):
            reader.journal("r1")


def test_reading_a_missing_directory_is_an_empty_history_and_creates_nothing(tmp_path):
    with Store.open(tmp_path / "none", read_only=True) as store:
        assert (store.runs(), store.open_leases()) == ([], [])
    assert list(tmp_path.iterdir()) == []


def test_a_new_state_directory_is_private_and_ignored_by_git(tmp_path):
    Store.open(tmp_path / "deep" / "state").close()
    directory = tmp_path / "deep" / "state"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert (directory / ".gitignore").read_text() == "*\n"


def test_an_existing_directory_keeps_its_mode_and_files(tmp_path):
    tmp_path.chmod(0o755)
    Store.open(tmp_path).close()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert not (tmp_path / ".gitignore").exists()


def test_a_state_directory_that_is_a_file_is_a_sentence(tmp_path):
    (tmp_path / "state").write_text("x")
    with pytest.raises(StoreError, match="cannot be used"):
        Store.open(tmp_path / "state")


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path, read_only):
    (tmp_path / "journal.db").write_bytes(b"my diary\n" * 200)
    with pytest.raises(StoreError, match="is not a runspec history"):
        Store.open(tmp_path, read_only=read_only)
    assert (tmp_path / "journal.db").read_bytes() == b"my diary\n" * 200


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path):
    with sqlite3.connect(tmp_path / "journal.db") as other:
        other.execute("CREATE TABLE diary (day TEXT)")
    other.close()
    before = (tmp_path / "journal.db").read_bytes()
    with pytest.raises(StoreError, match="database of another program"):
        Store.open(tmp_path)
    assert (tmp_path / "journal.db").read_bytes() == before


@pytest.mark.parametrize("read_only", [False, True])
def test_a_history_of_a_newer_version_is_refused(tmp_path, read_only):
    Store.open(tmp_path).close()
    with sqlite3.connect(tmp_path / "journal.db") as other:
        other.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    other.close()
    with pytest.raises(StoreError, match=r"newer runspec.*update runspec"):
        Store.open(tmp_path, read_only=read_only)


def test_a_failed_migration_leaves_the_database_at_the_version_before(tmp_path, monkeypatch):
    Store.open(tmp_path).close()
    broken = (*MIGRATIONS, ("CREATE TABLE extra (a INTEGER) STRICT", "CREATE NONSENSE"))
    monkeypatch.setattr("runner.store.schema.MIGRATIONS", broken)
    with pytest.raises(StoreError, match="cannot be used"):
        Store.open(tmp_path)
    monkeypatch.undo()
    with Store.open(tmp_path) as store:
        tables = {name for (name,) in store._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == {"events", "runs", "jobs", "points"}


async def test_reading_an_older_history_migrates_a_copy_in_memory(tmp_path, monkeypatch):
    with Store.open(tmp_path) as store:
        await store.journal("r1").append(make.started("r1"), durable=True)
    newer = (*MIGRATIONS, ("CREATE TABLE extra (a INTEGER) STRICT",))
    monkeypatch.setattr("runner.store.schema.MIGRATIONS", newer)
    monkeypatch.setattr("runner.store.database.MIGRATIONS", newer)
    with Store.open(tmp_path, read_only=True) as store:
        assert [run.run for run in store.runs()] == ["r1"]
        assert store._connection.execute("SELECT count(*) FROM extra").fetchone() == (0,)
    monkeypatch.undo()
    Store.open(tmp_path).close()


async def test_a_damaged_page_is_a_sentence(tmp_path):
    with Store.open(tmp_path) as store:
        for number in range(1, 300):
            await store.journal("r1").append(make.line(number, "x" * 200))
    raw = bytearray((tmp_path / "journal.db").read_bytes())
    raw[4096 * 3 :] = b"\xff" * len(raw[4096 * 3 :])
    (tmp_path / "journal.db").write_bytes(raw)
    with Store.open(tmp_path, read_only=True) as store, pytest.raises(StoreError, match=r"is damaged|cannot be read"):
        list(store.load_run("r1").events)


async def test_every_table_is_strict_and_commits_are_synced(tmp_path):
    with Store.open(tmp_path) as store:
        strict = store._connection.execute(
            "SELECT name, strict FROM pragma_table_list WHERE schema = 'main'"
        ).fetchall()
        assert {name for name, is_strict in strict if is_strict} == {"events", "runs", "jobs", "points"}
        assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
