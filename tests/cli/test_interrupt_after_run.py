"""^C once the run is over: what is still to be written is written, and the verdict stays what it is."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from tests.cli.premises import Premises, ended, open_premises

ENDS_RUN = b"updated reports"


async def said(stream: asyncio.StreamReader | None, text: bytes) -> bytes:
    assert stream is not None
    before = b""
    async with asyncio.timeout(60):
        while text not in before:
            before += await stream.readline()
    return before


async def writing(premises: Premises, process: asyncio.subprocess.Process) -> None:
    """Return when the run is over and its reports are being written: the first one is a pipe that nobody reads yet."""
    await said(process.stderr, ENDS_RUN)
    await asyncio.sleep(0.5)
    assert process.returncode is None
    assert premises.alive() == []


def reports_of(folder: Path) -> str:
    os.mkfifo(folder / "pipe")
    return f"--report=summary={folder / 'pipe'},json={folder / 'run.json'}"


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGHUP, pytest.param(signal.SIGTERM, marks=pytest.mark.sweep)]
)
async def test_a_signal_after_the_end_of_a_run_loses_neither_its_reports_nor_its_verdict(tmp_path, number):
    async with open_premises(tmp_path) as premises:
        before = premises.workshop.document.read_bytes()
        async with premises.started(*premises.run_args("--no-watchdog", reports_of(tmp_path))) as process:
            await writing(premises, process)
            process.send_signal(number)
            await said(process.stderr, b"the run is over")
            pipe = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
            end = await ended(process)
    summary = os.read(pipe, 1 << 16).decode()
    os.close(pipe)
    assert end.code == 0, end.err
    assert "quick" in summary
    assert json.loads((tmp_path / "run.json").read_text())["exit_code"] == 0
    assert premises.workshop.document.read_bytes() != before
    assert end.last_line.startswith("✓ passed")
    assert "Traceback" not in end.err


async def test_whoever_presses_again_need_not_wait_for_reports(tmp_path):
    async with open_premises(tmp_path) as premises:
        async with premises.started(*premises.run_args("--no-watchdog", reports_of(tmp_path))) as process:
            await writing(premises, process)
            process.send_signal(signal.SIGINT)
            await said(process.stderr, b"the run is over")
            process.send_signal(signal.SIGINT)
            end = await ended(process)
        history = await premises.runspec("history")
    assert end.code == 130
    assert "Traceback" not in end.err
    assert "passed" in history.out


async def test_interrupts_while_the_process_ends_neither_kill_it_nor_show_a_traceback(tmp_path):
    async with open_premises(tmp_path) as premises, premises.started("history") as process:
        await said(process.stdout, b"no run")
        while process.returncode is None:
            process.send_signal(signal.SIGINT)
            await asyncio.sleep(0.001)
        end = await ended(process)
    assert end.code in (0, 130)
    assert end.err.strip() == ""
