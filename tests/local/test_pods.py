"""Process pods: their surroundings, and above all their end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runner.local.pods import ContainerSpec, PodLeakError, PodStartError, ProcessPods, processes_of

needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks processes up in /proc")


# Processes are found by the id of their pod, machine-wide: another run of these tests must not have the same.
POD = f"pod{os.getpid()}"


def python(code: str, **env: str) -> ContainerSpec:
    return ContainerSpec(POD, ("python3", "-u", "-c", code), env)


def shell(code: str) -> ContainerSpec:
    return ContainerSpec(POD, ("bash", "-c", code))


@pytest.fixture
async def pods(tmp_path: Path) -> AsyncIterator[ProcessPods]:
    pods = ProcessPods(tmp_path / "pods")
    yield pods
    await pods.aclose()


class Output(list[str]):
    """Lines of a container, which can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._event = asyncio.Event()

    def __call__(self, line: str) -> None:
        self.append(line)
        self._event.set()

    async def until(self, wanted: str) -> None:
        async with asyncio.timeout(120):
            while not any(wanted in line for line in self):
                self._event.clear()
                await self._event.wait()


@pytest.fixture
def output() -> Output:
    return Output()


async def test_output_comes_line_by_line_and_the_exit_code_is_the_programs(pods, output):
    container = await pods.start(python("print('a'); print('b', end='\\r'); import sys; sys.exit(7)"), output)
    assert await container.wait() == 7
    assert output == ["a", "b"]


async def test_death_by_signal_is_128_plus_its_number(pods, output):
    container = await pods.start(python("import os; os.kill(os.getpid(), 9)"), output)
    assert await container.wait() == 137


async def test_unknown_program_says_so_and_ends_with_127(pods, output):
    container = await pods.start(ContainerSpec(POD, ("no-such-program",)), output)
    assert await container.wait() == 127
    assert output == ["no-such-program: No such file or directory"]


async def test_pods_see_none_of_our_environment(pods, output, monkeypatch):
    monkeypatch.setenv("RUNPOD_API_KEY", "the caller's key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    container = await pods.start(python("import os, json; print(json.dumps(dict(os.environ)))", MINE="1"), output)
    await container.wait()
    env = json.loads(output[0])
    assert env["MINE"] == "1"
    assert env["RUNPOD_POD_ID"] == POD
    assert env["OMP_NUM_THREADS"] == "1"
    assert env["HF_HUB_OFFLINE"] == "1"
    assert not env.keys() & {"RUNPOD_API_KEY", "AWS_SECRET_ACCESS_KEY"}


async def test_python_in_a_pod_is_the_one_that_runs_us(pods, output):
    container = await pods.start(python("import sys; print(sys.prefix)"), output)
    await container.wait()
    assert output == [sys.prefix]


async def test_disk_survives_restarts_and_ends_with_the_pod(pods, output, tmp_path):
    for _ in range(2):
        code = "from pathlib import Path; p = Path('mark'); print(p.exists()); p.touch()"
        await (await pods.start(python(code), output)).wait()
    assert output == ["False", "True"]
    await pods.discard(POD)
    assert not (tmp_path / "pods" / POD).exists()


async def test_stop_asks_first(pods, output):
    code = """
import signal, sys, time
signal.signal(15, lambda *_: (print('bye'), sys.exit(0)))
print('up')
time.sleep(60)
"""
    container = await pods.start(python(code), output)
    await output.until("up")
    await container.stop(grace_s=10)
    assert output == ["up", "bye"]
    assert await container.wait() == 0


@needs_proc
async def test_stop_kills_what_does_not_listen_and_what_ran_away(pods, output):
    code = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen(["sleep", "300"], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(300)
    os._exit(0)
print("up")
time.sleep(300)
"""
    container = await pods.start(python(code), output)
    await output.until("up")
    async with asyncio.timeout(120):
        while len(processes_of(POD)) < 4:  # noqa: ASYNC110  other processes set no event of ours
            await asyncio.sleep(0.01)
    await container.stop(grace_s=0.1)
    assert processes_of(POD) == []


@needs_proc
async def test_children_left_behind_end_with_their_program(pods, output):
    container = await pods.start(shell("setsid sleep 300 & exit 0"), output)
    assert await container.wait() == 0
    assert processes_of(POD) == []


@needs_proc
async def test_nothing_of_a_pod_outlives_a_killed_runspec(tmp_path):
    orphan = f"orphan{os.getpid()}"
    code = f"""
import asyncio
from pathlib import Path
from runner.local.pods import ContainerSpec, ProcessPods
async def main():
    pods = ProcessPods(Path({str(tmp_path)!r}))
    spec = ContainerSpec({orphan!r}, ("bash", "-c", "trap '' TERM; setsid sleep 300 & echo up; sleep 300"))
    container = await pods.start(spec, lambda line: print(line, flush=True))
    await container.wait()
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert await process.stdout.readline() == b"up\n"
    assert processes_of(orphan)
    process.kill()
    await process.communicate()
    async with asyncio.timeout(120):
        while processes_of(orphan):  # noqa: ASYNC110  other processes set no event of ours
            await asyncio.sleep(0.01)


@needs_proc
async def test_a_pod_without_its_supervisor_can_still_be_ended(pods, output):
    container = await pods.start(shell("setsid sleep 300 & echo up; sleep 300"), output)
    await output.until("up")
    os.kill(container._process.pid, signal.SIGKILL)
    await container.stop(grace_s=0)
    assert processes_of(POD) == []


@needs_proc
async def test_what_runs_on_after_its_supervisor_was_killed_ends_with_the_pod(pods, output):
    # It holds none of the pod's output, so the program looks ended although it is not.
    container = await pods.start(shell("setsid sleep 300 >/dev/null 2>&1 & echo up; sleep 300"), output)
    await output.until("up")
    os.kill(container._process.pid, signal.SIGKILL)
    assert await container.wait() == 137
    await container.stop(grace_s=0)
    assert processes_of(POD) == []


@needs_proc
async def test_close_refuses_to_call_a_running_pod_ended(tmp_path, output):
    pods = ProcessPods(tmp_path)
    container = await pods.start(python("print('up'); import time; time.sleep(60)"), output)
    await output.until("up")
    with pytest.raises(PodLeakError, match="still has processes"):
        await pods.aclose()
    await container.stop(grace_s=1)
    await pods.aclose()


async def test_a_pod_that_cannot_start_says_why(tmp_path, output):
    pods = ProcessPods(tmp_path)
    (tmp_path / POD).write_text("a file where the pod's directory should be")
    with pytest.raises(PodStartError, match="cannot start"):
        await pods.start(python("pass"), output)


def test_each_port_of_a_pod_keeps_its_number(tmp_path):
    pods = ProcessPods(tmp_path)
    first = pods.public_port(POD, 8080)
    assert pods.public_port(POD, 8080) == first
    assert pods.public_port("p2", 8080) != first
