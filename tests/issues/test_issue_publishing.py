"""The catalogue as editors and readers see it, and that it knows all that the contract knows."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from runner.issues.catalogue import load_catalogue
from runner.issues.publish import issues_page, issues_schema, render_issue_schemas

ROOT = Path(__file__).resolve().parents[2]


def catalogue():
    text = resources.files("runner.issues").joinpath("catalogue.yaml").read_text(encoding="utf-8")
    return YAML(typ="safe").load(text)


def test_the_page_is_current():
    assert (ROOT / "docs" / "issues.md").read_text() == issues_page(), "run `python -m runner.issues.publish`"


def test_the_schema_is_current():
    for name, text in render_issue_schemas().items():
        assert (ROOT / "schemas" / name).read_text() == text, "run `runspec schema --write`"


def test_the_schema_takes_the_catalogue():
    jsonschema.Draft202012Validator(issues_schema()).validate(catalogue())


@pytest.mark.parametrize("change", [{"class": "oum"}, {"containz": ["x"]}, {"verdict": "bad"}, {"evidence": "smell"}])
def test_the_schema_refuses_what_the_loader_refuses(change):
    wrong = {"rules": [{**catalogue()["rules"][0], **change}]}
    assert not jsonschema.Draft202012Validator(issues_schema()).is_valid(wrong)


def test_every_failure_of_the_contract_has_a_rule():
    numbers = {
        int(one) for rule in load_catalogue() for source in rule.sources for one in re.findall(r"F-(\d+)", source)
    }
    assert numbers == set(range(1, 61))


def test_every_class_of_the_tracking_document_has_a_rule():
    sources = {source for rule in load_catalogue() for source in rule.sources}
    assert {f"tracking {number}" for number in range(1, 6)} <= sources


def test_every_rule_says_what_it_concerns_and_only_what_is_read_has_texts():
    for rule in load_catalogue():
        assert rule.concerns
        assert bool(rule.contains) <= (rule.evidence in ("log", "api", "traceback")), rule.id
        assert bool(rule.frames) == (rule.evidence == "traceback"), rule.id
