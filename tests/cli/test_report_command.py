"""`runspec report` and `--report`: files of recorded runs, as people ask for them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parents[1] / "reports"))
import fake_runs as fake

from runner.cli.report import command
from runner.store.store import Store


@pytest.fixture
async def state(tmp_path: Path) -> Path:
    with Store.open(tmp_path / "state") as store:
        for run in (fake.passing(), fake.failing(day=1)):
            await store.journal(run.run).append(*run.events, durable=True)
    return tmp_path / "state"


def report(*args: str) -> Result:
    return CliRunner().invoke(command, list(args), standalone_mode=True)


def test_all_kinds_come_from_one_recorded_run(state, tmp_path):
    paths = {kind: tmp_path / "out" / kind for kind in ("html", "junit", "json", "summary")}
    kinds = ",".join(f"{kind}={path}" for kind, path in paths.items())
    found = report("7f3", "--report", kinds, "--state", str(state))
    assert found.exit_code == 0, found.output
    assert paths["html"].read_text(encoding="utf-8").startswith("<!doctype html>")
    assert ET.parse(paths["junit"]).getroot().get("tests") == "5"
    assert json.loads(paths["json"].read_bytes())["run"] == "7f3a"
    assert paths["summary"].read_text(encoding="utf-8").startswith("## runspec: ✓ passed")


def test_the_newest_run_is_written_as_html_when_nothing_is_said(state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert report("--state", str(state)).exit_code == 0
    assert "Failed" in (tmp_path / "runspec-8c1d.html").read_text(encoding="utf-8")


def test_githubs_step_summary_is_added_to_what_is_there(state, tmp_path, monkeypatch):
    path = tmp_path / "summary.md"
    path.write_text("before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    assert report("7f3a", "--report", "summary", "--state", str(state)).exit_code == 0
    assert path.read_text(encoding="utf-8").startswith("before\n## runspec: ✓ passed")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("jnuit=x", "did you mean `junit`"),
        ("pdf=x", "kinds are html, junit, json, summary"),
        ("html", "names no file"),
        ("summary", "`GITHUB_STEP_SUMMARY` is not set here"),
    ],
)
def test_a_slip_is_explained(state, given, said):
    found = report("7f3a", "--report", given, "--state", str(state))
    assert found.exit_code == 2
    assert said in found.output


def test_a_file_that_cannot_be_written_is_named_and_the_others_are_written(state, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    found = report("7f3a", "--report", f"json={tmp_path}/file/x.json,html={tmp_path}/a.html", "--state", str(state))
    assert found.exit_code != 0
    assert "the json report cannot be written" in str(found.exception)
    assert (tmp_path / "a.html").exists()
