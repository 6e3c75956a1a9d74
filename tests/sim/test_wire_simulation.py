"""Engine and providers against the embedded servers, all unmodified, over HTTP that breaks from a seed."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from runner.errors import ProviderError
from runner.events import PodDoubled, PodGone
from runner.local.faults import Rule, What, When
from runner.local.lifecycle import Pod, PodHost
from runner.providers import http
from runner.providers.faults import Call
from runner.providers.redaction import Redactor
from runner.results import FailureClass, Outcome
from tests.sim.tally import wire_schedules
from tests.sim.wire import WIRE_FAULTS
from tests.sim.wire_schedule import WireSchedule
from tests.sim.wire_simulation import WireSimulation, simulate_wire
from tests.sim.wire_surroundings import seeded_ids

SEEDS = int(os.environ.get("RUNSPEC_WIRE_SEEDS", "16"))
FIRST_SEED = int(os.environ.get("RUNSPEC_WIRE_FIRST", "0"))


@pytest.mark.parametrize("via", ["lab", "runpod"])
def test_healthy_wires_give_a_green_job_and_no_pod(via):
    report = simulate_wire(WireSchedule(seed=1, via=via, healthy=True))
    assert report.violations == []
    assert report.exit_code == 0
    assert [job.outcome for job in report.finished] == [Outcome.PASSED]


def test_no_seeded_schedule_over_the_wire_breaks_an_invariant():
    tally = wire_schedules(range(FIRST_SEED, FIRST_SEED + SEEDS))
    assert not tally.failed, f"{len(tally.failed)} of {tally.runs} schedules:\n" + "\n\n".join(tally.failed[:3])
    assert {"job passed", "job failed", "job cancelled", "resumed"} <= tally.marks.keys()


@pytest.mark.parametrize("fault", WIRE_FAULTS)
def test_a_wire_that_often_breaks_in_one_way_breaks_no_invariant(fault):
    report = simulate_wire(WireSchedule(seed=2, wire={fault: 0.15}, healthy=True))
    assert report.violations == [], str(report)
    assert report.happened[fault] > 0


@pytest.mark.parametrize(
    ("via", "door"),
    [
        ("lab", "lab POST /api/training"),
        ("lab", "lab POST /api/training/dataset"),
        ("lab", "lab POST /api/training/{id}/attach-dataset"),
        ("runpod", "lab POST /api/training/local/jobs"),
    ],
)
def test_one_answer_that_never_comes_before_there_is_a_pod_costs_time_and_no_verdict(via, door):
    too_long_s = 400 if door.endswith("dataset") and "attach" not in door else 100
    rule = Rule(where=door, what=What(delay_s=too_long_s), when=When(times=1))
    report = simulate_wire(WireSchedule(seed=1, via=via, healthy=True), rule)
    assert report.violations == []
    assert report.happened["other"] == 1
    assert report.exit_code == 0


class Doubling(WireSimulation):
    """A platform that makes two pods of one request, as a proxy that sends it again would have it."""

    doubles: list[Pod]

    def _start_servers(self) -> None:
        super()._start_servers()
        create, self.doubles = self.cloud.pods.create, []

        def twice(request, **more):
            self.doubles.append(PodHost.create(self.cloud.pods, request, **more))
            return create(request, **more)

        self.cloud.pods.create = twice


def test_of_two_pods_for_one_lost_create_the_second_is_given_back_at_once(tmp_path):
    with seeded_ids(1):
        simulation = Doubling(WireSchedule(seed=1, via="runpod", healthy=True), tmp_path)
        simulation.cloud.faults.add(Rule(where="runpod POST /v2/pods", what="error-after", when=When(times=1)))
        report = simulation.run()
    assert report.violations == []
    assert report.exit_code == 0
    alive_s = sorted(
        (pod.paid[-1].end - pod.paid[0].start).total_seconds() for pod in (*simulation.doubles, *simulation.pods)
    )
    assert len(alive_s) == 2
    assert alive_s[0] < 30 < alive_s[1]


def test_a_second_pod_that_shows_up_late_is_given_back_and_on_the_bill(tmp_path):
    with seeded_ids(1):
        simulation = Doubling(WireSchedule(seed=1, via="runpod", healthy=True), tmp_path)
        report = simulation.run()
    assert report.violations == []
    assert report.exit_code == 0
    (double,) = simulation.doubles
    alive_s = (double.paid[-1].end - double.paid[0].start).total_seconds()
    assert alive_s < 30
    (said,) = (event for event in simulation.disk.events() if isinstance(event, PodDoubled))
    (gone,) = (event for event in simulation.disk.events() if isinstance(event, PodGone))
    (job,) = report.finished
    assert said.alive_s >= alive_s - 1
    assert job.cost_usd == pytest.approx(gone.cost_usd + said.cost_usd)


def test_logs_that_cannot_be_had_are_no_verdict_on_the_template():
    rule = Rule(where="runpod GET /v2/pods/{id}/logs", what="error-before")
    report = simulate_wire(WireSchedule(seed=1, healthy=True), rule)
    assert report.violations == []
    assert [(job.outcome, job.failure_class) for job in report.finished] == [
        (Outcome.UNKNOWN, FailureClass.NO_EVIDENCE)
    ]
    assert "can no longer come: the pod is gone and its job is over" in report.finished[0].reason
    assert "the log stream broke" in report.finished[0].reason
    assert report.finished[0].elapsed_s < 600
    assert report.exit_code == 3


def test_no_wait_goes_on_for_minutes_when_all_that_could_end_it_is_gone():
    for seed in range(20, 28):  # in one of them every answer about the log is lost until the pod is gone
        report = simulate_wire(WireSchedule(seed=seed, wire={"answer lost": 0.15}, healthy=True))
        assert report.violations == [], str(report)
        for job in report.finished:
            assert "within 15m" not in job.reason, f"seed {seed}: {job.reason}"


@pytest.mark.parametrize("via", ["lab", "runpod"])
def test_a_log_that_is_never_found_is_no_verdict_on_the_template(via):
    body = {"title": "Not Found", "status": 404, "detail": "pod not found"}
    rule = Rule(where="runpod GET /v2/pods/{id}/logs", what=What(status=404, body=body))
    report = simulate_wire(WireSchedule(seed=1, via=via, healthy=True), rule)
    assert report.violations == []
    (finished,) = report.finished
    assert (finished.outcome, finished.failure_class) == (Outcome.UNKNOWN, FailureClass.NO_EVIDENCE)
    assert "not a line was had of the log" in finished.reason
    assert finished.elapsed_s < 600
    assert report.exit_code == 3


def test_a_run_killed_at_any_request_and_taken_up_or_ended_leaves_no_pod():
    quiet = WireSchedule(seed=3, healthy=True)
    points = simulate_wire(quiet).points[0]
    for number, point in enumerate(range(1, points, 30)):
        report = simulate_wire(replace(quiet, kills=[point], resumes=number % 2 == 0))
        assert report.violations == [], str(report)
        assert len(report.points) > 1


def test_the_wire_simulation_finds_a_create_that_is_sent_again(monkeypatch):
    monkeypatch.setattr(Call, "may_repeat", property(lambda call: True))
    monkeypatch.setattr(http, "is_retryable", lambda exc: isinstance(exc, ProviderError))
    report = simulate_wire(WireSchedule(seed=1, via="runpod", server={"error-after": 0.9}))
    assert any("I2" in violation for violation in report.violations)


def test_the_wire_simulation_finds_a_log_that_shows_secrets(monkeypatch):
    monkeypatch.setattr(Redactor, "log_line", lambda self, text: text)
    report = simulate_wire(WireSchedule(seed=1, healthy=True))
    assert any("I11" in violation for violation in report.violations)


def test_the_same_seeds_give_the_same_wire_trace_whatever_the_hash_seed():
    program = "from tests.sim.tally import wire_schedules as w; print(w(range(50, 54)).digest)"
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
