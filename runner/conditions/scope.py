"""Which part of the evidence a condition looks at, and how what it found becomes a finding."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from runner.conditions.evidence import LATE, Evidence, Seen
from runner.conditions.logbook import Arrival
from runner.events import IssueObserved
from runner.results import Finding
from runner.spec.conditions import Bound

T = TypeVar("T")

MAX_QUOTE = 200
AT_LEAST_ONE = Bound(gte=1)

_NOTHING_SEEN = {
    "logs": "no log line was seen at all",
    "issues": "no log line was seen at all",
    "metrics": "no metric was seen at all",
    "alerts": "nothing of the job was seen at all",
    "job": "no status of the job was seen at all",
    "pod": "no pod was seen at all",
    "artifact": "no model was downloaded",
    "generation": "the model was not asked",
    "sdk": "nothing was read through the SDK",
}


def cut(text: str, limit: int = MAX_QUOTE) -> str:
    """Text from outside, short enough for a finding."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def quote(text: str) -> str:
    """Text from outside in quotation marks, cut."""
    return f"“{cut(text)}”"


@dataclass(frozen=True, slots=True)
class Scope:
    """The view of a condition on evidence.

    `until` hides what happened once that optimizer step was reached. An observation belongs to the time before when
    it arrived while no newer step was known; and, because log streams and alert lists lag, also when it arrived at
    most a minute later, carries an older time itself, and no log line from after the step had come yet. Of log lines
    the log itself knows more, for it comes faster than metrics: what follows the trainer's word that it had reached
    the step is hidden as well.

    Attributes:
        ever: ask whether something was ever the case, not whether it is now; inside of `never`.
        negated: False is the good answer, so False must not rest on evidence that nobody had.
    """

    evidence: Evidence
    until: int | None = None
    ever: bool = False
    negated: bool = False

    def inside_never(self, until_step: int | None) -> Scope:
        """The view of the condition inside a `never`."""
        limits = [step for step in (self.until, until_step) if step is not None]
        return replace(self, until=min(limits, default=None), ever=True, negated=not self.negated)

    # --- which observations count -------------------------------------------------------------------------------

    def counts(self, seen: Seen[T]) -> bool:
        """Whether this observation is in view."""
        return self.until is None or self._before(self.until, seen.stamp, seen.arrival)

    def _before(self, until: int, stamp: datetime, arrival: Arrival) -> bool:
        if arrival.step is None or arrival.step < until:
            return True
        mark = self.evidence.reached(until)
        return mark is None or (stamp < mark.stamp and arrival.seen_at <= mark.arrival.seen_at + LATE)

    def counts_line(self, position: int) -> bool:
        """Whether the log line at this position of the logbook is in view."""
        if self.until is None:
            return True
        end = self.evidence.caught_up(self.until)
        line = self.evidence.log.lines[position]
        if self.evidence.log.is_past(self.until, position):
            return False
        return (end is None or position < end) and self._before(self.until, line.stamp, line.arrival)

    def counts_issue(self, seen: Seen[IssueObserved]) -> bool:
        """Whether this issue is in view: as its log line is, if it has one."""
        number = seen.what.log_line
        position = None if number is None else self.evidence.log.position_of(number)
        if self.until is None or position is None:
            return self.counts(seen)
        sealed_at = self._sealed_at("issues")
        return self.counts_line(position) and (sealed_at is None or seen.arrival.seq < sealed_at)

    # --- what can still come ------------------------------------------------------------------------------------

    def sealed(self, source: str) -> bool:
        """Nothing of this source can come into view any more."""
        return self.evidence.closed or self._sealed_at(source) is not None

    def _sealed_at(self, source: str) -> int | None:
        """After how many observations an `until` was over for logs; issues wait for the next batch of lines."""
        end = None if self.until is None else self.evidence.caught_up(self.until)
        if end is None or source not in ("logs", "issues"):
            return None
        seq = self.evidence.log.lines[end].arrival.seq
        if source == "logs":
            return seq
        # A line's issues are recorded after the line, and before the next lines.
        later = bisect_right(self.evidence.log_events, seq)
        return self.evidence.log_events[later] if later < len(self.evidence.log_events) else None

    def gap(self, source: str) -> str | None:
        """Why evidence of this source is incomplete; None when it is all there."""
        missing = self.evidence.missing.get("logs" if source == "issues" else source)
        sealed_at = self._sealed_at(source)
        if missing is not None and (sealed_at is None or missing.arrival.seq <= sealed_at):
            return f"{missing.what} ({'logs' if source == 'issues' else source})"
        if source in ("logs", "issues") and self.evidence.log.dropped and sealed_at is None:
            return f"only the first {len(self.evidence.log.lines):,} log lines were kept"
        return None

    def nothing_seen(self, source: str) -> str | None:
        """A reason when not one observation of this source exists, so that its silence proves nothing."""
        evidence = self.evidence
        seen = {
            "logs": bool(evidence.log.lines),
            "issues": bool(evidence.log.lines),
            "metrics": bool(evidence.series),
            "alerts": bool(evidence.alerts or evidence.job or evidence.log.lines or evidence.series),
            "job": bool(evidence.job or evidence.ends),
            "pod": bool(evidence.pods),
            "artifact": bool(evidence.downloads),
            "generation": bool(evidence.generations),
            "sdk": bool(evidence.comparisons),
        }
        return None if seen.get(source, True) else _NOTHING_SEEN[source]

    # --- findings -----------------------------------------------------------------------------------------------

    def fixed(self, truth: bool, expected: str, observed: str, *pointers: str) -> Finding:
        """A finding that nothing can change."""
        return Finding(truth=truth, decided=True, expected=expected, observed=observed, evidence=pointers)

    def unknown(self, expected: str, reason: str, *pointers: str) -> Finding:
        """A finding that could not be made."""
        return Finding(
            truth=None,
            decided=self.evidence.closed,
            expected=expected,
            observed=f"cannot be known: {reason}",
            evidence=pointers,
        )

    def settle(self, truth: bool, source: str, expected: str, observed: str, *pointers: str) -> Finding:
        """A finding that further observations of its source could change, or that a gap makes unknown."""
        reason = self.gap(source)
        if reason is None and truth is not self.negated:
            reason = self.nothing_seen(source)
        if reason is not None:
            return self.unknown(expected, reason, *pointers)
        return Finding(
            truth=truth,
            decided=self.sealed(source),
            expected=expected,
            observed=observed,
            evidence=pointers,
        )

    def count(
        self, bound: Bound | None, number: int, source: str, expected: str, observed: str, *pointers: str
    ) -> Finding:
        """A finding about a number that can only grow."""
        truth = holds(bound or AT_LEAST_ONE, number)
        if self.is_final(bound, number):
            return self.fixed(truth, expected, observed, *pointers)
        return self.settle(truth, source, expected, observed, *pointers)

    @staticmethod
    def is_final(bound: Bound | None, number: int) -> bool:
        """Whether no growth of the number can change the answer."""
        bound = bound or AT_LEAST_ONE
        if not holds(bound, number):
            return not below(bound, number)
        return bound.eq is None and bound.lte is None and bound.lt is None


def holds(bound: Bound, value: float) -> bool:
    """Whether the value is within every limit that is given."""
    return (
        (bound.eq is None or value == bound.eq)
        and (bound.gte is None or value >= bound.gte)
        and (bound.gt is None or value > bound.gt)
        and (bound.lte is None or value <= bound.lte)
        and (bound.lt is None or value < bound.lt)
    )


def below(bound: Bound, value: float) -> bool:
    """Whether no upper limit is passed yet."""
    return (
        (bound.eq is None or value <= bound.eq)
        and (bound.lte is None or value <= bound.lte)
        and (bound.lt is None or value < bound.lt)
    )
