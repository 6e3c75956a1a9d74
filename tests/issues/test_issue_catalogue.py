"""The catalogue is well-formed."""

from __future__ import annotations

import msgspec
import pytest

from runner.issues.catalogue import load_catalogue, parse_catalogue
from runner.results import FailureClass
from runner.spec.patterns import line_pattern

RULE = "{id: a, title: t, class: oom, verdict: error, cause: c"


@pytest.mark.parametrize("rule", load_catalogue(), ids=lambda rule: rule.id)
def test_rule_is_cheap_and_complete(rule):
    assert rule.title
    assert rule.cause
    assert rule.fix
    assert rule.sources
    assert rule.contains or rule.pattern is None, "a pattern needs a literal before it"
    assert rule.pattern is None or line_pattern(rule.pattern).is_bounded


def test_generic_rules_come_last():
    rules = [rule for rule in load_catalogue() if rule.failure_class in ("trainer_error", "trainer_killed")]
    assert list(load_catalogue()[-len(rules) :]) == rules
    assert all(rule.generic for rule in rules)


def test_class_decides_what_happens_next():
    failures = {rule.id: rule.failure for rule in load_catalogue()}
    assert failures["oom-cuda"] is FailureClass.OUT_OF_MEMORY
    assert failures["dataset-key-missing"] is FailureClass.DATASET
    assert failures["no-capacity"] is FailureClass.CAPACITY
    assert failures["gpu-broken"] is FailureClass.INFRASTRUCTURE
    assert failures["config-lora-targets"] is FailureClass.TRAINER_ERROR


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"rules: [{RULE}, containz: [x]}}]", "containz"),
        (f"rules: [{RULE.replace('oom', 'oum')}}}]", "oum"),
        (f"rules: [{RULE.replace('error', 'bad')}}}]", "bad"),
    ],
)
def test_misspelt_catalogue_is_refused(text, problem):
    with pytest.raises(msgspec.ValidationError, match=problem):
        parse_catalogue(text)


def test_id_is_used_once():
    with pytest.raises(ValueError, match="used twice: a"):
        parse_catalogue(f"rules: [{RULE}}}, {RULE}}}]")
