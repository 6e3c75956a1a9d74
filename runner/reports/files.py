"""Files that a report replaces: read whole, written all or nothing."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from runner.errors import Diagnostic, ReportError


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        ReportError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as exc:
        raise _unusable(path, "read", exc) from exc


def _unusable(path: Path, verb: str, exc: OSError) -> ReportError:
    why = (exc.strerror or str(exc)).lower()
    return ReportError(
        [
            Diagnostic(
                "report.unusable-file",
                f"`{path}` cannot be {verb}: {why}",
                fix="give the path of a document with `--doc`",
            )
        ]
    )


def replace_bytes(path: Path, content: bytes) -> None:
    """Give a file new content, all or nothing. Its mode is kept, and a symbolic link stays one.

    Raises:
        ReportError: it cannot be written; it is then as it was.
    """
    try:
        _replace(path.resolve(), content)
    except OSError as exc:
        raise _unusable(path, "written", exc) from exc


def _replace(path: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary = Path(name)
        temporary.chmod(path.stat().st_mode & 0o7777)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
