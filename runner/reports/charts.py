"""Charts as SVG that carry a verdict: loss curves a template, and what happened when in one job.

Colour means verdict, never identity. The criterion is drawn, missing numbers are marked and never bridged, and every
chart says its finding in words. The same input gives the same bytes. Geometry is made here; the marks are Jinja macros
in `templates/charts.svg.j2`. Inline charts take their colours from the page, standalone ones bring both palettes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median

from jinja2 import Template
from markupsafe import Markup

from runner.reports.markup import html_environment, trusted
from runner.results import Outcome

WIDTH, HEIGHT = 320, 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 66, 22, 22
BAND_FROM = 3
_CHAR = 7
_CLIP = 1.5
_LABEL_GAP = 13
_SILENT_FROM = 10

ALONE = "loss"
"""The label of a curve that is alone in its panel: its last value is written instead."""

Point = tuple[int, float | None]
"""An optimizer step and its value; None where a number was due and did not come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One metric of one job. `label` is short enough to stand at the end of its line."""

    label: str
    points: tuple[Point, ...]
    outcome: Outcome | None = Outcome.PASSED
    href: str = ""

    @property
    def is_good(self) -> bool:
        """Drawn in the text's colour rather than in that of a failure."""
        return self.outcome is not Outcome.FAILED

    @property
    def numbers(self) -> list[tuple[int, float]]:
        """The points that have a number."""
        return [(step, value) for step, value in self.points if value is not None and math.isfinite(value)]

    @property
    def first_missing(self) -> int | None:
        """The first step whose number is not finite, or from which on none came any more.

        The lab turns NaN into null, and gives null at steps of another kind too, such as those after an evaluation:
        only a tail longer than such holes tells something. The conditions count as it is counted here.
        """
        lost = next((step for step, value in self.points if value is not None and not math.isfinite(value)), None)
        if lost is not None:
            return lost
        tail = list(itertools.takewhile(lambda point: point[1] is None, reversed(self.points)))
        steps = [step for step, value in self.points if value is not None]
        holes = [later - earlier - 1 for earlier, later in itertools.pairwise(steps)]
        is_silent = bool(steps) and len(tail) >= max(_SILENT_FROM, 2 * max(holes, default=0))
        return tail[-1][0] if is_silent else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """What one loss chart shows.

    Attributes:
        threshold: a value that a criterion demands, drawn as a dashed line, with its words.
        why_empty: said instead of a chart without numbers.
    """

    title: str
    curves: tuple[Curve, ...]
    threshold: tuple[float, str] | None = None
    why_empty: str = ""


@dataclass(frozen=True, slots=True)
class _Line:
    path: Markup
    label: str
    x: float
    y: float
    is_good: bool
    note: str


@dataclass(frozen=True, slots=True)
class _Scale:
    """From steps and values to pixels."""

    x0: float
    x1: float
    y0: float
    y1: float

    @property
    def left(self) -> int:
        """Where the plot begins: right of its widest label."""
        longest = max(len(three(value)) for value in _ticks(self))
        return max(_LEFT, 9 + _CHAR * longest)

    def x(self, step: float) -> float:
        share = (step - self.x0) / (self.x1 - self.x0) if self.x1 > self.x0 else 0.0
        return round(self.left + share * (WIDTH - self.left - _RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.y0) / (self.y1 - self.y0) if self.y1 > self.y0 else 0.5
        return round(HEIGHT - _BOTTOM - min(1.0, max(0.0, share)) * (HEIGHT - _TOP - _BOTTOM), 1)


def finding(panel: Panel) -> str:
    """What a chart shows, in one sentence."""
    drawn = [curve for curve in panel.curves if curve.numbers]
    if not drawn:
        return panel.why_empty or "no numbers were received"
    failed = [curve for curve in drawn if not curve.is_good]
    if failed:
        return "; ".join(_course(curve) for curve in failed[:3])
    if len(drawn) == 1:
        return _course(drawn[0])
    ends = [curve.numbers[-1][1] for curve in drawn]
    return f"{len(drawn)} jobs end between {three(min(ends))} and {three(max(ends))}"


def _course(curve: Curve) -> str:
    first, last = curve.numbers[0][1], curve.numbers[-1][1]
    verb = "falls" if last < first else "rises" if last > first else "stays"
    lost = f"; no number at step {curve.first_missing}" if curve.first_missing is not None else ""
    return f"{curve.label} {verb} from {three(first)} to {three(last)}{lost}"


def loss_panel(panel: Panel, *, standalone: bool = False) -> Markup:
    """One chart of a metric over the steps of several jobs."""
    drawn = [curve for curve in panel.curves if curve.numbers]
    values: dict[str, object] = {"panel": panel, "finding": finding(panel), "standalone": standalone}
    if not drawn:
        return trusted(_template("panel").render(values, empty=True, width=WIDTH, height=HEIGHT))
    scale = _scale(drawn, panel.threshold)
    good = [curve for curve in drawn if curve.is_good]
    bad = [curve for curve in drawn if not curve.is_good]
    band, middle = _band(good, scale) if len(good) >= BAND_FROM else (Markup(""), Markup(""))
    lines = [_line(curve, scale, drawn) for curve in (*([] if band else good), *bad)]
    if band:
        lines.insert(0, _middle_line(good, middle, scale))
    return trusted(
        _template("panel").render(
            values,
            empty=False,
            band=band,
            lines=_apart(lines),
            threshold=_threshold(panel, scale),
            lost=_lost(drawn, scale),
            y_ticks=[(scale.y(value), three(value)) for value in _ticks(scale)],
            last_step=int(scale.x1),
            first_step=int(scale.x0),
            left=scale.left,
            right=WIDTH - _RIGHT,
            top=_TOP,
            bottom=HEIGHT - _BOTTOM,
            width=WIDTH,
            height=HEIGHT,
        )
    )


def _lost(drawn: Sequence[Curve], scale: _Scale) -> list[tuple[float, str, bool]]:
    """Where numbers ceased, in words, and whether only in jobs that are good: then it speaks against none of them."""
    by_step: dict[int, list[Curve]] = {}
    for curve in drawn:
        if curve.first_missing is not None:
            by_step.setdefault(curve.first_missing, []).append(curve)
    return [
        (
            scale.x(at),
            f"{lost[0].label if len(lost) == 1 else f'{len(lost)} jobs'}: no number at {at}",
            all(one.is_good for one in lost),
        )
        for at, lost in sorted(by_step.items())
    ]


def _scale(drawn: Sequence[Curve], threshold: tuple[float, str] | None) -> _Scale:
    """The range of what passed decides; one exploding job does not flatten the others."""
    steps = [step for curve in drawn for step, _ in curve.points]
    good = [value for curve in drawn if curve.is_good for _, value in curve.numbers]
    every = [value for curve in drawn for _, value in curve.numbers]
    low, high = min(every), max(every)
    if good and len(good) < len(every):
        span = max(max(good) - min(good), 1e-9)
        high = min(high, max(good) + (_CLIP - 1) * span)
        low = max(low, min(good) - (_CLIP - 1) * span)
    if threshold is not None and math.isfinite(threshold[0]):
        low, high = min(low, threshold[0]), max(high, threshold[0])
    if high <= low:
        low, high = low - abs(low) * 0.1 - 0.1, high + abs(high) * 0.1 + 0.1
    return _Scale(min(steps), max(steps), low, high)


def _ticks(scale: _Scale) -> list[float]:
    return [scale.y0, (scale.y0 + scale.y1) / 2, scale.y1]


def _line(curve: Curve, scale: _Scale, drawn: Sequence[Curve]) -> _Line:
    numbers = curve.numbers
    step, last = numbers[-1]
    sign = "" if curve.is_good else " ✗"
    note = f"▲ {three(last)}" if last > scale.y1 else f"▼ {three(last)}" if last < scale.y0 else ""
    name = three(last) if curve.is_good or curve.label == ALONE else curve.label
    label = (note or name) + sign
    if not curve.is_good and not note and step < scale.x1 and _is_lost_alone(curve, drawn):
        label = sign.strip()  # among the other curves; the mark above says whose numbers cease here
    return _Line(_path(curve.points, scale), label, scale.x(step) + 4, scale.y(last) + 4, curve.is_good, note)


def _is_lost_alone(curve: Curve, drawn: Sequence[Curve]) -> bool:
    return len(drawn) > 1 and [one for one in drawn if one.first_missing == curve.first_missing] == [curve]


def _middle_line(good: Sequence[Curve], path: Markup, scale: _Scale) -> _Line:
    ends = [curve.numbers[-1] for curve in good]
    step, value = max(step for step, _ in ends), median(value for _, value in ends)
    return _Line(path, three(value), scale.x(step) + 4, scale.y(value) + 4, True, "")


def _apart(lines: Sequence[_Line]) -> list[_Line]:
    """Labels that would lie on each other are moved down, then up, in their order."""
    placed: list[_Line] = []
    lowest = HEIGHT - 4.0
    for line in sorted(lines, key=lambda one: one.y):
        above = placed[-1].y + _LABEL_GAP if placed else 0.0
        placed.append(_Line(line.path, line.label, line.x, max(line.y, above), line.is_good, line.note))
    for index in range(len(placed) - 1, -1, -1):
        line = placed[index]
        limit = placed[index + 1].y - _LABEL_GAP if index + 1 < len(placed) else lowest
        placed[index] = _Line(line.path, line.label, line.x, round(min(line.y, limit), 1), line.is_good, line.note)
    return sorted(placed, key=lambda one: not one.is_good)


def _path(points: Iterable[Point], scale: _Scale) -> Markup:
    """A line that breaks where a number is missing, with each pixel column's extremes only."""
    parts: list[str] = []
    run: list[tuple[float, float]] = []
    for step, value in points:
        if value is not None and math.isfinite(value):
            run.append((scale.x(step), scale.y(value)))
        elif isinstance(value, float):
            parts += _stroke(run)
            run = []
    parts += _stroke(run)
    return trusted(" ".join(parts))


def _stroke(run: Sequence[tuple[float, float]]) -> list[str]:
    if not run:
        return []
    kept = _decimated(run)
    if len(kept) == 1:  # a single number is a dot: a line of no length with round ends
        kept = [kept[0], kept[0]]
    return ["M" + " ".join(f"{x:g},{y:g}" for x, y in kept)]


def _decimated(run: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    columns: dict[int, list[tuple[float, float]]] = {}
    for point in run:
        columns.setdefault(int(point[0]), []).append(point)
    kept: list[tuple[float, float]] = []
    for column in columns.values():
        ends = (min(column, key=lambda one: one[1]), max(column, key=lambda one: one[1]))
        kept += sorted(dict.fromkeys(ends), key=column.index)
    return kept


def _band(good: Sequence[Curve], scale: _Scale) -> tuple[Markup, Markup]:
    """The range of what passed as a closed path, and the path of its median."""
    by_step: dict[int, list[float]] = {}
    for curve in good:
        for step, value in curve.numbers:
            by_step.setdefault(step, []).append(value)
    whole = [step for step in sorted(by_step) if len(by_step[step]) == len(good)] or sorted(by_step)
    top = [(scale.x(step), scale.y(max(by_step[step]))) for step in whole]
    low = [(scale.x(step), scale.y(min(by_step[step]))) for step in reversed(whole)]
    outline = "M" + " ".join(f"{x:g},{y:g}" for x, y in (*top, *low)) + "Z"
    return trusted(outline), _path([(step, median(by_step[step])) for step in whole], scale)


def _threshold(panel: Panel, scale: _Scale) -> tuple[float, str] | None:
    if panel.threshold is None or not math.isfinite(panel.threshold[0]):
        return None
    value, words = panel.threshold
    return scale.y(value), words


def three(value: float) -> str:
    """A value with three significant digits."""
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e5:
        return f"{value:.2e}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


@cache
def _template(name: str) -> Template:
    return html_environment().get_template(f"{name}.svg.j2")
