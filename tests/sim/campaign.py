"""Many seeds, or every crash point of some schedules, on several processes:

python -m tests.sim.campaign --seeds 10000 --processes 2
python -m tests.sim.campaign --sweep 10 --processes 2
python -m tests.sim.campaign --seed 4711          # repeat one, with its trace
python -m tests.sim.campaign --wire 1000 --processes 2   # providers and embedded servers too, over HTTP in memory
python -m tests.sim.campaign --wire-seed 4711     # repeat one of these
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from tests.sim.cloud import FAULTS
from tests.sim.schedule import Report, Schedule, simulate
from tests.sim.wire import WIRE_FAULTS
from tests.sim.wire_schedule import SERVER_FAULTS, WireReport, WireSchedule
from tests.sim.wire_simulation import simulate_wire

BATCH = 50


@dataclass(slots=True)
class Tally:
    """What a campaign came to."""

    runs: int = 0
    failed: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    marks: Counter[str] = field(default_factory=Counter)
    digest: str = ""

    def add(self, report: Report | WireReport) -> None:
        self.runs += 1
        self.faults.update(report.happened.keys())
        self.marks.update(report.marks)
        trace = "\n".join([self.digest, *report.trace, *report.violations])
        self.digest = hashlib.sha256(trace.encode()).hexdigest()
        if report.violations:
            self.failed.append(str(report))

    def merge(self, other: Tally) -> None:
        self.runs += other.runs
        self.failed += other.failed
        self.faults += other.faults
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
    return replace(schedule, kills=(), interrupt_s=(), full_disk_after=None, jobs=1, cap_usd=None)


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
    """Every crash point of one seed's schedule."""
    schedule = calm(Schedule.drawn(seed))
    return sweep(schedule, range(1, crash_points(schedule) + 1))


def _batches(first: int, count: int) -> Iterator[range]:
    for start in range(first, first + count, BATCH):
        yield range(start, min(start + BATCH, first + count))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=0, help="random schedules")
    parser.add_argument("--sweep", type=int, default=0, help="schedules killed at every point")
    parser.add_argument("--seed", type=int, help="repeat one seed and print its trace")
    parser.add_argument("--wire", type=int, default=0, help="random schedules over the wire")
    parser.add_argument("--wire-seed", type=int, help="repeat one seed over the wire and print its trace")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    if args.seed is not None:
        report = simulate(Schedule.drawn(args.seed))
        print("\n".join(report.trace), report, sep="\n")
        return bool(report.violations)
    if args.wire_seed is not None:
        wired = simulate_wire(WireSchedule.drawn(args.wire_seed))
        print("\n".join(wired.trace), wired, sep="\n")
        return bool(wired.violations)
    begun_s = time.monotonic()
    total = Tally()
    # Batches in processes of their own: memory stays flat, and a life that was killed leaves nothing behind.
    with multiprocessing.get_context("spawn").Pool(args.processes, maxtasksperchild=20) as pool:
        for tally in pool.imap_unordered(random_schedules, _batches(args.first, args.seeds)):
            total.merge(tally)
        for tally in pool.imap_unordered(sweep_seed, range(args.first, args.first + args.sweep)):
            total.merge(tally)
        for tally in pool.imap_unordered(wire_schedules, _batches(args.first, args.wire)):
            total.merge(tally)
    for failure in total.failed[:5]:
        print(failure, file=sys.stderr)
    elapsed_s = time.monotonic() - begun_s
    print(f"{total.runs} simulated runs in {elapsed_s:.0f} s, {len(total.failed)} violate an invariant")
    faults = [*(FAULTS if args.seeds or args.sweep else ()), *((*WIRE_FAULTS, *SERVER_FAULTS) if args.wire else ())]
    print("faults in so many runs: " + ", ".join(f"{fault} {total.faults[fault]}" for fault in faults))
    print("reached: " + ", ".join(f"{mark} {count}" for mark, count in sorted(total.marks.items())))
    return bool(total.failed)


if __name__ == "__main__":
    raise SystemExit(main())
