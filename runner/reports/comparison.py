"""The comparison of templates as files: `COMPARISON.md`, its charts beside it, and its region in the document."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment

from runner.events import AnyEvent, JobEvent, MetricsObserved
from runner.history import RecordedRun
from runner.reports import phrases, wording
from runner.reports.charts import Curve, Panel, finding, loss_panel, three
from runner.reports.compare import Comparison, Group, compare, newest_groups
from runner.reports.evidence import JobReport, last_attempt, summarise
from runner.reports.markdown import Markdown, code, environment, escaped
from runner.reports.measures import LAST_POINTS, Measure
from runner.reports.statistics import LEAST_FOR_INTERVAL, Summary
from runner.reports.strips import dot_strip
from runner.reports.strips import finding as strip_finding
from runner.reports.thresholds import threshold_of

FILE = "COMPARISON.md"
CHARTS = "charts"
_LOSS = "train_loss"
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")


def compare_runs(runs: Sequence[RecordedRun], *, phase: str | None = None) -> Comparison | None:
    """The comparison that recorded runs allow; None when no template has several jobs of one phase in one run."""
    reports = [report for report in map(summarise, runs) if report is not None and not report.is_staged]
    return compare(newest_groups((job for report in reports for job in report.jobs), phase))


def compare_jobs(jobs: Sequence[JobReport]) -> Comparison | None:
    """What the document says of the comparison: medians and patterns, which need no statistics library.

    Intervals and tests stand in the file, so that the document is the same with and without the extra `stats`.
    """
    return compare(newest_groups(jobs), with_intervals=False)


def comparison_files(comparison: Comparison, runs: Sequence[RecordedRun]) -> dict[str, str]:
    """All files by their path below the folder of `COMPARISON.md`, the document itself among them."""
    events = {run.run: run.events for run in runs}
    charts: dict[str, tuple[str, str]] = {}
    for group in comparison.groups:
        panel = _panel(group, events.get(group.run, ()))
        words = finding(panel)
        charts[f"{CHARTS}/loss-{_safe(group.spec)}.svg"] = (
            f"Loss of {group.spec}: {words}",
            loss_panel(panel, standalone=True),
        )
    for measure in comparison.measures:
        words = f"{measure.label}: {strip_finding(comparison, measure)}"
        charts[f"{CHARTS}/strip-{measure.name}.svg"] = (words, dot_strip(comparison, measure))
    text = _text(
        "comparison-file.md.j2",
        comparison=comparison,
        charts=[(path, words) for path, (words, _) in charts.items()],
        last_points=LAST_POINTS,
        least=LEAST_FOR_INTERVAL,
    )
    return {FILE: text, **{path: svg.rstrip("\n") + "\n" for path, (_, svg) in charts.items()}}


def _safe(name: str) -> str:
    return _UNSAFE.sub("_", name)


def _panel(group: Group, events: Sequence[AnyEvent]) -> Panel:
    curves = tuple(
        Curve(label=f"job {job.key.rpartition('/')[2]}", points=_points(events, job.key), outcome=job.outcome)
        for job in group.jobs
    )
    drawn = tuple(curve for curve in curves if curve.points)
    why = "" if drawn else "no job posted a loss"
    return Panel(
        title=f"{group.spec}, n = {len(drawn)}",
        curves=drawn,
        threshold=threshold_of(group.jobs[0].record, _LOSS),
        why_empty=why,
    )


def _points(events: Sequence[AnyEvent], job: str) -> tuple[tuple[int, float | None], ...]:
    """The losses of one job; NaN where training logged a step without one, which the lab gives as null."""
    own: list[AnyEvent] = [event for event in events if isinstance(event, JobEvent) and event.job == job]
    steps: dict[int, float | None] = {}
    points = (point for event in last_attempt(own)[1] if isinstance(event, MetricsObserved) for point in event.points)
    for point in points:
        value = point.values.get(_LOSS)
        # Points of evaluations carry no learning rate: that they have no training loss means nothing.
        is_lost = value is None and _LOSS in point.values and point.values.get("learning_rate") is not None
        if value is not None:
            steps[point.step] = value
        elif is_lost:
            steps.setdefault(point.step, math.nan)
    return tuple(sorted(steps.items()))


# --- words ----------------------------------------------------------------------------------------------------------


def middle(summary: Summary | None) -> Markdown:
    """`0.412 ± 0.03`: median and the range of the middle half; the value alone when there is only one."""
    if summary is None:
        return Markdown("not reported")
    if len(summary.values) == 1:
        return Markdown(f"{three(summary.median)} (1 job)")
    return Markdown(f"{three(summary.median)} ({three(summary.spread)})")


def interval(summary: Summary | None) -> Markdown:
    """`0.40 to 0.43`, or why there is none."""
    if summary is None:
        return Markdown("not reported")
    if summary.interval is None:
        return Markdown("not enough evidence" if len(summary.values) < LEAST_FOR_INTERVAL else "not computed")
    return Markdown(f"{three(summary.interval[0])} to {three(summary.interval[1])}")


def head(measure: Measure) -> Markdown:
    """The head of a measure's column, with its unit."""
    return Markdown(f"{measure.label}, {measure.unit}" if measure.unit else measure.label)


def level(comparison: Comparison) -> str:
    """Where the figures come from, and what that is worth."""
    return wording.EVIDENCE[comparison.target]


def runs_of(comparison: Comparison) -> Markdown:
    """The runs behind the figures, with their days."""
    days = {group.run: wording.day(group.at) for group in comparison.groups}
    return phrases.joined(", ", [f"{code(run)} of {day}" for run, day in days.items()])


def _text(name: str, **values: object) -> str:
    text = _templates().get_template(name).render(values)
    return "\n".join(line.rstrip() for line in text.strip("\n").split("\n")) + "\n"


FILTERS: Mapping[str, Callable[..., Any]] = {
    "count": wording.count,
    "escaped": escaped,
    "head": head,
    "interval": interval,
    "level": level,
    "method": wording.method,
    "money": lambda usd: Markdown(wording.money(usd)),
    "middle": middle,
    "runs_of": runs_of,
    "three": lambda value: Markdown(three(value)),
}
"""What templates of a comparison can use."""


@cache
def _templates() -> Environment:
    return environment(FILTERS)
