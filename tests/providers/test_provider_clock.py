"""Stamps and durations whatever becomes of the machine's own clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from runner.providers.clock import SystemClock

NOON = datetime(2026, 1, 4, 12, tzinfo=UTC)


def test_a_clock_that_is_set_back_an_hour_moves_no_stamp():
    hands, steady = [NOON], [1000.0]
    clock = SystemClock(time_of_day=lambda: hands[0], steady_s=lambda: steady[0])
    hands[0], steady[0] = NOON - timedelta(hours=1), 1005.0
    assert clock.now() == NOON + timedelta(seconds=5)
    assert clock.monotonic() == 1005.0


def test_the_machines_own_clock_is_the_time_of_day_and_never_behind_the_one_that_stops_in_sleep():
    clock = SystemClock()
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=2)
    before_s, stops_s = clock.monotonic(), time.monotonic()
    assert clock.monotonic() >= before_s
    assert clock.monotonic() - before_s <= time.monotonic() - stops_s + 2
