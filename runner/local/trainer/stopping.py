"""SIGTERM ends a run from wherever it is."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Terminated(BaseException):
    """SIGTERM arrived. Not an `Exception`, so that no library swallows it."""


def stop_on_sigterm() -> threading.Event:
    stop = threading.Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        raise Terminated

    signal.signal(signal.SIGTERM, handle)
    return stop
