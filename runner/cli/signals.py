"""What SIGINT, SIGTERM and SIGHUP do to a run: while it goes on, and while what it found is written down."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from runner.cli.options import state_flag
from runner.engine.interrupt import Interrupt

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LEFT_AT_ONCE = 6


Handler = Callable[[int, FrameType | None], None]


@contextmanager
def ladder(interrupt: Interrupt, state_dir: Path, *, afterwards: Handler) -> Iterator[None]:
    """The first signal: collect and release. The second: release only. The third: leave at once.

    Args:
        afterwards: takes the signals once the block has ended, for as long as `restored` lasts.
    """
    loop = asyncio.get_running_loop()

    def escalate() -> None:
        level = interrupt.escalate()
        if level == 1:
            _say("interrupted: collecting evidence and giving pods back (again: only give pods back)")
        elif level == 2:
            _say("giving pods back, collecting nothing more (again: leave at once)")
        else:
            _say(f"left at once: pods may still bill; run `runspec reap{state_flag(state_dir)}`")
            _show_cursor()
            os._exit(LEFT_AT_ONCE)

    for number in NUMBERS:
        loop.add_signal_handler(number, escalate)
    try:
        yield
    finally:
        # Between the two handlers a signal would have its default effect, so none may arrive there.
        signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)
        for number in NUMBERS:
            loop.remove_signal_handler(number)
            signal.signal(number, afterwards)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)


class Aftermath:
    """Takes signals after a run: the first is told that what is left to write comes first, the second ends all."""

    def __init__(self, *, code_of_leaving: Callable[[], int]) -> None:
        self._code_of_leaving = code_of_leaving
        self._is_again = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        """Take one signal."""
        if self._is_again:
            _cry("left at once: the run is recorded; `runspec render` and `runspec report` write what is missing")
            os._exit(self._code_of_leaving())
        self._is_again = True
        _cry("the run is over; writing down what it found (again: leave at once)")


@contextmanager
def restored() -> Iterator[None]:
    """Whatever takes signals inside the block, after it they do what they did before."""
    outer = {number: signal.getsignal(number) for number in NUMBERS}
    try:
        yield
    finally:
        for number, handler in outer.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    # Not by click, which writes past the live view, and the live view erases what it does not know of.
    # A terminal that was hung up takes no words, and the signal that says so must still have its effect.
    with suppress(OSError):
        print(f"\n{text}", file=sys.stderr, flush=True)


def _cry(text: str) -> None:
    # A handler may come in the middle of a `print`, whose buffer would then refuse another.
    with suppress(OSError, ValueError):
        os.write(sys.stderr.fileno(), f"\n{text}\n".encode())


def _show_cursor() -> None:
    # Nobody stops the live view any more, which has hidden it.
    with suppress(OSError):
        if os.isatty(sys.stderr.fileno()):
            os.write(sys.stderr.fileno(), b"\x1b[?25h\n")
