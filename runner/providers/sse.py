"""A tolerant, incremental reader of Server-Sent Events.

The published clients for aiohttp have had no release since 2021 and reconnect by themselves; here the caller decides.
Source: WHATWG HTML, section "Server-sent events", interpretation of an event stream.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class SseEvent:
    """One event. `id` is the last id the stream gave, which may be an earlier event's."""

    id: str
    event: str
    data: str


class SseParser:
    """Turns chunks of bytes, cut anywhere, into events.

    Args:
        max_bytes: longest line and longest event kept; the rest of a longer one is dropped.
        last_id: the id to start from, kept until the stream gives another one.
    """

    def __init__(self, *, max_bytes: int = 1 << 20, last_id: str = "") -> None:
        self._max_bytes = max_bytes
        self._rest = b""
        self._dropping = False
        self._at_start = True
        self.last_id = last_id
        self._event = ""
        self._data: list[str] = []
        self._data_bytes = 0

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """The events that `chunk` completes. An event that the stream's end cuts off is never returned."""
        found = []
        for line in self._lines(chunk):
            if line:
                self._field(line)
            elif (event := self._dispatch()) is not None:
                found.append(event)
        return found

    def _lines(self, chunk: bytes) -> list[bytes]:
        if self._dropping:
            end = _LINE_END.search(chunk)
            if end is None:
                return []
            chunk, self._dropping = chunk[end.start() :], False
        buffer = self._rest + chunk
        if self._at_start and len(buffer) < len(_BOM) and _BOM.startswith(buffer):
            self._rest = buffer
            return []
        buffer = buffer.removeprefix(_BOM) if self._at_start else buffer
        self._at_start = False
        # A carriage return at the very end may be the first half of CR LF.
        held = b"\r" if buffer.endswith(b"\r") else b""
        *lines, rest = _LINE_END.split(buffer[: len(buffer) - len(held)])
        if len(rest) > self._max_bytes:
            rest, self._dropping = rest[: self._max_bytes], not held
        self._rest = rest + held
        return lines

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data_bytes += len(value) + 1
            if self._data_bytes <= self._max_bytes + 1 or not self._data:
                self._data.append(value[: self._max_bytes].decode("utf-8", "replace"))
        elif name == b"event":
            self._event = value[:100].decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value and len(value) <= 200:
            self.last_id = value.decode("utf-8", "replace")

    def _dispatch(self) -> SseEvent | None:
        event = SseEvent(id=self.last_id, event=self._event, data="\n".join(self._data)) if self._data else None
        self._event, self._data, self._data_bytes = "", [], 0
        return event
