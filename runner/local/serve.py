"""The embedded cloud as a program of its own: one line of JSON when it is ready, then until a signal."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal, TextIO

import msgspec

from runner.local.clock import SystemClock
from runner.local.cloud import CloudOptions, EmbeddedCloud, Endpoints
from runner.local.faults import Rule
from runner.local.scripted import ScriptedPods

Pods = Literal["process", "scripted"]
ANNOUNCED = (
    "lab_url", "runpod_url", "runpod_api_key", "lab_api_key", "lab_api_key_testing", "lab_jwt", "lab_internal_key",
    "predict_model",
)  # fmt: skip


async def serve(
    state_dir: Path,
    *,
    lab_port: int = 0,
    runpod_port: int = 0,
    faults: Sequence[Rule] = (),
    pods: Pods = "process",
    out: TextIO | None = None,
) -> None:
    """Run both servers until SIGINT or SIGTERM, then end every pod.

    Prints one JSON object to `out` (standard output by default) once both listen, and nothing else.

    Raises:
        OSError: a port is taken.
        PodLeakError: a process of a pod outlived the servers.
    """
    options = CloudOptions(
        lab_port=lab_port,
        runpod_port=runpod_port,
        faults=faults,
        backend=ScriptedPods(SystemClock()) if pods == "scripted" else None,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        async with EmbeddedCloud(state_dir, options) as cloud:
            print(announcement(cloud.endpoints), file=out or sys.stdout, flush=True)
            await stop.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def announcement(endpoints: Endpoints) -> str:
    """The line that tells a caller where the servers are."""
    values = asdict(endpoints)
    return msgspec.json.encode({name: values[name] for name in ANNOUNCED}).decode()
