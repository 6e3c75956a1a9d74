"""How a training ended, as far as its log says: exit code, tracebacks, the last sign of progress."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from runner.issues.logtext import TRACEBACK, Line, LogText

_EXIT = re.compile(
    r"\bexit(?:ed|ing)?(?: with)?(?: (?:exit )?(?:code|status))?[:=]? {0,2}\(?(-?\d{1,3})\b(?![.\d])", re.IGNORECASE
)
_EXCEPTION = re.compile(
    r"^(?:\w+\.)*([A-Z]\w*(?:Error|Exception|Invalid|Iteration|Interrupt|Exit|NotFound|Timeout|Enabled|Failure|Killed))"
    r"(?::|$|\s*\()"
)
_EXCEPTION_WORDS = ("Error", "Exception", "Invalid", "StopIteration", "Interrupt", "Failure")
_INSIDE = (" ", "\t", "│", "╭", "╰", "|", "+", "❱", "~", "^")
_MESSAGE_LINES = 4
_MOST_FRAMES = 600
_MOST_EXCEPTIONS = 500
SAVED = ("adapter saved", "adapters saved", "odel saved", "saved to", "Saving final model")
_DONE = (
    "training finished", "Training finished", "Training completed", "training completed", "Training ended",
    "train_runtime", "Training complete", "training complete",
)  # fmt: skip
_STARTED = (
    "training started", "Training started", "Running training", "Starting training", "Starting SFT", "Starting DPO",
    "Starting ORPO", "Starting CPT", "Starting RLHF", "Starting PPO", "starting training", "Begin training",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception that the log shows.

    Attributes:
        line: the line with its name and message.
        name: without its module; empty when the line is not of the usual form.
        frames: the lines of its traceback; empty when it has none.
    """

    line: Line
    name: str
    frames: str = ""


@dataclass(frozen=True, slots=True)
class Ending:
    """How it ended.

    Attributes:
        exit_code: as given, else as the log says, else None.
        exit_line: where the log says it.
        done: the line that says that training finished; None when there is none.
        is_started: training began.
        is_cut: training goes on in it, but its beginning is not there.
        progress: place of the last sign of progress; -1 without any.
        raised: exceptions, in order.
    """

    exit_code: int | None
    exit_line: Line | None
    done: Line | None
    is_started: bool
    is_cut: bool
    progress: int
    raised: tuple[Raised, ...]


def read_ending(log: LogText, *, exit_code: int | None, steps: Sequence[int]) -> Ending:
    """What the log says of its end; `steps` are the places of training figures."""
    exit_line, said = _exit(log)
    saved, done = _last(log, SAVED), _last(log, _DONE)
    raised = _raised(log)
    code = exit_code if exit_code is not None else said
    is_begun = any(word in log.text for word in _STARTED)
    signs = [place for place in (*steps[-1:], saved, done) if place >= 0]
    # Saving a checkpoint is progress, but no end.
    finished = saved if saved >= done >= 0 else done
    if finished < 0 and code == 0:
        finished = saved
    return Ending(
        exit_code=code,
        exit_line=exit_line,
        done=log.line_at(finished) if finished >= 0 else None,
        is_started=bool(steps) or is_begun,
        is_cut=bool(steps) and not is_begun,
        progress=max(signs, default=-1),
        raised=raised,
    )


def _last(log: LogText, words: Sequence[str]) -> int:
    return max(log.text.rfind(word) for word in words)


def _exit(log: LogText) -> tuple[Line | None, int | None]:
    """The last exit code that the log names, unless a later one is only the shell's of the same process."""
    found: list[tuple[Line, int]] = []
    for word in ("exit", "Exit"):
        position = len(log.text)
        for _ in range(20):
            position = log.text.rfind(word, 0, position)
            if position < 0:
                break
            line = log.line_at(position)
            match = _EXIT.search(line.text)
            if match and not line.text.startswith(_INSIDE):
                found.append((line, int(match[1])))
                break
    return max(found, key=lambda pair: pair[0].start, default=(None, None))


def _raised(log: LogText) -> tuple[Raised, ...]:
    found: dict[int, Raised] = {}
    for place in log.places(TRACEBACK):
        one = _after_traceback(log, place)
        if one is not None:
            found[one.line.start] = one
        if len(found) >= _MOST_EXCEPTIONS:
            break
    for word in _EXCEPTION_WORDS:
        for count, place in enumerate(log.places(word)):
            if count >= _MOST_EXCEPTIONS:
                break
            line = log.line_at(place)
            match = _EXCEPTION.match(line.text)
            if match and line.start not in found:
                found[line.start] = Raised(line, match[1])
    return tuple(found[start] for start in sorted(found))


def _after_traceback(log: LogText, place: int) -> Raised | None:
    frames: list[str] = []
    for index, line in enumerate(log.lines_from(place, _MOST_FRAMES)):
        if index == 0:
            continue
        if not line.text or line.text.startswith(_INSIDE):
            frames.append(line.text)
            continue
        match = _EXCEPTION.match(line.text)
        return Raised(line, match[1] if match else line.text.split(":")[0].rpartition(".")[2], "\n".join(frames))
    return None


def message_at(log: LogText, line: Line) -> str:
    """An exception's whole message, which may go on below its first line."""
    lines: list[str] = []
    for following in log.lines_from(line.start, _MESSAGE_LINES):
        text = following.text
        is_next = not text.strip() or text[:1] in "[0123456789{" or text.startswith(_INSIDE) or _EXIT.search(text)
        if lines and is_next:
            break
        lines.append(text)
    return "\n".join(lines)
