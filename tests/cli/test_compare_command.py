"""`runspec compare` as people type it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from runner.cli.documents import update_document
from runner.store.store import Store

sys.path.insert(0, str(Path(__file__).parents[1] / "reports"))

import fake_runs as fake
from test_comparison import BATCH


@pytest.fixture
async def recorded(workshop, tmp_path: Path) -> Path:
    with Store.open(tmp_path / "state") as store:
        await store.journal(BATCH.run).append(*BATCH.events, durable=True)
    return tmp_path / "state"


async def test_the_table_and_the_tests_are_printed(recorded, runspec):
    said = runspec("compare", "--state", str(recorded))
    assert said.code == 0
    assert "orpo_standard  4 of 5" in said.out
    assert "dpo_standard against orpo_standard, steps: differs (p = 0.008)" in said.out
    assert "not reported by any job: mean reward; tokens, 1/s; peak GPU memory, GB; peak process memory, GB" in said.out
    sft = next(line for line in said.out.splitlines() if line.startswith("sft_standard"))
    assert "–" in sft, "supervised training has no reward margin to report"
    assert "not reported" not in sft
    assert said.last_line == "17 jobs compared · 16 passed · rehearsed on local · run ba7c"


async def test_files_are_written_once(recorded, runspec, tmp_path):
    said = runspec("compare", "ba7c", "--state", str(recorded), "--write", "--dir", "out")
    assert "wrote" in said.err
    assert (tmp_path / "out" / "COMPARISON.md").exists()
    assert (tmp_path / "out" / "charts" / "loss-dpo_standard.svg").exists()
    again = runspec("compare", "ba7c", "--state", str(recorded), "--write", "--dir", "out")
    assert again.err.strip() == "out is up to date"


@pytest.mark.parametrize("document", [None, "no marks in here\n"], ids=["no-document", "document-refused"])
async def test_batch_is_compared_after_its_run_whatever_the_document_is(recorded, workshop, tmp_path, document):
    path = tmp_path / "reports" / "DOC.md"
    if document is not None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(document)
    with Store.open(recorded) as store:
        update_document(path, store, specs_root=workshop.folder / "specs")
    assert "orpo_standard" in (path.parent / "COMPARISON.md").read_text()
    assert (path.parent / "charts" / "loss-dpo_standard.svg").exists()


async def test_charts_of_templates_that_are_gone_are_removed_and_nothing_else(recorded, runspec, tmp_path):
    charts = tmp_path / "out" / "charts"
    charts.mkdir(parents=True)
    for name in ("loss-gone.svg", "mine.svg"):
        (charts / name).write_text("<svg/>")
    runspec("compare", "--state", str(recorded), "--write", "--dir", "out")
    assert not (charts / "loss-gone.svg").exists()
    assert (charts / "mine.svg").exists()


async def test_nothing_to_compare_says_what_makes_it(workshop, runspec, tmp_path):
    with Store.open(tmp_path / "state") as store:
        await store.journal("7f3a").append(*fake.passing().events, durable=True)
    said = runspec("compare", "--state", str(tmp_path / "state"))
    assert said.code == 3
    assert "`runspec specs/ --phase batch` makes them" in said.err


async def record(state: Path, *runs: fake.RecordedRun) -> None:
    with Store.open(state) as store:
        for run in runs:
            await store.journal(run.run).append(*run.events, durable=True)


async def test_two_runs_with_jobs_in_common_are_compared_job_by_job(workshop, runspec, tmp_path):
    before = fake.run("0ld1", *(fake.passing(job=f"{name}/basic/1").events[1:-1] for name in ("cpt_standard", "sft_x")))
    await record(tmp_path / "state", before, fake.failing("new2", day=1))
    said = runspec("compare", "0ld1", "new2", "--state", str(tmp_path / "state"))
    assert said.code == 0
    head, row, criterion, *_ = said.out.splitlines()
    assert head.split()[:5] == ["job", "run", "0ld1", "run", "new2"]
    assert row.startswith("cpt_standard/basic/1  ✓ passed  ✗ failed  5 of 5 → 4 of 5")
    assert "Metrics POST successfully: passed → failed: 0 points; log line 214 says" in criterion
    assert criterion.endswith("(cpt_standard/basic/1)")
    assert said.last_line == "1 job in both runs · 1 passed only in 0ld1 · 0 only in new2 · rehearsed on local"
    back = runspec("compare", "new2", "0ld1", "--state", str(tmp_path / "state"))
    assert back.last_line == "1 job in both runs · 0 passed only in new2 · 1 only in 0ld1 · rehearsed on local"


async def test_two_runs_of_other_templates_are_compared_as_batches(recorded, runspec):
    await record(recorded, fake.passing("7f3a", "rlhf_x/basic/1"))
    said = runspec("compare", "ba7c", "7f3a", "--state", str(recorded))
    assert "not reported by any job: mean reward; tokens, 1/s; peak GPU memory, GB; peak process memory, GB" in said.out
    sft = next(line for line in said.out.splitlines() if line.startswith("sft_standard"))
    assert "–" in sft, "supervised training has no reward margin to report"
    assert "not reported" not in sft
    assert said.last_line == "17 jobs compared · 16 passed · rehearsed on local · run ba7c"


async def test_a_spec_without_runs_is_answered_with_the_nearest_that_has_some(recorded, runspec):
    for asked in (("history",), ("history", "--trend")):
        said = runspec(*asked, "--spec", "dpo_standrd", "--state", str(recorded))
        assert said.last_line == "no run of a spec `dpo_standrd` is recorded here: did you mean `dpo_standard`?"
