"""Criteria to verdicts, verdicts to an outcome."""

from __future__ import annotations

import pytest

from runner.conditions.judge import all_decided, job_outcome, judge
from runner.results import Finding, Outcome, Verdict
from runner.spec.models import Criterion


def criterion(condition, written, name="c1", **fields):
    return Criterion(id=name, title=name, expect=condition(written), **fields)


def verdict(outcome, *, optional=False):
    finding = Finding(truth=None, decided=True, expected="", observed="")
    return Verdict(id="c", title="c", outcome=outcome, finding=finding, optional=optional)


def test_truth_becomes_outcome(story, condition):
    evidence = story().log("a").misses("alerts").evidence(closed=True)
    asked = [{"log": "a"}, {"log": "b"}, {"alert": "job_started"}]
    verdicts = judge([criterion(condition, one) for one in asked], evidence)
    assert [one.outcome for one in verdicts] == [Outcome.PASSED, Outcome.FAILED, Outcome.UNKNOWN]


def test_verdict_keeps_id_title_and_whether_it_is_optional(story, condition):
    (one,) = judge([criterion(condition, {"log": "a"}, "trains", optional=True)], story().evidence())
    assert (one.id, one.title, one.optional) == ("trains", "trains", True)


def test_all_decided_needs_every_criterion_decided(story, condition):
    criteria = [criterion(condition, {"log": "a"}), criterion(condition, {"log": "b"}, "c2")]
    assert not all_decided(criteria, story().log("a").evidence())
    assert all_decided(criteria, story().log("a", "b").evidence())
    assert all_decided(criteria, story().log("a").evidence(closed=True))
    assert not all_decided([], story().evidence(closed=True))


@pytest.mark.parametrize(
    ("verdicts", "outcome"),
    [
        ([], Outcome.UNKNOWN),
        ([verdict(Outcome.PASSED)], Outcome.PASSED),
        ([verdict(Outcome.PASSED), verdict(Outcome.UNKNOWN)], Outcome.UNKNOWN),
        ([verdict(Outcome.FAILED), verdict(Outcome.UNKNOWN)], Outcome.FAILED),
        ([verdict(Outcome.PASSED), verdict(Outcome.FAILED, optional=True)], Outcome.PASSED),
        ([verdict(Outcome.PASSED), verdict(Outcome.UNKNOWN, optional=True)], Outcome.PASSED),
        ([verdict(Outcome.PASSED, optional=True)], Outcome.UNKNOWN),
        ([verdict(Outcome.PASSED), verdict(Outcome.ERRORED)], Outcome.UNKNOWN),
        ([verdict(Outcome.SKIPPED)], Outcome.UNKNOWN),
    ],
)
def test_job_outcome(verdicts, outcome):
    assert job_outcome(verdicts) is outcome
