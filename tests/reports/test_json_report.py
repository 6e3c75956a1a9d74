"""JSON for programs: it fits its published schema, and says unknown where nothing is known."""

from __future__ import annotations

import json
from pathlib import Path

import fake_runs as fake
import pytest
from hostile import PAYLOADS, hostile_run
from jsonschema import Draft202012Validator
from test_document_content import everything_that_can_happen

from runner.reports.evidence import summarise
from runner.reports.json_report import SCHEMA_FILE, render_json, report_schema
from runner.results import Target

PUBLISHED = Path(__file__).parents[2] / "schemas" / SCHEMA_FILE
VALIDATOR = Draft202012Validator(json.loads(report_schema()))


def report(run: fake.RecordedRun) -> dict:
    found = json.loads(render_json(summarise(run)))
    VALIDATOR.validate(found)
    return found


def test_the_published_schema_is_that_of_the_code():
    assert PUBLISHED.read_text(encoding="utf-8") == report_schema()


def test_everything_that_can_happen_fits_the_schema():
    for run in everything_that_can_happen():
        found = report(run)
        totals = found["totals"]
        outcomes = ("passed", "failed", "errored", "unknown", "skipped", "cancelled", "interrupted")
        assert sum(totals[name] for name in outcomes) == totals["jobs"] == len(found["jobs"])


def test_a_rehearsal_says_so_and_costs_nothing():
    found = report(fake.passing())
    assert (found["version"], found["evidence"], found["cost_usd"]) == (1, "rehearsed", 0)
    assert report(fake.passing(target=Target.CLOUD))["evidence"] == "verified"


def test_unknown_is_in_the_criteria_and_in_the_totals():
    found = report(fake.unknown())
    assert found["totals"]["unknown"] == 1
    assert found["totals"]["criteria"] - found["totals"]["criteria_passed"] == 1
    assert found["jobs"][0]["evidence_missing"] == {"metrics": "PPO posts no metrics"}


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_hostile_text_stays_text(payload):
    assert report(hostile_run(payload))["totals"]["jobs"] == 1
