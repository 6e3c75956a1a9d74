"""Whether a metric went up or down, and whether chance alone could look like it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import groupby
from math import sqrt
from statistics import median

from runner.conditions.evidence import STEP
from runner.conditions.scope import Scope, cut
from runner.conditions.series import Series
from runner.conditions.words import in_words, number
from runner.results import Finding
from runner.spec.conditions import Falls, MetricIs

FAR_FROM_CHANCE = 2.326
"""Standard errors that chance alone reaches once in a hundred times."""


def find_trend(condition: MetricIs, trend: Falls, series: Series, scope: Scope) -> Finding:
    """Medians of the first and the last values of a series; windows that would overlap shrink to half of it.

    Where the author names no size, any change in the right direction would do, and noise makes one every other time:
    then it must be more than chance explains, or nothing is known.
    """
    expected, name = in_words(condition), cut(series.name)
    steps, points = series.steps(scope.until), series.points(scope.until)
    where = f"{'' if series.name == STEP else name + ' '}steps {steps[0]:,}–{steps[-1]:,}"
    if len(points) == 1:
        return scope.unknown(expected, f"{name} has one value only", where)
    window = min(trend.window, len(points) // 2)
    first, last = median(points[:window]), median(points[-window:])
    sign = -1 if condition.falls is not None else 1
    change = sign * (last - first)
    observed = f"median {number(first)} of the first {window} and {number(last)} of the last {window} values"
    if change > 0 and not trend.by and not _is_more_than_chance([sign * point for point in points], trend.window):
        return scope.unknown(expected, f"{observed}, which is not enough evidence that this is more than chance", where)
    return scope.settle(change > 0 and change >= trend.by * abs(first), "metrics", expected, observed, where)


def _is_more_than_chance(points: Sequence[float], window: int) -> bool:
    """Whether the last values lie above the first ones so clearly that chance orders them so in one of a hundred cases.

    The rank sum test (Mann and Whitney) by its normal approximation: it asks nothing of how the noise is distributed,
    and fewer than five values on a side never suffice. A repeated value counts once, because trainers carry the last
    logged one forward.
    """
    distinct = [value for value, _ in groupby(points)]
    size = min(window, len(distinct) // 2)
    if size == 0:
        return False
    earlier = sorted(distinct[:size])
    above = sum((bisect_left(earlier, late) + bisect_right(earlier, late)) / 2 for late in distinct[-size:])
    spread = sqrt(size * size * (2 * size + 1) / 12)
    # Half a count, because ranks are whole numbers and the approximation is not.
    return (above - size * size / 2 - 0.5) / spread >= FAR_FROM_CHANCE
