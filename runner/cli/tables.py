"""Tables that fit the terminal: whole columns are left out, none is cut to an ellipsis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

_GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """A column of plain text. `spare`: higher numbers are left out first on narrow terminals; 0 never."""

    title: str
    spare: int = 0
    right: bool = False


def print_table(console: Console, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their titles; cells are text, never markup."""
    kept = list(range(len(columns)))
    widths = [max(map(cell_len, cells)) for cells in zip([column.title for column in columns], *rows, strict=True)]
    while sum(widths[index] + _GAP for index in kept) - _GAP > console.width:
        least = max(kept, key=lambda index: columns[index].spare)
        if columns[least].spare == 0:
            break
        kept.remove(least)
    console.print(_table([columns[index] for index in kept], [[row[index] for index in kept] for row in rows]))


def _table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column.title, no_wrap=True, justify="right" if column.right else "left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
