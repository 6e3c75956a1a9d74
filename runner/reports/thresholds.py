"""The value that a criterion demands of a metric, for drawing it into the curve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runner.events import PlannedJobRecord

_BOUNDS = ("lt", "lte", "gt", "gte")
_WORDS = {"lt": "below", "lte": "at most", "gt": "above", "gte": "at least"}


def threshold_of(record: PlannedJobRecord, metric: str) -> tuple[float, str] | None:
    """The first bound that the criteria of a planned job set for a metric, with its words; None when none does."""
    spec, phase = record.content.get("spec"), record.content.get("phase")
    own = spec.get("success", {}).get(record.phase, ()) if isinstance(spec, Mapping) else ()
    common = phase.get("success", ()) if isinstance(phase, Mapping) else ()
    for criterion in (*_sequence(common), *_sequence(own)):
        for condition in _conditions(criterion):
            if condition.get("metric") == metric:
                for bound in _BOUNDS:
                    value = condition.get(bound)
                    if isinstance(value, int | float) and not isinstance(value, bool):
                        return float(value), f"{_WORDS[bound]} {value:g}"
    return None


def _sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _conditions(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
        for inner in value.values():
            yield from _conditions(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _conditions(inner)
