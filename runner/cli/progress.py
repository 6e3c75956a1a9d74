"""Shows a run while it goes on, on standard error: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from runner.cli.jobline import SIGNS, Board, JobLine, sentence
from runner.results import (
    AnyEvent,
    IssueObserved,
    JobEvent,
    JobFinished,
    JobJudged,
    Outcome,
    PodUnconfirmed,
    encode_event,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Mode = Literal["auto", "rich", "plain", "jsonl", "none"]
Listener = Callable[[AnyEvent], None]

STYLES = {
    Outcome.PASSED: "green",
    Outcome.FAILED: "red",
    Outcome.ERRORED: "magenta",
    Outcome.UNKNOWN: "magenta",
    Outcome.SKIPPED: "",
    Outcome.CANCELLED: "",
}


@contextmanager
def showing(mode: Mode, *, now: Callable[[], datetime]) -> Iterator[Listener]:
    """A listener that shows events until the block ends."""
    if mode == "auto":
        mode = "rich" if sys.stderr.isatty() else "plain"
    if mode == "none":
        yield lambda _: None
    elif mode == "jsonl":
        yield lambda event: print(encode_event(event).decode(), file=sys.stderr, flush=True)
    elif mode == "plain":
        yield _print_plain
    else:
        with _live_table(now) as listener:
            yield listener


def _print_plain(event: AnyEvent) -> None:
    text = sentence(event)
    if text is not None and isinstance(event, JobEvent):
        print(f"{event.at:%H:%M:%S} {event.job} {text}", file=sys.stderr, flush=True)


@contextmanager
def _live_table(now: Callable[[], datetime]) -> Iterator[Listener]:
    from rich.console import Console
    from rich.live import Live

    board = Board()
    console = Console(stderr=True, highlight=False)
    with Live(
        get_renderable=lambda: table_of(board, now(), height=console.height),
        console=console,
        refresh_per_second=4,
        transient=True,
    ):

        def listen(event: AnyEvent) -> None:
            board.apply(event)
            announce(event, console)

        yield listen


def announce(event: AnyEvent, console: Console) -> None:
    """Print above the table what a reader must not miss: an ended job, a problem, a pod that may still bill."""
    from rich.text import Text

    match event:
        case JobFinished():
            line = Text(f"{SIGNS[event.outcome]} {event.outcome}", style=STYLES[event.outcome])
            line.append(f"  {event.job}  {event.elapsed_s:.0f} s  {_first_line(event.reason)}", style="default")
            console.print(line, soft_wrap=True)
        case JobJudged():
            for verdict in event.verdicts:
                if verdict.outcome not in (Outcome.PASSED, Outcome.SKIPPED):
                    line = Text(f"  {SIGNS[verdict.outcome]} ", style=STYLES[verdict.outcome])
                    line.append(f"{verdict.title}: {_first_line(verdict.finding.observed)}", style="default")
                    console.print(line, soft_wrap=True)
        case IssueObserved(verdict="error" | "infrastructure"):
            console.print(Text(f"  {event.job}  {event.title}: {_first_line(event.text)}"), soft_wrap=True)
        case PodUnconfirmed():
            console.print(Text(f"! pod {event.pod_id or event.name} may still bill: {event.why}", style="red"))
        case _:
            return


def table_of(board: Board, now: datetime, *, height: int) -> Table:
    """The live table: one row a job; finished ones give way when the screen is too low."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("job", no_wrap=True)
    table.add_column("now", no_wrap=True, ratio=1)
    table.add_column("pod", no_wrap=True)
    for title in ("step", "loss", "time", "cost"):
        table.add_column(title, justify="right", no_wrap=True)
    for line in _fitting(list(board.lines.values()), height - 3):
        table.add_row(*_cells(line, now))
    return table


def _fitting(lines: list[JobLine], room: int) -> list[JobLine]:
    if len(lines) <= room:
        return lines
    running = [line for line in lines if line.started_at is not None and line.outcome is None]
    waiting = [line for line in lines if line.started_at is None and line.outcome is None]
    return [*running, *waiting][: max(room, 1)]


def _cells(line: JobLine, now: datetime) -> list[str]:
    from rich.markup import escape

    sign = SIGNS[line.outcome] if line.outcome is not None else "…" if line.started_at is not None else " "
    step = "" if line.step is None else f"{line.step}/{line.total_steps}" if line.total_steps else str(line.step)
    return [
        f"{sign} {escape(line.key)}",
        escape(line.now),
        escape(line.pod),
        step,
        "" if line.loss is None else f"{line.loss:.3g}",
        f"{line.elapsed_s(now):.0f} s" if line.started_at is not None else "",
        f"${line.cost_usd(now):.2f}",
    ]


def _first_line(text: str) -> str:
    return (text.splitlines() or [""])[0]
