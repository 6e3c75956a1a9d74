"""Medians, spreads, intervals and tests over few jobs. Intervals and tests need SciPy, from the extra `stats`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import median
from typing import Any

LEAST_FOR_INTERVAL = 3
LEAST_FOR_OUTLIERS = 4
LEVEL = 0.95
_RESAMPLES = 4_000
_SEED = 20_260_101
_FAR = 3.5
_NORMAL = 1.4826
_MAY_BE_CHANCE = 0.05
DIFFERS = "differs"
NO_EVIDENCE = "not enough evidence of a difference"


@dataclass(frozen=True, slots=True)
class Summary:
    """One measure over several jobs.

    Attributes:
        spread: the range of the middle half of the values.
        interval: 95 % bootstrap interval of the median; None for fewer than three values or without SciPy.
        outliers: positions of values far from the others.
    """

    values: tuple[float, ...]
    median: float
    spread: float
    interval: tuple[float, float] | None
    outliers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Test:
    """Whether two groups differ.

    Attributes:
        p: chance of a difference this large when there is none; None when it was not tested.
        words: the verdict.
    """

    difference: float
    p: float | None
    words: str


def has_scipy() -> bool:
    """Whether intervals and tests can be had."""
    return _scipy() is not None


@cache
def _scipy() -> Any | None:
    try:
        return importlib.import_module("scipy.stats")
    except ImportError:
        return None


def summarise_values(values: Sequence[float], *, with_interval: bool = True) -> Summary:
    """Median, spread, interval and outliers of at least one value."""
    return Summary(
        values=tuple(values),
        median=median(values),
        spread=_quantile(values, 0.75) - _quantile(values, 0.25),
        interval=_interval(tuple(values)) if with_interval else None,
        outliers=_outliers(values),
    )


def _quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def _outliers(values: Sequence[float]) -> tuple[int, ...]:
    """By the median absolute deviation, which one outlier cannot widen."""
    if len(values) < LEAST_FOR_OUTLIERS:
        return ()
    middle = median(values)
    deviation = _NORMAL * median(abs(value - middle) for value in values)
    # Jobs that agree almost exactly make any breath an outlier: it has to be visible too.
    limit = max(_FAR * deviation, 0.1 * abs(middle))
    return tuple(index for index, value in enumerate(values) if deviation > 0 and abs(value - middle) > limit)


@cache
def _interval(values: tuple[float, ...]) -> tuple[float, float] | None:
    stats = _scipy()
    if stats is None or len(values) < LEAST_FOR_INTERVAL:
        return None
    if min(values) == max(values):
        return values[0], values[0]
    numpy = importlib.import_module("numpy")
    found = stats.bootstrap(
        (numpy.array(values),), numpy.median, confidence_level=LEVEL, n_resamples=_RESAMPLES, method="percentile",
        rng=numpy.random.default_rng(_SEED),
    )  # fmt: skip
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


@cache
def compare_values(one: tuple[float, ...], other: tuple[float, ...]) -> Test:
    """Whether two groups differ by more than chance, by an exact permutation test of their means.

    The means, because a median hardly moves when a few jobs change sides: with five jobs it could never show anything.
    """
    difference = median(one) - median(other)
    stats = _scipy()
    least = min(len(one), len(other))
    if least < LEAST_FOR_INTERVAL:
        return Test(difference, None, f"not enough evidence: {least} {'job' if least == 1 else 'jobs'} of one of them")
    if stats is None:
        return Test(difference, None, "not tested: SciPy is not installed (extra `stats`)")
    if len({*one, *other}) == 1:
        return Test(difference, None, "no difference: every value is the same")
    numpy = importlib.import_module("numpy")
    found = stats.permutation_test(
        (numpy.array(one), numpy.array(other)),
        lambda x, y, axis: numpy.mean(x, axis=axis) - numpy.mean(y, axis=axis),
        vectorized=True, n_resamples=9_999, alternative="two-sided", rng=numpy.random.default_rng(_SEED),
    )  # fmt: skip
    return Test(difference, float(found.pvalue), NO_EVIDENCE)


def decided(tests: Sequence[Test]) -> list[Test]:
    """Tests made together, with their verdicts: at most 5 % of those that say “differs” are expected to be chance.

    Source: Benjamini and Hochberg, 1995.
    """
    known = sorted(test.p for test in tests if test.p is not None)
    passing = [p for rank, p in enumerate(known, 1) if p <= rank / len(known) * _MAY_BE_CHANCE]
    bar = max(passing, default=-1.0)
    return [replace(test, words=DIFFERS) if test.p is not None and test.p <= bar else test for test in tests]
