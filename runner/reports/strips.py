"""Dot strips as SVG: a row a template, a dot a job, a tick at the median, a cross for a job that did not pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from jinja2 import Template
from markupsafe import Markup

from runner.reports.charts import three
from runner.reports.compare import Comparison, Group
from runner.reports.markup import html_environment
from runner.reports.measures import Measure
from runner.results import Outcome

WIDTH = 320
ROW = 40
_LEFT, _RIGHT = 12, 58
_TOP, _BOTTOM = 26, 22
_LEAST_FOR_BAR = 3
_NAME_CHARS = 26


@dataclass(frozen=True, slots=True)
class _Dot:
    x: float
    y: float
    passed: bool


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    y: float
    dots: tuple[_Dot, ...]
    tick: float | None
    bar: tuple[float, float] | None
    label: str
    why_empty: str


def dot_strip(comparison: Comparison, measure: Measure, *, standalone: bool = True) -> Markup:
    """One measure over all templates; the interval of the median is a bar behind the dots where there is one.

    Args:
        standalone: bring both palettes and the title along; a page has its own.
    """
    values = [value for group in comparison.groups for value in _values(group, measure)]
    if not values:
        return Markup("")
    low, high = min(values), max(values)
    spans = [(low, high) if measure.is_comparable else _span(_values(group, measure)) for group in comparison.groups]
    rows = [_row(group, measure, index, spans[index]) for index, group in enumerate(comparison.groups)]
    height = _TOP + ROW * len(rows) + _BOTTOM
    return Markup(  # noqa: S704 - the template has escaped it
        _template().render(
            title=title_of(measure),
            finding=finding(comparison, measure),
            standalone=standalone,
            rows=rows,
            width=WIDTH,
            height=height,
            left=_LEFT,
            right=WIDTH - _RIGHT,
            axis=height - _BOTTOM,
            low=three(low) if measure.is_comparable else "each row has its own scale",
            high=three(high) if measure.is_comparable and high != low else "",
        )
    )


def finding(comparison: Comparison, measure: Measure) -> str:
    """What the strip shows, in one sentence."""
    medians = [(group.summaries[measure.name].median, group.spec) for group in comparison.groups
               if measure.name in group.summaries]  # fmt: skip
    if not medians:
        return "no job reported it"
    low, high = min(medians), max(medians)
    unit = f" {measure.unit}" if measure.unit else ""
    if len(medians) == 1 or low[0] == high[0]:
        return f"median {three(low[0])}{unit} for {low[1] if len(medians) == 1 else 'every template'}"
    return f"medians from {three(low[0])}{unit} ({low[1]}) to {three(high[0])}{unit} ({high[1]})"


def title_of(measure: Measure) -> str:
    """What a strip is of, with its unit."""
    return f"{measure.label}, {measure.unit}" if measure.unit else measure.label


def _values(group: Group, measure: Measure) -> Sequence[float]:
    summary = group.summaries.get(measure.name)
    return summary.values if summary else ()


def _span(values: Sequence[float]) -> tuple[float, float]:
    return (min(values), max(values)) if values else (0.0, 0.0)


def _row(group: Group, measure: Measure, index: int, span: tuple[float, float]) -> _Row:
    y = _TOP + ROW * index + ROW * 0.68
    summary = group.summaries.get(measure.name)
    name = group.spec if len(group.spec) <= _NAME_CHARS else group.spec[: _NAME_CHARS - 1] + "…"
    if summary is None:
        return _Row(name, y, (), None, None, "", "? not reported")
    reporting = [job for job in group.jobs if measure.name in job.measures]
    dots = tuple(
        _Dot(_x(value, span), y, job.outcome is Outcome.PASSED)
        for job, value in zip(reporting, summary.values, strict=True)
    )
    bar = None
    if summary.interval is not None and len(summary.values) >= _LEAST_FOR_BAR:
        bar = (_x(summary.interval[0], span), _x(summary.interval[1], span))
    return _Row(name, y, dots, _x(summary.median, span), bar, three(summary.median), "")


def _x(value: float, span: tuple[float, float]) -> float:
    low, high = span
    share = (value - low) / (high - low) if high > low else 0.5
    return round(_LEFT + 6 + share * (WIDTH - _RIGHT - _LEFT - 12), 1)


@cache
def _template() -> Template:
    return html_environment().get_template("strip.svg.j2")
