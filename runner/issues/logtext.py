"""A log file as text that can be searched fast: bounded, with line numbers, progress bars taken apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runner.conditions.logbook import MAX_LINE_LENGTH
from runner.issues.saying import messages_in

HEAD_BYTES = 16 * 2**20
TAIL_BYTES = 48 * 2**20
TRACEBACK = "Traceback (most recent call last)"
_BLOCK = 2**20
_LOOKED_AT = 2**16
_MOST_LOOKED_AT = 20
_LONGEST_PREFIX = 200
_DIGITS = str.maketrans("123456789", "0" * 9)
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_SOFT_LEVEL = re.compile(r"\"(?:level|levelname|severity|lvl)\": ?\"(?:info|debug|trace|notice|warn)", re.IGNORECASE)
_ERROR_LEVEL = re.compile(r"\s*\[?(?:ERROR|CRITICAL|FATAL)\]?(?:: | - | \| | )")
# What container runtimes, compose and torchrun put before a line: a stamp, a name with a bar, a rank.
_PREFIX = re.compile(
    r"(?:\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[\d.]{0,10}(?:Z|[+-]\d\d:?\d\d)? (?:std(?:out|err) [FP] )?)?"
    r"(?:[\w.-]{1,40} +\| )?(?:\[[\w-]*rank\d+\]:? ?)?"
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line, or one state of a progress bar: `number` counts line ends from 1, `start` is its place in the text."""

    number: int
    text: str
    start: int


class LogText:
    """A whole log, or its beginning and its end when it is very long.

    Attributes:
        text: what is searched.
        note: what was left out; empty when nothing was.
    """

    LONGEST = HEAD_BYTES + TAIL_BYTES

    def __init__(
        self, text: str, *, gap_at: int | None = None, gap_lines: int = 0, prefix: re.Pattern[str] | None = None
    ) -> None:
        head, tail = text[:gap_at].replace("\r\n", "\n"), text[len(text) if gap_at is None else gap_at :]
        head, tail = _unwrapped(head), _unwrapped(tail.replace("\r\n", "\n"))
        self.text = head + tail
        self._prefix = prefix or _prefix_of(self.text)
        self._gap_at = None if gap_at is None else len(head)
        self._gap_lines = gap_lines
        self.note = f"{gap_lines:,} lines in the middle of this log were not read" if gap_at is not None else ""
        self._counted: tuple[int, int] = (0, 0)

    @classmethod
    def of_bytes(cls, data: bytes) -> LogText:
        """A log that is in memory already; bytes that are no UTF-8 are replaced."""
        return cls(_decoded(data))

    @classmethod
    def read(cls, path: Path) -> LogText:
        """The log in a file; bytes that are no UTF-8 are replaced.

        Raises:
            OSError: it cannot be read.
        """
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES + TAIL_BYTES)
            size = path.stat().st_size if path.is_file() else 0
            if len(head) < HEAD_BYTES + TAIL_BYTES or size <= len(head):
                return cls.of_bytes(head)
            start = head[:HEAD_BYTES].rpartition(b"\n")[0] + b"\n"
            # Lines between are counted, not kept, so that numbers stay those of the file.
            file.seek(len(start))
            left, missing = max(0, size - TAIL_BYTES - len(start)), 0
            while left > 0 and (block := file.read(min(_BLOCK, left))):
                left -= len(block)
                missing += block.count(b"\n")
            rest, _, tail = file.read(TAIL_BYTES).partition(b"\n")
        missing += 1 if rest or tail else 0
        first = _decoded(start).replace("\r\n", "\n")
        return cls(first + _decoded(tail), gap_at=len(first), gap_lines=missing)

    def line_at(self, position: int) -> Line:
        """The line around a place in the text."""
        begin = self.text.rfind("\n", 0, position) + 1
        start = max(begin, self.text.rfind("\r", begin, position) + 1)
        end = self._end(position)
        return Line(self._number(start), self._bare(self.text[start : min(end, start + MAX_LINE_LENGTH)]), start)

    def lines_from(self, position: int, most: int) -> Iterator[Line]:
        """The line around a place in the text, and those that follow it."""
        for _ in range(most):
            if position >= len(self.text):
                return
            line = self.line_at(position)
            yield line
            position = self._end(line.start) + 1

    def around(self, number: int, lines: int) -> list[Line]:
        """The line with this number, and some before and after it; a progress bar shows its last state."""
        rows = self.text.removesuffix("\n").split("\n")
        shift = 0
        if self._gap_at is not None and number > self.text.count("\n", 0, self._gap_at):
            shift = self._gap_lines
        middle = number - 1 - shift
        return [
            Line(index + 1 + shift, self._bare(rows[index].rstrip("\r").rpartition("\r")[2][:MAX_LINE_LENGTH]), 0)
            for index in range(max(0, middle - lines), min(len(rows), middle + lines + 1))
        ]

    def places(self, literal: str) -> Iterator[int]:
        """Where a text stands, in order; at most once a line."""
        position = self.text.find(literal)
        while position >= 0:
            yield position
            position = self.text.find(literal, self._end(position))

    def ends(self, literal: str, most: int) -> list[int]:
        """Where a text stands: the first places and the last ones, so that a flood costs no time."""
        found = [place for place, _ in zip(self.places(literal), range(most), strict=False)]
        position = len(self.text)
        for _ in range(most if len(found) == most else 0):
            position = self.text.rfind(literal, found[-1] + 1, position)
            if position < 0:
                break
            found.append(position)
            position = self.text.rfind("\n", 0, position) + 1
        return found

    def condensed(self) -> tuple[LogText, list[int]]:
        """The log with one line of each kind, and where each of its lines starts in this one.

        Lines that differ in digits only are of a kind; of each the first and the last one are kept.
        """
        kinds: dict[str, list[int]] = {}
        starts, position = [], 0
        rows = self.text.split("\n")
        for index, row in enumerate(rows):
            starts.append(position)
            position += len(row) + 1
            seen = kinds.setdefault(row[:MAX_LINE_LENGTH].translate(_DIGITS), [index, index])
            seen[1] = index
        kept = sorted({index for pair in kinds.values() for index in pair})
        short = LogText("\n".join(rows[index] for index in kept), prefix=self._prefix)
        return short, [starts[index] for index in kept]

    def _bare(self, line: str) -> str:
        line = clean(line)
        match = self._prefix.match(line) if self._prefix else None
        return line[match.end() :] if match else line

    def _end(self, position: int) -> int:
        end = self.text.find("\n", position)
        end = len(self.text) if end < 0 else end
        bar = self.text.find("\r", position, end)
        return end if bar < 0 else bar

    def _number(self, start: int) -> int:
        # Questions mostly come in order of the text, so counting goes on from the last answer.
        known, lines = self._counted if self._counted[0] <= start else (0, 0)
        lines += self.text.count("\n", known, start)
        self._counted = (start, lines)
        gap = self._gap_lines if self._gap_at is not None and start >= self._gap_at else 0
        return lines + gap + 1


def clean(line: str) -> str:
    """A line without colours and without what a container runtime or launcher put before it."""
    line = _ANSI.sub("", line) if "\x1b" in line else line
    return line[_PREFIX.match(line).end() :] if line[:1].isalnum() or line[:1] == "[" else line  # type: ignore[union-attr]


def _prefix_of(text: str) -> re.Pattern[str] | None:
    """What stands before every line of this log, as its tracebacks show: their frames are indented by two.

    A logger that has written only the first line of a traceback puts nothing before the second one.
    """
    place = text.find(TRACEBACK)
    if place < 0:
        return _common_to_all(text)
    for _ in range(_MOST_LOOKED_AT):
        if place < 0:
            return None
        begin = max(text.rfind("\n", 0, place), text.rfind("\r", 0, place)) + 1
        head = clean(text[begin : place + len(TRACEBACK)]).partition(TRACEBACK)[0]
        end = text.find("\n", place) + 1
        if 0 < len(head) <= _LONGEST_PREFIX and end > 0:
            shape = re.compile(re.sub(r"\d+", r"\\d+", re.escape(head)))
            below = clean(text[end : end + 2 * _LONGEST_PREFIX])
            match = shape.match(below)
            if match and below.startswith('  File "', match.end()):
                return shape
        place = text.find(TRACEBACK, end or len(text))
    return None


def _common_to_all(text: str) -> re.Pattern[str] | None:
    """The white space or the level of an error before every line: what all lines have says nothing of one."""
    rows = [row for row in text[:_LOOKED_AT].split("\n") if row.strip()]
    if rows and all(_ERROR_LEVEL.match(row) for row in rows):
        return _ERROR_LEVEL
    indents = [row[: len(row) - len(row.lstrip())] for row in rows]
    common = min(indents, key=len, default="")
    return re.compile(re.escape(common)) if common and all(one.startswith(common) for one in indents) else None


def _unwrapped(text: str) -> str:
    """A log whose lines are a logger's JSON objects, as their messages.

    A message of several lines stays one line of the log, as the states of a progress bar do, so that numbers stay
    those of the file.
    """
    if not any(row.startswith("{") and messages_in(row) for row in text[:_LOOKED_AT].split("\n", _MOST_LOOKED_AT)):
        return text
    return "\n".join(_messages(row) if row.startswith("{") else row for row in text.split("\n"))


def _messages(row: str) -> str:
    if _SOFT_LEVEL.search(row):
        return row  # its level is half of what it says
    return "\n".join(messages_in(row)).replace("\r\n", "\n").strip("\n").replace("\n", "\r") or row


def _decoded(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8", "replace")
