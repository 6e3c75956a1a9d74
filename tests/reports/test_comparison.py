"""Templates against each other, from recorded events."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import fake_runs as fake
import msgspec
import pytest

from runner import events as e
from runner import results as r
from runner.reports import statistics
from runner.reports.compare import compare, newest_groups
from runner.reports.comparison import compare_runs, comparison_files
from runner.reports.evidence import summarise
from runner.reports.sections import comparison
from runner.reports.standing import build_model
from runner.reports.statistics import compare_values, summarise_values

HERE = Path(__file__).parent
SVG = "{http://www.w3.org/2000/svg}"


def curve(job: str, level: float, *, count: int = 30, pace_s: float = 0.5, lost: int | None = None, **more: float):
    points = tuple(
        r.MetricPoint(
            step=number,
            values={"train_loss": None if number == lost else level + 2 / number, "learning_rate": 2e-4, **more},
            at=fake.at(10 + number * pace_s),
        )
        for number in range(1, count + 1)
    )
    return e.MetricsObserved(at=fake.at(30), job=job, points=points)


def batch(spec: str, levels: list[float], *, failed: tuple[int, ...] = (), phase: str = "batch", **curve_args: object):
    """The jobs of one template: (events, records)."""
    jobs, records = [], []
    for number, level in enumerate(levels, 1):
        key = f"{spec}/{phase}/{number}"
        is_bad = number in failed
        seen = [curve(key, level, **curve_args)]
        if is_bad:
            seen.append(fake.issue(key, issue="oom-cuda", failure_class="oom", verdict="error"))
        outcome = r.Outcome.FAILED if is_bad else r.Outcome.PASSED
        judged = fake.verdicts(no_errors=fake.verdict("no-errors", r.Outcome.FAILED)) if is_bad else fake.verdicts()
        jobs.append(fake.job_events(key, outcome, judged, extra=seen))
        method = spec.partition("_")[0]
        form = "preference" if method in ("dpo", "orpo") else method
        records.append(fake.record(key, method=method, dataset_format=form))
    return jobs, records


def run_of(*batches, run_id: str = "ba7c", **kwargs: object):
    jobs = [job for made, _ in batches for job in made]
    records = [record for _, made in batches for record in made]
    return fake.run(run_id, *jobs, records=records, **kwargs)


FIVE = [1.0, 1.1, 1.2, 1.05, 1.15]
BATCH = run_of(
    batch("dpo_standard", FIVE, reward_margin=0.9),
    batch("orpo_standard", [2.0, 2.1, 9.0, 2.05, 2.15], failed=(3,), pace_s=0.25, reward_margin=0.2),
    batch("sft_standard", [1.5] * 5, lost=20),
    batch("rlhf_standard", [0.1, 0.2]),
)


def test_the_comparison_reads_as_agreed(golden):
    files = comparison_files(compare_runs([BATCH]), [BATCH])
    golden(files["COMPARISON.md"], HERE / "golden" / "COMPARISON.md")
    for name in ("loss-orpo_standard", "loss-rlhf_standard", "strip-steps_per_s"):
        golden(files[f"charts/{name}.svg"], HERE / "golden" / f"{name}.svg")


def test_what_no_job_reported_is_said_and_what_no_method_here_has_is_not():
    sft = run_of(batch("sft_standard", FIVE))
    text = comparison_files(compare_runs([sft]), [sft])["COMPARISON.md"]
    assert "Not reported by any job: Tokens, 1/s; Peak GPU memory, GB; Peak process memory, GB." in text
    full = {"tokens_per_second": 900.0, "gpu_memory_reserved_gb": 6.5, "process_memory_peak_gb": 1.5}
    sft = run_of(batch("sft_standard", FIVE, **full))
    text = comparison_files(compare_runs([sft]), [sft])["COMPARISON.md"]
    assert "Not reported" not in text
    row = next(line for line in text.splitlines() if line.startswith("| `sft_standard` | 5 of 5"))
    assert all(f"| {shown} (" in row for shown in ("900", "6.50", "1.50")), row


def test_rewards_of_rlhf_are_compared():
    rlhf = run_of(batch("rlhf_standard", FIVE, reward_mean=0.75))
    found = compare_runs([rlhf])
    assert "reward" in {one.name for one in found.measures}
    assert found.groups[0].summaries["reward"].median == 0.75


def test_every_chart_is_sound_and_says_its_finding():
    for name, text in comparison_files(compare_runs([BATCH]), [BATCH]).items():
        if name.endswith(".svg"):
            root = ET.fromstring(text)
            assert root.get("role") == "img"
            assert root.find(f"{SVG}title").text
            assert root.find(f"{SVG}desc").text
            assert root.find(f"{SVG}rect").get("class") == "c-bg"
            assert "prefers-color-scheme" in text
            assert "<script" not in text
            assert "href" not in text


def test_the_same_events_give_the_same_bytes():
    one, other = (comparison_files(compare_runs([BATCH]), [BATCH]) for _ in range(2))
    assert one == other


def test_a_loss_that_is_no_number_is_marked_and_not_bridged():
    svg = comparison_files(compare_runs([BATCH]), [BATCH])["charts/loss-sft_standard.svg"]
    assert "no number at 20" in svg


def test_two_jobs_are_drawn_as_lines_and_five_as_a_band():
    files = comparison_files(compare_runs([BATCH]), [BATCH])
    assert '<path class="c-band"' not in files["charts/loss-rlhf_standard.svg"]
    assert '<path class="c-band"' in files["charts/loss-dpo_standard.svg"]


def test_orpo_is_tested_against_dpo_and_a_clear_difference_is_one():
    found = compare_runs([BATCH])
    pairs = {pair.measure.name: pair for pair in found.pairs}
    assert {(pair.one, pair.other) for pair in found.pairs} == {("dpo_standard", "orpo_standard")}
    assert pairs["steps_per_s"].test.words == "differs"
    assert "final_loss" not in pairs, "losses of two methods are no measure of each other"


def test_few_jobs_are_not_enough_evidence():
    found = compare_values((1.0, 2.0), (9.0, 9.1, 9.2))
    assert (found.p, found.words) == (None, "not enough evidence: 2 jobs of one of them")
    three = compare_values((1.0, 1.1, 1.2), (9.0, 9.1, 9.2))
    assert three.words == "not enough evidence of a difference"
    assert three.p == pytest.approx(0.1), "2 of 20 ways to deal six jobs into two groups are as far apart"


def test_without_scipy_intervals_and_tests_are_left_out_and_said_to_be(monkeypatch):
    for cached in (statistics._scipy, statistics._interval, statistics.compare_values):
        cached.cache_clear()
    monkeypatch.setattr(statistics, "_scipy", lambda: None)
    found = compare_runs([BATCH])
    text = comparison_files(found, [BATCH])["COMPARISON.md"]
    statistics._interval.cache_clear()
    statistics.compare_values.cache_clear()
    assert not found.has_intervals
    assert "they need SciPy" in text
    assert "not tested: SciPy is not installed" in text


def test_an_outlier_is_named_and_equal_values_have_none():
    assert summarise_values([1.0, 1.1, 0.9, 1.05, 9.0]).outliers == (4,)
    assert summarise_values([1.0] * 5).outliers == ()
    assert summarise_values([1.0, 9.0, 1.0]).outliers == (), "three values have no middle to be far from"


def test_failures_are_grouped_and_one_that_stands_alone_is_no_pattern():
    found = compare_runs([BATCH])
    assert [(one.kind, one.name, one.count, one.of) for one in found.failures][:2] == [
        ("class", "oom", 1, 17),
        ("template", "orpo_standard", 1, 5),
    ]
    assert found.pattern == "One job failed (oom): one is no pattern."


def test_failures_of_one_template_are_a_pattern():
    bad = run_of(batch("dpo_standard", FIVE), batch("orpo_standard", FIVE, failed=(1, 2, 4)))
    assert compare_runs([bad]).pattern == (
        "All 3 failures are of one template, orpo_standard: 3 of 5 jobs there, none elsewhere."
    )


def test_failures_of_the_only_template_are_not_said_to_be_on_several():
    bad = run_of(batch("dpo_standard", FIVE, failed=(1, 2, 4)))
    assert compare_runs([bad]).pattern == "All 3 failures are of one class, oom."


def jobs_of(*runs):
    return [job for run in runs for job in summarise(run).jobs]


def test_the_newest_batch_is_compared_and_single_jobs_are_not():
    old = run_of(batch("dpo_standard", FIVE), run_id="old1")
    new = run_of(batch("dpo_standard", FIVE), run_id="new1", day=2)
    single = run_of(batch("cpt_standard", [1.0]), run_id="one1", day=3)
    basic = run_of(batch("sft_standard", FIVE, phase="basic"), run_id="bas1", day=4)
    groups = newest_groups(jobs_of(new, old, single, basic))
    assert [(group[0].run, len(group)) for group in groups] == [("new1", 5)]
    assert [group[0].run for group in newest_groups(jobs_of(new, basic), "basic")] == ["bas1"]


def test_a_rehearsal_never_hides_what_the_cloud_measured():
    cloud = run_of(batch("dpo_standard", FIVE), run_id="c10d", target=r.Target.CLOUD)
    local = run_of(batch("dpo_standard", FIVE), run_id="10ca", day=5)
    assert [group[0].run for group in newest_groups(jobs_of(cloud, local))] == ["c10d"]


def region(*runs):
    """What the document says of the comparison."""
    subjects = [fake.subject(f"{name}_standard", name) for name in ("dpo", "orpo", "rlhf", "sft")]
    return comparison(build_model(subjects, runs), "")


def test_nothing_recorded_says_how_to_get_it():
    assert compare([]) is None
    assert region() == (
        "**Comparison across templates:**\n\n"
        "Nothing to compare yet: no template has several jobs of one phase in one run. "
        "`runspec specs/ --phase batch` makes them.\n"
    )


def test_the_region_of_the_document_is_the_same_without_scipy(monkeypatch):
    with_it = region(BATCH)
    monkeypatch.setattr(statistics, "_scipy", lambda: None)
    assert region(BATCH) == with_it
    assert "[COMPARISON.md](COMPARISON.md)" in with_it


def test_first_step_and_pace_come_from_the_stamps_of_the_points():
    job = compare_runs([BATCH]).groups[0].jobs[0]
    assert job.measures["steps_per_s"] == pytest.approx(2.0)
    assert job.measures["first_step_s"] == pytest.approx(9.5)
    assert job.measures["wall_s"] == 39.0


def test_hostile_names_do_not_leave_the_folder():
    evil = msgspec.structs.replace(fake.record("a_b/batch/1"), spec="../../etc/x")
    run = fake.run("e", fake.job_events("a_b/batch/1"), fake.job_events("a_b/batch/2"),
                   records=[evil, msgspec.structs.replace(evil, job="a_b/batch/2")])  # fmt: skip
    for name in comparison_files(compare_runs([run]), [run]):
        assert ".." not in Path(name).parts
        assert name.count("/") <= 1
