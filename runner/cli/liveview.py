"""The picture of a run that is going on, as lines of text: one row a job, then one line for the whole run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from statistics import median
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from runner.cli.jobline import SIGNS, Board, JobLine
from runner.reports.foreign import visible
from runner.reports.wording import duration, money
from runner.results import Outcome

STYLES = {
    Outcome.PASSED: "green",
    Outcome.FAILED: "red",
    Outcome.ERRORED: "magenta",
    Outcome.UNKNOWN: "magenta",
    Outcome.SKIPPED: "",
    Outcome.CANCELLED: "",
}
_RUNNING = "blue"
_GAP = "  "
_BAR_CELLS = 8
_WIDE, _MIDDLE, _NARROW = 100, 72, 56
"""From these widths on, rows have a bar and the pod's state; the cost; step and loss."""
_LEAST_NOW = 12
_SINCE = " · "


class Row(NamedTuple):
    """The cells of one line; `now` takes what room is left."""

    job: str
    now: str
    pod: str
    bar: str
    step: str
    loss: str
    elapsed: str
    cost: str


_HEAD = Row("  job", "now", "pod", "", "step", "loss", "time", "cost")
_RIGHT = {"step", "loss", "elapsed", "cost"}


def frame(board: Board, now: datetime, *, width: int, height: int) -> list[Text]:
    """The lines of the live view: never wider than `width`, never more than `height`."""
    lines = list(board.lines.values())
    shown = _fitting(lines, max(1, height - 4))
    rows = [_row(board, line, now) for line in shown]
    table = _table(rows, width)
    head = Text(table[0], style="bold")
    body = [_styled(text, line) for text, line in zip(table[1:], shown, strict=True)]
    hidden = len(lines) - len(shown)
    more = [Text(_cut(f"  and {hidden} more that ended or wait", width))] if hidden else []
    return [head, *body, *more, Text(""), footer(board, now, width=width)]


def footer(board: Board, now: datetime, *, width: int) -> Text:
    """Counts, time, money and open pods; what does not fit is left out from the end."""
    parts = [part for part in (_counts(board), *_figures(board, now)) if part]
    while len(parts) > 1 and cell_len(" · ".join(parts)) > width:
        parts.pop()
    return Text(_cut(" · ".join(parts), width))


def _counts(board: Board) -> str:
    lines = board.lines.values()
    found = {outcome: sum(line.outcome is outcome for line in lines) for outcome in Outcome}
    to_go = sum(line.outcome is None for line in lines)
    words = [f"{number} {outcome}" for outcome, number in sorted(found.items(), key=_severity) if number]
    return ", ".join([*words, *([f"{to_go} to go"] if to_go else [])]) or "starting"


_ORDER = (Outcome.FAILED, Outcome.ERRORED, Outcome.UNKNOWN, Outcome.CANCELLED, Outcome.SKIPPED, Outcome.PASSED)


def _severity(item: tuple[Outcome, int]) -> int:
    return _ORDER.index(item[0])


def _figures(board: Board, now: datetime) -> list[str]:
    spent = sum(board.cost_usd(line, now) for line in board.lines.values())
    limit = f" of {money(board.max_spend_usd)}" if board.max_spend_usd is not None else ""
    pods = sum(line.is_pod_open for line in board.lines.values())
    return [
        duration((now - board.started_at).total_seconds()) if board.started_at else "",
        f"{money(spent)}{limit}",
        f"{pods} {'pod' if pods == 1 else 'pods'} open",
        _estimate(board, now),
    ]


def _estimate(board: Board, now: datetime) -> str:
    left_s = time_left_s(board, now)
    if left_s is None:
        return "no estimate before a job has passed" if any(one.outcome is None for one in board.lines.values()) else ""
    return f"about {duration(left_s)} to go" if left_s >= 1 else "takes longer than the jobs before"


def time_left_s(board: Board, now: datetime) -> float | None:
    """How long the rest takes when it goes like the jobs that passed; None before one has.

    Jobs that failed tell nothing: most of them ended early.
    """
    lines = board.lines.values()
    known = [line.elapsed_s(now) for line in lines if line.outcome is Outcome.PASSED]
    left = [line for line in lines if line.outcome is None]
    if not known or not left:
        return None
    typical = median(known)
    running = sum(line.started_at is not None for line in left)
    return sum(max(typical - line.elapsed_s(now), 0.0) for line in left) / max(running, 1)


def _row(board: Board, line: JobLine, now: datetime) -> Row:
    sign = SIGNS[line.outcome] if line.outcome is not None else "…" if line.started_at is not None else "·"
    # The lab's total may be that of the template; a tiny model on this machine trains longer.
    total = line.total_steps if (line.total_steps or 0) >= (line.step or 0) else None
    since = f"{_SINCE}{duration(waited)}" if line.outcome is None and (waited := line.waited_s(now)) >= 5 else ""
    return Row(
        job=f"{sign} {visible(line.key)}",
        now=f"{visible(line.now)}{since}",
        pod=visible(line.pod),
        bar=_bar(line.step, total),
        step="" if line.step is None else f"{line.step}/{total}" if total else str(line.step),
        loss="" if line.loss is None else f"{line.loss:.3g}",
        elapsed=duration(line.elapsed_s(now)) if line.started_at is not None else "",
        cost=money(board.cost_usd(line, now)) if line.started_at is not None else "",
    )


def _bar(step: int | None, total: int | None) -> str:
    if not step or not total:
        return ""
    full = min(step, total) * _BAR_CELLS // total
    return "█" * full + "░" * (_BAR_CELLS - full)


def _table(rows: Sequence[Row], width: int) -> list[str]:
    """Rows of equal width under their heads; narrow terminals see fewer columns, not crippled ones."""
    names = [name for name in Row._fields if name not in _left_out(width)]
    widths = {name: max(cell_len(getattr(row, name)) for row in (_HEAD, *rows)) for name in names}
    names = [name for name in names if name == "now" or any(getattr(row, name) for row in rows) or name in _ALWAYS]
    others = sum(widths[name] + len(_GAP) for name in names if name != "now")
    if width - others < _LEAST_NOW:
        widths["job"] = max(_LEAST_NOW, widths["job"] - (_LEAST_NOW - (width - others)))
        others = sum(widths[name] + len(_GAP) for name in names if name != "now")
    widths["now"] = max(1, min(widths["now"], width - others))
    return [_line(row, names, widths) for row in (_HEAD, *rows)]


_ALWAYS = {"job", "elapsed"}


def _left_out(width: int) -> set[str]:
    if width >= _WIDE:
        return set()
    narrow = set() if width >= _NARROW else {"step", "loss"}
    return {"bar", "pod", *(set() if width >= _MIDDLE else {"cost"}), *narrow}


def _line(row: Row, names: Sequence[str], widths: dict[str, int]) -> str:
    cells = []
    for name in names:
        cell: str = getattr(row, name)
        text = _cut_now(cell, widths[name]) if name == "now" else _cut(cell, widths[name], keep_end=name == "job")
        padding = " " * (widths[name] - cell_len(text))
        cells.append(padding + text if name in _RIGHT else text + padding)
    return _GAP.join(cells).rstrip()


def _cut_now(text: str, width: int) -> str:
    """What a job does may be cut; since when it does it stays."""
    title, sign, since = text.rpartition(_SINCE)
    room = width - cell_len(sign + since)
    return _cut(title, room) + sign + since if sign and room >= _LEAST_NOW else _cut(text, width)


def _cut(text: str, width: int, *, keep_end: bool = False) -> str:
    """At most `width` columns; a cut is marked. The end of a job's key tells jobs apart."""
    if cell_len(text) <= width:
        return text
    if not keep_end or width < 8:
        return f"{set_cell_size(text, width - 1).rstrip()}…"
    tail = text[-(width // 2) :]
    return f"{set_cell_size(text, width - 1 - cell_len(tail))}…{tail}"


def _styled(text: str, line: JobLine) -> Text:
    style = STYLES[line.outcome] if line.outcome is not None else _RUNNING if line.started_at is not None else ""
    styled = Text(text)
    styled.stylize(style, 0, 1)
    return styled


def _fitting(lines: list[JobLine], room: int) -> list[JobLine]:
    """What goes on comes first when the screen is too low; what ended was announced above."""
    if len(lines) <= room:
        return lines
    running = [line for line in lines if line.started_at is not None and line.outcome is None]
    waiting = [line for line in lines if line.started_at is None]
    ended = [line for line in lines if line.outcome is not None]
    return [*running, *waiting, *ended][:room]
