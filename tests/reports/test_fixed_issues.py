"""A known failure that is no longer seen."""

from __future__ import annotations

import fake_runs as fake

from runner.reports.sections import status
from runner.reports.standing import build_model
from runner.results import Outcome

JOB = "cpt_standard/basic/1"
LOSES_POINTS = fake.issue(issue="loses-points", title="Loses points", failure_class="known_issue", verdict="error")


def run(run_id: str, day: int, *seen, outcome=Outcome.PASSED):
    judged = fake.verdicts() if outcome is Outcome.PASSED else fake.verdicts(metrics_post=fake.FAILED_METRICS)
    return fake.run(run_id, fake.job_events(JOB, outcome, judged, extra=seen), outcome=outcome, day=day)


def shown(*runs) -> str:
    return status(build_model([fake.subject()], runs), "cpt_standard")


def test_a_known_failure_that_a_pass_no_longer_shows_may_be_fixed():
    text = shown(run("old1", 0, LOSES_POINTS, outcome=Outcome.FAILED), run("new1", 1))
    assert "  - known issue `loses-points` is no longer seen: fixed? (Loses points)" in text.splitlines()


def test_one_that_is_still_seen_or_was_never_a_failure_is_not():
    expected = fake.issue(issue="says-so", failure_class="known_issue", verdict="expected")
    assert "fixed?" not in shown(run("old1", 0, LOSES_POINTS), run("new1", 1, LOSES_POINTS))
    assert "fixed?" not in shown(run("old1", 0, expected), run("new1", 1))
    assert "fixed?" not in shown(run("old1", 0, LOSES_POINTS), run("new1", 1, outcome=Outcome.FAILED))
