"""JUnit XML as CI systems read it: the rules of Jenkins' schema (junit-10), and what counts as what."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import fake_runs as fake
import pytest
from hostile import PAYLOADS, hostile_run

from runner.reports.evidence import summarise
from runner.reports.junit import render_junit
from runner.results import FailureClass, Outcome

SCHEMA = {  # element: (children, attributes, required attributes); an element without children may hold text
    "testsuites": ({"testsuite"}, {"name", "time", "tests", "failures", "errors"}, set()),
    "testsuite": (
        {"properties", "testcase", "system-out", "system-err"},
        {"name", "tests", "failures", "errors", "time", "skipped", "timestamp", "hostname", "id", "package"},
        {"name", "tests", "failures", "errors"},
    ),
    "properties": ({"property"}, set(), set()),
    "property": (set(), {"name", "value"}, {"name", "value"}),
    "testcase": (
        {"skipped", "error", "failure", "system-out", "system-err"},
        {"name", "time", "classname", "group"},
        {"name"},
    ),
    "failure": (set(), {"type", "message"}, set()),
    "error": (set(), {"type", "message"}, set()),
    "skipped": (set(), {"type", "message"}, set()),
}
TIME = re.compile(r"[0-9]*(\.[0-9]*)?")


def parsed(run: fake.RecordedRun) -> ET.Element:
    root = ET.fromstring(render_junit(summarise(run)))
    assert root.tag == "testsuites"
    for element in root.iter():
        children, attributes, required = SCHEMA[element.tag]
        assert {child.tag for child in element} <= children
        assert required <= set(element.attrib) <= attributes
        assert TIME.fullmatch(element.get("time", "0"))
        if children:
            assert not (element.text or "").strip()
    for suite in root:
        cases = suite.findall("testcase")
        assert int(suite.get("tests")) == len(cases)
        for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.get(attribute)) == len(suite.findall(f"testcase/{tag}"))
    return root


def kinds(root: ET.Element) -> dict[str, list[str]]:
    cases = root.iter("testcase")
    found = {case.get("name"): [child.tag for child in case] for case in cases}
    return {name: tags for name, tags in found.items() if tags}


def test_a_passed_run_has_a_case_for_each_criterion_and_nothing_else():
    root = parsed(fake.passing())
    assert kinds(root) == {}
    assert root.get("tests") == "5"
    assert [case.get("classname") for case in root.iter("testcase")] == ["cpt_standard.basic"] * 5


def test_a_failed_criterion_is_a_failure_with_expected_and_observed():
    root = parsed(fake.failing())
    assert kinds(root) == {"Metrics POST successfully": ["failure"]}
    failure = root.find(".//failure")
    assert failure.get("message") == "failed: 0 points; log line 214 says `API POST failed: 405`"
    assert "expected: at least one `train_loss` point" in failure.text
    assert "job: cpt_standard/basic/1, run 8c1d" in failure.text


def test_what_cannot_be_known_is_an_error_and_never_green():
    assert kinds(parsed(fake.unknown())) == {"Metrics POST successfully": ["error"]}


def test_a_job_that_broke_has_an_error_for_each_criterion_with_the_reason():
    root = parsed(fake.errored())
    assert {tag for tags in kinds(root).values() for tag in tags} == {"error"}
    assert "RunPod has no capacity" in root.find(".//error").get("message")


def test_a_pod_that_is_not_proven_gone_is_an_error_although_every_criterion_holds():
    events = fake.job_events(
        "cpt_standard/basic/1",
        Outcome.ERRORED,
        fake.verdicts(),
        failure_class=FailureClass.LEAK,
        reason="pod p is left",
    )
    root = parsed(fake.run("1eak", events, outcome=Outcome.ERRORED))
    assert kinds(root) == {"Comes to a verdict": ["error"]}


def test_an_expected_known_issue_and_an_optional_criterion_are_skipped():
    optional = fake.verdict("alert-started", Outcome.FAILED, observed="no alert", optional=True)
    events = fake.job_events(
        "cpt_standard/basic/1", Outcome.PASSED, fake.verdicts(alert_started=optional), extra=[fake.issue()]
    )
    found = kinds(parsed(fake.run("0007", events)))
    assert found == {
        "job_started alert received": ["skipped"],
        "Known issue cpt-no-response-template": ["skipped"],
    }


def test_jobs_of_one_phase_share_a_suite_and_are_told_apart():
    jobs = [fake.job_events(f"cpt_standard/batch/{n}", Outcome.PASSED, fake.verdicts()) for n in (1, 2)]
    root = parsed(fake.run("ba7c", *jobs))
    assert len(root) == 1
    assert len({case.get("name") for case in root.iter("testcase")}) == 10


def test_a_run_without_jobs_is_a_document_without_cases():
    assert parsed(fake.run("0000")).get("tests") == "0"


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_hostile_text_stays_text(payload):
    root = parsed(hostile_run(payload))
    assert len(list(root.iter("testcase"))) == 6
    assert len(root) == 1
