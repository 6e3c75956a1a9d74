"""Draws `docs/images/run.svg` from a recorded run: `python docs/picture.py STATE_DIR [RUN]`.

The picture is what a terminal showed: the live view at the moment when most jobs were training, then everything that
was announced, then the summary. Nothing in it is made up; times and figures are those of the record.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme

from runner.cli.jobline import Board
from runner.cli.liveview import frame
from runner.events import AnyEvent, RunStarted
from runner.history import RecordedRun
from runner.reports.evidence import summarise
from runner.reports.terminal import print_summary
from runner.store.store import Store

WIDTH = 100
TARGET = Path(__file__).resolve().parent / "images" / "run.svg"
THEME = TerminalTheme(
    (15, 20, 25),
    (230, 233, 236),
    [(26, 33, 41), (240, 112, 77), (116, 224, 204), (242, 194, 48), (108, 182, 255), (165, 140, 242), (127, 240, 214),
     (154, 164, 175)],
)  # fmt: skip

# rich loads its font from a server; a picture in a document loads nothing.
_FORMAT = re.sub(r"@font-face \{\{.*?\n    \}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "Fira Code, monospace", "ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace"
)


def picture(run: RecordedRun) -> str:
    """The SVG of a run; the same record gives the same bytes."""
    report = summarise(run)
    if report is None:
        raise ValueError(f"run {run.run} has no start")
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, highlight=False)
    command = next(event.command for event in run.events if isinstance(event, RunStarted))
    console.print(f"$ {command}\n", markup=False)
    for line in busiest_frame(run.events):
        console.print(line)
    console.print()
    print_summary(report, console)
    return console.export_svg(title="runspec", theme=THEME, unique_id="run", code_format=_FORMAT)


def busiest_frame(events: tuple[AnyEvent, ...]) -> list[object]:
    """The live view after the event with the most jobs training, the latest such one."""
    board, best, found = Board(), -1, list[object]()
    for event in events:
        board.apply(event)
        training = sum(line.step is not None and line.outcome is None for line in board.lines.values())
        if board.lines and training >= best and training:
            best, found = training, list(frame(board, event.at, width=WIDTH, height=40))
    return found


def main(arguments: list[str]) -> int:
    """Draw the newest run of a state directory, or the one that is named."""
    if not arguments:
        print(__doc__)
        return 2
    with Store.open(Path(arguments[0]), read_only=True) as store:
        name = arguments[1] if len(arguments) > 1 else store.runs(1)[0].run
        TARGET.parent.mkdir(parents=True, exist_ok=True)
        TARGET.write_text(picture(store.load_run(name)), encoding="utf-8")
    print(f"wrote {TARGET}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
