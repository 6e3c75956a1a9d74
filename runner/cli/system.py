"""The real world: its clock, ids, and where its keys are."""

from __future__ import annotations

import secrets
from pathlib import Path

from runner.providers.clock import SystemClock

__all__ = ["SystemClock", "folder_of_keys", "new_run_id"]


def folder_of_keys(specs: Path = Path("specs")) -> Path:
    """Where the `.env` is that counts: beside the specs, else in the current folder. The same for every command."""
    return specs if (specs / ".env").is_file() else Path.cwd()


def new_run_id() -> str:
    """A short random id: eight hex digits are enough to never repeat on one machine."""
    return secrets.token_hex(4)
