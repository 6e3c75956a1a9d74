"""Failures made for real on the embedded cloud, as a user makes them: what `explain` and the document say of each."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner.store import database
from tests.cli.workshop import Said, Workshop, furnish


@dataclass(frozen=True)
class Staged:
    """A failure and how to get it: the template, what is changed in the specs, the faults, more arguments."""

    spec: str
    failure_class: str
    issue: str
    fix: str
    changes: tuple[tuple[str, str, str], ...] = ()
    """File, old text, new text."""
    faults: str = ""
    args: tuple[str, ...] = ()


STAGED = {
    "rows of another method": Staged(
        "dpo", "dataset_wrong_format", "dataset-preference-missing", "Give rows with `prompt`, `chosen` and `rejected`",
        changes=(("dpo.yaml", "data/preference.jsonl", "data/chat.jsonl"),),
        args=("--no-dataset-check",),
    ),
    "allocation refused": Staged(
        "sft", "oom", "oom-host", "Lower `batch_size` or `max_length`",
        changes=(
            ("sft.yaml", "learning_rate: 0.0002", "learning_rate: 0.0002\n    batch_size: 4096"),
            ("sft.yaml", "file: data/chat.jsonl", "generate: {rows: 4000, seed: 7}"),
        ),
        faults="- {where: runpod POST /v2/pods, what: {quirks: {memory_mb: 1800}}}",
    ),
    "metrics answered with 405": Staged(
        "sft", "metrics_post_failed", "metrics-post-405", "Post to `/api/training/local/metrics` with the job id",
        faults="- {where: lab POST /api/training/local/metrics, what: metrics-405}",
    ),
    "alerts lost": Staged(
        "cpt", "alerts_missing", "alerts-missing", "Set all three in the pod's environment",
        # An alert is missing only once it is 20 s late.
        changes=(("phases/basic.yaml", "timeout: 2m, optional", "timeout: 23s, optional"),),
        faults="- {where: lab POST /api/alerts/trigger, what: alert-lost}",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What the command said of one staged run, and where it ran."""

    home: Workshop
    run: Said
    explained: Said


def stage(folder: Path, one: Staged) -> Outcome:
    home = furnish(folder)
    specs = home.folder / "specs"
    for name, old, new in one.changes:
        text = (specs / name).read_text()
        assert old in text
        (specs / name).write_text(text.replace(old, new))
    args = list(one.args)
    if one.faults:
        (home.folder / "faults.yaml").write_text(one.faults)
        args += ["--faults", "faults.yaml"]
    said = home.process(f"specs/{one.spec}.yaml", "--phase", "basic", *args)
    return Outcome(home, said, home.process("explain", "last", "--json"))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Outcome]]]:
    """All of them at the same time: most of each is waiting."""
    with ThreadPoolExecutor(len(STAGED)) as pool:
        folders = {name: tmp_path_factory.mktemp("staged") for name in STAGED}
        yield {name: pool.submit(stage, folders[name], one) for name, one in STAGED.items()}


@pytest.mark.training
@pytest.mark.parametrize("name", STAGED)
def test_real_failure_ends_with_its_class_and_fix_in_explain_and_document(name, outcomes):
    one, outcome = STAGED[name], outcomes[name].result()
    assert outcome.run.code == 1, outcome.run.err
    assert "made to go wrong on local" in outcome.run.last_line
    assert outcome.run.last_line.endswith(" · 0 pods open")
    outcome.home.assert_nothing_runs()
    (job,) = json.loads(outcome.explained.out)["jobs"]
    assert (job["class"], job["issue"]) == (one.failure_class, one.issue)
    assert one.fix in job["fix"]
    document = outcome.home.document.read_text()
    (line,) = [line for line in document.splitlines() if "**cause:**" in line]
    assert f"(`{one.failure_class}`, rule `{one.issue}`" in line
    assert one.fix in line


def test_run_on_the_cloud_cannot_be_made_to_go_wrong(runspec: Callable[..., Said]) -> None:
    said = runspec("specs/cpt.yaml", "--target", "cloud", "--max-spend", "1", "--no-dataset-check")
    assert said.code == 2
    assert "error[target.staged]" in said.err


def test_malformed_faults_are_refused_before_anything_starts(runspec: Callable[..., Said], workshop: Workshop) -> None:
    (workshop.folder / "faults.yaml").write_text("- {where: lab POST /x, what: metrics-406}")
    said = runspec("specs/cpt.yaml", "--faults", "faults.yaml")
    assert said.code == 2
    assert "did you mean `metrics-405`?" in said.err
    assert not (workshop.folder / ".runspec").exists()


@pytest.mark.training
def test_disk_that_fills_up_after_the_launch_ends_without_a_verdict_and_without_a_pod(
    runspec: Callable[..., Said], workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_for_writing = database.open_for_writing

    def open_on_a_small_disk(path: Path) -> sqlite3.Connection:
        connection = open_for_writing(path)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        return connection

    monkeypatch.setattr(database, "open_for_writing", open_on_a_small_disk)
    said = runspec("specs/cpt.yaml", "--phase", "basic", "--doc", "none")
    assert said.code == 3, said.err
    assert "error: the disk is full" in said.err
    assert "the run ends without a verdict; every pod was given back" in said.err
    workshop.assert_nothing_runs()
