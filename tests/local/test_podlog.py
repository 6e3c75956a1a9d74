"""Lines of a pod: splitting, numbering, bounds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runner.local.podlog import LineSplitter, PodLog

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BOTH = ("container", "system")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_lines_are_the_same_however_the_bytes_arrive(size):
    data, lines = "eins\nzwei\r\ndrei\rvier ✓\n\nfünf".encode(), []
    splitter = LineSplitter(lines.append)
    for start in range(0, len(data), size):
        splitter.feed(data[start : start + size])
    splitter.end()
    assert lines == ["eins", "zwei", "drei", "vier ✓", "", "fünf"]


def test_a_line_without_end_is_cut_into_marked_pieces():
    lines = []
    splitter = LineSplitter(lines.append, bound=10)
    splitter.feed(b"x" * 25)
    splitter.feed(b"y\n")
    assert [line.removesuffix(" [cut]") for line in lines] == ["x" * 10, "x" * 10, "xxxxx", "y"]
    assert sum(line.endswith(" [cut]") for line in lines) == 2


def test_the_ring_forgets_the_oldest_and_keeps_the_numbers():
    log = PodLog(lambda: NOON, ring=3)
    for number in range(5):
        log.append("container", str(number))
    assert [(line.seq, line.text) for line in log.after(0, BOTH)] == [(3, "2"), (4, "3"), (5, "4")]


def test_tail_counts_the_wanted_source_only():
    log = PodLog(lambda: NOON)
    for number in range(4):
        log.append("container", f"c{number}")
        log.append("system", f"s{number}")
    seq = log.seq_of_tail(2, ("container",))
    assert [line.text for line in log.after(seq, ("container",))] == ["c2", "c3"]
    assert log.after(log.seq_of_tail(0, BOTH), BOTH) == []
    assert len(log.after(log.seq_of_tail(99, BOTH), BOTH)) == 8


def test_since_finds_the_first_line_of_that_moment():
    moments = iter([NOON, NOON + timedelta(seconds=5), NOON + timedelta(seconds=9)])
    log = PodLog(lambda: next(moments))
    for text in ("a", "b", "c"):
        log.append("container", text)
    seq = log.seq_before(NOON + timedelta(seconds=5))
    assert [line.text for line in log.after(seq, BOTH)] == ["b", "c"]
    assert log.seq_before(NOON + timedelta(seconds=10)) == 3


async def test_a_follower_wakes_on_a_line_and_on_the_end(tmp_path: Path):
    log = PodLog(lambda: NOON, tmp_path / "pod.log")
    log.append("container", "one")
    await log.wait_beyond(0, timeout_s=5)
    await log.wait_beyond(1, timeout_s=0)
    log.close()
    await log.wait_beyond(1, timeout_s=5)
    log.append("container", "too late")
    assert log.last_seq == 1
    assert (tmp_path / "pod.log").read_text() == "2026-01-01T12:00:00+00:00 container one\n"
