"""A run as one HTML file that needs nothing else: it opens from disk, without network and without script.

The page's policy forbids everything that the page does not bring itself: styles and script are named by their hash.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection, Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from urllib.parse import quote

from runner.history import RunSummary
from runner.reports import wording
from runner.reports.markup import html_environment, trusted
from runner.reports.page_model import ORDER, SIGNS, JobView, PageView
from runner.results import Target

_OPEN_AT_MOST = 3
_WORDS = {"waiting": "not started", "open": "not judged yet"}
_COLOURS = {"passed": "#1b7a66", "failed": "#8f1d0c", "flaky": "#8a6810", "running": "#0a5cad"}


def render_page(page: PageView, *, events: str = "", home: str = "") -> str:
    """The page of a run.

    Args:
        events: address of a stream that says when the run changed; empty for a file.
        home: address of the list of runs; empty for a file.
    """
    css, script = _asset("page.css"), _asset("page.js")
    problems = [job for job in page.jobs if job.word not in ("passed", "waiting", "skipped")]

    def opened(job: JobView) -> bool:
        return not events and (job in problems[:_OPEN_AT_MOST] or len(page.jobs) == 1)

    return (
        html_environment()
        .get_template("page.html.j2")
        .render(
            page=page,
            title=_title(page),
            css=trusted(css),
            js=trusted(script),
            csp=policy(css, script, is_live=bool(events)),
            icon=trusted(_icon(page.word)),
            events=events,
            home=home,
            signs=SIGNS,
            words=_WORDS,
            order=ORDER,
            opened=opened,
            choices=_choices(page),
        )
    )


def render_runs(runs: Sequence[RunSummary], *, running: Collection[str], events: str) -> str:
    """The list of recorded runs, newest first.

    Args:
        running: ids of those that somebody is working on.
        events: address of a stream that says when something was recorded.
    """

    def word_of(run: RunSummary) -> str:
        if run.outcome is not None:
            return run.outcome.value
        return "running" if run.run in running else "interrupted"

    css, script = _asset("page.css"), _asset("page.js")
    return (
        html_environment()
        .get_template("runs.html.j2")
        .render(
            runs=runs,
            running=running,
            word_of=word_of,
            cost_of=lambda run: run.cost_usd if run.target is Target.CLOUD else 0.0,
            signs=SIGNS,
            css=trusted(css),
            js=trusted(script),
            csp=policy(css, script, is_live=True),
            icon=trusted(_icon("running" if running else "passed")),
            events=events,
        )
    )


def policy(css: str, script: str, *, is_live: bool) -> str:
    """The content security policy of a page with this style and script."""
    rules = [
        "default-src 'none'",
        f"style-src '{_hash(css)}'",
        f"script-src '{_hash(script)}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join([*rules, *(["connect-src 'self'"] if is_live else [])])


def _title(page: PageView) -> str:
    if page.is_live:
        bad = sum(number for word, number in page.counts if word == "failed")
        done = sum(job.report.outcome is not None for job in page.jobs)
        return f"{f'✗{bad} ' if bad else ''}{done}/{len(page.jobs)} runspec"
    alarm = f"! {wording.count(len(page.report.open_pods), 'pod')} may still be billed · " if page.alarm else ""
    return f"{alarm}{SIGNS[page.word]} {page.word.capitalize()} · {page.headline}"


def _choices(page: PageView) -> dict[str, list[str]]:
    return {
        "template": sorted({job.report.record.spec for job in page.jobs}),
        "phase": list(page.phases),
        "gpu": sorted({job.gpu for job in page.jobs}),
    }


def _icon(word: str) -> str:
    colour = _COLOURS.get(word, "#4527a0")
    dot = f'<circle cx="8" cy="8" r="7" fill="{colour}"/>'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">{dot}</svg>'
    return f"data:image/svg+xml,{quote(svg)}"


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


@cache
def _asset(name: str) -> str:
    return (files("runner.reports") / "templates" / name).read_text(encoding="utf-8")
