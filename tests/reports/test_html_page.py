"""The HTML report as markup: what it says, in which order, and that nobody's text becomes markup."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import fake_runs as fake
import pytest
from hostile import PAYLOADS, hostile_run
from pages import Seen, batch, failed_alike, page

from runner import events as e
from runner import results as r
from runner.reports.page import view
from runner.results import Outcome, Target

GOLDEN = Path(__file__).parent / "golden"
BUDGET = 400_000
PICTURES = {
    "all_passed": lambda: fake.run(
        "9a55",
        *(
            fake.job_events(
                f"{spec}_standard/basic/1",
                Outcome.PASSED,
                fake.verdicts(),
                extra=[fake.losses(f"{spec}_standard/basic/1", 30)],
            )
            for spec in ("sft", "cpt")
        ),
    ),
    "one_failed": fake.failing,
    "failed_alike": failed_alike,
    "unknown": fake.unknown,
    "empty": lambda: fake.run("0000", outcome=Outcome.UNKNOWN),
}


def shown(text: str) -> str:
    """The page without its style and script, which every page has alike, and without their hashes."""
    without = re.sub(r"<(style|script)>.*?</\1>", r"<\1></\1>", text, flags=re.DOTALL)
    return re.sub(r"sha256-[A-Za-z0-9+/=]+", "sha256-…", without)


@pytest.mark.parametrize("name", PICTURES)
def test_the_five_pictures_that_matter_look_as_agreed(name, golden):
    before_the_jobs = shown(page(PICTURES[name]())).split("<h2>Evidence")[0]
    golden(before_the_jobs, GOLDEN / f"page_{name}.html")


def test_the_evidence_of_a_failed_job_looks_as_agreed(golden):
    golden(shown(page(fake.failing())), GOLDEN / "page_evidence.html")


def test_the_same_run_gives_the_same_bytes():
    assert page(batch()) == page(batch())


def test_twenty_five_jobs_fit_the_budget():
    assert len(page(batch()).encode()) <= BUDGET


def test_the_verdict_comes_first_then_the_failing_criterion_then_its_evidence():
    text = Seen(page(batch())).text
    places = [
        text.index(words)
        for words in (
            "Failed · 2 of 25 jobs failed, 1 errored, 5 unknown",
            "What needs attention",
            "observed 1.46 against 0.65",
            "Templates × phases",
            "Train loss a panel",
            "Evidence a section a job",
            "How this was run",
        )
    ]
    assert places == sorted(places)


def test_jobs_that_failed_alike_are_one_problem():
    found = view(failed_alike())
    assert [(one.word, len(one.jobs)) for one in found.problems] == [("failed", 25)]


def test_the_counts_of_all_jobs_add_up():
    found = view(batch())
    assert sum(number for _, number in found.counts) == len(found.jobs) == 25


@pytest.mark.parametrize(("rate", "is_marked"), [(0.001, True), (None, False)])
def test_a_loss_that_was_due_and_did_not_come_is_marked_even_at_the_very_end(rate, is_marked):
    """The lab turns NaN into null; a point of an evaluation has neither a loss nor a learning rate."""
    job = "cpt_standard/basic/1"
    values = [({"train_loss": 2.0 - step / 10, "learning_rate": 0.001}) for step in range(5)]
    values.append({"train_loss": None, "learning_rate": rate})
    points = tuple(r.MetricPoint(step=step, values=value) for step, value in enumerate(values))
    extra = [e.MetricsObserved(at=fake.at(20), job=job, points=points)]
    judged = fake.verdicts(metrics_post=fake.FAILED_METRICS)
    text = page(fake.run("0a0b", fake.job_events(job, Outcome.FAILED, judged, extra=extra), outcome=Outcome.FAILED))
    assert ("loss: no number at 5" in text) is is_marked


def test_unknown_says_why_and_is_never_called_passed():
    text = Seen(page(fake.unknown())).text
    assert "? Unknown" in text
    assert "cannot be known: this trainer posts no metrics" in text


def test_a_pod_that_may_still_be_billed_is_said_before_the_verdict():
    events = fake.job_events("cpt_standard/basic/1", Outcome.PASSED, fake.verdicts(), released=False)
    text = Seen(page(fake.run("1eak", events))).text
    assert text.startswith("! 1 pod may still be billed")
    assert text.index("not proven gone and may still be billed") < text.index("Errored · 5 of 5 criteria met on local")
    assert "runspec reap" in text


def test_an_interrupted_run_is_no_smaller_green_total():
    events = fake.job_events("cpt_standard/batch/1", Outcome.PASSED, fake.verdicts())
    records = [fake.record(f"cpt_standard/batch/{number}") for number in (1, 2, 3)]
    text = Seen(page(fake.run("1n7e", events, outcome=None, records=records))).text
    assert "Interrupted · at 14:02 UTC, 1 of 3 jobs judged" in text


def test_a_run_that_goes_on_is_not_called_interrupted():
    events = fake.job_events("cpt_standard/batch/1", Outcome.PASSED, fake.verdicts())
    records = [fake.record(f"cpt_standard/batch/{number}") for number in (1, 2)]
    text = Seen(page(fake.run("90e5", events, outcome=None, records=records), is_running=True)).text
    assert "Running · 1 of 2 jobs finished" in text
    assert "not started" in text


def test_every_link_inside_the_page_has_its_target_and_no_id_is_used_twice():
    seen = Seen(page(batch()))
    ids = [attributes["id"] for _, attributes in seen.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {str(attributes["href"])[1:] for tag, attributes in seen.tags if tag == "a"}
    assert {link for link in links if link and not link.startswith("q=")} <= set(ids)


def test_the_page_needs_nothing_but_itself():
    seen = Seen(page(batch()))
    for tag, attributes in seen.tags:
        assert tag not in ("img", "iframe", "object", "embed", "base", "form")
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            value = str(attributes.get(name) or "#")
            assert value.startswith(("#", "data:image/svg+xml,"))


def test_the_policy_allows_this_style_and_this_script_and_nothing_else():
    text = page(fake.passing())
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1].replace("&#39;", "'")
    for tag in ("style", "script"):
        (body,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)
        assert f"{tag}-src 'sha256-{b64encode(sha256(body.encode()).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "connect-src" not in policy


def test_a_rehearsal_is_called_one_and_costs_nothing():
    assert "rehearsed on local $0.00" in Seen(page(fake.passing())).text
    assert "verified on cloud" in Seen(page(fake.passing(target=Target.CLOUD))).text


def forms(text: str) -> set[tuple[str, tuple[str, ...]]]:
    """Which tags there are, each with the names of its attributes."""
    seen = Seen(text)
    assert seen.crossed == []
    return {(tag, tuple(sorted(attributes))) for tag, attributes in seen.tags}


ORDINARY = forms(page(hostile_run("harmless"))) | forms(page(batch())) | {("code", ())}


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_hostile_text_stays_text(payload):
    text = page(hostile_run(payload))
    assert forms(text) <= ORDINARY
    assert sum(tag in ("script", "style") for tag, _ in Seen(text).tags) == 2
