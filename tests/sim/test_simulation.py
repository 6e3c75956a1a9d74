"""The unmodified engine on a virtual clock, against a cloud and a lab that misbehave from a seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.results import FailureClass, Outcome
from tests.sim.campaign import calm, crash_points, random_schedules, sweep
from tests.sim.cloud import FAULTS
from tests.sim.mutants import MUTANTS, Plant, planted
from tests.sim.schedule import Schedule, simulate

SEEDS = int(os.environ.get("RUNSPEC_SIM_SEEDS", "600"))
FIRST_SEED = int(os.environ.get("RUNSPEC_SIM_FIRST", "0"))
MUST_REACH = {
    "adopted after an ambiguous create",
    *(f"job {outcome}" for outcome in ("passed", "failed", "errored", "unknown", "cancelled")),
    *(f"class {name}" for name in ("provider", "infrastructure", "interrupted", "limit", "capacity")),
}


def test_a_healthy_cloud_gives_two_green_jobs_and_no_pod():
    report = simulate(Schedule(seed=1, jobs=2, parallel=2))
    assert report.violations == []
    assert report.exit_code == 0
    assert [job.outcome for job in report.finished] == [Outcome.PASSED, Outcome.PASSED]


def test_no_seeded_schedule_of_faults_kills_and_interrupts_breaks_an_invariant():
    tally = random_schedules(range(FIRST_SEED, FIRST_SEED + SEEDS))
    assert not tally.failed, f"{len(tally.failed)} of {tally.runs} schedules:\n" + "\n\n".join(tally.failed[:3])
    assert not MUST_REACH - tally.marks.keys()
    assert not set(FAULTS) - tally.faults.keys()


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
        for seed in range(1500):
            if simulate(Schedule.drawn(seed)).violations:
                return
    pytest.fail(f"1,500 schedules did not find: {plant.__doc__}")


def test_the_same_seeds_give_the_same_trace_whatever_the_hash_seed():
    program = "from tests.sim.campaign import random_schedules as r; print(r(range(40)).digest)"
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
