"""What a step works with."""

from __future__ import annotations

from dataclasses import dataclass

from runner.engine.interrupt import Interrupt
from runner.engine.lease import Lease
from runner.engine.naming import PodNames
from runner.engine.state import JobState
from runner.engine.watch import Watch
from runner.engine.world import World
from runner.results import Outcome


@dataclass(slots=True)
class JobContext:
    """One job's tools; `leases` is what has to be given back."""

    state: JobState
    world: World
    watch: Watch
    interrupt: Interrupt
    leases: list[Lease]
    names: PodNames
    via: str = "lab"


@dataclass(frozen=True, slots=True)
class StepResult:
    """How a step ended, with a sentence for a reader."""

    outcome: Outcome
    detail: str = ""
