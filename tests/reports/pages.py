"""HTML reports for tests: made-up runs, a large one among them, and what a browser sees, parsed or in a real one."""

from __future__ import annotations

import os
import shutil
from functools import cache
from html.parser import HTMLParser

import fake_runs as fake

from runner.history import RecordedRun
from runner.reports.html import render_page
from runner.reports.page import view
from runner.results import FailureClass, Outcome

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
VOID = {"meta", "link", "input", "br", "img", "base"}


def page(run: RecordedRun, **kwargs: bool) -> str:
    found = view(run, **kwargs)
    assert found is not None
    return render_page(found)


class Seen(HTMLParser):
    """Tags with their attributes, text by the tag it stands in, and whether every tag was closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.crossed: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.crossed.append(tag)

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


@cache
def batch() -> RecordedRun:
    """25 jobs with 200 points each: a diverging loss, one that is lost, one without capacity, five without metrics."""
    jobs = [_job(spec, number) for spec in ("sft", "dpo", "rlhf", "orpo", "cpt") for number in range(1, 6)]
    return fake.run("ba7c4", *jobs, outcome=Outcome.FAILED, max_spend=5.0)


def _job(spec: str, number: int) -> list[fake.e.AnyEvent]:
    key = f"{spec}_standard/batch/{number}"
    lines = (
        f"[2026-01-04 14:02:{line % 60:02d}] [__main__] [INFO] [Progress] Step {line}/200 | Loss 3.8"
        for line in range(220)
    )
    log = fake.logs(key, *lines)
    if spec == "rlhf":
        missing = fake.e.EvidenceMissing(
            at=fake.at(9), job=key, source="metrics", reason="this trainer posts no metrics"
        )
        return fake.job_events(
            key, Outcome.UNKNOWN, fake.verdicts(metrics_post=fake.UNKNOWN_METRICS), extra=[log, missing]
        )
    points = tuple(
        fake.r.MetricPoint(step=step, values={"train_loss": _loss(spec, number, step)}) for step in range(200)
    )
    extra = [log, fake.e.MetricsObserved(at=fake.at(20), job=key, points=points)]
    if (spec, number) == ("cpt", 3):
        reason = "RunPod has no capacity for NVIDIA RTX A4000"
        return fake.job_events(key, Outcome.ERRORED, reason=reason, failure_class=FailureClass.CAPACITY)
    bad = _bad(spec, number)
    judged = fake.verdicts(no_errors=bad) if bad else fake.verdicts()
    return fake.job_events(key, Outcome.FAILED if bad else Outcome.PASSED, judged, extra=extra)


def _loss(spec: str, number: int, step: int) -> float | None:
    if (spec, number) == ("dpo", 4):
        return 0.7 + 0.004 * step
    if (spec, number) == ("orpo", 2) and step >= 87:
        return None
    wave = ((step * 37 + number * 11) % 17) / 170
    return {"sft": 2.1, "dpo": 0.7, "orpo": 3.2, "cpt": 3.0}[spec] * (0.5 + 0.5 * 0.98**step + wave)


def _bad(spec: str, number: int) -> fake.r.Verdict | None:
    if (spec, number) == ("dpo", 4):
        return fake.verdict(
            "no-errors", Outcome.FAILED, title="Loss decreases",
            expected="median of the last 10 of `train_loss` below 0.9 of that of the first 10",
            observed="1.46 against 0.65", evidence=("train_loss steps 0-199", "log line 150"),
        )  # fmt: skip
    if (spec, number) == ("orpo", 2):
        return fake.verdict(
            "no-errors", Outcome.FAILED, title="No NaN loss", expected="never `train_loss` is nan",
            observed="first nan at step 87", evidence=("train_loss step 87",),
        )  # fmt: skip
    return None


def failed_alike() -> RecordedRun:
    """25 jobs that all failed for the same reason."""
    names = [
        f"{spec}_standard/batch/{number}" for spec in ("sft", "dpo", "rlhf", "orpo", "cpt") for number in range(1, 6)
    ]
    bad = fake.verdicts(metrics_post=fake.FAILED_METRICS)
    return fake.run("a11c", *(fake.job_events(name, Outcome.FAILED, bad) for name in names), outcome=Outcome.FAILED)
