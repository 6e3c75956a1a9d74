"""One runner owns a state directory. The kernel drops the lock with the process, so a crash leaves nothing to clean."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from runner.errors import StoreError

FILE = "lock"


class DirectoryLock:
    """An exclusive lock of one state directory, held until `release` or the end of the process."""

    def __init__(self, directory: Path) -> None:
        """Take the lock.

        Raises:
            StoreError: another process has it; the message names it.
            OSError: the lock file cannot be opened.
        """
        self._fd = os.open(directory / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _owner(self._fd)
            os.close(self._fd)
            raise StoreError(
                f"`{directory}` is in use by another runspec ({owner}): wait until it ends, stop it with ^C, "
                "or choose another directory with `--state`"
            ) from None
        except OSError:
            os.close(self._fd)
            raise
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the directory back; again is harmless. The file stays: removing it would let two processes in."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _owner(fd: int) -> str:
    text = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
    return f"process {text}" if text.isdigit() else "its process id is not known yet"


def is_owned(directory: Path) -> bool:
    """Whether the process that took the lock last is still alive.

    Looking at its id instead of at the lock never keeps a runner out that starts at this moment.
    """
    try:
        os.kill(int((directory / FILE).read_text(encoding="ascii")), 0)
    except (OSError, ValueError, OverflowError):
        return False
    return True
