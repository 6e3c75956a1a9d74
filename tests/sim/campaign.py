"""Many seeds, every crash point of some schedules, or one seed again with its trace.

python -m tests.sim.campaign --figures ci        # what every change has to pass: `make simulate`
python -m tests.sim.campaign --figures release   # before a release; takes about an hour
python -m tests.sim.campaign --seeds 10000       # ports simulated: engine and conditions are real
python -m tests.sim.campaign --wire 1000         # over HTTP in memory: providers and embedded servers are real too
python -m tests.sim.campaign --sweep 10          # schedules killed at every write and call
python -m tests.sim.campaign --seed 4711         # repeat one
python -m tests.sim.campaign --wire-seed 4711    # repeat one over the wire
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.sim.coverage import FAULT_ROWS, MARKS, NOT_IN_RUNS, TRAPS, not_met
from tests.sim.schedule import Schedule, simulate
from tests.sim.tally import Tally, double_kills, random_schedules, sweep_seed, wire_schedules
from tests.sim.wire_schedule import WireSchedule
from tests.sim.wire_simulation import simulate_wire

BATCH = 50
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How much of each kind; 0 leaves a kind out.

    Attributes:
        double: schedules killed twice, the second time while recovering.
        traced: seeds whose traces two processes with different hash seeds have to agree on; a tenth over the wire.
        met: in how many seeds each row of the fault table and each trap has to happen.
    """

    seeds: int = 0
    wire: int = 0
    sweep: int = 0
    double: int = 0
    traced: int = 0
    met: int = 0


CI = Figures(seeds=10_000, wire=1_250, sweep=10, double=500, traced=200, met=50)
RELEASE = Figures(seeds=100_000, wire=20_000, sweep=50, double=10_000, traced=2_000, met=50)


class Campaign:
    """Works through its figures on several processes, and prints a line for each kind."""

    def __init__(self, figures: Figures, *, first: int, processes: int) -> None:
        self.figures = figures
        self.first = first
        self.processes = processes
        self.total = Tally()

    def run(self) -> bool:
        """Whether nothing was violated and everything was met."""
        figures, first = self.figures, self.first
        # Batches in processes of their own: memory stays flat, and a life that was killed leaves nothing behind.
        with multiprocessing.get_context("spawn").Pool(self.processes, maxtasksperchild=20) as pool:
            for name, work, items in (
                ("schedules over ports", random_schedules, [*_batches(first, figures.seeds)]),
                ("schedules over wires", wire_schedules, [*_batches(first, figures.wire)]),
                ("crash points", sweep_seed, [*range(first, first + figures.sweep)]),
                ("double kills", double_kills, [*_batches(first, figures.double)]),
            ):
                if items:
                    self._work(pool, name, work, items)
        return not self.total.failed and self._is_met() and self._is_repeatable()

    def _work(self, pool: Any, name: str, work: Callable[[Any], Tally], items: Iterable[Any]) -> None:
        begun_s, tally = time.monotonic(), Tally()
        for part in pool.imap_unordered(work, items):
            tally.merge(part)
        for failure in tally.failed[:5]:
            print(failure, file=sys.stderr)
        elapsed_s = time.monotonic() - begun_s
        print(f"{tally.runs:,} {name}: {len(tally.failed)} violate an invariant ({elapsed_s:.0f} s)", flush=True)
        self.total.merge(tally)

    def _is_met(self) -> bool:
        total, at_least = self.total, self.figures.met
        if not at_least:
            print("faults in so many runs: " + ", ".join(f"{fault} {n}" for fault, n in sorted(total.faults.items())))
            print("reached: " + ", ".join(f"{mark} {count}" for mark, count in sorted(total.marks.items())))
            return True
        lacking = not_met(total.rows, total.marks, at_least=at_least)
        if lacking:
            print("too seldom:\n  " + "\n  ".join(lacking))
            return False
        rarest, row = min((total.rows[row], row) for row in (*FAULT_ROWS, *(set(TRAPS) - NOT_IN_RUNS)))
        met = f"{len(FAULT_ROWS)} fault rows and {len(TRAPS) - len(NOT_IN_RUNS)} of {len(TRAPS)} traps"
        print(f"{met} (no run meets the others), each in {rarest:,} seeds or more ({row}); {len(MARKS)} marks reached")
        return True

    def _is_repeatable(self) -> bool:
        count = self.figures.traced
        if not count:
            return True
        program = (
            "from tests.sim.tally import random_schedules as a, wire_schedules as b; "
            f"first, count = {self.first}, {count}; "
            "print(a(range(first, first + count)).digest, b(range(first, first + count // 10)).digest)"
        )
        traces = {_printed(program, hash_seed) for hash_seed in ("1", "2")}
        print(f"{count:,} seeds again in two processes with different hash seeds: {len(traces)} different traces")
        return len(traces) == 1


def _printed(program: str, hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def _batches(first: int, count: int) -> Iterator[range]:
    for start in range(first, first + count, BATCH):
        yield range(start, min(start + BATCH, first + count))


def first_of_commit() -> int:
    """Where a campaign begins, so that every commit sees seeds of its own; 0 outside a checkout."""
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return int(found.stdout[:7] or "0", 16)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figures", choices=("ci", "release"), help="all kinds, with seeds of this commit's own")
    parser.add_argument("--seeds", type=int, default=0, help="random schedules")
    parser.add_argument("--wire", type=int, default=0, help="random schedules over the wire")
    parser.add_argument("--sweep", type=int, default=0, help="schedules killed at every point")
    parser.add_argument("--double", type=int, default=0, help="schedules killed twice")
    parser.add_argument("--traced", type=int, default=0, help="seeds that have to give the same trace twice")
    parser.add_argument("--seed", type=int, help="repeat one seed and print its trace")
    parser.add_argument("--wire-seed", type=int, help="repeat one seed over the wire and print its trace")
    parser.add_argument("--first", type=int, help="first seed; otherwise 0, or the commit's own with --figures")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    if args.seed is not None or args.wire_seed is not None:
        return _repeat(args.seed, args.wire_seed)
    figures = Figures(seeds=args.seeds, wire=args.wire, sweep=args.sweep, double=args.double, traced=args.traced)
    first = args.first or 0
    if args.figures:
        figures = {"ci": CI, "release": RELEASE}[args.figures]
        first = first_of_commit() if args.first is None else args.first
        print(f"simulating from seed {first} on")
    return not Campaign(figures, first=first, processes=args.processes).run()


def _repeat(seed: int | None, wire_seed: int | None) -> int:
    report = simulate(Schedule.drawn(seed)) if seed is not None else simulate_wire(WireSchedule.drawn(wire_seed or 0))
    print("\n".join(report.trace), report, sep="\n")
    return bool(report.violations)


if __name__ == "__main__":
    raise SystemExit(main())
