"""What a run prints when it is over."""

from __future__ import annotations

import io
import re
from pathlib import Path

import fake_runs as fake
import pytest
from rich.console import Console

from runner.reports.attention import problems
from runner.reports.difference import recorded_jobs
from runner.reports.evidence import summarise
from runner.reports.explain import explain
from runner.reports.terminal import print_summary, verdict_line
from runner.results import FailureClass, Outcome, Target

HERE = Path(__file__).parent
BATCH = [
    fake.job_events(
        f"dpo_standard/batch/{number}",
        Outcome.FAILED if number == 4 else None if number == 5 else Outcome.PASSED,
        fake.verdicts(metrics_post=fake.FAILED_METRICS) if number == 4 else None if number == 5 else fake.verdicts(),
        cost=0.12, attempt=2 if number == 2 else 1, released=number != 5,
    )
    for number in range(1, 6)
]  # fmt: skip
LOST = [
    fake.logs(
        "dpo_standard/basic/1",
        "Traceback (most recent call last):",
        '  File "/workspace/trainer.py", line 88, in main',
        "    run(spec)",
        "KeyError: 'chosen'",
        "process exited with code 1",
    )
]
NEVER = {
    name: fake.verdict(name.replace("_", "-"), Outcome.FAILED, observed="no such line", evidence=("log lines 1-7",))
    for name in ("trains", "alert_started", "metrics_post")
}
RUNS = {
    "cause": fake.run(
        "ca05e",
        fake.job_events(
            "dpo_standard/basic/1",
            Outcome.FAILED,
            fake.verdicts(**NEVER),
            extra=LOST,
            reason="DPO rows have no `chosen`",
        ),
        outcome=Outcome.FAILED,
    ),
    "passed": fake.passing(),
    "failed": fake.failing(max_spend=5.0),
    "unknown": fake.unknown(),
    "errored": fake.errored(),
    "batch": fake.run("ba7c", *BATCH, outcome=Outcome.FAILED, max_spend=5.0, target=Target.CLOUD),
    "interrupted": fake.run("1nt3", *BATCH, outcome=None),
}


def printed(run, *, width: int = 100, terminal: bool = True, encoding: str = "utf-8", color: bool = False) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, newline="")
    system = "standard" if color else None
    console = Console(file=file, width=width, force_terminal=terminal, no_color=not color, color_system=system)
    report = summarise(run)
    assert report is not None
    print_summary(report, console, {job.job.key: explain(job) for job in recorded_jobs(run)})
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [60, 100])
@pytest.mark.parametrize("name", RUNS)
def test_the_summary_reads_as_agreed(golden, name, width):
    text = printed(RUNS[name], width=width)
    golden(text, HERE / "golden" / f"summary_{name}_{width}.txt")
    if name != "batch":
        assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("name", RUNS)
def test_without_a_terminal_the_last_line_is_the_whole_verdict(name):
    text = printed(RUNS[name], width=60, terminal=False)
    assert text.splitlines()[-1] == verdict_line(summarise(RUNS[name]))
    assert "\x1b" not in text


def test_a_criterion_that_failed_stands_above_one_that_nobody_could_judge():
    open_ = {
        "pod_deploys": fake.verdict("pod-deploys", Outcome.UNKNOWN, observed="nobody saw it"),
        "trains": fake.verdict("trains", Outcome.FAILED, observed="an optional wish", optional=True),
        "metrics_post": fake.FAILED_METRICS,
    }
    job = fake.job_events("dpo_standard/basic/1", Outcome.FAILED, fake.verdicts(**open_))
    (problem,) = problems(summarise(fake.run("0rde", job, outcome=Outcome.FAILED)), {})
    observed = [line.text for line in problem.lines if line.label == "observed"]
    assert observed == ["0 points; log line 214 says `API POST failed: 405`", "nobody saw it", "an optional wish"]


def test_the_last_line_of_a_passed_run_says_everything_in_words():
    assert verdict_line(summarise(fake.passing())) == (
        "✓ passed · 5 of 5 criteria · rehearsed on local · 41 s · $0.00 · 0 pods open"
    )


def test_unconfirmed_pods_come_first_with_the_command_that_ends_them():
    first = printed(RUNS["batch"]).splitlines()[0]
    assert first == "! 1 pod not proven gone and may still be billed: pod-dpo_standard-batch-5. Run: runspec reap"


def test_a_console_without_unicode_gets_plain_signs():
    text = printed(RUNS["batch"], encoding="ascii", terminal=False)
    assert "F failed" in text
    assert text.isascii()


def test_colour_is_of_the_sixteen_named_ones_and_never_alone():
    text = printed(RUNS["batch"], color=True)
    codes = set(re.findall(r"\x1b\[([\d;]*)m", text))
    assert codes <= {"0", "31", "32", "33", "35", "39"}
    assert re.sub(r"\x1b\[[\d;]*m", "", text) == printed(RUNS["batch"])


def test_a_terminal_does_not_obey_what_a_log_line_says():
    hostile = "\x1b[2J\x1b]0;owned\x07\u202e[bold red]markup[/] :boom:\nsecond line"
    judged = fake.verdicts(
        trains=fake.verdict(
            "trains", Outcome.FAILED, expected=hostile, observed=hostile, title=hostile, evidence=(hostile,)
        )
    )
    run = fake.run(
        hostile, fake.job_events("cpt_standard/basic/1", Outcome.FAILED, judged, reason=hostile), outcome=Outcome.FAILED
    )
    text = printed(run, width=200)
    assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert "\\x1b[2J\\x1b]0;owned\\x07\\u202e[bold red]markup[/] :boom: second line" in text


def test_many_problems_are_cut_and_the_cut_is_said():
    jobs = [
        fake.job_events(
            f"cpt_standard/batch/{number}", Outcome.FAILED,
            fake.verdicts(trains=fake.verdict("trains", Outcome.FAILED, observed="because of " + "x" * number)),
        )
        for number in range(1, 26)
    ]  # fmt: skip
    text = printed(fake.run("25", *jobs, outcome=Outcome.FAILED))
    assert "… and 15 more problems: runspec explain 25" in text
    assert text.splitlines()[-1].startswith("✗ failed · 25 of 25 jobs failed · 100 of 125 criteria")


def test_cancelled_job_is_called_interrupted_once():
    events = fake.job_events(
        "cpt_standard/basic/1", Outcome.CANCELLED, None, reason="interrupted", failure_class=FailureClass.INTERRUPTED
    )
    said = printed(fake.run("ca11", events, outcome=Outcome.CANCELLED))
    assert "interrupted; $" in said
    assert "interrupted (interrupted)" not in said


def test_run_that_was_made_to_go_wrong_says_so_in_its_verdict():
    run = fake.passing(staged=("rows were not checked",))
    assert " · made to go wrong on local · " in verdict_line(summarise(run))
    assert "note: this run was made to go wrong, so no status comes from it: rows were not checked" in printed(run)


def test_an_interrupted_run_says_when_and_how_far_it_got():
    assert verdict_line(summarise(RUNS["interrupted"])).startswith("! interrupted at 14:02 UTC, 4 of 5 jobs judged · ")


def test_jobs_that_failed_alike_are_told_of_once():
    failed = fake.verdicts(metrics_post=fake.FAILED_METRICS)
    jobs = [fake.job_events(f"cpt_standard/batch/{number}", Outcome.FAILED, failed) for number in range(1, 26)]
    text = printed(fake.run("25", *jobs, outcome=Outcome.FAILED), terminal=False)
    heading = "✗ failed  cpt_standard/batch/1, cpt_standard/batch/2, cpt_standard/batch/3 and 22 more  (25 jobs alike)"
    assert heading in text.splitlines()
    assert text.count("API POST failed") == 2


def test_a_fix_and_the_next_command_are_said_once_a_job():
    text = printed(RUNS["cause"])
    assert text.count("  fix ") == 1
    assert text.count("  next ") == 1
    assert "Training starts, job_started alert received, Metrics POST successfully" in text
