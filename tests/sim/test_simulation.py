"""The unmodified engine on a virtual clock, against a cloud and a lab that misbehave from a seed."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from runner.results import FailureClass, Outcome
from tests.sim.cloud import FAULTS
from tests.sim.coverage import FAULT_ROWS, MARKS, TRAPS, not_met
from tests.sim.mutants import MUTANTS, Plant, planted
from tests.sim.schedule import SUSPENDED_S, Schedule, Simulation, simulate
from tests.sim.tally import calm, crash_points, random_schedules, sweep
from tests.sim.wire import WIRE_FAULTS
from tests.sim.wire_schedule import SERVER_FAULTS

SEEDS = int(os.environ.get("RUNSPEC_SIM_SEEDS", "200"))
FIRST_SEED = int(os.environ.get("RUNSPEC_SIM_FIRST", "0"))
MUST_REACH = {
    "adopted after an ambiguous create",
    *(f"job {outcome}" for outcome in ("passed", "failed", "errored", "unknown", "cancelled")),
    *(f"class {name}" for name in ("provider", "infrastructure", "interrupted", "limit", "capacity")),
}

# What goes wrong with a finished job is too rare in random schedules, so each has a test of its own.
PRODUCT_FAULTS = {
    "hostile archive": (Outcome.FAILED, 1),
    "model broken": (Outcome.FAILED, 1),
    "sdk reads otherwise": (Outcome.FAILED, 1),
    "no download route": (Outcome.UNKNOWN, 3),
    "no torch": (Outcome.UNKNOWN, 3),
    "sdk missing": (Outcome.UNKNOWN, 3),
    "download hangs": (Outcome.ERRORED, 4),
}


def test_a_healthy_cloud_gives_two_green_jobs_and_no_pod():
    report = simulate(Schedule(seed=1, jobs=2, parallel=2))
    assert report.violations == []
    assert report.exit_code == 0
    assert [job.outcome for job in report.finished] == [Outcome.PASSED, Outcome.PASSED]


def test_a_full_run_fetches_the_model_and_asks_it():
    report = simulate(Schedule(seed=1, phase="full"))
    assert report.violations == []
    assert [job.outcome for job in report.finished] == [Outcome.PASSED]


@pytest.mark.parametrize(("fault", "outcome", "code"), [(fault, *came_to) for fault, came_to in PRODUCT_FAULTS.items()])
def test_what_is_wrong_with_a_model_fails_and_what_cannot_be_had_is_unknown(fault, outcome, code):
    report = simulate(Schedule(seed=1, phase="full", rates={fault: 1.0}))
    assert report.violations == []
    assert [job.outcome for job in report.finished] == [outcome]
    assert report.exit_code == code


def test_an_interrupted_download_is_given_up_and_the_pod_ended():
    hanging = Schedule(seed=1, phase="full", rates={"download hangs": 1.0})
    began_s = next(float(call.split()[0]) for call in simulate(hanging).trace if call.endswith("call< fetch_model"))
    report = simulate(replace(hanging, interrupt_s=[began_s + 60]))
    assert report.violations == []
    assert [job.failure_class for job in report.finished] == [FailureClass.INTERRUPTED]


def test_no_seeded_schedule_of_faults_kills_and_interrupts_breaks_an_invariant():
    tally = random_schedules(range(FIRST_SEED, FIRST_SEED + SEEDS))
    assert not tally.failed, f"{len(tally.failed)} of {tally.runs} schedules:\n" + "\n\n".join(tally.failed[:3])
    assert not MUST_REACH - tally.marks.keys()


def test_a_campaign_says_what_it_has_met_too_seldom():
    rows = dict.fromkeys([*FAULT_ROWS, *TRAPS], 50)
    marks = dict.fromkeys(MARKS, 1)
    assert not_met(rows, marks, at_least=50) == []
    assert not_met({**rows, "T-01": 49}, marks, at_least=50) == ["T-01: in 49 seeds, 50 are wanted"]
    assert not_met(rows, {**marks} | {"job passed": 0}, at_least=50) == ["never reached: job passed"]


def test_every_fault_of_either_tier_belongs_to_a_campaign():
    of_rows = {fault for faults in FAULT_ROWS.values() for fault in faults}
    simulated = {
        *FAULTS,
        *WIRE_FAULTS,
        *SERVER_FAULTS,
        "suspended",
        "clock wrong",
        "own key allowed",
        "own key refused",
    }
    assert of_rows <= simulated


def test_a_run_killed_at_any_point_and_recovered_leaves_no_pod():
    schedule = calm(Schedule.drawn(1))
    tally = sweep(schedule, range(1, crash_points(schedule) + 1))
    assert tally.runs > 150
    assert not tally.failed, f"{len(tally.failed)} of {tally.runs} points:\n" + "\n\n".join(tally.failed[:3])


def test_a_run_killed_around_an_ambiguous_create_and_again_in_recovery_leaves_no_pod():
    schedule = Schedule(seed=5, rates={"create lost after": 1.0})
    creating = next(number for number, call in enumerate(simulate(schedule).trace, 1) if call.endswith("call< deploy"))
    for first in range(creating - 2, creating + 6):
        for second in range(1, 12):
            report = simulate(Schedule(seed=5, rates={"create lost after": 1.0}, kills=[first, second]))
            assert not report.violations, str(report)


@pytest.mark.parametrize("via", ["lab", "runpod"])
@pytest.mark.parametrize("skew_s", [-3600, 3600])
def test_a_clock_that_is_an_hour_off_changes_no_verdict(skew_s, via):
    report = simulate(Schedule(seed=1, phase="full", via=via, skew_s=skew_s))
    assert report.violations == []
    assert [job.outcome for job in report.finished] == [Outcome.PASSED]


def test_a_pod_that_outlived_its_limits_while_the_machine_slept_is_ended_when_it_wakes():
    report = simulate(Schedule(seed=1, rates={"trainer stalls": 1.0}, suspend_s=60))
    assert report.violations == []
    assert report.exit_code == 4
    assert [job.failure_class for job in report.finished] == [FailureClass.LIMIT]
    assert report.finished[0].cost_usd > 8 * 0.25


@pytest.mark.parametrize("suspend_s", [10, 60, 100])
def test_a_training_that_went_on_while_the_machine_slept_is_not_called_stalled(suspend_s):
    report = simulate(Schedule(seed=1, phase="full", suspend_s=suspend_s))
    assert report.violations == []
    assert [job.outcome for job in report.finished] == [Outcome.PASSED]


def test_a_machine_that_slept_while_it_gave_a_pod_back_goes_on_insisting_when_it_wakes():
    rates = {"hostile archive": 0.02, "log broken": 0.1, "delete error": 0.9}
    report = simulate(
        Schedule(
            seed=540092238, jobs=3, rates=rates, phase="full", via="runpod", escalates=True,
            suspend_s=157.07563638703215, skew_s=-3600,
        )
    )  # fmt: skip
    assert report.violations == []
    assert report.exit_code != 6


def test_an_interrupt_right_after_the_machine_woke_ends_the_pod_at_once():
    report = simulate(Schedule(seed=1, suspend_s=60, interrupt_s=[61]))
    assert report.violations == []
    asked_s = 61 + SUSPENDED_S
    ended_s = next(float(call.split()[0]) for call in report.trace if call.endswith("call< terminate_pod"))
    assert ended_s - asked_s < 10


def test_a_training_that_went_on_while_nobody_answered_is_not_called_stalled():
    for phase in ("basic", "full"):
        for seed in (1, 2):
            simulation = Simulation(Schedule(seed=seed, phase=phase))
            simulation.world.happened["outage"] += 1
            simulation.world.outage = (60, 1160)
            report = simulation.run()
            assert report.violations == []
            assert [job.outcome for job in report.finished] != [Outcome.FAILED]
            assert not [job for job in report.finished if "without a new value" in job.reason]


def test_a_trainer_that_stalls_is_found_although_the_lab_often_gives_no_answer():
    report = simulate(Schedule(seed=3, rates={"trainer stalls": 1.0, "lab error": 0.3}))
    assert report.violations == []
    assert "without a new value for 10m" in report.finished[0].reason


def test_a_pod_that_the_cloud_calls_failed_says_nothing_of_the_template():
    report = simulate(Schedule(seed=1, rates={"pod error": 1.0}))
    assert report.violations == []
    (job,) = report.finished
    assert (job.outcome, job.failure_class) == (Outcome.ERRORED, FailureClass.INFRASTRUCTURE)


def test_a_log_that_is_read_again_after_a_wait_gave_up_does_not_show_that_something_came_too_late():
    rates = {
        "zero gpus": 0.3, "config refused": 0.1, "no download route": 0.1, "log broken": 0.3, "out of memory": 0.3,
        "delete error": 0.02, "list error": 0.3, "outage": 0.1,
    }  # fmt: skip
    report = simulate(Schedule(seed=118636049, jobs=2, parallel=2, rates=rates, phase="full", escalates=True))
    assert report.violations == []
    assert {job.reason for job in report.finished if "may have come before it was read" in job.reason}


def test_an_outage_of_the_whole_cloud_is_waited_out_and_the_pod_ended():
    report = simulate(Schedule(seed=3, rates={"outage": 1.0, "create lost after": 1.0}))
    assert report.violations == []


def test_a_pod_over_the_price_cap_is_given_back_at_once_and_the_run_stops_with_a_limit():
    report = simulate(Schedule(seed=4, rates={"overpriced": 1.0}))
    assert report.violations == []
    assert report.exit_code == 4
    assert report.finished[0].failure_class is FailureClass.LIMIT
    assert report.finished[0].elapsed_s < 60


def test_when_no_gpu_can_be_had_the_run_ends_without_a_verdict():
    report = simulate(Schedule(seed=4, rates={"capacity": 1.0}))
    assert report.violations == []
    assert report.exit_code == 3
    assert report.finished[0].failure_class is FailureClass.CAPACITY


def test_a_lost_alert_fails_its_criterion_although_training_went_well():
    report = simulate(Schedule(seed=6, rates={"alert lost": 1.0}))
    assert report.violations == []
    assert report.exit_code == 1


def test_a_full_disk_before_the_intent_means_that_nothing_is_created():
    for writes in range(40):
        report = simulate(Schedule(seed=7, full_disk_after=writes))
        assert report.violations == [], str(report)


@pytest.mark.parametrize("plant", MUTANTS, ids=lambda plant: plant.__name__)
def test_the_simulation_finds_a_planted_bug(plant: Plant):
    with planted(plant):
        for seed in range(0, 4500, 3):  # those that are about one kind of fault find most bugs soonest
            if simulate(Schedule.drawn(seed)).violations:
                return
    pytest.fail(f"1,500 schedules did not find: {plant.__doc__}")


def test_the_same_seeds_give_the_same_trace_whatever_the_hash_seed():
    program = "from tests.sim.tally import random_schedules as r; print(r(range(20)).digest)"
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(digests) == 1


def test_pods_that_we_create_ourselves_give_the_same_two_green_jobs():
    report = simulate(Schedule(seed=1, jobs=2, parallel=2, via="runpod"))
    assert report.violations == []
    assert report.exit_code == 0
    assert [call.split()[-1] for call in report.trace if "call<" in call].count("create_pod") == 2


def test_a_lost_answer_to_our_own_create_is_looked_for_and_never_repeated():
    report = simulate(Schedule(seed=2, rates={"create lost after": 1.0}, via="runpod"))
    assert report.violations == []
    assert report.exit_code == 0
    assert "adopted after an ambiguous create" in report.marks


def test_a_sold_out_cloud_is_asked_in_so_many_rounds_and_no_more():
    report = simulate(Schedule(seed=4, rates={"sold out": 1.0}, via="runpod"))
    assert report.violations == []
    assert report.exit_code == 3
    assert report.finished[0].failure_class is FailureClass.CAPACITY
    assert "3 rounds" in report.finished[0].reason


def test_a_request_that_every_gpu_refuses_with_a_400_is_called_suspect():
    report = simulate(Schedule(seed=4, rates={"bad request": 1.0}, via="runpod"))
    assert report.exit_code == 3
    assert "suspect" in report.finished[0].reason


def test_an_account_without_credit_is_stopped_before_anything_is_created():
    report = simulate(Schedule(seed=4, rates={"no credit": 1.0}, via="runpod"))
    assert report.exit_code == 4
    assert not any("create_pod" in call for call in report.trace)


def test_a_create_that_is_rate_limited_is_waited_for():
    report = simulate(Schedule(seed=4, rates={"rate limited": 0.5}, via="runpod"))
    assert report.violations == []
    assert report.happened["rate limited"] > 0
    assert report.exit_code == 0


@pytest.mark.parametrize(("fault", "words"), [("container loops", "restarted"), ("uptime zero", "uptime of 0")])
def test_a_pod_that_bills_and_does_nothing_is_given_back(fault, words):
    report = simulate(Schedule(seed=4, rates={fault: 1.0}, via="runpod"))
    assert report.violations == []
    assert report.finished[0].failure_class is FailureClass.INFRASTRUCTURE
    assert words in report.finished[0].reason
    assert report.finished[0].elapsed_s < 500


def test_a_locked_pod_is_insisted_on_until_it_is_gone():
    report = simulate(Schedule(seed=4, rates={"locked": 1.0}, via="runpod"))
    assert report.violations == []
    assert report.exit_code == 0


def test_a_job_that_runs_out_of_memory_tries_a_bigger_gpu_and_both_pods_are_on_the_bill():
    rates = {"out of memory": 1.0}
    assert simulate(Schedule(seed=3, rates=rates, via="runpod")).exit_code == 1
    report = simulate(Schedule(seed=3, rates=rates, via="runpod", escalates=True))
    assert report.violations == []
    assert report.exit_code == 0
    first, second = report.finished
    assert first.failure_class is FailureClass.OUT_OF_MEMORY
    assert second.outcome is Outcome.PASSED
    assert second.cost_usd > first.cost_usd > 0
