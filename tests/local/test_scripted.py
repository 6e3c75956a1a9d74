"""Scripted pods and the clock they play on."""

from __future__ import annotations

import asyncio

import pytest

from runner.local.clock import VirtualClock, iso, parse_iso
from runner.local.pods import ContainerSpec, PodStartError
from runner.local.scripted import STOPPED, Do, Exit, FailToStart, Say, ScriptedPods

SPEC = ContainerSpec("p1", ("x",))


async def test_lines_and_exit_come_at_their_moments(clock):
    heard = []
    scenario = [Exit(10, 3), Say(5, "late"), Say(1, "early")]
    pods = ScriptedPods(clock, lambda _: scenario)
    container = await pods.start(SPEC, lambda text: heard.append((clock.now().second, text)))
    await clock.advance(60)
    assert heard == [(1, "early"), (5, "late")]
    assert await container.wait() == 3
    assert pods.starts == ["p1"]


async def test_scenario_without_exit_idles_until_it_is_stopped(clock):
    pods = ScriptedPods(clock)
    container = await pods.start(SPEC, lambda _: None)
    waiting = asyncio.create_task(container.wait())
    await clock.advance(1e6)
    assert not waiting.done()
    await container.stop(0)
    await container.stop(0)
    assert await waiting == STOPPED


async def test_failing_action_ends_the_container_like_a_bug(clock):
    async def action(spec):
        raise ConnectionError(f"{spec.pod_id} cannot reach the lab")

    heard = []
    pods = ScriptedPods(clock, lambda _: [Do(1, action), Say(2, "never")])
    container = await pods.start(SPEC, heard.append)
    await clock.advance(5)
    assert await container.wait() == 1
    assert heard == ["ConnectionError: p1 cannot reach the lab"]


async def test_container_that_cannot_start_says_why(clock):
    pods = ScriptedPods(clock, lambda _: [FailToStart("no such image")])
    with pytest.raises(PodStartError, match="no such image"):
        await pods.start(SPEC, lambda _: None)


async def test_sleepers_wake_in_the_order_of_their_time(clock: VirtualClock):
    woken = []

    async def sleeper(name, *naps):
        for nap in naps:
            await clock.sleep(nap)
            woken.append((name, clock.now().second))

    tasks = [asyncio.create_task(sleeper("a", 3, 3)), asyncio.create_task(sleeper("b", 1, 4, 0))]
    await clock.advance(10)
    await asyncio.gather(*tasks)
    assert woken == [("b", 1), ("a", 3), ("b", 5), ("b", 5), ("a", 6)]


async def test_cancelled_sleeper_does_not_stop_the_clock(clock: VirtualClock):
    task = asyncio.create_task(clock.sleep(1))
    await asyncio.sleep(0)
    task.cancel()
    await clock.advance(2)
    assert task.cancelled()
    assert iso(clock.now()) == "2026-01-01T00:00:02.000Z"


def test_timestamps_without_a_zone_are_utc():
    assert parse_iso("2026-01-01T00:00:00") == parse_iso("2026-01-01T01:00:00+01:00")
