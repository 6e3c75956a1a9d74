"""Pods that play a scenario instead of running anything: lines and an exit code at given moments of a clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from runner.local.clock import Clock
from runner.local.pods import ContainerSpec, PodStartError

STOPPED = 143


@dataclass(frozen=True, slots=True)
class Say:
    """Print `text` at `at_s` seconds after the start of the container."""

    at_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Do:
    """Await `action` at `at_s`: a place for the HTTP calls that a trainer would make."""

    at_s: float
    action: Callable[[ContainerSpec], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Exit:
    """End with `code` at `at_s`; a scenario without it idles for ever."""

    at_s: float
    code: int = 0


@dataclass(frozen=True, slots=True)
class FailToStart:
    """The container does not come up at all: the pod goes to `ERROR`."""

    reason: str = "image not found"


Cue = Say | Do | Exit | FailToStart
Scenario = Sequence[Cue]
Casting = Callable[[ContainerSpec], Scenario]
"""Chooses the scenario of a pod; called again at every restart."""


def idle(_: ContainerSpec) -> Scenario:
    """Every pod comes up, says so, and stays."""
    return [Say(0, "scripted pod is up")]


class ScriptedPods:
    """A backend that costs nothing: no process, no disk, and time only as `clock` has it."""

    def __init__(self, clock: Clock, casting: Casting = idle) -> None:
        self._clock = clock
        self._casting = casting
        self.starts: list[str] = []
        """Ids of pods in the order of their container starts, so that restarts can be counted."""

    async def start(self, spec: ContainerSpec, emit: Callable[[str], None]) -> ScriptedContainer:
        scenario = self._casting(spec)
        for cue in scenario:
            if isinstance(cue, FailToStart):
                raise PodStartError(cue.reason)
        self.starts.append(spec.pod_id)
        return ScriptedContainer(self._clock, spec, scenario, emit)

    def public_port(self, pod_id: str, private: int) -> int:
        return private

    async def discard(self, pod_id: str) -> None:
        """Nothing is kept, so there is nothing to forget."""

    async def aclose(self) -> None:
        """No process was started, so none can remain."""


class ScriptedContainer:
    """One performance of a scenario."""

    def __init__(self, clock: Clock, spec: ContainerSpec, scenario: Scenario, emit: Callable[[str], None]) -> None:
        self._exit_code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._play_safely(clock, spec, scenario, emit))

    async def _play_safely(
        self, clock: Clock, spec: ContainerSpec, scenario: Scenario, emit: Callable[[str], None]
    ) -> None:
        try:
            await self._play(clock, spec, scenario, emit)
        except Exception as exc:  # an action that fails ends its container, as a program with a bug would
            emit(f"{type(exc).__name__}: {exc}")
            self._exit_code.set_result(1)

    async def _play(self, clock: Clock, spec: ContainerSpec, scenario: Scenario, emit: Callable[[str], None]) -> None:
        begun = clock.now()
        for cue in sorted((cue for cue in scenario if not isinstance(cue, FailToStart)), key=lambda c: c.at_s):
            await clock.sleep(cue.at_s - (clock.now() - begun).total_seconds())
            match cue:
                case Say():
                    emit(cue.text)
                case Do():
                    await cue.action(spec)
                case Exit():
                    self._exit_code.set_result(cue.code)
                    return

    async def wait(self) -> int:
        return await asyncio.shield(self._exit_code)

    async def stop(self, grace_s: float) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if not self._exit_code.done():
            self._exit_code.set_result(STOPPED)
