"""The life of a RunPod pod, apart from HTTP: states, restarts, cost, and an end that is proven.

Source: RunPod contract (lifecycle, billing, restart behaviour), read 2026-11.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import string
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from runner.engine.shielding import uncancelled
from runner.local.clock import Clock
from runner.local.gpus import Cloud, GpuType
from runner.local.podlog import PodLog
from runner.local.pods import Container, ContainerSpec, PodBackend, PodStartError

MAX_RESTART_DELAY_S = 300.0
DATA_CENTER = "US-LOCAL-1"


class PodStatus(StrEnum):
    """RunPod's observed states; TERMINATED is seen only while the processes are being ended."""

    PROVISIONING = "PROVISIONING"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    EXITED = "EXITED"
    ERROR = "ERROR"
    TERMINATED = "TERMINATED"


ACTIONS: Mapping[PodStatus, tuple[str, ...]] = {
    PodStatus.PROVISIONING: ("stop", "terminate"),
    PodStatus.STARTING: ("stop", "terminate"),
    PodStatus.RUNNING: ("stop", "restart", "terminate"),
    PodStatus.EXITED: ("start", "terminate"),
    PodStatus.ERROR: ("start", "terminate"),
    PodStatus.TERMINATED: (),
}


@dataclass(frozen=True, slots=True)
class PodRequest:
    """A valid wish for a pod. Exactly one of `gpu` and `cpu_flavour` is set."""

    name: str
    image: str
    argv: tuple[str, ...]
    args: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    gpu: GpuType | None = None
    gpu_count: int = 1
    cpu_flavour: str | None = None
    vcpu_count: int = 0
    cloud: Cloud = "SECURE"
    disk_gb: int = 50
    ports: tuple[str, ...] = ()
    mounts: Mapping[str, Any] = field(default_factory=dict)
    registry: str | None = None
    data_center: str = DATA_CENTER
    global_networking: bool = False
    start_ssh: bool = False
    start_jupyter: bool = False


@dataclass(frozen=True, slots=True)
class Delays:
    """Seconds that the platform takes; small, so that local runs are quick."""

    provision_s: float = 0.2
    start_s: float = 0.1
    terminate_s: float = 2.0
    """From the accepted terminate to the first signal: about what was observed of real pods, and long enough for a
    trainer to end by itself after the `job_completed` alert that ends its pod."""
    restart_s: float = 1.0
    grace_s: float = 3.0
    """From SIGTERM to SIGKILL."""


@dataclass(slots=True)
class Period:
    """A stretch of time for which a pod is paid; `end` is None while it lasts."""

    start: datetime
    end: datetime | None = None


@dataclass(eq=False)
class Pod:
    """A pod as the platform knows it; `usd_h` is the price of the whole pod while it is up."""

    id: str
    number: int
    """Counts from 1 in the order of creation."""
    request: PodRequest
    created_at: datetime
    usd_h: float
    log: PodLog
    env: Mapping[str, str]
    """The whole environment of the container, what the platform adds included; the API shows only the request's."""
    account_env: Mapping[str, str]
    """The part of it that the account adds."""
    status: PodStatus = PodStatus.PROVISIONING
    started_at: datetime | None = None
    exit_codes: list[int] = field(default_factory=list)
    paid: list[Period] = field(default_factory=list)
    life: asyncio.Task[None] | None = None
    locked: bool = False
    cannot_start: bool = False
    memory_mb: int | None = None

    @property
    def is_ended(self) -> bool:
        """Stopped or terminated on demand: the container may still run, but nothing brings it back."""
        return self.status in (PodStatus.EXITED, PodStatus.TERMINATED)

    def observe(self, status: PodStatus) -> None:
        """Take over what the container does, unless the pod was ended meanwhile."""
        if not self.is_ended:
            self.status = status

    @property
    def cost_usd_h(self) -> float:
        """What the pod costs now: nothing once it is stopped."""
        return 0.0 if self.is_ended else self.usd_h

    def uptime_s(self, now: datetime) -> int | None:
        """Whole seconds since the container came up; None unless it runs."""
        if self.status is not PodStatus.RUNNING or self.started_at is None:
            return None
        return int((now - self.started_at).total_seconds())

    def spent_usd(self, now: datetime) -> float:
        """Cost since creation, by the second."""
        seconds = sum(((period.end or now) - period.start).total_seconds() for period in self.paid)
        return self.usd_h * seconds / 3600

    def stop_paying(self, now: datetime) -> None:
        if self.paid and self.paid[-1].end is None:
            self.paid[-1].end = now


class PodHost:
    """All pods of one account. Calls return at once, as the API does; the work goes on in tasks of the host."""

    def __init__(self, *, backend: PodBackend, clock: Clock, log_dir: Path | None, delays: Delays) -> None:
        self.clock = clock
        self._backend = backend
        self._log_dir = log_dir
        self._delays = delays
        self._pods: dict[str, Pod] = {}
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._later: set[asyncio.Task[None]] = set()
        self.ended: list[Pod] = []
        """Pods that are gone; billing still knows them."""
        if log_dir is not None:
            log_dir.mkdir(parents=True, exist_ok=True, mode=0o700)

    def pods(self) -> list[Pod]:
        """Every pod that is not gone, oldest first."""
        return list(self._pods.values())

    def get(self, pod_id: str) -> Pod | None:
        return self._pods.get(pod_id)

    def create(
        self,
        request: PodRequest,
        *,
        usd_h: float,
        env: Callable[[str], Mapping[str, str]],
        provision_s: float | None = None,
        cannot_start: bool = False,
        memory_mb: int | None = None,
    ) -> Pod:
        """Rent a pod; paid from now on.

        Args:
            env: what the account adds to the environment of a pod of that id.
            provision_s: how long this pod takes to be provisioned, where that is not the usual time.
            cannot_start: this pod goes to ERROR.
            memory_mb: what each of its processes may allocate; None: as much as there is.
        """
        now = self.clock.now()
        pod_id = _new_pod_id()
        log = PodLog(self.clock.now, self._log_dir / f"{pod_id}.log" if self._log_dir else None)
        account_env = dict(env(pod_id))
        pod = Pod(
            pod_id,
            next(self._numbers),
            request,
            now,
            usd_h,
            log,
            self._environment(pod_id, request) | account_env,
            account_env,
            paid=[Period(now)],
            cannot_start=cannot_start,
            memory_mb=memory_mb,
        )
        self._pods[pod_id] = pod
        self._live(pod, provision_s=self._delays.provision_s if provision_s is None else provision_s)
        return pod

    def stop(self, pod: Pod) -> None:
        """Give the machine back, keep the disk."""
        pod.status = PodStatus.EXITED
        pod.stop_paying(self.clock.now())
        self._replace_life(pod, self._settled())

    def start(self, pod: Pod) -> None:
        """Boot a stopped or failed pod."""
        pod.status = PodStatus.STARTING
        pod.stop_paying(self.clock.now())
        pod.paid.append(Period(self.clock.now()))
        self._live(pod, provision_s=None)

    def restart(self, pod: Pod) -> None:
        """Restart the container in place."""
        pod.status = PodStatus.STARTING
        self._live(pod, provision_s=None)

    def terminate(self, pod: Pod) -> None:
        """End the pod for good; it is listed as TERMINATED until its last process is gone."""
        if pod.status is PodStatus.TERMINATED:
            return
        pod.status = PodStatus.TERMINATED
        pod.stop_paying(self.clock.now())
        self._later.add(later := self._spawn(self._end_later(pod)))
        later.add_done_callback(self._later.discard)

    async def aclose(self) -> None:
        """End every pod without delay and return when nothing runs.

        Raises:
            PodLeakError: a process of a pod is still alive.
        """
        for waiting in self._later:
            waiting.cancel()
        for pod in self.pods():
            pod.status = PodStatus.TERMINATED
            pod.stop_paying(self.clock.now())
            self._spawn(self._end(pod))
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._backend.aclose()

    def public_port(self, pod: Pod, private: int) -> int:
        return self._backend.public_port(pod.id, private)

    def edit(self, pod: Pod, request: PodRequest, *, locked: bool | None) -> None:
        """Let a pod be as asked for now, and (un)lock it; what concerns its container takes effect by a restart."""
        if locked is not None:
            pod.locked = locked
        changes_container = replace(request, name=pod.request.name) != pod.request
        pod.request = request
        if not changes_container:
            return
        # What the account adds stays; what the request says may have changed.
        pod.env = self._environment(pod.id, request) | dict(pod.account_env)
        if pod.status is PodStatus.RUNNING:
            self.restart(pod)

    def _environment(self, pod_id: str, request: PodRequest) -> dict[str, str]:
        env = {
            **request.env,
            "RUNPOD_POD_ID": pod_id,
            "RUNPOD_DC_ID": request.data_center,
            "RUNPOD_POD_HOSTNAME": f"{pod_id}-local",
            "RUNPOD_GPU_COUNT": str(request.gpu_count if request.gpu else 0),
            "RUNPOD_CPU_COUNT": str(request.vcpu_count or 2),
            "RUNPOD_PUBLIC_IP": "127.0.0.1",
        }
        for port in request.ports:
            number, _, kind = port.partition("/")
            public = str(self._backend.public_port(pod_id, int(number)))
            # Pods share the loopback here, so a server in a pod has to be told which port is its own.
            env[f"RUNSPEC_PORT_{number}"] = public
            if kind == "tcp":
                env[f"RUNPOD_TCP_PORT_{number}"] = public
        return env

    def _live(self, pod: Pod, *, provision_s: float | None) -> None:
        spec = ContainerSpec(pod.id, pod.request.argv, pod.env, memory_mb=pod.memory_mb)
        self._replace_life(pod, self._run(pod, spec, provision_s=provision_s))

    def _replace_life(self, pod: Pod, life: Coroutine[Any, Any, None]) -> None:
        previous = pod.life
        pod.life = self._spawn(_after(previous, life))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _settled(self) -> None:
        """The life of a pod that does nothing."""

    async def _run(self, pod: Pod, spec: ContainerSpec, *, provision_s: float | None) -> None:
        if provision_s is not None:
            pod.log.append("system", f"create container {pod.request.image}")
            await self.clock.sleep(provision_s)
            pod.observe(PodStatus.STARTING)
        await self.clock.sleep(self._delays.start_s)
        delay_s = self._delays.restart_s
        while not pod.is_ended:
            # RunPod starts an exited container again and again, whatever its exit code: the bill goes on.
            try:
                await self._run_container_once(pod, spec)
            except PodStartError as exc:
                pod.log.append("system", f"error starting container: {exc}")
                pod.observe(PodStatus.ERROR)
                return
            pod.observe(PodStatus.STARTING)
            await self.clock.sleep(delay_s)
            delay_s = min(delay_s * 2, MAX_RESTART_DELAY_S)

    async def _run_container_once(self, pod: Pod, spec: ContainerSpec) -> None:
        pod.log.append("system", f"start container for {pod.request.image}: begin")
        if pod.cannot_start:
            raise PodStartError("no such host")
        container = await self._start_container(pod, spec)
        try:
            pod.started_at = self.clock.now()
            pod.observe(PodStatus.RUNNING)
            code = await container.wait()
        finally:
            # A second end of the pod must not cut the first one short, or its processes are left behind.
            await uncancelled(container.stop(self._delays.grace_s))
        pod.exit_codes.append(code)
        pod.log.append("system", f"container exited with code {code}")

    async def _start_container(self, pod: Pod, spec: ContainerSpec) -> Container:
        starting = asyncio.ensure_future(self._backend.start(spec, lambda text: pod.log.append("container", text)))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            # A half-started container cannot be stopped, so let it come up first.
            with contextlib.suppress(PodStartError):
                await uncancelled(_stopped_once_up(starting, self._delays.grace_s))
            raise

    async def _end_later(self, pod: Pod) -> None:
        await self.clock.sleep(self._delays.terminate_s)
        self._spawn(self._end(pod))

    async def _end(self, pod: Pod) -> None:
        await _cancelled(pod.life)
        await self._backend.discard(pod.id)
        if self._pods.pop(pod.id, None) is not None:
            self.ended.append(pod)
        pod.log.append("system", "pod terminated")
        pod.log.close()


async def _stopped_once_up(starting: asyncio.Future[Container], grace_s: float) -> None:
    await (await starting).stop(grace_s)


async def _after(previous: asyncio.Task[None] | None, life: Coroutine[Any, Any, None]) -> None:
    try:
        await _cancelled(previous)
    except BaseException:
        life.close()
        raise
    await life


async def _cancelled(task: asyncio.Task[None] | None) -> None:
    """Cancel a life and wait until it has stopped its container, even when cancelled meanwhile."""
    if task is None:
        return
    if not task.cancelling():
        # Cancelled twice, it would leave the container that it is just stopping.
        task.cancel()
    interrupted: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as exc:
            interrupted = exc
    if interrupted is not None:
        raise interrupted


def _new_pod_id() -> str:
    alphabet = string.ascii_lowercase + string.digits
    return "".join(secrets.choice(alphabet) for _ in range(14))
