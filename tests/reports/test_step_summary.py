"""The summary of a GitHub Actions step: readable, escaped, and never longer than GitHub takes."""

from __future__ import annotations

import fake_runs as fake
import pytest
from hostile import PAYLOADS, hostile_run
from markdown_it import MarkdownIt

from runner.reports.evidence import summarise
from runner.reports.step_summary import render_summary
from runner.results import Outcome


def summary(run: fake.RecordedRun, **kwargs: int) -> str:
    return render_summary(summarise(run), **kwargs)


def test_it_begins_with_the_verdict_and_names_what_failed():
    text = summary(fake.failing())
    assert text.startswith("## runspec: ✗ failed · 4 of 5 criteria")
    assert "| ✗ failed | `cpt_standard/basic/1` | 4 of 5 |" in text
    assert "✗ Metrics POST successfully: failed; expected at least one `train_loss` point" in text


def test_a_pass_has_no_empty_section_for_problems():
    assert "attention" not in summary(fake.passing())


def test_a_job_without_a_verdict_says_why():
    assert "`dpo_standard/basic/1`: ! errored: RunPod has no capacity" in summary(fake.errored())


@pytest.mark.parametrize("limit", [2_000, 8_000, 40_000])
def test_it_never_exceeds_the_limit_and_says_what_is_left_out(limit):
    names = [f"cpt_standard/batch/{number}" for number in range(1, 201)]
    bad = fake.verdicts(metrics_post=fake.FAILED_METRICS)
    jobs = [fake.job_events(name, Outcome.FAILED, bad) for name in names]
    text = summary(fake.run("b16", *jobs, outcome=Outcome.FAILED), limit=limit)
    assert len(text.encode()) <= limit
    assert "do not fit here" in text


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_hostile_text_stays_text(payload):
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(summary(hostile_run(payload)))
    kinds = {token.type for token in tokens} | {child.type for token in tokens for child in token.children or ()}
    assert not kinds & {"html_block", "html_inline", "image", "link_open", "fence", "code_block", "blockquote_open"}
    assert [token.tag for token in tokens if token.type == "heading_open"] == ["h2", "h3"]
