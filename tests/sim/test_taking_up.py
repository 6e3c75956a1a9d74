"""Runs that were killed and are taken up again: on the same pods, from the step they were at, to the same verdicts."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from runner.results import FailureClass, Outcome
from tests.sim.schedule import Report, Schedule, simulate
from tests.sim.tally import calm, crash_points, sweep


def point_of(schedule: Schedule, call: str, *, nth: int = 1) -> int:
    """The point at which something happens for the nth time when nothing is killed."""
    found = [number for number, said in enumerate(simulate(schedule).trace, 1) if said.endswith(call)]
    return found[nth - 1]


def creates(report: Report) -> int:
    return sum(call.endswith(("call< create_pod", "call< deploy")) for call in report.trace)


def test_a_training_that_went_on_while_the_runner_was_gone_is_not_called_stalled():
    quiet = Schedule(seed=7, phase="full", resumes=True, away_s=650)
    trace = simulate(quiet).trace
    training = next(number for number, call in enumerate(trace, 1) if call.endswith("journal< MetricsObserved"))
    report = simulate(replace(quiet, kills=[training + 3]))
    assert report.violations == []
    assert [job.outcome for job in report.finished] == [Outcome.PASSED]


@pytest.mark.parametrize("via", ["lab", "runpod"])
def test_a_run_killed_while_it_trains_is_taken_up_again_on_the_same_pod(via):
    quiet = Schedule(seed=6, via=via, resumes=True)
    trace = simulate(quiet).trace
    training = next(number for number, call in enumerate(trace, 1) if call.endswith("journal< MetricsObserved"))
    report = simulate(replace(quiet, kills=[training]))
    assert report.violations == []
    assert report.exit_code == 0
    create = "call< create_pod" if via == "runpod" else "call< deploy"
    assert sum(call.endswith(create) for call in report.trace) == 1
    assert "another attempt" not in report.marks


def test_a_pod_that_trains_is_taken_up_however_long_nobody_came_back():
    quiet = Schedule(seed=10, via="runpod", resumes=True, away_s=1500)
    for point in range(point_of(quiet, "journal> PodCreated"), point_of(quiet, "journal> MetricsObserved"), 9):
        report = simulate(replace(quiet, kills=[point]))
        assert report.violations == []
        assert creates(report) == 1
        assert report.exit_code == 0, str(report)


def test_a_training_that_failed_while_nobody_watched_is_not_tried_again():
    crashing = Schedule(seed=2, phase="full", rates={"trainer crashes": 1.0}, resumes=True, away_s=1500)
    report = simulate(replace(crashing, kills=[point_of(crashing, "journal> PodCreated") + 1]))
    assert report.violations == []
    assert creates(report) == 1
    assert [job.outcome for job in report.finished] == [Outcome.FAILED]


def test_a_job_that_a_life_cancelled_without_being_able_to_say_so_begins_again():
    rates = {"create lost before": 0.3, "delete error": 0.02, "list error": 0.9}
    full_disk = Schedule(
        seed=118629246, jobs=3, parallel=2, rates=rates, full_disk_after=31, phase="full", resumes=True, skew_s=-3600,
        away_s=1500,
    )  # fmt: skip
    report = simulate(full_disk)
    assert report.violations == []
    assert Outcome.FAILED not in {job.outcome for job in report.finished}


def test_a_job_that_is_not_taken_up_for_want_of_money_keeps_what_its_pod_has_cost():
    quiet = Schedule(seed=6, resumes=True, away_s=1500, cap_usd=0.8)
    trace = simulate(quiet).trace
    created = next(number for number, call in enumerate(trace, 1) if call.endswith("journal> PodCreated"))
    report = simulate(replace(quiet, kills=[created]))
    assert report.violations == []
    (job,) = report.finished
    assert (job.outcome, job.failure_class) == (Outcome.CANCELLED, FailureClass.LIMIT)
    assert job.cost_usd > 1500 / 3600 * 0.25


def test_a_run_taken_up_again_at_any_point_leaves_no_pod_and_never_has_two():
    schedule = replace(calm(Schedule.drawn(1)), resumes=True)
    points = range(1, crash_points(schedule) + 1, 5)
    tally = sweep(schedule, points)
    assert not tally.failed, f"{len(tally.failed)} of {tally.runs} points:\n" + "\n\n".join(tally.failed[:3])
    assert tally.marks["resumed"] > 30


def test_a_run_that_is_killed_twice_leaves_out_no_step():
    quiet = Schedule(seed=1, phase="full", resumes=True)
    for first in range(point_of(quiet, "journal> PodCreated"), point_of(quiet, "call< metrics", nth=2), 7):
        for second in range(20, 120, 20):
            report = simulate(replace(quiet, kills=[first, second]))
            assert report.violations == []
            assert [job.outcome for job in report.finished] == [Outcome.PASSED], str(report)


def test_a_later_attempt_that_is_taken_up_reads_the_log_of_its_own_pod_from_the_start():
    # The first pod is gone when somebody comes back, so that the next life begins again with another one.
    quiet = Schedule(seed=1, resumes=True, away_s=1500)
    training = point_of(quiet, "journal> MetricsObserved")
    for second in range(40, 200, 10):
        report = simulate(replace(quiet, kills=[training, second]))
        assert report.violations == []
        assert "another attempt" in report.marks
        assert report.finished[-1].outcome is Outcome.PASSED, str(report)


@pytest.mark.parametrize("rates", [{}, {"trainer crashes": 1.0}, {"container loops": 1.0}, {"log broken": 1.0}])
@pytest.mark.parametrize("via", ["lab", "runpod"])
def test_a_job_killed_while_its_pod_is_given_back_comes_to_the_same_end_without_a_second_pod(rates, via):
    quiet = Schedule(seed=1, rates=rates, via=via, resumes=True)
    whole = simulate(quiet)
    for point in range(point_of(quiet, "journal> PodTerminating"), len(whole.trace), 3):
        report = simulate(replace(quiet, kills=[point]))
        assert report.violations == []
        assert creates(report) == 1
        assert [(job.outcome, job.failure_class) for job in report.finished] == [
            (job.outcome, job.failure_class) for job in whole.finished
        ], str(report)


def test_a_wait_that_ran_out_unseen_is_no_verdict_however_often_the_run_is_taken_up():
    blind = Schedule(seed=1, rates={"log broken": 1.0}, via="runpod", resumes=True)
    whole = simulate(blind)
    for point in range(point_of(blind, "journal> StepFinished", nth=4), len(whole.trace), 4):
        (job,) = simulate(replace(blind, kills=[point])).finished
        assert (job.outcome, job.failure_class) == (Outcome.UNKNOWN, FailureClass.NO_EVIDENCE)


def test_what_a_pod_wrote_before_it_ended_while_the_runner_was_gone_is_unknown_and_not_missing():
    quiet = Schedule(seed=1, resumes=True, away_s=1500)
    for point in range(point_of(quiet, "journal> PodCreated") + 3, point_of(quiet, "journal< LogsObserved"), 4):
        report = simulate(replace(quiet, kills=[point]))
        assert report.violations == []
        assert [job.outcome for job in report.finished] != [Outcome.FAILED], str(report)


@pytest.mark.sweep
def test_a_healthy_run_that_is_killed_up_to_three_times_comes_to_its_verdict():
    for seed in range(300):
        dice = Random(f"taking up {seed}")
        schedule = Schedule(
            seed=seed,
            jobs=dice.randint(1, 3),
            parallel=dice.randint(1, 3),
            phase=dice.choice(["basic", "full"]),
            via=dice.choice(["lab", "runpod"]),
            kills=[dice.randint(1, 400) for _ in range(dice.randint(1, 3))],
            resumes=True,
            away_s=dice.choice([0, 5, 200, 1500]),
            skew_s=dice.choice([0, -3600, 40]),
        )
        report = simulate(schedule)
        assert report.violations == []
        for job in report.finished:
            # Nobody knows what a pod wrote last that was gone when somebody came back.
            is_unseen = job.outcome is Outcome.UNKNOWN and "the log was not read to its end" in job.reason
            assert job.outcome is Outcome.PASSED or is_unseen, str(report)
