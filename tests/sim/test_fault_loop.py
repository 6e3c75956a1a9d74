"""For every n, the nth HTTP request of a run fails: no pod stays, the journal is whole, and the exit code is right."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import pytest

from runner.engine.exit_code import exit_code
from runner.events import JobFinished, RunFinished
from runner.results import Outcome
from runner.store import Store
from tests.sim.disk import SimJournal
from tests.sim.wire import SINGLE_FAULTS
from tests.sim.wire_loop import WireLife
from tests.sim.wire_schedule import WireReport, WireSchedule
from tests.sim.wire_simulation import WireSimulation
from tests.sim.wire_surroundings import seeded_ids

# A run of few requests; every kind of request is among them.
SEED = 25


class Twice:
    """A journal on the disk of the simulation, which the invariants read, and in a real store beside it."""

    def __init__(self, first: SimJournal, second) -> None:
        self._journals = first, second

    async def append(self, *events, durable=False):
        for journal in self._journals:
            await journal.append(*events, durable=durable)


class Recorded(WireSimulation):
    """A simulation whose journal is also in a real store."""

    def __init__(self, schedule: WireSchedule, folder: Path) -> None:
        super().__init__(schedule, folder)
        self.store = Store.open(folder / "state")

    def journal_of(self, life: WireLife):
        return Twice(SimJournal(self.disk, life), self.store.journal("sim"))


def run_with(fault: str, n: int, via: str) -> tuple[WireReport, bool]:
    """One run whose nth request meets a fault, with all that must hold; and whether it had so many requests."""
    schedule = WireSchedule(seed=SEED, via=via, healthy=True)
    with tempfile.TemporaryDirectory() as folder, seeded_ids(SEED):
        simulation = Recorded(schedule, Path(folder))
        simulation.wires.at = {n: fault}
        with simulation.store as store:
            report = simulation.run()
            assert store.integrity() == []
            assert store.open_leases() == []
            recorded = store.load_run("sim").events
    assert report.violations == [], str(report)
    assert not [pod for pod in simulation.cloud.pods.pods() if pod.request.name.startswith("runspec-")]
    assert isinstance(recorded[-1], RunFinished)
    finished = [event for event in recorded if isinstance(event, JobFinished)]
    assert report.exit_code == recorded[-1].exit_code == exit_code(finished, interrupted=False)
    return report, report.happened[fault] > 0


# Two of the twelve in every suite, all of them in `make simulate`.
IN_THE_SUITE = {("answer lost", "lab"), ("error after", "runpod")}
LOOPS = [
    pytest.param(fault, via, marks=() if (fault, via) in IN_THE_SUITE else pytest.mark.sweep)
    for fault in SINGLE_FAULTS
    for via in ("lab", "runpod")
]


@pytest.mark.parametrize(("fault", "via"), LOOPS)
def test_no_pod_outlives_its_run_whichever_request_fails(fault, via):
    codes = {}
    for n in itertools.count(1):
        report, was_met = run_with(fault, n, via)
        if not was_met:
            break
        codes[n] = report.exit_code
        # One request that fails says nothing about the template.
        assert report.exit_code in (0, 3), str(report)
        assert {job.outcome for job in report.finished} <= {Outcome.PASSED, Outcome.ERRORED, Outcome.UNKNOWN}
    assert len(codes) > 25
    # Nearly every request is asked again, so that one failure changes nothing.
    assert sum(code == 0 for code in codes.values()) >= len(codes) - 2
