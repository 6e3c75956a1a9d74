"""One training metric over the optimizer steps, merged as the lab's duplicates demand."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple


class Gap(NamedTuple):
    """The longest wait for a new value so far, and the newest step when it began."""

    step: int | None
    length: timedelta


@dataclass(slots=True)
class Series:
    """Values by step: of several reports of one step the last that is not null wins (contract T-12).

    Attributes:
        values: finite values by step.
        nulls: steps that were reported, but never with a finite value.
        not_finite: steps at which a real NaN or infinity was reported; never forgotten.
        newest_at: when a step got its first value for the last time.
        gaps: ever longer waits between such times.
    """

    name: str
    values: dict[int, float] = field(default_factory=dict)
    nulls: set[int] = field(default_factory=set)
    not_finite: list[int] = field(default_factory=list)
    newest_at: datetime | None = None
    gaps: list[Gap] = field(default_factory=list)
    _newest_step: int | None = None
    _highest: int = -1
    _steps: list[int] = field(default_factory=list)

    def put(self, step: int, value: float | None, *, at: datetime, newest_step: int | None) -> None:
        """Merge one reported value."""
        self._highest = max(self._highest, step)
        if value is None or not math.isfinite(value):
            if value is not None:
                insort(self.not_finite, step)
            if step not in self.values:
                self.nulls.add(step)
            return
        if step not in self.values:
            self.nulls.discard(step)
            self._insert(step)
            self.mark_new(at, newest_step)
        self.values[step] = value

    def _insert(self, step: int) -> None:
        if not self._steps or step > self._steps[-1]:
            self._steps.append(step)
        else:
            insort(self._steps, step)

    def mark_new(self, at: datetime, newest_step: int | None) -> None:
        """A new value came: the wait for it is over."""
        self.end_wait(at)
        self.newest_at, self._newest_step = at, newest_step

    def end_wait(self, at: datetime) -> None:
        """Stop waiting for a value, and remember the wait if it was the longest."""
        gap = self.waiting(at)
        if gap is not None and (not self.gaps or gap.length > self.gaps[-1].length):
            self.gaps.append(gap)
        self.newest_at = None

    def look_away(self, until: datetime, length: timedelta) -> None:
        """Do not count a time in which nobody could have seen a value."""
        if self.newest_at is not None:
            self.newest_at = min(self.newest_at + length, until)

    def waiting(self, now: datetime) -> Gap | None:
        """The wait that is going on; None before the first value."""
        return None if self.newest_at is None else Gap(self._newest_step, now - self.newest_at)

    def steps(self, until: int | None = None) -> Sequence[int]:
        """Steps that have a value, ascending, up to and including `until`."""
        return self._steps if until is None else self._steps[: bisect_left(self._steps, until + 1)]

    def points(self, until: int | None = None) -> tuple[float, ...]:
        """The values in order of their steps."""
        return tuple(self.values[step] for step in self.steps(until))

    def null_tail(self, until: int | None = None) -> int:
        """How many of the newest reported steps have no value, when that is more than this series' custom.

        Null is normal at the last step, before the first log and after an evaluation, so a tail counts only when it
        is at least ten steps and twice as long as any hole before it. A loss that became NaN looks like that,
        because the lab turns NaN into null.
        """
        if until is None and self._highest in self.values:
            return 0
        nulls = sorted(step for step in self.nulls if until is None or step <= until)
        steps = self.steps(until)
        tail = len(nulls) - bisect_left(nulls, steps[-1]) if steps else len(nulls)
        if tail < 10:
            return 0
        holes = [later - earlier - 1 for earlier, later in zip([-1, *steps], steps, strict=False)]
        return tail if tail >= 2 * max(holes, default=0) else 0
