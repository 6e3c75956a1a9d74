"""`runspec explain` as people type it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "reports"))
import fake_runs as fake

from runner.cli.explain import command
from runner.results import Outcome
from runner.store.store import Store

LOG = "training started\nTraceback (most recent call last):\n  File \"t.py\", line 8\n    run()\nKeyError: 'chosen'\n"


def test_a_log_file_is_explained_for_people(runspec, tmp_path):
    (tmp_path / "train.log").write_text(LOG)
    said = runspec("explain", "train.log")
    assert said.code == 0
    first, cause, fix, *_ = said.out.splitlines()
    assert first == "dataset_wrong_format: Rows have no preference pairs, rule dataset-preference-missing, exit code 1"
    assert cause.split()[0] == "cause"
    assert fix.split()[0] == "fix"
    assert "> 5 | KeyError: 'chosen'" in said.out


def test_a_log_file_is_explained_for_programs(runspec, tmp_path):
    (tmp_path / "train.log").write_text(LOG)
    found = json.loads(runspec("explain", "train.log", "--json", "--method", "dpo", "--exit-code", "1").out)
    assert {key: found[key] for key in ("class", "line", "evidence", "also", "exit_code")} == {
        "class": "dataset_wrong_format", "line": 5, "evidence": "KeyError: 'chosen'", "also": [], "exit_code": 1,
    }  # fmt: skip


def test_a_log_line_cannot_move_the_cursor(runspec, tmp_path):
    (tmp_path / "train.log").write_text("\x1b[2J\x07" + LOG.replace("run()", "\x1b]0;owned\x07"))
    assert not {"\x1b", "\x07"} & set(runspec("explain", "train.log").out)


def test_a_file_that_is_not_there_is_named(runspec):
    said = runspec("explain", "nope.log")
    assert (said.code, said.out) == (2, "")
    assert "error[explain.no-log]: `nope.log` cannot be read: there is no such file" in said.err
    assert "fix: give the path" in said.err


def test_a_run_that_is_not_recorded_is_named(runspec):
    said = runspec("explain", "abcd1234")
    assert said.code == 2
    assert "abcd1234" in said.err or "recorded" in said.err


def test_the_newest_run_is_meant_when_none_is_named(runspec):
    said = runspec("explain")
    assert said.code == 2
    assert "no runs are recorded here yet" in said.err


async def test_a_stopped_job_is_called_stopped_and_gets_no_riddle(tmp_path):
    events = fake.job_events("cpt_standard/basic/1", Outcome.CANCELLED, ())
    run = fake.run("5709", events, outcome=Outcome.CANCELLED)
    with Store.open(tmp_path / "state") as store:
        await store.journal(run.run).append(*run.events, durable=True)
    said = CliRunner().invoke(command, ["--state", str(tmp_path / "state")])
    assert said.exit_code == 0, said.output
    assert "it was stopped before all of it could be judged" in said.output
    assert "no known issue" not in said.output
