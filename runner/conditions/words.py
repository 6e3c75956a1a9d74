"""Conditions in words that a reader of a report understands."""

from __future__ import annotations

from typing import assert_never

from runner.spec.conditions import (
    AlertReceived,
    AllOf,
    AnyOf,
    ArtifactIs,
    BaselineHolds,
    Bound,
    Condition,
    CostIs,
    DurationIs,
    Expression,
    Falls,
    GenerationIs,
    IssueSeen,
    JobIs,
    LogMatches,
    MetricIs,
    Never,
    PodIs,
    SdkReads,
)
from runner.spec.scalars import format_duration

_DURATIONS = {
    "provision": "from creating the pod to running it",
    "first_step": "from creating the pod to the first optimizer step",
    "run": "from running to the end of the job",
    "total": "the whole job",
}


def number(value: float) -> str:
    """A number as a reader wants it: `100`, `0.654`, `1e-05`."""
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.6g}"


def counted(amount: int, noun: str) -> str:
    """`1 line`, `1,204 lines`."""
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"


def bound_in_words(bound: Bound | MetricIs) -> str:
    """Limits such as `at least 1 and less than 3`."""
    words = (("", bound.eq), ("at least ", bound.gte), ("more than ", bound.gt), ("at most ", bound.lte),
             ("less than ", bound.lt))  # fmt: skip
    return " and ".join(f"{word}{number(limit)}" for word, limit in words if limit is not None)


def in_words(condition: Condition) -> str:  # noqa: PLR0912, C901 - one line for each kind of condition
    """What the condition asks for."""
    match condition:
        case PodIs():
            return f"pod {condition.pod}"
        case JobIs():
            return f"job {condition.job}"
        case LogMatches():
            return _log_in_words(condition)
        case AlertReceived():
            times = f", {bound_in_words(condition.count)} times" if condition.count else ""
            return f"alert `{condition.alert}`{times}"
        case MetricIs():
            return _metric_in_words(condition)
        case BaselineHolds():
            share = f"{condition.relative * 100:g} %"
            wide = f" or {number(condition.absolute)}" if condition.absolute else ""
            return f"{condition.baseline} ends within {share}{wide} of its accepted baseline"
        case IssueSeen(issue="error" | "expected" | "infrastructure"):
            return f"a known issue of kind `{condition.issue}`"
        case IssueSeen():
            return f"known issue `{condition.issue}`"
        case ArtifactIs():
            size = f" of at least {condition.min_size:,} bytes" if condition.min_size is not None else ""
            return f"trained model downloaded and whole{size}"
        case GenerationIs():
            other = "differs from the base model's" if condition.generation == "differs" else "is not empty"
            return f"answer of the trained model {other}"
        case SdkReads():
            points = f"{bound_in_words(condition.count)} points" if condition.count else "metrics"
            return f"the SDK reads {points} as our own client does"
        case CostIs():
            return f"cost of at most {condition.lte:g} USD"
        case DurationIs():
            return f"at most {format_duration(condition.lte)} {_DURATIONS[condition.duration]}"
        case Never():
            limit = f" before step {condition.until_step:,}" if condition.until_step is not None else ""
            return f"never{limit}: {in_words(condition.never)}"
        case AllOf():
            return "all of: " + "; ".join(in_words(part) for part in condition.all)
        case AnyOf():
            return "one of: " + "; ".join(in_words(part) for part in condition.any)
        case Expression():
            return f"`{condition.expr.strip()}`"
        case _:
            assert_never(condition)


def _log_in_words(condition: LogMatches) -> str:
    kind = f"{condition.source} log line" if condition.source else "log line"
    if condition.count is None:
        return f"{kind} matching “{condition.log}”"
    return f"{bound_in_words(condition.count)} {kind}s matching “{condition.log}”"


def _metric_in_words(condition: MetricIs) -> str:
    name = condition.metric
    if condition.count is not None:
        return f"{bound_in_words(condition.count)} values of {name}"
    if condition.stalled is not None:
        return f"{name} without a new value for {format_duration(condition.stalled)}"
    if condition.is_ is not None:
        if condition.is_ == "monotonic":
            return "steps in order" if name == "step" else f"no value of {name} below an earlier one"
        return f"{name} not finite" if condition.is_ == "nan" else f"all values of {name} finite"
    if condition.median is not None:
        return f"median of {name} {bound_in_words(condition.median)}"
    if condition.spike is not None:
        return f"{name} {number(condition.spike.factor)} times the median of the {condition.spike.window} values before"
    if condition.falls is not None:
        return f"{name} falls{_trend_in_words(condition.falls)}"
    if condition.rises is not None:
        return f"{name} rises{_trend_in_words(condition.rises)}"
    return f"{name} {bound_in_words(condition)}"


def _trend_in_words(trend: Falls) -> str:
    share = f" by {trend.by * 100:g} % or more" if trend.by else ""
    return f"{share} between its first and last {trend.window} values"
