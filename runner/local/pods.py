"""Where containers run: as processes of this machine, or in another backend of the same shape."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

from runner.errors import LeakError, RunspecError
from runner.local.podlog import LineSplitter

SUPERVISOR = Path(__file__).with_name("supervisor.py")
KILL_PATIENCE_S = 10.0
# On a machine with more to do than it can, a killed process waits for its turn to die.
DEATH_PATIENCE_S = 60.0
LOOK_EVERY_S = 0.2

# A pod sees none of the caller's environment: what is not here or in the pod's own `env` does not exist for it.
BASE_ENV = {
    "LANG": "C.UTF-8",
    "PYTHONUNBUFFERED": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


class PodStartError(RunspecError):
    """A container could not be started at all; its pod goes to `ERROR`."""


class PodLeakError(LeakError):
    """Processes of pods are alive although every pod was ended."""


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What to run for one pod; `env` is complete but for what the backend knows about its own machine.

    `memory_mb` is what each process of it may allocate, in MB of 2**20 bytes; None: as much as there is.
    """

    pod_id: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    memory_mb: int | None = None


class Container(Protocol):
    """One start of a pod's program."""

    async def wait(self) -> int:
        """Its exit code, once it has ended by itself or by `stop`."""
        ...

    async def stop(self, grace_s: float) -> None:
        """Ask it to end, end it after `grace_s`, and return when nothing of it runs. May be called twice."""
        ...


class PodBackend(Protocol):
    """Starts containers and keeps their disks."""

    async def start(self, spec: ContainerSpec, emit: Callable[[str], None]) -> Container:
        """Start a container; each line it prints goes to `emit`.

        Raises:
            PodStartError: it cannot be started.
        """
        ...

    def public_port(self, pod_id: str, private: int) -> int:
        """The port of 127.0.0.1 that stands for port `private` of the pod."""
        ...

    async def discard(self, pod_id: str) -> None:
        """Forget the pod's disk; its container has been stopped."""
        ...

    async def aclose(self) -> None:
        """Give everything back, and prove it.

        Raises:
            PodLeakError: something is still running.
        """
        ...


class ProcessPods:
    """Pods as process groups of this machine, each with a directory of its own below `root`, which is emptied first.

    They are no sandbox: a pod can read what its user can read. What they promise is an end: `supervisor.py` kills
    every process of a pod when the pod is stopped, and also when this process dies without a word.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._ports: dict[tuple[str, int], int] = {}
        self._seen: set[str] = set()
        # What is there belonged to pods of a process that was killed; they died with it.
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def start(self, spec: ContainerSpec, emit: Callable[[str], None]) -> Container:
        env = self._environment(spec)
        workspace = Path(env["RUNSPEC_WORKSPACE"])
        try:
            for directory in (workspace, Path(env["HOME"]), Path(env["TMPDIR"])):
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", str(SUPERVISOR), *spec.argv,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
                cwd=workspace, env=env, start_new_session=True,
            )  # fmt: skip
        except OSError as exc:
            raise PodStartError(f"pod {spec.pod_id} cannot start: {exc}") from exc
        self._seen.add(spec.pod_id)
        return ProcessContainer(spec.pod_id, process, emit)

    def public_port(self, pod_id: str, private: int) -> int:
        key = (pod_id, private)
        if key not in self._ports:
            self._ports[key] = _free_port()
        return self._ports[key]

    async def discard(self, pod_id: str) -> None:
        self._ports = {key: port for key, port in self._ports.items() if key[0] != pod_id}
        await asyncio.to_thread(shutil.rmtree, self._root / pod_id, ignore_errors=True)

    async def aclose(self) -> None:
        for pod_id in sorted(self._seen):
            alive = processes_of(pod_id)
            if alive:
                raise PodLeakError(f"pod {pod_id} still has processes {alive}")
        self._seen.clear()

    def _environment(self, spec: ContainerSpec) -> dict[str, str]:
        home = self._root / spec.pod_id
        return {
            # First on the path: the interpreter that has the training libraries, whatever the machine calls python.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]),
            **BASE_ENV,
            "HOME": str(home / "home"),
            "TMPDIR": str(home / "tmp"),
            "RUNSPEC_WORKSPACE": str(home / "workspace"),
            "RUNSPEC_LOCAL_POD": "1",
            **spec.env,
            **({} if spec.memory_mb is None else {"RUNSPEC_POD_MEMORY_MB": str(spec.memory_mb)}),
            "RUNPOD_POD_ID": spec.pod_id,
        }


class ProcessContainer:
    """One supervised process group, its output read line by line."""

    def __init__(self, pod_id: str, process: asyncio.subprocess.Process, emit: Callable[[str], None]) -> None:
        self._pod_id = pod_id
        self._process = process
        self._done = asyncio.create_task(self._read_to_the_end(emit))

    async def _read_to_the_end(self, emit: Callable[[str], None]) -> int:
        splitter = LineSplitter(emit)
        output = cast("asyncio.StreamReader", self._process.stdout)
        while data := await output.read(65536):
            splitter.feed(data)
        splitter.end()
        code = await self._process.wait()
        self._hang_up()
        return code if code >= 0 else 128 - code  # negative when the supervisor itself was killed

    async def wait(self) -> int:
        return await asyncio.shield(self._done)

    async def stop(self, grace_s: float) -> None:
        await self._stop_supervised(grace_s)
        # A supervisor that ends leaves nothing. One that is killed leaves what holds none of its output.
        await self._kill_what_is_left()

    async def _stop_supervised(self, grace_s: float) -> None:
        if await self._ended_within(0):
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        if await self._ended_within(grace_s):
            return
        self._hang_up()
        if not await self._supervisor_cleans_up():
            await self._kill_what_is_left()
            await self.wait()

    async def _supervisor_cleans_up(self) -> bool:
        """False when the supervisor is gone without having ended the pod, or is stuck."""
        for _ in range(int(KILL_PATIENCE_S / LOOK_EVERY_S)):
            if await self._ended_within(LOOK_EVERY_S):
                return True
            if self._process.returncode is not None:
                return False
        return False

    async def _kill_what_is_left(self) -> None:
        for _ in range(int(DEATH_PATIENCE_S / LOOK_EVERY_S)):
            left = processes_of(self._pod_id)
            if not left:
                return
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(LOOK_EVERY_S)

    def _hang_up(self) -> None:
        # The end of this pipe is what the supervisor takes for our death: it kills the whole pod and goes.
        cast("asyncio.StreamWriter", self._process.stdin).close()

    async def _ended_within(self, seconds: float) -> bool:
        done, _ = await asyncio.wait({self._done}, timeout=seconds)
        return bool(done)


def processes_of(pod_id: str) -> list[int]:
    """Ids of live processes that carry the pod's id in their environment; empty where there is no `/proc`."""
    marker, found = f"RUNPOD_POD_ID={pod_id}".encode(), []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if marker in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
