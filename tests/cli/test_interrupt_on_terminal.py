"""What ^C says on a terminal stays there, although the live view is drawn over and over."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runner import events as e
from runner.cli.progress import showing
from runner.cli.signals import Aftermath, ladder, restored
from runner.engine.interrupt import Interrupt

NOW = datetime(2026, 1, 4, tzinfo=UTC)
HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"
STARTED = e.JobStarted(at=NOW, job="sft/basic/1")
AFTERMATH = Aftermath(code_of_leaving=lambda: 130)
UNCONFIRMED = e.PodUnconfirmed(at=NOW, job="sft/basic/1", name="p", pod_id="p", why="no answer")


@pytest.fixture(autouse=True)
def _signals_of_pytest() -> Iterator[None]:
    with restored():
        yield


def screen(written: str) -> list[str]:
    """The lines that a terminal shows after what was written to it: text, new lines, and the moves of a live view."""
    lines, row = [""], 0
    for part in re.split(r"(\x1b\[[0-9;?]*[A-Za-z]|\r\n|\r|\n)", written):
        if part in ("\n", "\r\n"):
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif move := re.fullmatch(r"\x1b\[(\d*)A", part):
            row = max(0, row - int(move[1] or 1))
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part and not part.startswith(("\x1b", "\r")):
            lines[row] += part
    return lines


def all_of(master: int) -> str:
    os.set_blocking(master, False)
    written = b""
    with suppress(OSError):  # nothing more is there, or the other end is closed
        while piece := os.read(master, 4096):
            written += piece
    return written.decode()


async def press(number: signal.Signals, interrupt: Interrupt) -> None:
    arrived = asyncio.Event()
    interrupt.on_change(arrived.set)
    os.kill(os.getpid(), number)
    await arrived.wait()


def test_the_screen_of_this_test_erases_what_a_terminal_erases():
    assert screen("one\r\ntwo\x1b[1A\r\x1b[2Kthree\r\nfour") == ["three", "twofour"]


@contextmanager
def a_terminal(monkeypatch) -> Iterator[int]:
    """Standard error is a terminal; what it shows can be read from this end.

    No fixture, because pytest gives every phase of a test a standard error of its own.
    """
    master, slave = pty.openpty()
    with io.TextIOWrapper(io.FileIO(slave, "w"), encoding="utf-8", line_buffering=True) as stderr:
        monkeypatch.setattr("sys.stderr", stderr)
        for name, value in (("TERM", "xterm"), ("COLUMNS", "100"), ("LINES", "40")):
            monkeypatch.setenv(name, value)
        yield master
    os.close(master)


async def test_what_interrupts_say_is_still_to_be_read_when_the_live_view_has_gone_on(monkeypatch):
    interrupt = Interrupt()
    with a_terminal(monkeypatch) as terminal:
        with showing("rich", now=lambda: NOW) as listen, ladder(interrupt, Path("state"), afterwards=AFTERMATH):
            listen(STARTED)
            for number, another in enumerate((signal.SIGINT, signal.SIGTERM), 1):
                listen(UNCONFIRMED)  # which the view is drawn anew for
                await press(another, interrupt)
                assert interrupt.level == number
        shown = "\n".join(screen(all_of(terminal)))
    assert "interrupted: collecting evidence and giving pods back (again: only give pods back)" in shown
    assert "giving pods back, collecting nothing more (again: leave at once)" in shown


async def test_whoever_leaves_at_once_is_told_how_to_reap_and_keeps_a_cursor(monkeypatch):
    left: list[tuple[int, str]] = []
    interrupt = Interrupt()
    with a_terminal(monkeypatch) as terminal:
        monkeypatch.setattr("os._exit", lambda code: left.append((code, all_of(terminal))))
        with showing("rich", now=lambda: NOW) as listen, ladder(interrupt, Path("state"), afterwards=AFTERMATH):
            listen(UNCONFIRMED)
            for _ in range(3):
                await press(signal.SIGINT, interrupt)
            await asyncio.sleep(0)
    ((code, written),) = left
    assert code == 6
    assert "run `runspec reap --state state`" in "\n".join(screen(written))
    assert written.rindex(SHOWN) > written.rindex(HIDDEN)


@pytest.mark.parametrize("again", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_each_signal_is_one_step_of_the_ladder(again, capfd):
    interrupt = Interrupt()
    with ladder(interrupt, Path("state"), afterwards=AFTERMATH):
        await press(again, interrupt)
    assert interrupt.level == 1
    assert "interrupted: collecting evidence" in capfd.readouterr().err
