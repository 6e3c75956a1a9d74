"""An API key that asked too often, which several routes of the lab cannot be heard to tell from a bad one (T-05).

Source: FineTune Lab contract §1.3, read from the public repository of 2026-07.
"""

from __future__ import annotations

from datetime import datetime

from runner.ports import Clock
from runner.ports import ProviderErrorKind as Kind
from runner.providers.budget import RateBudget
from runner.providers.faults import Answer, Call, Refusal
from runner.providers.lab_wire import refuse

SUSPECT_SHARE = 0.8
LIMIT_WORDS = "rate limit"
BAD_KEY_WORDS = "invalid api key"


class KeyLimit:
    """Reads refusals of calls with the API key: as `lab_wire.refuse`, but a 401 may be `rate-limited`.

    A 401 that says neither that the key is bad nor that it asked too often is taken for the limit when we used most of
    it, or when the key worked within the last two windows: others may use the same key. A key that was really revoked
    therefore reads as `auth` two minutes later.

    Args:
        wait_s: how long such a call should wait before it is sent again.
    """

    def __init__(self, budget: RateBudget, clock: Clock, *, wait_s: float) -> None:
        self._budget = budget
        self._clock = clock
        self._wait_s = wait_s
        self._worked_at: float | None = None

    def worked(self) -> None:
        """Note that the key was accepted just now."""
        self._worked_at = self._clock.monotonic()

    def refuse(self, call: Call, answer: Answer, now: datetime) -> Refusal:
        refusal = refuse(call, answer, now)
        if answer.status != 401 or refusal.kind is not Kind.AUTH:
            return refusal
        said = refusal.detail.lower()
        if LIMIT_WORDS in said:
            return self._limited(refusal.detail)
        if BAD_KEY_WORDS in said or not self._may_be_over():
            return refusal
        return self._limited("401 for an API key that may be over its requests a minute, which the lab answers alike")

    def _may_be_over(self) -> bool:
        at = self._worked_at
        worked = at is not None and self._clock.monotonic() - at < 2 * self._budget.window_s
        return worked or self._budget.used_share >= SUSPECT_SHARE

    def _limited(self, detail: str) -> Refusal:
        return Refusal(kind=Kind.RATE_LIMITED, detail=detail, retryable=True, retry_after_s=self._wait_s)
