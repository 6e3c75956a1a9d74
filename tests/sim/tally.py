"""What many simulated runs came to together."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from random import Random

from tests.sim.coverage import rows_met
from tests.sim.schedule import Report, Schedule, simulate
from tests.sim.wire_schedule import WireReport, WireSchedule
from tests.sim.wire_simulation import simulate_wire


@dataclass(slots=True)
class Tally:
    """Counts of runs: how many, which broke an invariant, and in how many each thing happened.

    Attributes:
        faults: by the name of the fault.
        rows: by the row of the fault table or the trap, see `coverage`.
        digest: of all traces in order, to compare one process with another.
    """

    runs: int = 0
    failed: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    marks: Counter[str] = field(default_factory=Counter)
    digest: str = ""

    def add(self, report: Report | WireReport) -> None:
        self.runs += 1
        self.faults.update(fault for fault, times in report.happened.items() if times)
        self.rows.update(rows_met(report.happened))
        self.marks.update(report.marks)
        trace = "\n".join([self.digest, *report.trace, *report.violations])
        self.digest = hashlib.sha256(trace.encode()).hexdigest()
        if report.violations:
            self.failed.append(str(report))

    def merge(self, other: Tally) -> None:
        self.runs += other.runs
        self.failed += other.failed
        self.faults += other.faults
        self.rows += other.rows
        self.marks += other.marks


def random_schedules(seeds: Iterable[int]) -> Tally:
    """One random schedule a seed."""
    tally = Tally()
    for seed in seeds:
        tally.add(simulate(Schedule.drawn(seed)))
    return tally


def wire_schedules(seeds: Iterable[int]) -> Tally:
    """As `random_schedules`, over the wire."""
    tally = Tally()
    for seed in seeds:
        tally.add(simulate_wire(WireSchedule.drawn(seed)))
    return tally


def calm(schedule: Schedule) -> Schedule:
    """The same schedule without its own deaths: what a sweep kills at every point."""
    return replace(schedule, kills=(), interrupt_s=(), full_disk_after=None, suspend_s=None, jobs=1, cap_usd=None)


def crash_points(schedule: Schedule) -> int:
    """How many points of a schedule a process can be killed at."""
    return simulate(schedule).points[0]


def sweep(schedule: Schedule, points: Iterable[int]) -> Tally:
    """Kill a schedule at each of the given points, recover, and check what is left."""
    tally = Tally()
    for point in points:
        tally.add(simulate(replace(schedule, kills=[point])))
    return tally


def sweep_seed(seed: int) -> Tally:
    """Every crash point of one seed's schedule, before and after each effect; what follows is as the seed has it."""
    schedule = calm(Schedule.drawn(seed))
    return sweep(schedule, range(1, crash_points(schedule) + 1))


def double_kills(seeds: Iterable[int]) -> Tally:
    """One schedule a seed, killed at a random point, and again while it recovers."""
    tally = Tally()
    for seed in seeds:
        rng = Random(f"double kill {seed}")
        schedule = calm(Schedule.drawn(seed))
        first = rng.randint(1, crash_points(schedule))
        tally.add(simulate(replace(schedule, kills=[first, rng.randint(1, 60)])))
    return tally
