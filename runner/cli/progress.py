"""Shows a run while it goes on, on standard error: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from runner.cli.jobline import SIGNS, Board, sentence, unmet, visible_title
from runner.events import (
    AnyEvent,
    IssueObserved,
    JobEvent,
    JobFinished,
    JobJudged,
    PodDoubled,
    PodUnconfirmed,
    encode_event,
)
from runner.reports.foreign import visible
from runner.results import Verdict

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

Mode = Literal["auto", "rich", "plain", "jsonl", "none"]
Listener = Callable[[AnyEvent], None]


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
        indent = " " * (len(text) - len(text.lstrip()))
        print(f"{event.at:%H:%M:%S} {event.job} {indent}{visible(text)}", file=sys.stderr, flush=True)


@contextmanager
def _live_table(now: Callable[[], datetime]) -> Iterator[Listener]:
    from rich.console import Console, Group
    from rich.live import Live

    from runner.cli.liveview import frame

    board = Board()
    console = Console(stderr=True, highlight=False)

    def view() -> Group:
        lines = frame(board, now(), width=console.width, height=console.height)
        return Group(*(shown(line, console) for line in lines))

    with Live(get_renderable=view, console=console, refresh_per_second=4, transient=True) as live:

        def listen(event: AnyEvent) -> None:
            board.apply(event)
            announce(event, live.console)

        yield listen


def announce(event: AnyEvent, console: Console) -> None:
    """Print above the live view what a reader must not miss: an ended job, why it did not pass, a pod that may bill."""
    for line in announcement(event):
        console.print(shown(line, console), soft_wrap=True)


def announcement(event: AnyEvent) -> list[Text]:
    """The lines that an event is announced with; none for what the live view shows."""
    from rich.text import Text

    from runner.cli.liveview import STYLES
    from runner.reports.wording import duration

    match event:
        case JobFinished():
            line = Text.assemble((f"{SIGNS[event.outcome]} {event.outcome}", STYLES[event.outcome]))
            line.append(f"  {visible(event.job)}  {duration(event.elapsed_s)}")
            return [line, *([Text(f"  {_first_line(event.reason)}")] if event.reason else [])]
        case JobJudged():
            return [line for verdict in unmet(event) for line in _problem(event, verdict)]
        case IssueObserved(verdict="error" | "infrastructure"):
            said = f": {_first_line(event.text)}" if event.text else ""
            return [Text(f"! {visible(event.job)}  {visible(event.title)}{said}")]
        case PodDoubled():
            said = f"a second pod of one request was given back: {visible(event.pod_id)}, {duration(event.alive_s)}"
            return [Text(f"! {visible(event.job)}  {said}")]
        case PodUnconfirmed():
            return [Text(f"! pod {event.pod_id or event.name} may still be billed: {visible(event.why)}", style="red")]
        case _:
            return []


def _problem(event: JobJudged, verdict: Verdict) -> Iterator[Text]:
    from rich.text import Text

    from runner.cli.liveview import STYLES

    found = verdict.finding
    head = Text.assemble((f"{SIGNS[verdict.outcome]} {verdict.outcome}", STYLES[verdict.outcome]))
    yield head.append(f"  {visible(visible_title(verdict.title))}  {visible(event.job)}")
    for label, text in (
        ("expected", found.expected),
        ("observed", found.observed),
        ("evidence", ", ".join(found.evidence)),
    ):
        if text:
            yield Text(f"  {label}  {_first_line(text)}")


def shown(line: Text, console: Console) -> Text:
    """The line as this terminal can show it: without UTF-8, signs are letters."""
    if console.options.ascii_only:
        line.plain = line.plain.translate(_ASCII).encode("ascii", "replace").decode()
    return line


_ASCII = str.maketrans({"✓": ".", "✗": "F", "·": "|", "…": "~", "█": "#", "░": "-", "“": '"', "”": '"'})


def _first_line(text: str) -> str:
    return visible((text.splitlines() or [""])[0])
