"""I5: after a crash the journal is a prefix of what was appended, with every acknowledged durable event in it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import recorded as make

from runner.store import Store

ROOT = Path(__file__).parents[2]
CUTS = int(os.environ.get("RUNSPEC_WAL_CUTS", "250"))
_HEADER, _FRAME = 32, 24 + 4096


@dataclass
class Recording:
    """A live database's files, and how long the WAL was when each count of events was acknowledged."""

    database: bytes
    wal: bytes
    events: list
    acknowledged: list[tuple[int, int]]


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Recording:
    import asyncio

    return asyncio.run(_record(tmp_path_factory.mktemp("live")))


async def _record(directory: Path) -> Recording:
    store = Store.open(directory)
    store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store._connection.execute("PRAGMA wal_autocheckpoint = 0")
    wal = directory / "journal.db-wal"
    events, acknowledged = [], []
    for number in range(40):
        batch = [make.started("r1")] if number == 0 else [make.line(number, "x" * (number * 97 % 3000))]
        batch += [make.metrics(number, number + 1), make.requested(f"pod-{number}")]
        await store.journal("r1").append(*batch, durable=True)
        events += batch
        acknowledged.append((wal.stat().st_size, len(events)))
    recorded = Recording((directory / "journal.db").read_bytes(), wal.read_bytes(), events, acknowledged)
    store.close()
    return recorded


def reopened(directory: Path, recording: Recording, wal: bytes):
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    (directory / "journal.db").write_bytes(recording.database)
    (directory / "journal.db-wal").write_bytes(wal)
    return Store.open(directory)


def check(directory: Path, recording: Recording, wal: bytes, promised: int) -> None:
    with reopened(directory, recording, wal) as store:
        assert store.integrity() == []
        found = list(store.load_run("r1").events) if store.runs() else []
        assert found == recording.events[: len(found)], "not a prefix"
        assert len(found) >= promised
        assert len(store.open_leases()) == sum(1 for event in found if type(event) is make.e.PodRequested)
        assert len(store.points("r1", "cpt/basic/1", "train_loss")) == (len(found) // 3 + 1 if found else 0)


def promised_at(recording: Recording, size: int) -> int:
    return max((count for length, count in recording.acknowledged if length <= size), default=0)


def test_a_wal_cut_at_any_frame_reopens_with_every_acknowledged_event(tmp_path, recording):
    for size in range(_HEADER, len(recording.wal) + 1, _FRAME):
        check(tmp_path / "cut", recording, recording.wal[:size], promised_at(recording, size))


def test_a_wal_cut_at_any_byte_reopens_with_every_acknowledged_event(tmp_path, recording):
    dice = random.Random(20260104)
    for _ in range(CUTS):
        size = dice.randrange(len(recording.wal) + 1)
        check(tmp_path / "cut", recording, recording.wal[:size], promised_at(recording, size))


def test_a_torn_write_in_the_wal_loses_nothing_that_came_before_it(tmp_path, recording):
    dice = random.Random(7)
    for _ in range(CUTS):
        place = dice.randrange(_HEADER, len(recording.wal) - 8)
        torn = recording.wal[:place] + dice.randbytes(8) + recording.wal[place + 8 :]
        check(tmp_path / "torn", recording, torn, promised_at(recording, place))


_WRITER = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
import recorded as make
from runner.store import Store

async def main():
    store = Store.open(sys.argv[1])
    journal = store.journal("r1")
    number = 0
    while True:
        number += 1
        await journal.append(make.line(number), make.requested(f"pod-{number}", seconds=number), durable=True)
        print(number, flush=True)
        await journal.append(make.metrics(number))

asyncio.run(main())
"""


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_process_leaves_every_event_it_was_told_is_durable(tmp_path, seed):
    here = str(Path(__file__).parent)
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path), here], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    for _ in range(random.Random(seed).randrange(5, 60)):
        acknowledged = int(writer.stdout.readline())
    writer.send_signal(signal.SIGKILL)
    rest = writer.stdout.read().split()
    writer.wait()
    writer.stdout.close()
    acknowledged = int(rest[-1]) if rest else acknowledged
    with Store.open(tmp_path) as store:
        assert store.integrity() == []
        names = [lease.name for lease in store.open_leases()]
        assert names[:acknowledged] == [f"pod-{number}" for number in range(1, acknowledged + 1)]
        assert len(names) <= acknowledged + 1
