"""Names and marks of pods that we create ourselves: the only tags that RunPod has."""

from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime

PREFIX = "runspec-"
MAX_NAME = 60
_OURS = re.compile(r"runspec-[a-z0-9]{1,32}-\d{1,8}")
_STAMP = "%Y-%m-%dT%H:%M:%SZ"


class PodNames:
    """The names of one run's pods: `runspec-<run>-<n>`, none of them twice, in no other run either."""

    def __init__(self, run: str, *, first: int = 1) -> None:
        self._run = re.sub("[^a-z0-9]", "", run.lower())[:32] or "run"
        self._numbers = itertools.count(first)

    def new(self) -> str:
        """A name that nobody has had; at most 60 characters of `[a-z0-9-]`."""
        return f"{PREFIX}{self._run}-{next(self._numbers)}"


def is_ours(name: str) -> bool:
    """Whether a pod of this name was created by some runspec, not necessarily by this one."""
    return _OURS.fullmatch(name) is not None


def marker(name: str, deadline: datetime) -> str:
    """What the pod carries in `RUNSPEC_POD`, so that whoever finds it knows when it should have ended."""
    return f"{name} until {deadline.astimezone(UTC).strftime(_STAMP)}"


def deadline_of(mark: str | None) -> datetime | None:
    """When a pod should have ended, by its mark; None when it does not say."""
    _, _, stamp = (mark or "").partition(" until ")
    try:
        return datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
