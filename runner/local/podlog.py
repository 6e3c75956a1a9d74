"""The log of one pod: numbered lines in a bounded ring, in a bounded file, and to whoever follows it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Literal

LogSource = Literal["container", "system"]
RING_LINES = 20_000
FILE_BYTES = 32 * 1024 * 1024
LINE_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line; `seq` counts from 1 over the whole life of the pod, restarts included."""

    seq: int
    at: datetime
    source: LogSource
    text: str


class PodLog:
    """Lines of one pod, oldest first; the oldest are forgotten beyond `ring` lines."""

    def __init__(self, now: Callable[[], datetime], path: Path | None = None, *, ring: int = RING_LINES) -> None:
        self._now = now
        self._lines: deque[LogLine] = deque(maxlen=ring)
        self._seq = 0
        self._changed = asyncio.Event()
        self._closed = False
        self._left = FILE_BYTES
        self._file: IO[str] | None = path.open("a", encoding="utf-8", newline="\n") if path else None

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def last_seq(self) -> int:
        return self._seq

    def append(self, source: LogSource, text: str) -> None:
        """Add one line, stamped now; nothing happens once the log is closed."""
        if self._closed:
            return
        self._seq += 1
        line = LogLine(self._seq, self._now(), source, text)
        self._lines.append(line)
        self._write(line)
        self.nudge()

    def nudge(self) -> None:
        """Wake every follower, with or without a new line."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _write(self, line: LogLine) -> None:
        record = f"{line.at.astimezone(UTC).isoformat()} {line.source} {line.text}\n"
        self._left -= len(record)
        if self._file is not None and self._left >= 0:
            # The file is a convenience for people; a full disk must not take the pod down.
            with contextlib.suppress(OSError):
                self._file.write(record)
                self._file.flush()

    def after(self, seq: int, sources: Collection[LogSource]) -> list[LogLine]:
        """The kept lines with a number above `seq`."""
        if seq >= self._seq:
            return []
        return [line for line in self._lines if line.seq > seq and line.source in sources]

    def seq_of_tail(self, count: int, sources: Collection[LogSource]) -> int:
        """The number after which the last `count` lines of `sources` come."""
        if count <= 0:
            return self._seq
        for line in reversed(self._lines):
            if line.source in sources:
                count -= 1
                if count == 0:
                    return line.seq - 1
        return 0

    def seq_before(self, moment: datetime) -> int:
        """The number after which the lines stamped at `moment` or later come."""
        return next((line.seq - 1 for line in self._lines if line.at >= moment), self._seq)

    async def wait_beyond(self, seq: int, timeout_s: float) -> None:
        """Return when a line above `seq` is there, the log is closed, or `timeout_s` real seconds are over."""
        if self._seq > seq or self._closed:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), timeout_s)

    def close(self) -> None:
        """No more lines; followers read what is left and end. May be called twice."""
        self._closed = True
        self.nudge()
        if self._file is not None:
            self._file.close()
            self._file = None


class LineSplitter:
    r"""Cuts a byte stream into lines at `\n`, `\r` and `\r\n`; a line above the bound comes out in marked pieces."""

    def __init__(self, emit: Callable[[str], None], *, bound: int = LINE_BYTES) -> None:
        self._emit = emit
        self._bound = bound
        self._rest = b""
        self._skip_newline = False

    def feed(self, data: bytes) -> None:
        """Take some bytes; complete lines are emitted at once, as text with bad bytes replaced."""
        if self._skip_newline and data.startswith(b"\n"):
            data = data[1:]
        # A "\r" at the very end may be the first half of "\r\n": its other half is skipped in the next piece.
        self._skip_newline = data.endswith(b"\r")
        *lines, self._rest = (self._rest + data).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            self._emit_bounded(line)
        if len(self._rest) > self._bound:
            rest, self._rest = self._rest, b""
            self._emit_bounded(rest)

    def end(self) -> None:
        """Emit what has no line end."""
        if self._rest:
            self._emit_bounded(self._rest)
            self._rest = b""

    def _emit_bounded(self, line: bytes) -> None:
        while len(line) > self._bound:
            self._emit(line[: self._bound].decode("utf-8", "replace") + " [cut]")
            line = line[self._bound :]
        self._emit(line.decode("utf-8", "replace"))
