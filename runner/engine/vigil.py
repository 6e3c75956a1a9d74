"""How long a pod may stay in which state: each deadline ends in giving the pod back.

Source: RunPod contract §4 and §7.8, read 2026-11: an exited container is restarted and billed for ever, a mount that
hangs shows as `RUNNING` with an uptime of 0, and a word nobody knows means alive and billed.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from runner.results import LogLine, Pod
from runner.spec.scalars import format_duration

MOST_STARTS = 4
"""Starts of one container that are too many: an image that works starts once."""
START_LINE = "start container"
FRESH_S = 30.0
"""How old the look may be by which a pod is too late."""
_NOT_RUNNING = {"PROVISIONING", "STARTING", "EXITED", "ERROR", "TERMINATED"}
"""A word that nobody knows is no sign that a pod that did nothing has done something meanwhile."""


class Vigil:
    """Looks at the states of one pod and says when enough is enough.

    Args:
        since_s: monotonic time from which the pod is billed.
        provision_s: from there to a container that runs.
        stuck_s: how long `RUNNING` with an uptime of 0 is believed.

    A pod that nobody could look at gives no reason to complain: the cloud may have been silent, or nobody there.
    """

    def __init__(self, *, since_s: float, provision_s: float, stuck_s: float) -> None:
        self._provision_by_s = since_s + provision_s
        self._provision_s = provision_s
        self._stuck_s = stuck_s
        self._status = "not seen yet"
        self._has_run = False
        self._looked_s = float("-inf")
        self._idle_since_s: float | None = None
        self._last_uptime_s: float | None = None
        self._starts = 0
        self._restarts = 0

    def see(self, pod: Pod | None, now_s: float) -> None:
        """Take in one look at the account; None when the pod was not in it."""
        self._looked_s = now_s
        if pod is None:
            return
        self._status = pod.status
        if pod.status != "RUNNING":
            if pod.status in _NOT_RUNNING:
                self._idle_since_s = None
            return
        if pod.uptime_s:
            if self._last_uptime_s is not None and pod.uptime_s < self._last_uptime_s:
                self._restarts += 1
            self._has_run, self._idle_since_s = True, None
            self._last_uptime_s = pod.uptime_s
        elif self._idle_since_s is None:
            self._idle_since_s = now_s

    def hear(self, lines: Iterable[LogLine]) -> None:
        """Count what the platform itself says about container starts."""
        self._starts += sum(line.source == "system" and line.text.startswith(START_LINE) for line in lines)

    def complaint(self, now_s: float) -> str:
        """Why the pod has to be given back now; empty while it may go on."""
        if max(self._starts, self._restarts + 1) >= MOST_STARTS:
            return (
                f"its container was started {max(self._starts, self._restarts + 1)} times: it exits and is restarted,"
                " and would be billed for ever"
            )
        idle_s = 0.0 if self._idle_since_s is None else self._looked_s - self._idle_since_s
        if idle_s > self._stuck_s:
            return f"it has been RUNNING with an uptime of 0 for {_text(idle_s)}: a mount or the host hangs"
        if not self._has_run and now_s > self._provision_by_s and self._looked_s > self._provision_by_s - FRESH_S:
            return f"no container ran within {_text(self._provision_s)}; its state is {self._status}"
        return ""


def _text(seconds: float) -> str:
    return format_duration(timedelta(seconds=round(seconds)))
