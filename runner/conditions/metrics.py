"""Conditions over one training metric."""

from __future__ import annotations

from datetime import timedelta

from runner.conditions.curves import find_median, find_monotonic, find_spike
from runner.conditions.evidence import STEP
from runner.conditions.scope import Scope, cut, holds
from runner.conditions.series import Series
from runner.conditions.trends import find_trend
from runner.conditions.words import counted, in_words, number
from runner.results import Finding
from runner.spec.conditions import Bound, MetricIs
from runner.spec.scalars import format_duration


def find_metric(condition: MetricIs, scope: Scope) -> Finding:
    """One question about one metric; nothing that is asked of an empty series is true."""
    series = scope.evidence.metric(condition.metric)
    if condition.count is not None:
        return _count(condition, condition.count, series, scope)
    if condition.stalled is not None:
        return _stalled(condition, condition.stalled, series, scope)
    if condition.is_ == "nan":
        return _nan(condition, series, scope)
    if condition.is_ == "finite":
        return _finite(condition, series, scope)
    if condition.is_ == "monotonic":
        return find_monotonic(condition, series, scope)
    if condition.median is not None:
        return find_median(condition, condition.median, series, scope)
    if condition.spike is not None:
        return find_spike(condition, condition.spike, series, scope)
    trend = condition.falls or condition.rises
    if trend is not None:
        seen = series.points(scope.until)
        return find_trend(condition, trend, series, scope) if seen else _empty(condition, series, scope)
    limits = Bound(**{name: getattr(condition, name) for name in ("eq", "gte", "gt", "lte", "lt")})
    return _newest(condition, limits, series, scope)


def steps_in_words(series: Series, until: int | None = None) -> str:
    """Where to find a series, such as `train_loss steps 0–99`."""
    steps = series.steps(until)
    if not steps:
        return f"{cut(series.name)}: no value"
    name = "steps" if series.name == STEP else f"{cut(series.name)} steps"
    return f"{name} {steps[0]:,}–{steps[-1]:,}"


def _empty(condition: MetricIs, series: Series, scope: Scope) -> Finding:
    others = sorted(name for name, other in scope.evidence.series.items() if other.values)
    hint = f"; seen: {cut(', '.join(others))}" if others and series.name != STEP else ""
    if scope.negated and series.name != STEP:
        # Other metrics came, but not this one: that nothing bad was seen of it is no evidence.
        return scope.unknown(in_words(condition), scope.gap("metrics") or f"no value of {cut(series.name)} was seen")
    return scope.settle(False, "metrics", in_words(condition), f"no value of {cut(series.name)} was seen{hint}")


def _count(condition: MetricIs, bound: Bound, series: Series, scope: Scope) -> Finding:
    total = len(series.steps(scope.until))
    observed = counted(total, "value")
    pointers = (steps_in_words(series, scope.until),) if total else ()
    return scope.count(bound, total, "metrics", in_words(condition), observed, *pointers)


def _newest(condition: MetricIs, limits: Bound, series: Series, scope: Scope) -> Finding:
    """The newest value; inside `never` every value, because each was the newest once."""
    steps = series.steps(scope.until)
    if not steps:
        return _empty(condition, series, scope)
    found = [step for step in (steps if scope.ever else steps[-1:]) if holds(limits, series.values[step])]
    step = found[0] if found else steps[-1]
    observed = f"{cut(series.name)} = {number(series.values[step])} at step {step:,}"
    if series.name == STEP:
        observed = f"step {step:,}"
    pointer = f"step {step:,}" if series.name == STEP else f"{cut(series.name)} step {step:,}"
    expected = in_words(condition)
    rising = series.name == STEP and limits.eq is None and limits.lte is None and limits.lt is None
    falling = series.name == STEP and not scope.ever and limits.gte is None and limits.gt is None
    stays = series.name == STEP or scope.evidence.closed  # the value of a step may still be replaced
    if found and (rising or (scope.ever and stays)):
        return scope.fixed(True, expected, observed, pointer)
    if not found and falling and not holds(limits, step) and _is_above(limits, step):
        return scope.fixed(False, expected, observed, pointer)
    return scope.settle(bool(found), "metrics", expected, observed, pointer)


def _is_above(limits: Bound, step: int) -> bool:
    uppers = [limit for limit in (limits.eq, limits.lte, limits.lt) if limit is not None]
    return bool(uppers) and step > max(uppers)


def _nan(condition: MetricIs, series: Series, scope: Scope) -> Finding:
    """True for a real NaN or infinity only.

    The lab turns NaN into null, and null is normal at the last step, before the first log and after an evaluation.
    So nulls alone never make it true; but a long tail of them, or nothing else at all, makes it unknown.
    """
    expected = in_words(condition)
    found = [step for step in series.not_finite if scope.until is None or step <= scope.until]
    if found:
        return scope.fixed(True, expected, f"not finite at step {found[0]:,}", f"{series.name} step {found[0]:,}")
    tail = series.null_tail(scope.until)
    if tail:
        return scope.unknown(
            expected, f"{cut(series.name)} is null at the newest {tail:,} steps, and the lab writes NaN as null"
        )
    if not series.steps(scope.until):
        if scope.negated:
            return scope.unknown(expected, scope.gap("metrics") or f"no value of {cut(series.name)} was seen")
        return _empty(condition, series, scope)
    where = steps_in_words(series, scope.until)
    return scope.settle(
        False, "metrics", expected, f"{counted(len(series.steps(scope.until)), 'value')}, all finite", where
    )


def _finite(condition: MetricIs, series: Series, scope: Scope) -> Finding:
    expected = in_words(condition)
    found = [step for step in series.not_finite if scope.until is None or step <= scope.until]
    if found:
        return scope.fixed(False, expected, f"not finite at step {found[0]:,}", f"{series.name} step {found[0]:,}")
    steps = series.steps(scope.until)
    if not steps:
        return _empty(condition, series, scope)
    tail = series.null_tail(scope.until)
    if tail:
        return scope.unknown(expected, f"{cut(series.name)} is null at the newest {tail:,} steps")
    where = steps_in_words(series, scope.until)
    return scope.settle(True, "metrics", expected, f"{counted(len(steps), 'value')}, all finite", where)


def _stalled(condition: MetricIs, limit: timedelta, series: Series, scope: Scope) -> Finding:
    """No new value for long while the job runs; inside `never` also when it has recovered since."""
    expected = in_words(condition)
    if scope.ever:
        gaps = [gap for gap in series.gaps if scope.until is None or (gap.step or 0) < scope.until]
        if gaps and gaps[-1].length >= limit:
            return scope.fixed(True, expected, f"no new value for {_length(gaps[-1].length)}")
    ended = scope.evidence.ended_at
    waiting = series.waiting(ended or scope.evidence.now)
    if waiting is None:
        return _empty(condition, series, scope)
    in_view = scope.until is None or (waiting.step or 0) < scope.until
    too_long = waiting.length >= limit and in_view
    observed = f"newest value {_length(waiting.length)} ago, at step {series.steps()[-1]:,}"
    if scope.ever and too_long:
        return scope.fixed(True, expected, observed)
    if ended is not None:
        observed = "the job does not run any more"
    running = ended is None and not scope.evidence.closed
    return scope.settle(too_long and running, "metrics", expected, observed)


def _length(length: timedelta) -> str:
    return format_duration(timedelta(seconds=round(max(0.0, length.total_seconds()))))
