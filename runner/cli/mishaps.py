"""What is said of an error, and of a bug."""

from __future__ import annotations

import os
import tempfile
import traceback

from runner import __version__
from runner.errors import DiagnosedError, RunspecError


def message_of(exc: RunspecError) -> str:
    """An error as the terminal shows it."""
    return str(exc) if isinstance(exc, DiagnosedError) else f"error: {exc}"


def report_bug() -> str:
    """Write the traceback of the exception at hand into a file, and say where it is."""
    handle, name = tempfile.mkstemp(prefix="runspec-bug-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(f"runspec {__version__}\n{traceback.format_exc()}")
    return f"error: this is a bug in runspec, not in your spec; its traceback is in {name}"
