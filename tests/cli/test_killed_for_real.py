"""Runners that are killed by SIGKILL at some write of their journal, and what `resume` or `reap` make of what is left.

`RUNSPEC_KILLS=20` kills that many; each further one at a later moment after its write.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise, product
from pathlib import Path

import pytest

from runner.local.lifecycle import Pod
from tests.cli.premises import Premises, ended, open_premises

KILLS = int(os.environ.get("RUNSPEC_KILLS", "2"))
FIRST = (
    ("pod.created", "lab", "resume"),
    ("logs", "runpod", "reap"),
    ("pod.requested", "runpod", "resume"),
    ("pod.terminating", "lab", "reap"),
)
WRITES = (
    "run.started", "job.started", "pod.requested", "pod.created", "logs", "pod.terminating", "pod.gone", "job.judged",
)  # fmt: skip
REST = [case for case in product(WRITES, ("lab", "runpod"), ("resume", "reap")) if case not in FIRST]
CASES = [*FIRST, *REST]


def kinds(journal: Path) -> list[str]:
    """The kinds of the events that are on the disk."""
    try:
        with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as db:
            return [kind for (kind,) in db.execute("SELECT kind FROM events ORDER BY id")]
    except sqlite3.Error:
        return []  # it is only being made


async def has_written(premises: Premises, kind: str, process: asyncio.subprocess.Process) -> None:
    """Return once the journal has a write of this kind, or its writer has ended."""
    journal = premises.workshop.folder / ".runspec" / "journal.db"
    async with asyncio.timeout(60):
        while kind not in kinds(journal) and process.returncode is None:  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.002)


async def run_until_killed(premises: Premises, write: str, *, via: str, after_s: float) -> bool:
    """A run that is killed once its journal has a write of this kind; False when it was quicker than that."""
    async with premises.started(*premises.run_args("--no-watchdog", via=via)) as process:
        await has_written(premises, write, process)
        await asyncio.sleep(after_s)
        if process.returncode is not None:
            return False
        process.kill()
        await process.communicate()
    return True


def overlaps(pods: Sequence[Pod]) -> list[str]:
    """Pods that were paid for while an earlier one still was."""
    ordered = sorted(pods, key=lambda pod: pod.paid[0].start)
    return [
        later.request.name
        for earlier, later in pairwise(ordered)
        if earlier.paid[-1].end is None or later.paid[0].start < earlier.paid[-1].end
    ]


@pytest.mark.parametrize("number", range(KILLS))
async def test_a_killed_run_that_is_taken_up_or_reaped_leaves_nothing(tmp_path, number):
    write, via, then = CASES[number % len(CASES)]
    async with open_premises(tmp_path) as premises:
        later_s = number * 0.037 % 0.5 if number >= len(FIRST) else 0.0
        was_killed = await run_until_killed(premises, write, via=via, after_s=later_s)
        command = ["resume", "--progress=plain"] if then == "resume" else ["reap", "--yes"]
        end = await premises.runspec(*command, timeout_s=120)
        again = await premises.runspec("reap", timeout_s=120)
        await asyncio.sleep(0.3)
        assert premises.alive() == [], end
        # `resume` starts a watchdog, which looks on for a while.
        assert [line for line in premises.processes().values() if b"watchdog" not in line] == []
        assert overlaps(premises.created) == []
    journal = tmp_path / ".runspec" / "journal.db"
    written = kinds(journal)
    assert len(premises.created) <= written.count("pod.requested")
    assert again.code == 0, again
    with closing(sqlite3.connect(journal)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert end.code == 0, end
    if was_killed and then == "resume":
        assert end.last_line.startswith("✓ passed"), end


async def test_every_further_runner_on_a_state_directory_is_refused_while_the_first_goes_on(tmp_path):
    async with open_premises(tmp_path) as premises:
        never_ends = premises.run_args("--no-watchdog", "--set", "last=99")
        async with premises.started(*never_ends) as first:
            await has_written(premises, "pod.created", first)
            seconds = [await asyncio.gather(*(premises.runspec(*never_ends) for _ in range(5))) for _ in range(2)]
            assert first.returncode is None
            assert len(premises.created) == 1
            first.terminate()
            end = await ended(first)
    refused = [said for batch in seconds for said in batch]
    assert [said.code for said in refused] == [2] * 10
    assert all(f"another runspec (process {first.pid})" in said.err for said in refused)
    assert end.code == 130
