"""How long a pod may stay in which state."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from runner.engine.vigil import Vigil
from runner.results import LogLine, Pod


@pytest.fixture
def vigil() -> Vigil:
    return Vigil(since_s=100.0, provision_s=1200.0, stuck_s=300.0)


def pod(status: str, uptime_s: float | None = None) -> Pod:
    return Pod(id="p", name="n", status=status, uptime_s=uptime_s)


def system(text: str, *, source: str = "system") -> LogLine:
    return LogLine(at=datetime(2026, 11, 1, tzinfo=UTC), source=source, text=text)


@pytest.mark.parametrize("status", ["PROVISIONING", "STARTING", "HIBERNATING"])
def test_a_pod_without_a_container_has_until_the_end_of_its_provision_time(vigil, status):
    vigil.see(pod(status), 1290.0)
    assert vigil.complaint(1300.0) == ""
    assert status in vigil.complaint(1301.0)


def test_a_pod_that_nobody_has_seen_yet_has_no_more_time_than_others(vigil):
    vigil.see(None, 1290.0)
    assert vigil.complaint(1300.0) == ""
    assert vigil.complaint(1301.0)


def test_nobody_complains_of_what_nobody_could_look_at(vigil):
    vigil.see(pod("PROVISIONING"), 1000.0)
    assert vigil.complaint(8999.0) == ""
    # Hours later, after a silence of the cloud or in another life of the run, it is seen again.
    vigil.see(pod("RUNNING", 7200.0), 9000.0)
    assert vigil.complaint(9000.0) == ""


def test_a_pod_that_has_run_is_no_longer_measured_by_the_provision_time(vigil):
    vigil.see(pod("RUNNING", 5.0), 300.0)
    vigil.see(pod("HIBERNATING"), 5000.0)
    assert vigil.complaint(9000.0) == ""


def test_running_with_an_uptime_of_zero_is_believed_for_a_while_only(vigil):
    vigil.see(pod("RUNNING", 0), 200.0)
    vigil.see(pod("RUNNING", None), 500.0)
    assert vigil.complaint(9000.0) == ""
    vigil.see(pod("RUNNING", None), 501.0)
    assert "uptime of 0" in vigil.complaint(9000.0)


def test_a_word_that_nobody_knows_is_no_sign_of_life(vigil):
    for seconds in range(200, 600, 20):
        vigil.see(pod("RUNNING", 0) if seconds % 40 else pod("HIBERNATING"), seconds)
    assert "uptime of 0" in vigil.complaint(9000.0)


def test_a_pod_that_comes_up_after_an_uptime_of_zero_is_fine(vigil):
    vigil.see(pod("RUNNING", 0), 200.0)
    vigil.see(pod("RUNNING", 1.0), 400.0)
    vigil.see(pod("RUNNING", 501.0), 900.0)
    assert vigil.complaint(9000.0) == ""


def test_a_container_that_starts_again_and_again_is_a_loop_by_what_the_platform_says(vigil):
    vigil.see(pod("RUNNING", 1.0), 150.0)
    vigil.hear([system("start container for image: begin")] * 3)
    assert vigil.complaint(9000.0) == ""
    vigil.hear([system("start container for image: begin")])
    assert "restarted" in vigil.complaint(9000.0)


def test_a_container_that_starts_again_and_again_is_a_loop_by_its_uptime(vigil):
    for look, uptime_s in enumerate([1, 9, 2, 8, 3, 7, 2]):
        assert vigil.complaint(9000.0) == ""
        vigil.see(pod("RUNNING", float(uptime_s)), 150.0 + look)
    assert "restarted" in vigil.complaint(9000.0)


def test_what_the_training_prints_is_no_start_of_a_container(vigil):
    vigil.see(pod("RUNNING", 1.0), 150.0)
    vigil.hear([system("start container", source="container")] * 10)
    assert vigil.complaint(9000.0) == ""
