"""What happened when in one job, as SVG: lanes for pod, log, metric, alert and runspec on one clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from jinja2 import Template
from markupsafe import Markup

from runner.reports import wording
from runner.reports.markup import html_environment, trusted
from runner.reports.traces import LANES, Mark, Trace

WIDTH = 860
_LEFT, _RIGHT, _ROW, _TOP = 64, 16, 29, 2
_CHAR = 6.3
_LONGEST = 30


@dataclass(frozen=True, slots=True)
class _Dot:
    x: float
    y: float
    words: str
    label_x: float
    anchor: str
    is_bad: bool


def timeline(found: Trace) -> Markup:
    """The timeline of a job; empty markup when nothing happened."""
    if not found.marks:
        return Markup("")
    length = max(found.length_s, 1.0)
    height = _TOP + _ROW * len(LANES) + 22
    lanes = [(name, _TOP + _ROW * index + _ROW - 8) for index, name in enumerate(LANES)]
    dots = [dot for name, y in lanes for dot in _dots([one for one in found.marks if one.lane == name], y, length)]
    bad = [mark.words for mark in found.marks if mark.is_bad]
    said = f"{wording.duration(length)}; " + ("; ".join(bad[:3]) if bad else "nothing went wrong")
    return trusted(
        _template().render(
            lanes=lanes,
            dots=dots,
            billed=[(_x(begin, length), _x(end, length) - _x(begin, length)) for begin, end in found.billed],
            ticks=[(_x(length * share, length), wording.duration(length * share)) for share in (0, 0.25, 0.5, 0.75, 1)],
            finding=said,
            silent=[y for name, y in lanes if not any(mark.lane == name for mark in found.marks)],
            left=_LEFT,
            right=WIDTH - _RIGHT,
            width=WIDTH,
            height=height,
        )
    )


def _x(at_s: float, length: float) -> float:
    return round(_LEFT + min(1.0, max(0.0, at_s / length)) * (WIDTH - _LEFT - _RIGHT), 1)


def _dots(marks: Sequence[Mark], y: float, length: float) -> list[_Dot]:
    """A dot a mark; its words only where they have room, and always for what speaks against the job."""
    dots: list[_Dot] = []
    free_from = float(_LEFT)
    for mark in sorted(marks, key=lambda one: one.at_s):
        x = _x(mark.at_s, length)
        words = mark.words if len(mark.words) <= _LONGEST else mark.words[: _LONGEST - 1] + "…"
        room = len(words) * _CHAR + 8
        if x + room <= WIDTH and x >= free_from:
            dots.append(_Dot(x, y, words, x + 6, "start", mark.is_bad))
            free_from = x + room + 6
        elif x - room >= free_from:
            dots.append(_Dot(x, y, words, x - 6, "end", mark.is_bad))
            free_from = x + 6
        else:
            dots.append(_Dot(x, y, "", x, "start", mark.is_bad))
            free_from = max(free_from, x + 6)
    return dots


@cache
def _template() -> Template:
    return html_environment().get_template("timeline.svg.j2")
