"""What ^C says on a terminal stays there, although the live view is drawn over and over."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import re
import signal
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runner import results as r
from runner.cli.launch import _signals
from runner.cli.progress import showing
from runner.engine.interrupt import Interrupt

NOW = datetime(2026, 1, 4, tzinfo=UTC)
STARTED = r.JobStarted(at=NOW, job="sft/basic/1")
UNCONFIRMED = r.PodUnconfirmed(at=NOW, job="sft/basic/1", name="p", pod_id="p", why="no answer")


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
    os.close(master)
    return written.decode()


async def press(number: signal.Signals, interrupt: Interrupt) -> None:
    arrived = asyncio.Event()
    interrupt.on_change(arrived.set)
    os.kill(os.getpid(), number)
    await arrived.wait()


def test_the_screen_of_this_test_erases_what_a_terminal_erases():
    assert screen("one\r\ntwo\x1b[1A\r\x1b[2Kthree\r\nfour") == ["three", "twofour"]


async def test_first_interrupt_is_still_to_be_read_when_the_live_view_has_gone_on(monkeypatch):
    master, slave = pty.openpty()
    with io.TextIOWrapper(io.FileIO(slave, "w"), encoding="utf-8", line_buffering=True) as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "100")
        monkeypatch.setenv("LINES", "40")
        interrupt = Interrupt()
        with showing("rich", now=lambda: NOW) as listen, _signals(interrupt, Path("state")):
            listen(STARTED)
            for number, another in enumerate((signal.SIGINT, signal.SIGTERM), 1):
                listen(UNCONFIRMED)  # which the view is drawn anew for
                await press(another, interrupt)
                assert interrupt.level == number
    shown = "\n".join(screen(all_of(master)))
    assert "interrupted: collecting evidence and giving pods back (again: only give pods back)" in shown
    assert "giving pods back, collecting nothing more (again: leave at once)" in shown


@pytest.mark.parametrize("again", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_each_signal_is_one_step_of_the_ladder(again, capfd):
    interrupt = Interrupt()
    with _signals(interrupt, Path("state")):
        await press(again, interrupt)
    assert interrupt.level == 1
    assert "interrupted: collecting evidence" in capfd.readouterr().err
