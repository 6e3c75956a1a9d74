"""Figures and dates as every report writes them: fixed decimals, UTC, units with the number."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from runner.results import Outcome, Target


def money(usd: float) -> str:
    """`$0.41`; an amount too small for two decimals says so."""
    return "under $0.01" if 0 < usd < 0.005 else f"${usd:.2f}"


def duration(seconds: float) -> str:
    """`41 s`, `12 min`, `1 h 05 min`."""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def day(at: datetime) -> str:
    """`2026-01-04`, in UTC."""
    return _utc(at).strftime("%Y-%m-%d")


def minute(at: datetime) -> str:
    """`2026-01-04 14:02 UTC`."""
    return _utc(at).strftime("%Y-%m-%d %H:%M UTC")


def clock(at: datetime) -> str:
    """`14:02 UTC`."""
    return _utc(at).strftime("%H:%M UTC")


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def figure(value: float | None) -> str:
    """A metric with three decimals; tiny and huge ones in powers of ten, and words for no number."""
    if value is None or not math.isfinite(value):
        return "not a number"
    return f"{value:.3e}" if value and not 1e-3 <= abs(value) < 1e6 else f"{value:.3f}"


def count(number: int, noun: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


SIGNS = {
    Outcome.PASSED: "✓",
    Outcome.FAILED: "✗",
    Outcome.ERRORED: "!",
    Outcome.UNKNOWN: "?",
    Outcome.SKIPPED: "–",
    Outcome.CANCELLED: "–",
}
EVIDENCE = {
    Target.LOCAL: "rehearsed on local",
    Target.CLOUD: "verified on cloud",
    Target.SCRIPTED: "scripted, which is no evidence",
}
METHODS = {"rlhf": "RLHF/PPO"}


def method(name: str) -> str:
    """`SFT`, `RLHF/PPO`."""
    return METHODS.get(name, name.upper())
