"""What a run looks like while it goes on: on a terminal of any width, without colour, and in a pipe."""

from __future__ import annotations

import io
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from runner import events as e
from runner import results as r
from runner.cli.jobline import Board
from runner.cli.liveview import frame, time_left_s
from runner.cli.progress import announce, showing

GOLDEN = Path(__file__).parent / "golden"
START = datetime(2026, 1, 4, 14, 2, tzinfo=UTC)
NOW = START + timedelta(minutes=9)
PASSED, FAILED, GOING, WAITING = (
    f"{name}_standard/batch/{number}" for name, number in (("sft", 1), ("dpo", 4), ("orpo", 2), ("rlhf", 1))
)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def planned(job: str) -> e.PlannedJobRecord:
    spec, phase, _ = job.split("/")
    return e.PlannedJobRecord(
        job=job, spec=spec, spec_file=f"{spec}.yaml", title=spec, phase=phase, phase_title=phase, template=spec,
        method="sft", model="m", seed=1, spec_digest="d", phase_digest="d", dataset_format="messages",
    )  # fmt: skip


def verdict(outcome: r.Outcome) -> r.Verdict:
    found = r.Finding(
        truth=outcome is r.Outcome.PASSED,
        decided=True,
        expected="median of the last 10 values of train_loss below 0.9 of the first 10",
        observed="1.46 against 0.65",
        evidence=("train_loss steps 0-199",),
    )
    return r.Verdict(id="loss", title="Loss `decreases`", outcome=outcome, finding=found)


def pod(job: str, name: str, since: float, until: float | None = None) -> Iterable[e.AnyEvent]:
    yield e.PodRequested(
        at=at(since), job=job, name=name, via="lab", gpu="NVIDIA RTX A4000", price_cap_usd_h=0.6, deadline=at(90)
    )
    yield e.PodCreated(at=at(since), job=job, name=name, pod_id=f"id-{name}", cost_usd_h=0.25, gpu="NVIDIA RTX A4000")
    yield e.PodObserved(at=at(since + 1), job=job, pod=r.Pod(id=f"id-{name}", name=name, status="RUNNING"))
    if until is not None:
        yield e.PodGone(at=at(until), job=job, name=name, pod_id=f"id-{name}", alive_s=60, cost_usd=0.02)


def points(job: str, minutes: float, step: int, loss: float) -> Iterable[e.AnyEvent]:
    snapshot = r.JobSnapshot(lab_job_id="j", status="running", step=step, total_steps=200)
    yield e.LabJobObserved(at=at(minutes), job=job, snapshot=snapshot)
    point = r.MetricPoint(step=step, values={"train_loss": loss})
    yield e.MetricsObserved(at=at(minutes), job=job, points=(point,))


def events(target: r.Target = r.Target.CLOUD) -> list[e.AnyEvent]:
    jobs = tuple(planned(job) for job in (PASSED, FAILED, GOING, WAITING))
    end = {"reason": "every criterion decided; 41 min of the run limit not used", "cost_usd": 0.02}
    return [
        e.RunStarted(at=START, run="7f3a0000", target=target, via="lab", jobs=jobs, max_spend_usd=5),
        *(e.JobStarted(at=at(0), job=job) for job in (PASSED, FAILED)),
        *pod(PASSED, "one", 0, 4),
        *pod(FAILED, "two", 0, 5),
        *points(PASSED, 3, 200, 1.18),
        *points(FAILED, 3, 150, 1.46),
        e.JobJudged(at=at(4), job=PASSED, verdicts=(verdict(r.Outcome.PASSED),)),
        e.JobFinished(at=at(4), job=PASSED, outcome=r.Outcome.PASSED, elapsed_s=240, **end),
        e.JobStarted(at=at(4), job=GOING),
        e.StepStarted(at=at(4), job=GOING, index=0, title="Deploy job to RunPod using template"),
        *pod(GOING, "three", 4),
        e.JobJudged(at=at(5), job=FAILED, verdicts=(verdict(r.Outcome.FAILED), verdict(r.Outcome.PASSED))),
        e.JobFinished(at=at(5), job=FAILED, outcome=r.Outcome.FAILED, elapsed_s=300, reason="1.46 against 0.65"),
        e.StepStarted(at=at(6), job=GOING, index=6, title="Monitor first 100 steps for `metrics` POST"),
        *points(GOING, 8, 131, 2.3149),
    ]


def board(target: r.Target = r.Target.CLOUD, upto: int | None = None) -> Board:
    found = Board()
    for event in events(target)[:upto]:
        found.apply(event)
    return found


def text_of(found: Board, width: int, height: int = 24) -> str:
    return "\n".join(line.plain for line in frame(found, NOW, width=width, height=height)) + "\n"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_live_view_reads_as_agreed(width, golden):
    golden(text_of(board(), width), GOLDEN / f"live_{width}.txt")


@given(width=st.integers(30, 200), height=st.integers(5, 60), upto=st.integers(1, len(events())))
def test_live_view_never_leaves_the_screen(width, height, upto):
    lines = text_of(board(upto=upto), width, height).splitlines()
    assert max(cell_len(line) for line in lines) <= width
    assert len(lines) <= height


@given(width=st.integers(60, 200))
def test_every_job_stays_told_apart_by_the_end_of_its_key(width):
    rows = text_of(board(), width).splitlines()[1:5]
    for row, job in zip(rows, (PASSED, FAILED, GOING, WAITING), strict=True):
        assert job in row


def test_low_screen_shows_what_goes_on_and_counts_the_rest():
    text = text_of(board(), 80, 6)
    assert GOING in text
    assert WAITING in text
    assert "and 2 more" in text


def test_local_pods_cost_nothing():
    text = text_of(board(r.Target.LOCAL), 120)
    assert "$0.00 of $5.00" in text
    assert "$0.02" not in text


def test_time_to_go_is_only_estimated_from_jobs_that_passed():
    assert time_left_s(board(upto=12), NOW) is None
    # One job of four minutes passed; one runs for five already, one has not begun.
    assert time_left_s(board(), NOW) == 240


def test_estimate_that_ran_out_is_not_zero_but_said():
    alone = Board()
    for event in events():
        if not isinstance(event, e.RunStarted):
            alone.apply(event)
            continue
        alone.apply(e.RunStarted(at=event.at, run=event.run, target=event.target, via="lab", jobs=event.jobs[:3]))
    last = frame(alone, NOW + timedelta(hours=1), width=120, height=24)[-1].plain
    assert last.endswith("takes longer than the jobs before")


def test_failure_is_announced_at_once_with_expected_and_observed(golden):
    golden(announced(Console(file=io.StringIO(), width=200)), GOLDEN / "announced_pipe.txt")


def test_second_pod_of_one_request_is_announced():
    console = Console(file=io.StringIO(), width=200)
    announce(e.PodDoubled(at=START, job=PASSED, name="n", pod_id="abc", alive_s=25, cost_usd=0.01), console)
    assert "a second pod of one request was given back: abc, 25 s" in console.file.getvalue()


def test_without_colour_words_and_signs_say_the_same(monkeypatch, golden):
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    text = announced(console)
    assert "\x1b[3" not in text
    golden(text, GOLDEN / "announced_no_color.txt")


def test_terminal_that_cannot_show_signs_gets_letters():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    console = Console(file=stream, width=80)
    for event in events():
        announce(event, console)
    stream.flush()
    assert "F failed  Loss decreases" in stream.buffer.getvalue().decode("ascii")


def test_pipe_gets_a_line_per_change(capsys, golden):
    with showing("auto", now=lambda: NOW) as listener:
        for event in events():
            listener(event)
    golden(capsys.readouterr().err, GOLDEN / "plain.txt")


def test_program_gets_every_event_as_json(capsys):
    with showing("jsonl", now=lambda: NOW) as listener:
        for event in events():
            listener(event)
    lines = capsys.readouterr().err.splitlines()
    assert [e.decode_event(line) for line in lines] == events()


def test_none_is_silent(capsys):
    with showing("none", now=lambda: NOW) as listener:
        for event in events():
            listener(event)
    assert capsys.readouterr() == ("", "")


def test_control_characters_of_strangers_never_reach_the_terminal():
    evil = e.IssueObserved(
        at=START, job=PASSED, issue="x", title="t\x1b[2J", failure_class="oom", verdict="error", cause="", fix="",
        text="\x1b]0;owned\x07",
    )  # fmt: skip
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    announce(evil, console)
    assert isinstance(console.file, io.StringIO)
    assert "\x1b]0" not in console.file.getvalue()
    assert "\x1b[2J" not in console.file.getvalue()


def announced(console: Console) -> str:
    for event in events():
        announce(event, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
