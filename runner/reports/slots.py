"""What the author writes inside a region that is otherwise ours: the notes of the inventory table, its order, rows of
templates that have no spec, and what a status or result said before there was evidence.

A table row is known by its template key. The `notes` of a spec fill an empty cell; what stands there is the author's.
A claim made by hand is kept on one line of its own, below what the evidence says; the author may change or delete it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_PIPE = re.compile(r"(?<!\\)\|")
_KEY = re.compile(r"[\w.-]+")
_FIELD = re.compile(r"^\*\*(?P<name>[^*]+?):?\*\*:?[ \t]*(?P<value>.*)$")
_BY_HAND = "**By hand, before runspec:** "
_NOTHING_SAID = re.compile(r"\W*(pending|not yet tested|tbd)?\W*", re.IGNORECASE)
_KEY_CELL, _STATUS_CELL, _NOTES_CELL = 0, 2, 4
_NO_SPEC = "➖ Not tested: no spec"


@dataclass(frozen=True, slots=True)
class Slots:
    """How a region shares its content with the author.

    Attributes:
        fill: what to write, from what was rendered and what stands there now.
        owned: the part of a content that is ours; only a change of it is a hand edit.
        adopted: what of the author's own words stays, from a content that was adopted and never rendered.
    """

    fill: Callable[[str, str], str]
    owned: Callable[[str], str]
    adopted: Callable[[str], str] = lambda content: content


def cells_of(row: str) -> list[str]:
    """The cells of a table row, as they are written."""
    inner = row.strip().removeprefix("|")
    parts = _PIPE.split(inner)
    return [part.strip() for part in (parts[:-1] if parts and not parts[-1].strip() else parts)]


def key_of(cell: str) -> str:
    """The template key in a cell such as `` `sft_standard` ``; empty when there is none."""
    match = _KEY.search(cell.replace("\\_", "_"))
    return match.group() if match else ""


def _is_row(line: str) -> bool:
    return line.strip().startswith("|")


def _around_table(content: str) -> tuple[list[str], list[str], list[str]]:
    """The lines before, in and behind the first table of a content."""
    lines = content.split("\n")
    begin = next((number for number, line in enumerate(lines) if _is_row(line)), len(lines))
    end = next((number for number in range(begin, len(lines)) if not _is_row(lines[number])), len(lines))
    return lines[:begin], lines[begin:end], lines[end:]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |" if cells[-1] else "| " + " | ".join(cells[:-1]) + " |  |"


def _fill_inventory(rendered: str, current: str) -> str:
    before, table, behind = _around_table(rendered)
    head, *_ = fresh_rows = [cells_of(line) for line in table] or [[]]
    if any(len(row) <= _NOTES_CELL for row in fresh_rows):  # somebody's own template makes something else of it
        return _fill_claims(rendered, current)
    written = [cells_of(line) for line in _around_table(current)[1]]
    ours = {key_of(row[_KEY_CELL]): row for row in fresh_rows[2:]}
    # Columns behind ours are the author's.
    more = [*(row[len(head) :] for row in written[:2]), [], []]
    lines = [line + "".join(f" {cell} |" for cell in own) for line, own in zip(table[:2], more, strict=False)]
    for row in written[2:]:
        fresh = ours.pop(key_of(row[_KEY_CELL]), None) if row else None
        if len(row) <= _NOTES_CELL:
            lines += [_line(fresh)] if fresh else []
        elif fresh is not None:
            fresh[_NOTES_CELL] = row[_NOTES_CELL] or fresh[_NOTES_CELL]
            lines.append(_line([*fresh, *row[len(head) :]]))
        elif key_of(row[_KEY_CELL]):
            row[_STATUS_CELL] = _NO_SPEC
            lines.append(_line(row))
    lines += [_line([*row, *("" for _ in more[0])]) for row in ours.values()]
    return _fill_claims("\n".join([*before, *lines, *behind]), current)


def _claims_of_inventory(adopted: str) -> str:
    """The table as it was adopted, and below it what its status cells claim."""
    rows = [row for line in _around_table(adopted)[1][2:] if len(row := cells_of(line)) > _STATUS_CELL]
    said = [f"{row[_KEY_CELL]}: {row[_STATUS_CELL]}" for row in rows if not _NOTHING_SAID.fullmatch(row[_STATUS_CELL])]
    return f"{adopted}\n{_BY_HAND}{' · '.join(said)}\n" if said else adopted


def _own_inventory(content: str) -> str:
    rows = _own_claims(content).split("\n")
    return "\n".join(_line(cells_of(row)[:_NOTES_CELL]) if _is_row(row) else row for row in rows)


def _claims_of(adopted: str) -> str:
    """What an adopted status or result claims, as the line that keeps it; empty when it claims nothing."""
    fields = [match for line in adopted.split("\n") if (match := _FIELD.match(line.strip()))]
    if all(_NOTHING_SAID.fullmatch(one["value"]) for one in fields):
        return ""
    status_only = len(fields) == 1 and fields[0]["name"].lower() == "status"
    said = [one["value"] if status_only else f"{one['name']}: {one['value']}" for one in fields]
    return f"{_BY_HAND}{' · '.join(said)}\n"


def _fill_claims(rendered: str, current: str) -> str:
    kept = next((line for line in current.split("\n") if line.startswith(_BY_HAND)), None)
    return rendered if kept is None else f"{rendered}\n{kept}\n"


def _own_claims(content: str) -> str:
    lines = [line for line in content.split("\n") if not line.startswith(_BY_HAND)]
    return "\n".join(lines).rstrip("\n") + "\n"


_SLOTS: Mapping[str, Slots] = {
    "inventory": Slots(fill=_fill_inventory, owned=_own_inventory, adopted=_claims_of_inventory),
    "status:": Slots(fill=_fill_claims, owned=_own_claims, adopted=_claims_of),
    "results:": Slots(fill=_fill_claims, owned=_own_claims, adopted=_claims_of),
}


def slots_of(region: str) -> Slots | None:
    """How the region with this id shares its content; None when all of it is ours."""
    kind, colon, _ = region.partition(":")
    return _SLOTS.get(kind + colon)
