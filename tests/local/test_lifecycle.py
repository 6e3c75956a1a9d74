"""The platform behind the RunPod API, without HTTP: what happens when things end at a bad moment."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from runner.local.clock import SystemClock, VirtualClock
from runner.local.gpus import GPU_BY_ID
from runner.local.lifecycle import Delays, PodHost, PodRequest, PodStatus
from runner.local.pods import ContainerSpec, ProcessPods, processes_of
from runner.local.scripted import Exit, ScriptedPods

REQUEST = PodRequest("p", "img", ("bash", "-c", "setsid sleep 300 & sleep 300"), gpu=GPU_BY_ID["NVIDIA RTX A4000"])


def host_of(backend, clock, delays=None) -> PodHost:
    return PodHost(backend=backend, clock=clock, log_dir=None, delays=delays or Delays())


def rent(host: PodHost, request: PodRequest = REQUEST):
    return host.create(request, usd_h=1.0, env=lambda _: {})


@pytest.mark.parametrize("wait_s", [None, 0, 0.001, 0.003, 0.006, 0.01, 0.015, 0.02, 0.03, 0.05])
async def test_nothing_remains_whenever_the_end_comes(tmp_path, wait_s):
    host = host_of(ProcessPods(tmp_path), SystemClock(), Delays(0, 0, 0, 0, 0.1))
    pods = [rent(host) for _ in range(3)]
    if wait_s is not None:
        await asyncio.sleep(wait_s)
    await host.aclose()
    assert [processes_of(pod.id) for pod in pods] == [[], [], []]
    assert not any(tmp_path.iterdir())


async def test_end_of_the_cloud_waits_for_a_pod_that_is_being_ended_already(tmp_path):
    stubborn = "trap 'echo asked' TERM; echo up; while true; do sleep 0.05; done"
    host = host_of(ProcessPods(tmp_path), SystemClock(), Delays(0, 0, 0, 0, 0.5))
    pod = rent(host, replace(REQUEST, argv=("bash", "-c", stubborn)))

    async def wrote(word: str) -> None:
        while not any(word in line.text for line in pod.log.after(0, ["container"])):
            await pod.log.wait_beyond(pod.log.last_seq, 1)

    await asyncio.wait_for(wrote("up"), 20)
    host.terminate(pod)
    await asyncio.wait_for(wrote("asked"), 20)
    await host.aclose()
    assert processes_of(pod.id) == []


async def test_terminate_in_the_middle_of_a_restart_is_final(clock: VirtualClock):
    backend = ScriptedPods(clock, lambda _: [Exit(1)])
    host = host_of(backend, clock)
    pod = rent(host)
    await clock.advance(2)
    host.restart(pod)
    host.terminate(pod)
    host.terminate(pod)
    await clock.advance(1)
    assert pod.status is PodStatus.TERMINATED, "what the container does no longer shows"
    await clock.advance(60)
    assert host.pods() == []
    assert host.ended == [pod]
    assert pod.log.closed
    await host.aclose()


async def test_stop_and_start_in_one_breath_leave_one_container(clock: VirtualClock):
    backend = ScriptedPods(clock)
    host = host_of(backend, clock)
    pod = rent(host)
    await clock.advance(5)
    for _ in range(3):
        host.stop(pod)
        host.start(pod)
    await clock.advance(5)
    assert pod.status is PodStatus.RUNNING
    assert len(backend.starts) == 2
    await host.aclose()


async def test_container_that_comes_up_while_its_pod_is_ended_is_stopped(clock: VirtualClock):
    class SlowPods(ScriptedPods):
        async def start(self, spec: ContainerSpec, emit):
            await clock.sleep(30)
            self.container = await super().start(spec, emit)
            return self.container

    backend = SlowPods(clock)
    host = host_of(backend, clock)
    pod = rent(host)
    await clock.advance(10)
    host.terminate(pod)
    await clock.advance(10)
    assert pod.status is PodStatus.TERMINATED, "it is not gone before its container can be stopped"
    await clock.advance(20)
    assert host.pods() == []
    assert await backend.container.wait() == 143


async def test_end_that_is_asked_for_twice_is_not_cut_short_by_the_second(tmp_path):
    # It ignores SIGTERM, so that the first end is still under way when the second comes.
    stubborn = PodRequest("p", "img", ("bash", "-c", "trap '' TERM; echo up; sleep 300 & wait; sleep 300"))
    host = host_of(ProcessPods(tmp_path), SystemClock(), Delays(0, 0, 0, 0, 0.5))
    pod = rent(host, stubborn)
    while not any(line.text == "up" for line in pod.log.after(0, ("container",))):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    host.terminate(pod)
    for _ in range(5):
        await asyncio.sleep(0.02)
    await host.aclose()
    assert processes_of(pod.id) == []


async def test_pauses_between_restarts_double_up_to_five_minutes(clock: VirtualClock):
    moments = []

    def casting(_):
        moments.append(clock.now())
        return [Exit(0)]

    host = host_of(ScriptedPods(clock, casting), clock, Delays(0, 0))
    rent(host)
    await clock.advance(1500)
    gaps = [(after - before).total_seconds() for before, after in pairwise(moments)]
    assert gaps == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    await host.aclose()
