"""Known issues that no log line shows are recorded by the engine as it ends a job."""

from __future__ import annotations

import pytest

from tests.sim.schedule import Schedule, simulate


@pytest.mark.parametrize(
    ("fault", "issue"),
    [("sold out", "no-capacity"), ("alert lost", "alerts-missing"), ("metrics refused", "metrics-post-405")],
)
def test_the_cause_of_a_fault_is_recorded(fault, issue):
    report = simulate(Schedule(seed=6, rates={fault: 1.0}))
    assert report.violations == []
    assert f"issue {issue}" in report.marks, sorted(report.marks)


def test_a_healthy_job_has_no_issue():
    report = simulate(Schedule(seed=1))
    assert not [mark for mark in report.marks if mark.startswith("issue ")]
