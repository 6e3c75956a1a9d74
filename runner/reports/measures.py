"""What one job measured about its training: the figures that templates are compared by."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from runner.conditions.logbook import as_utc
from runner.events import AnyEvent, JobStarted, MetricsObserved

LAST_POINTS = 10
"""The final loss is the median of so many last losses: one batch alone says little."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of a job.

    Attributes:
        is_result: it says how well the training went; the others say what it took.
        is_comparable: means the same for every method; a loss does not.
        methods: only these can have it; empty for all.
    """

    name: str
    label: str
    unit: str = ""
    is_result: bool = False
    is_comparable: bool = True
    methods: tuple[str, ...] = ()

    def is_of(self, method: str) -> bool:
        """Jobs of this method can have it."""
        return not self.methods or method in self.methods


MEASURES = (
    Measure("final_loss", "Final loss", is_result=True, is_comparable=False),
    Measure("reward_margin", "Reward margin", is_result=True, methods=("dpo", "orpo")),
    Measure("reward", "Mean reward", is_result=True, methods=("rlhf",)),
    Measure("steps_per_s", "Steps", "1/s"),
    Measure("tokens_per_s", "Tokens", "1/s"),
    Measure("first_step_s", "First step after", "s"),
    Measure("wall_s", "Whole job", "s"),
    Measure("peak_memory_gb", "Peak GPU memory", "GB"),
    Measure("process_memory_gb", "Peak process memory", "GB"),
    Measure("cost_usd", "Cost", "$"),
)


def measure(events: Sequence[AnyEvent], *, elapsed_s: float, cost_usd: float) -> dict[str, float]:
    """The measures of a job's last attempt by name; what was not reported is left out.

    Args:
        elapsed_s: how long the whole job took.
        cost_usd: what it cost.
    """
    values, times = _points(events)
    losses = _numbers(values.get("train_loss", {}))
    margins, rewards = (_numbers(values.get(name, {})) for name in ("reward_margin", "reward_mean"))
    tokens = _numbers(values.get("tokens_per_second", {})) or _rates(values.get("num_tokens", {}), times)
    memory = [
        value
        for name in ("gpu_memory_reserved_gb", "gpu_memory_allocated_gb")
        for value in _numbers(values.get(name, {}))
    ]
    found: dict[str, float | None] = {
        "final_loss": median(losses[-LAST_POINTS:]) if losses else None,
        "reward_margin": median(margins[-LAST_POINTS:]) if margins else None,
        "reward": median(rewards[-LAST_POINTS:]) if rewards else None,
        "steps_per_s": _steps_per_s(times),
        "tokens_per_s": median(tokens) if tokens else None,
        "first_step_s": _first_step_s(events, times),
        "wall_s": elapsed_s or None,
        "peak_memory_gb": max(memory, default=None),
        "process_memory_gb": max(_numbers(values.get("process_memory_peak_gb", {})), default=None),
        "cost_usd": cost_usd,
    }
    return {name: value for name, value in found.items() if value is not None and math.isfinite(value)}


def _points(events: Sequence[AnyEvent]) -> tuple[dict[str, dict[int, float]], dict[int, datetime]]:
    values: dict[str, dict[int, float]] = {}
    times: dict[int, datetime] = {}
    for event in events:
        if isinstance(event, MetricsObserved):
            for point in event.points:
                times.setdefault(point.step, point.at or event.at)
                _take(values, point.step, point.values)
    return values, times


def _take(values: dict[str, dict[int, float]], step: int, new: Mapping[str, float | None]) -> None:
    for name, value in new.items():
        if value is not None and math.isfinite(value):
            values.setdefault(name, {})[step] = value


def _numbers(steps: Mapping[int, float]) -> list[float]:
    return [value for _, value in sorted(steps.items())]


def _steps_per_s(times: Mapping[int, datetime]) -> float | None:
    if len(times) < 2:
        return None
    first, last = min(times), max(times)
    took_s = (as_utc(times[last]) - as_utc(times[first])).total_seconds()
    return (last - first) / took_s if took_s > 0 else None


def _rates(totals: Mapping[int, float], times: Mapping[int, datetime]) -> list[float]:
    steps = sorted(totals)
    if len(steps) < 2:
        return []
    took_s = (as_utc(times[steps[-1]]) - as_utc(times[steps[0]])).total_seconds()
    return [(totals[steps[-1]] - totals[steps[0]]) / took_s] if took_s > 0 else []


def _first_step_s(events: Sequence[AnyEvent], times: Mapping[int, datetime]) -> float | None:
    start = next((event.at for event in events if isinstance(event, JobStarted)), None)
    steps = [step for step in times if step > 0]
    if start is None or not steps:
        return None
    waited_s = (as_utc(times[min(steps)]) - as_utc(start)).total_seconds()
    return waited_s if waited_s >= 0 else None
