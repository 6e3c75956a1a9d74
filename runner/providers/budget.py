"""How many requests a host allows: configured, or learnt from its `RateLimit` headers."""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from runner.ports import Clock

_ITEM = re.compile(r'"([^"]{1,40})"((?:\s*;\s*[a-z]+=\d{1,12})+)')
_PARAMETER = re.compile(r"([a-z]+)=(\d{1,12})")


@dataclass(slots=True)
class _Window:
    remaining: float = math.inf
    resets_at: float = math.inf
    quota: float = math.inf
    length_s: float | None = None

    def roll(self, now: float) -> None:
        """Start over when the window has ended; its next end is known only once a server says it."""
        if now >= self.resets_at:
            self.remaining = self.quota if self.length_s else math.inf
            self.resets_at = now + self.length_s if self.length_s else math.inf


class RateBudget:
    """Says how long the next request should wait so that the host need not refuse it.

    A configured limit is a sliding window over our own requests. Learnt windows follow the headers
    `RateLimit: "minute";r=0;t=12` (requests left, seconds to the reset) and
    `RateLimit-Policy: "minute";q=60;w=60` (quota, length in seconds). Both may be present.
    """

    def __init__(self, clock: Clock, *, limit: int | None = None, window_s: float = 60.0) -> None:
        self._clock = clock
        self._limit = limit
        self.window_s = window_s
        self._sent: deque[float] = deque()
        self._windows: dict[str, _Window] = {}
        self._in_flight = 0
        self._blocked_until = -math.inf

    def wait_s(self) -> float:
        """Seconds until a request fits; 0 when one fits now."""
        now = self._clock.monotonic()
        self._forget(now)
        until = max(now, self._blocked_until)
        if self._limit is not None and len(self._sent) >= self._limit:
            until = max(until, self._sent[-self._limit] + self.window_s)
        for window in self._windows.values():
            window.roll(now)
            if window.remaining < 1:
                until = max(until, window.resets_at)
        return until - now

    def take(self) -> None:
        """Count a request that is about to be sent."""
        self._sent.append(self._clock.monotonic())
        self._in_flight += 1
        for window in self._windows.values():
            window.remaining -= 1

    def settle(self, headers: Mapping[str, str] | None) -> None:
        """Note that a request was answered with `headers`, or (None) not at all."""
        self._in_flight = max(0, self._in_flight - 1)
        if headers is None:
            return
        now = self._clock.monotonic()
        for name, values in _parameters(headers.get("RateLimit-Policy", "")):
            if values.get("q"):
                window = self._windows.setdefault(name, _Window())
                window.quota, window.length_s = values["q"], values.get("w")
        for name, values in _parameters(headers.get("RateLimit", "")):
            if "r" in values and "t" in values:
                window = self._windows.setdefault(name, _Window())
                # Requests that are still on their way were not counted yet when this answer was written.
                window.remaining = values["r"] - self._in_flight
                window.resets_at = now + values["t"]

    def block(self, seconds: float) -> None:
        """Send nothing for `seconds`: the host said so."""
        self._blocked_until = max(self._blocked_until, self._clock.monotonic() + seconds)

    @property
    def used_share(self) -> float:
        """Our requests in the configured window, as a share of the limit; 0 without a limit."""
        self._forget(self._clock.monotonic())
        return len(self._sent) / self._limit if self._limit else 0.0

    def _forget(self, now: float) -> None:
        while self._sent and (self._sent[0] <= now - self.window_s or len(self._sent) > 10_000):
            self._sent.popleft()


def _parameters(header: str) -> list[tuple[str, dict[str, int]]]:
    return [
        (name, {key: int(value) for key, value in _PARAMETER.findall(rest)})
        for name, rest in _ITEM.findall(header[:2000])[:8]
    ]
