"""Conditions over the whole course of a metric: its order, its middle, and values that tower."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from runner.conditions.evidence import STEP, Evidence
from runner.conditions.scope import Scope, cut, holds
from runner.conditions.series import Series
from runner.conditions.words import counted, in_words, number
from runner.results import Finding
from runner.spec.conditions import Accepted, BaselineHolds, Bound, MetricIs, Spike


def find_monotonic(condition: MetricIs, series: Series, scope: Scope) -> Finding:
    """No value below an earlier one. For `step`, whose values are in order by nature, it is about time: no step has
    an earlier time than a step before it, as when two trainings post under one job."""
    expected = in_words(condition)
    times = scope.evidence.step_times
    steps = series.steps(scope.until)
    if series.name == STEP:
        steps = sorted(step for step in times if scope.until is None or step <= scope.until)
    if len(steps) < 2:
        return _too_few(series, scope, expected)
    for earlier, later in pairwise(steps):
        if series.name == STEP and times[later] < times[earlier]:
            observed = (
                f"step {later:,} at {times[later]:%H:%M:%S}, before step {earlier:,} at {times[earlier]:%H:%M:%S}"
            )
            return scope.settle(False, "metrics", expected, observed, f"step {later:,}")
        if series.name != STEP and series.values[later] < series.values[earlier]:
            observed = f"{number(series.values[later])} at step {later:,} after {number(series.values[earlier])}"
            return scope.settle(False, "metrics", expected, observed, f"{cut(series.name)} step {later:,}")
    return scope.settle(True, "metrics", expected, f"{counted(len(steps), 'value')} in order", _where(series, steps))


def find_median(condition: MetricIs, bound: Bound, series: Series, scope: Scope) -> Finding:
    """The middle of all values: one slow or wild step does not decide."""
    expected = in_words(condition)
    points = series.points(scope.until)
    if not points:
        return _too_few(series, scope, expected)
    middle = median(points)
    observed = f"median {number(middle)} of {counted(len(points), 'value')}"
    return scope.settle(holds(bound, middle), "metrics", expected, observed, _where(series, series.steps(scope.until)))


def find_spike(condition: MetricIs, spike: Spike, series: Series, scope: Scope) -> Finding:
    """A value far above the median of those right before it; for a metric that is above zero, such as a loss."""
    expected = in_words(condition)
    steps, points = series.steps(scope.until), series.points(scope.until)
    if len(points) < 2:
        return _too_few(series, scope, expected)
    for position in range(spike.window, len(points)):
        before = median(points[position - spike.window : position])
        if before > 0 and points[position] >= spike.factor * before:
            observed = f"{number(points[position])} at step {steps[position]:,} after a median of {number(before)}"
            return scope.settle(True, "metrics", expected, observed, f"{cut(series.name)} step {steps[position]:,}")
    highest = max(points[spike.window :], default=max(points))
    observed = f"{counted(len(points), 'value')}, the highest after the first {spike.window} is {number(highest)}"
    return scope.settle(False, "metrics", expected, observed, _where(series, steps))


LOCAL_DEVICE = "cpu (local)"
DIGEST_CHARS = 12


def final_value(series: Series, window: int) -> float | None:
    """Where a metric ended: the median of its last values; None without any."""
    points = series.points()
    return median(points[-window:]) if points else None


def find_baseline(condition: BaselineHolds, scope: Scope) -> Finding:
    """Where the metric ended, held against what was accepted on the same rows and the same device."""
    expected, evidence = in_words(condition), scope.evidence
    series = evidence.metric(condition.baseline)
    value = final_value(series, condition.window)
    accepted = _accepted_for(condition, evidence)
    if accepted is None:
        return scope.unknown(
            expected, "no baseline is accepted for this dataset and device (`runspec baseline accept`)"
        )
    if value is None:
        return scope.settle(False, "metrics", expected, f"no value of {cut(series.name)} was seen")
    limit = max(condition.absolute, condition.relative * abs(accepted.value))
    truth = abs(value - accepted.value) <= limit
    observed = f"{number(value)}, accepted {number(accepted.value)} ± {number(limit)} of run {cut(accepted.run, 40)}"
    return scope.settle(truth, "metrics", expected, observed, _where(series, series.steps(scope.until)))


def _accepted_for(condition: BaselineHolds, evidence: Evidence) -> Accepted | None:
    digest = (evidence.dataset_digest or "")[:DIGEST_CHARS]
    fitting = (one for one in condition.accepted if one.dataset == digest)
    return next((one for one in fitting if one.device in (LOCAL_DEVICE, evidence.gpu)), None)


def _too_few(series: Series, scope: Scope, expected: str) -> Finding:
    seen = len(series.steps(scope.until))
    observed = f"{cut(series.name)} has one value only" if seen else f"no value of {cut(series.name)} was seen"
    if scope.negated or seen:
        return scope.unknown(expected, scope.gap("metrics") or observed)
    return scope.settle(False, "metrics", expected, observed)


def _where(series: Series, steps: Sequence[int]) -> str:
    return f"{'' if series.name == STEP else cut(series.name) + ' '}steps {steps[0]:,}–{steps[-1]:,}"
