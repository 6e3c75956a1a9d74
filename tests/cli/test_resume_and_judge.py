"""Recorded runs that go on, and recorded runs that are judged again."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runner.events import (
    AlertsObserved,
    JobFinished,
    JobJudged,
    JobStarted,
    LabJobObserved,
    LogsObserved,
    MetricsObserved,
    PodCreated,
    PodGone,
    RunFinished,
    RunStarted,
)
from runner.plan import Selection, make_plan
from runner.results import Alert, FailureClass, Finding, JobSnapshot, LogLine, MetricPoint, Outcome, Target, Verdict
from runner.spec.loader import find_phase, load_spec
from runner.store.store import Store

SPEC = "specs/sft.yaml"


def passed(name: str) -> Verdict:
    finding = Finding(truth=True, decided=True, expected=name, observed="seen")
    return Verdict(id=name, title=name, outcome=Outcome.PASSED, finding=finding)


def events_of(job: str, at: datetime) -> list:
    """A job that did what the phase `basic` asks for."""
    points = tuple(MetricPoint(step=step, values={"train_loss": 3 - step / 100}, at=at) for step in range(1, 101))
    verdicts = tuple(map(passed, ("pod-deploys", "trains", "alert-started", "metrics-post", "no-errors")))
    return [
        JobStarted(at=at, job=job),
        PodCreated(at=at, job=job, name="n", pod_id="p", cost_usd_h=0.1),
        LogsObserved(at=at, job=job, first=1, lines=(LogLine(at=at, source="container", text="Training started"),)),
        LabJobObserved(at=at, job=job, snapshot=JobSnapshot(lab_job_id="l", status="running")),
        AlertsObserved(at=at, job=job, alerts=(Alert(id="a", type="job_started", lab_job_id="l", at=at),)),
        MetricsObserved(at=at, job=job, points=points),
        LogsObserved(at=at, job=job, first=2, lines=(LogLine(at=at, source="container", text="on \x1b[2Jand on"),)),
        JobJudged(at=at, job=job, verdicts=verdicts),
        JobFinished(at=at, job=job, outcome=Outcome.PASSED),
    ]


@pytest.fixture
def record(workshop):
    """Writes a run of two jobs, of which `done` ended, to the journal; its id is `run-1`."""

    def write(*, done: int = 2, finish: bool = False, age: timedelta = timedelta(minutes=1)) -> None:
        at = datetime.now(UTC) - age
        selection = Selection(phases=["basic"], repeat=2)
        plan = make_plan(
            [load_spec(workshop.folder / SPEC)], find_phase=find_phase, selection=selection, target=Target.LOCAL
        )
        jobs = tuple(job.record() for job in plan.jobs)
        events = [RunStarted(at=at, run="run-1", target=plan.target, via=plan.via, jobs=jobs)]
        for job in plan.jobs[:done]:
            events += events_of(job.key, at)
        if finish:
            events.append(RunFinished(at=at, run="run-1", outcome=Outcome.PASSED, exit_code=0))
        with Store.open(".runspec") as store:
            asyncio.run(store.journal("run-1").append(*events, durable=True))

    return write


def change_spec(workshop, old: str, new: str, name: str = "phases/basic.yaml") -> None:
    path = workshop.folder / "specs" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# --- judge


def test_judging_by_unchanged_specs_changes_nothing(record, runspec):
    record(finish=True)
    said = runspec("judge", "run-1")
    assert (said.code, said.out) == (0, "2 jobs of run run-1 judged again: 0 change, 2 stay as they were\n")


def test_a_criterion_that_changed_is_judged_on_what_was_recorded(record, runspec, workshop):
    record(finish=True)
    change_spec(workshop, "{metric: train_loss, count: {gte: 1}}", "{metric: train_loss, count: {gte: 500}}")
    said = runspec("judge", "run")
    assert said.code == 1
    assert "✗ sft_standard/basic/1: passed → failed" in said.out
    assert "~ metrics-post: passed → ✗ failed: 100 values" in said.out
    assert "nothing was written" in said.out
    assert "judged again: 2 change" in runspec("judge", "run").out


def test_recorded_verdicts_are_appended_and_seen_by_later_judgements(record, runspec, workshop):
    record(finish=True)
    change_spec(workshop, "expect: {alert: job_started}", "expect: {alert: gpu_oom}")
    assert "recorded: 2 jobs" in runspec("judge", "run-1", "--record").out
    assert "0 change, 2 stay" in runspec("judge", "run-1").out
    with Store.open(".runspec", read_only=True) as store:
        judged = [event for event in store.events("run-1") if isinstance(event, JobJudged)]
    assert len(judged) == 4
    assert [verdict.outcome for verdict in judged[0].verdicts] == [Outcome.PASSED] * 5


def test_text_of_strangers_moves_no_cursor(record, runspec, workshop):
    record(finish=True)
    change_spec(workshop, "expect: {alert: job_started}", "expect: {never: {log: and on}}")
    said = runspec("judge", "run-1")
    assert "\x1b" not in said.out
    assert r"\x1b[2Jand on" in said.out


def test_a_spec_that_is_gone_is_named(record, runspec, workshop):
    record(finish=True)
    (workshop.folder / SPEC).unlink()
    said = runspec("judge", "run-1")
    assert said.code == 2
    assert "there is no spec named `sft_standard`" in said.err


# --- resume


def test_a_run_without_anything_left_is_complete(record, runspec):
    record()
    at = datetime.now(UTC)
    gone = [
        PodGone(at=at, job=f"sft_standard/basic/{n}", name="n", pod_id="p", alive_s=60.0, cost_usd=0.01) for n in (1, 2)
    ]
    with Store.open(".runspec") as store:
        asyncio.run(store.journal("run-1").append(*gone, durable=True))
    said = runspec("resume", "run-1", "--doc", "none")
    assert (said.code, said.out) == (0, "run run-1 is complete: all of its 2 jobs have their verdict\n")


def test_reports_of_a_complete_run_are_written(record, runspec):
    record()
    said = runspec("resume", "run-1", "--doc", "none", "--report", "junit=out/junit.xml,json=out/run.json")
    assert "run run-1 is complete" in said.out
    suite = ET.parse("out/junit.xml").getroot()
    assert suite.tag == "testsuites"
    assert json.loads(Path("out/run.json").read_text())["run"] == "run-1"


@pytest.mark.parametrize(
    ("end", "later", "code"),
    [
        ({"outcome": Outcome.FAILED, "failure_class": FailureClass.CRITERION}, [PodGone], 1),
        ({"outcome": Outcome.ERRORED, "failure_class": FailureClass.LEAK}, [], 6),
        ({"outcome": Outcome.ERRORED, "failure_class": FailureClass.LEAK}, [PodGone], 3),
    ],
)
def test_a_complete_run_has_the_exit_code_of_what_it_came_to(record, runspec, end, later, code):
    record(done=1)
    at, job = datetime.now(UTC), "sft_standard/basic/2"
    proof = {"at": at, "name": "n", "alive_s": 60.0, "cost_usd": 0.01}
    events = [
        PodGone(job="sft_standard/basic/1", pod_id="p", **proof),
        JobStarted(at=at, job=job),
        PodCreated(at=at, job=job, name="n", pod_id="q", cost_usd_h=0.1),
        JobFinished(at=at, job=job, **end),
        *(gone(job=job, pod_id="q", **proof) for gone in later),
    ]
    with Store.open(".runspec") as store:
        asyncio.run(store.journal("run-1").append(*events, durable=True))
    said = runspec("resume", "run-1", "--doc", "none")
    assert said.code == code
    assert ("q may still bill" in said.err) is (code == 6)


def test_without_unfinished_runs_there_is_nothing_to_go_on_with(record, runspec):
    record(finish=True)
    said = runspec("resume", "--doc", "none")
    assert said.code == 2
    assert "no run was left unfinished" in said.err


@pytest.mark.parametrize(
    ("recorded", "is_offered"),
    [
        ({"done": 1}, True),
        ({"done": 0}, False),
        ({"done": 2, "finish": True}, False),
        ({"done": 1, "age": timedelta(days=3)}, False),
    ],
)
def test_only_a_killed_run_that_has_something_to_lose_goes_on_by_itself(record, workshop, recorded, is_offered):
    from runner.cli.resume import offer_to_continue

    record(**recorded)
    selection = Selection(phases=["basic"], repeat=2)
    plan = make_plan(
        [load_spec(workshop.folder / SPEC)], find_phase=find_phase, selection=selection, target=Target.LOCAL
    )
    with Store.open(".runspec") as store:
        assert offer_to_continue(store, plan) == ("run-1" if is_offered else None)


async def test_an_interrupted_run_is_unfinished_again_once_it_goes_on(record, workshop):
    from runner.cli.resume import begin_again

    at = datetime.now(UTC)
    with Store.open(".runspec") as store:
        (plan_job,) = make_plan(
            [load_spec(workshop.folder / SPEC)],
            find_phase=find_phase,
            selection=Selection(phases=["basic"]),
            target=Target.LOCAL,
        ).jobs
        await store.journal("r").append(
            RunStarted(at=at, run="r", target=Target.LOCAL, via="lab", jobs=(plan_job.record(),)),
            JobFinished(at=at, job=plan_job.key, outcome=Outcome.CANCELLED, failure_class=FailureClass.INTERRUPTED),
            RunFinished(at=at, run="r", outcome=Outcome.CANCELLED, exit_code=130),
            durable=True,
        )
        assert store.unfinished_runs() == []
        past = await begin_again(store, "r")
        assert not any(isinstance(event, JobFinished) for event in past)
        assert [run.run for run in store.unfinished_runs()] == ["r"]


@pytest.mark.training
def test_a_killed_run_goes_on_with_the_same_command_and_repeats_no_finished_job(workshop):
    command = ("specs/orpo.yaml", "--phase", "basic", "--repeat", "2", "--set", "watch_steps=5", "--doc", "none")
    with workshop.started(*command, "--progress", "plain") as process:
        process.wait_for("orpo_standard/basic/1 ✓ passed")
        process.wait_for("orpo_standard/basic/2   pod")
        os.kill(process.popen.pid, signal.SIGKILL)
        process.popen.wait(30)
    said = workshop.process(*command, "--progress", "plain")
    assert said.code == 0, said.err
    assert re.search(r"going on with run \w+: 1 of 2 jobs have their verdict already", said.err)
    assert "orpo_standard/basic/1 " not in said.err
    assert "✓ passed · 10 of 10 criteria" in said.last_line
    assert len(re.findall(r"^[0-9a-f]{8} ", workshop.process("history").out, re.MULTILINE)) == 1
    workshop.assert_nothing_runs()
