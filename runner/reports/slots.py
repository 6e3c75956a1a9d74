"""What the author writes inside a region that is otherwise ours: the notes of the inventory table, its order, and rows
of templates that have no spec.

A table row is known by its template key. The `notes` of a spec fill an empty cell; what stands there is the author's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_PIPE = re.compile(r"(?<!\\)\|")
_KEY = re.compile(r"[\w.-]+")
_KEY_CELL, _STATUS_CELL, _NOTES_CELL = 0, 2, 4
_NO_SPEC = "➖ Not tested: no spec"


@dataclass(frozen=True, slots=True)
class Slots:
    """How a region shares its content with the author.

    Attributes:
        fill: what to write, from what was rendered and what stands there now.
        owned: the part of a content that is ours; only a change of it is a hand edit.
    """

    fill: Callable[[str, str], str]
    owned: Callable[[str], str]


def cells_of(row: str) -> list[str]:
    """The cells of a table row, as they are written."""
    inner = row.strip().removeprefix("|")
    parts = _PIPE.split(inner)
    return [part.strip() for part in (parts[:-1] if parts and not parts[-1].strip() else parts)]


def key_of(cell: str) -> str:
    """The template key in a cell such as `` `sft_standard` ``; empty when there is none."""
    match = _KEY.search(cell.replace("\\_", "_"))
    return match.group() if match else ""


def _rows(table: str) -> list[list[str]]:
    """The body rows of the first table in a content."""
    lines = [line for line in table.split("\n") if line.strip().startswith("|")]
    return [cells_of(line) for line in lines[2:]]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |" if cells[-1] else "| " + " | ".join(cells[:-1]) + " |  |"


def _fill_inventory(rendered: str, current: str) -> str:
    head = rendered.split("\n")[:2]
    ours = {key_of(row[_KEY_CELL]): row for row in _rows(rendered) if row}
    lines: list[str] = []
    for row in _rows(current):
        fresh = ours.pop(key_of(row[_KEY_CELL]), None) if row else None
        if len(row) <= _NOTES_CELL:
            lines += [_line(fresh)] if fresh else []
        elif fresh is not None:
            fresh[_NOTES_CELL] = row[_NOTES_CELL] or fresh[_NOTES_CELL]
            lines.append(_line(fresh))
        elif key_of(row[_KEY_CELL]):
            row[_STATUS_CELL] = _NO_SPEC
            lines.append(_line(row))
    lines += [_line(row) for row in ours.values()]
    return "\n".join([*head, *lines]) + "\n"


def _own_inventory(content: str) -> str:
    rows = content.split("\n")
    return "\n".join(_line(cells_of(row)[:_NOTES_CELL]) if row.strip().startswith("|") else row for row in rows)


SLOTS: Mapping[str, Slots] = {"inventory": Slots(fill=_fill_inventory, owned=_own_inventory)}
"""By region id."""
