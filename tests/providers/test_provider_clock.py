"""Stamps and durations whatever becomes of the machine's own clock."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from runner.providers.clock import SystemClock

NOON = datetime(2026, 1, 4, 12, tzinfo=UTC)


def test_a_clock_that_is_set_back_an_hour_moves_no_stamp():
    hands, steady = [NOON], [1000.0]
    clock = SystemClock(time_of_day=lambda: hands[0], steady_s=lambda: steady[0])
    hands[0], steady[0] = NOON - timedelta(hours=1), 1005.0
    assert clock.now() == NOON + timedelta(seconds=5)
    assert clock.monotonic() == 1005.0


def test_the_machines_own_clock_is_the_time_of_day():
    assert abs(SystemClock().now() - datetime.now(UTC)) < timedelta(seconds=2)


@pytest.mark.skipif(sys.platform != "linux", reason="the clock that counts a sleep has another name elsewhere")
def test_a_sleep_of_the_machine_counts_in_stamps_and_durations(monkeypatch):
    awake_or_not = {time.CLOCK_BOOTTIME: 1000.0}
    monkeypatch.setattr(time, "clock_gettime", awake_or_not.__getitem__)
    clock = SystemClock(time_of_day=lambda: NOON)
    awake_or_not[time.CLOCK_BOOTTIME] += 3600
    assert clock.monotonic() == 4600
    assert clock.now() == NOON + timedelta(hours=1)
