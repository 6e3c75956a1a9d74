"""The log lines of one job, and which of them match a pattern: every line is looked at once per pattern."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import attrgetter
from typing import NamedTuple

from runner.results import LogLine
from runner.spec.patterns import LinePattern, PatternTooCostlyError, line_pattern

MAX_LINES = 200_000
MAX_CHARACTERS = 32 * 2**20
MAX_LINE_LENGTH = 4_000
# The trainer's own line and nothing like it: a step that some text merely mentions must hide no error.
_PROGRESS = re.compile(
    r"(?:\[[\d: -]{1,30}\] \[[\w.]{1,40}\] \[INFO\] )?"
    r"\[Progress\] Epoch \d{1,9}/\d{1,9} \| Step (\d{1,12})/(\d{1,12})(?: \||$)"
)


def as_utc(at: datetime) -> datetime:
    """The same time with its zone; times without one are UTC by convention."""
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


class Arrival(NamedTuple):
    """When an observation reached us: after how many others, at which newest optimizer step, at what time."""

    seq: int
    step: int | None
    seen_at: datetime


class Line(NamedTuple):
    """One log line. `stamp` is the time that the line itself carries; `text` is cut at 4,000 characters."""

    number: int
    source: str
    text: str
    stamp: datetime
    arrival: Arrival


class Progress(NamedTuple):
    """A line in which the trainer says how far it is: everything after it was written later."""

    step: int
    position: int


@dataclass(slots=True)
class _Cursor:
    pattern: LinePattern
    source: str | None
    position: int = 0
    found: list[int] = field(default_factory=list)
    too_costly: str | None = None

    def catch_up(self, lines: Sequence[Line]) -> None:
        while self.position < len(lines):
            line = lines[self.position]
            if self.source is None or line.source == self.source:
                try:
                    if self.pattern.search(line.text):
                        self.found.append(self.position)
                except PatternTooCostlyError as exc:
                    self.too_costly = self.too_costly or f"line {line.number}: {exc}"
            self.position += 1


class Logbook:
    """Log lines in the order of their arrival, up to a bound that is far above any healthy run.

    Attributes:
        lines: what is kept.
        dropped: how many lines came after the bound was reached; they are not kept.
        progress: the lines in which the trainer said that it got further than it had said before.
    """

    def __init__(self, *, max_lines: int = MAX_LINES, max_characters: int = MAX_CHARACTERS) -> None:
        self.lines: list[Line] = []
        self.dropped = 0
        self.progress: list[Progress] = []
        self._characters = 0
        self._max_lines = max_lines
        self._max_characters = max_characters
        self._cursors: dict[tuple[str, str | None], _Cursor] = {}

    def extend(self, first: int, lines: Sequence[LogLine], arrival: Arrival) -> None:
        """Add lines of one observation; `first` is the number of the first one."""
        for number, line in enumerate(lines, first):
            text = line.text[:MAX_LINE_LENGTH]
            full = len(self.lines) >= self._max_lines or self._characters + len(text) > self._max_characters
            if self.dropped or full:  # once something is missing, later lines would hide the hole
                self.dropped += 1
                continue
            self._characters += len(text)
            self.lines.append(Line(number, line.source, text, as_utc(line.at), arrival))
            self._note_progress(line.source, text)

    def _note_progress(self, source: str, text: str) -> None:
        if source != "container" or (found := _PROGRESS.match(text)) is None:
            return
        step, total = int(found[1]), int(found[2])
        if step <= total and (not self.progress or step > self.progress[-1].step):
            self.progress.append(Progress(step, len(self.lines) - 1))

    def is_past(self, step: int, position: int) -> bool:
        """Whether the log itself says that this line was written after a step: the trainer had told of it by then.

        A line that tells of the step itself is not past it. Neither is one that carries an older time: a stream that
        was cut off may bring the lines of before.
        """
        found = bisect_left(self.progress, step, key=attrgetter("step"))
        if found == len(self.progress):
            return False
        said = self.progress[found]
        if position == said.position:
            return said.step > step
        return position > said.position and self.lines[position].stamp >= self.lines[said.position].stamp

    def matches(self, pattern: str, source: str | None = None) -> Sequence[int]:
        """Positions in `lines` of the lines that match, in order; a line is never searched twice for one pattern."""
        return self._cursor(pattern, source).found

    def too_costly(self, pattern: str, source: str | None = None) -> str | None:
        """Why some line could not be searched for this pattern in bounded time; None when all were."""
        return self._cursor(pattern, source).too_costly

    def _cursor(self, pattern: str, source: str | None) -> _Cursor:
        key = (pattern, source)
        cursor = self._cursors.get(key)
        if cursor is None:
            cursor = self._cursors[key] = _Cursor(line_pattern(pattern), source)
        cursor.catch_up(self.lines)
        return cursor

    def position_of(self, number: int) -> int | None:
        """Where in `lines` the line with this number is."""
        found = bisect_left(self.lines, number, key=attrgetter("number"))
        return found if found < len(self.lines) and self.lines[found].number == number else None

    def first_after(self, seq: int) -> int:
        """Position of the first line that arrived after an observation; `len(lines)` when there is none yet."""
        return bisect_right(self.lines, seq, key=lambda line: line.arrival.seq)
