"""Where a value stands in one line of JSON: looked up only after the line was found wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


class Member(NamedTuple):
    """One entry of an object or list: its key or index, where the key stands, where the value stands."""

    key: object
    key_start: int
    key_end: int
    start: int
    end: int


def locate(line: str, path: Sequence[str | int], *, at_key: bool = False) -> tuple[int, int]:
    """Start and end (0-based, end exclusive) of the value at `path`, or of its key.

    Follows the path as far as it goes, so a path to a missing key gives the object that lacks it.
    """
    place = _SPACE.match(line).end(), len(line.rstrip())  # type: ignore[union-attr]  # matches everywhere
    try:
        for depth, part in enumerate(path, 1):
            # The last one counts when a key is repeated, as it does for every decoder.
            found = [member for member in _members(line, place[0]) if member.key == part]
            if not found:
                break
            last = found[-1]
            key_wanted = at_key and depth == len(path)
            place = (last.key_start, last.key_end) if key_wanted else (last.start, last.end)
    except (ValueError, IndexError, RecursionError):  # Python's decoder has limits that JSON has not
        pass
    return place


def _members(line: str, start: int) -> Iterator[Member]:
    """Entries of the object or list that begins at `start`; nothing for other values."""
    is_object = line[start] == "{"
    if not is_object and line[start] != "[":
        return
    at = _skip(line, start + 1)
    index = 0
    while line[at] not in "]}":
        key: object = index
        key_start = key_end = at
        if is_object:
            key, key_end = _DECODER.raw_decode(line, at)
            at = _skip(line, _skip(line, key_end) + 1)
        _, end = _DECODER.raw_decode(line, at)
        yield Member(key, key_start, key_end, at, end)
        index += 1
        at = _skip(line, end)
        if line[at] == ",":
            at = _skip(line, at + 1)


def _skip(line: str, at: int) -> int:
    match = _SPACE.match(line, at)
    return match.end() if match else at
