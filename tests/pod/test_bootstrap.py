"""The bootstrap in a process of its own, against a small file server."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

BOOTSTRAP = Path(__file__).parents[2] / "runner" / "pod" / "bootstrap.py"
GOOD = "import sys; print('args', *sys.argv[1:]); print(open('config.json').read())"
ROWS = b'{"text": "one"}\n{"text": "two"}'


@dataclass
class Files:
    """What the server has."""

    dataset: bytes = field(default_factory=lambda: gzip.compress(ROWS))
    trainer: bytes = GOOD.encode()
    url: str = ""


@pytest.fixture
async def files() -> AsyncIterator[Files]:
    files = Files()
    app = web.Application()

    async def dataset(_: web.Request) -> web.Response:
        return web.Response(body=files.dataset)

    async def trainer(_: web.Request) -> web.Response:
        return web.Response(body=files.trainer)

    app.router.add_get("/dataset", dataset)
    app.router.add_get("/trainer", trainer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    files.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield files
    await runner.cleanup()


@dataclass
class Run:
    code: int
    lines: list[str]

    @property
    def markers(self) -> list[str]:
        """Marker lines without their date."""
        found = (re.fullmatch(r"\[\w{3} \w{3} \d\d \d\d:\d\d:\d\d UTC \d{4}\] (.*)", line) for line in self.lines)
        return [match[1] for match in found if match]


def environment(files: Files, workspace: Path, **env: str) -> dict[str, str]:
    config: dict[str, Any] = {
        "dataset_path": "/workspace/dataset.jsonl", "output_dir": "/workspace/fine_tuned_model", "note": "/workspace/x",
    }  # fmt: skip
    return {
        "PATH": "/usr/bin:/bin",
        "DATASET_URL": f"{files.url}/dataset",
        "RUNSPEC_TRAINER_URL": f"{files.url}/trainer",
        "TRAINING_CONFIG_B64": base64.b64encode(json.dumps(config).encode()).decode(),
        "JOB_ID": "job-1",
        "METRICS_API_URL": "http://lab/metrics",
        "RUNSPEC_WORKSPACE": str(workspace),
        "RUNSPEC_LOCAL_POD": "1",
        "RUNSPEC_BOOTSTRAP_LINGER_S": "0",
        **env,
    }


async def start(files: Files, workspace: Path, **env: str) -> asyncio.subprocess.Process:
    # -S: without the libraries of this interpreter, so that those of the test are the only ones.
    return await asyncio.create_subprocess_exec(
        sys.executable, "-S", str(BOOTSTRAP), env=environment(files, workspace, **env),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


async def run(files: Files, workspace: Path, **env: str) -> Run:
    process = await start(files, workspace, **env)
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return Run(process.returncode or 0, output.decode().splitlines())


@pytest.fixture
def fake_libraries(tmp_path: Path) -> str:
    """A path with the metadata of every needed library, so that these tests need none of them."""
    root = tmp_path / "libraries"
    for name in ("torch", "trl", "transformers", "datasets", "accelerate", "peft"):
        info = root / f"{name}-9.9.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n")
    return str(root)


async def test_every_step_prints_its_marker_in_order(files, tmp_path, fake_libraries):
    result = await run(files, tmp_path / "w", PYTHONPATH=fake_libraries)
    assert result.code == 0
    assert [re.sub(r"\d+\.\d+\.\d+", "X", line) for line in result.markers if not line.startswith("GPU")] == [
        "RunPod Training Script Started",
        "=== System Information ===",
        "Python: X",
        "Installing dependencies...",
        "✓ Dependencies installed successfully",
        "TRL version: 9.9",
        "Downloading dataset...",
        f"✓ Dataset downloaded ({len(files.dataset)}B)",
        "✓ Dataset decompressed (1 lines)",
        "✓ standalone_trainer.py downloaded (0 lines)",
        "✓ config.json created",
        "✓ Environment variables set",
        "JOB_ID: job-1",
        "METRICS_API_URL: http://lab/metrics",
        "Starting training with standalone_trainer.py...",
        "✓ Training completed successfully! (exit code: 0)",
        "Pod will remain active for 1 hour for model download",
        "Shutting down pod",
    ]
    assert "args --config config.json --execution-id job-1" in result.lines
    assert "args --config" in (tmp_path / "w" / "training_output.log").read_text()


async def test_paths_of_the_config_are_moved_into_the_workspace(files, tmp_path, fake_libraries):
    workspace = tmp_path / "w"
    await run(files, workspace, PYTHONPATH=fake_libraries)
    config = json.loads((workspace / "config.json").read_text())
    assert config["dataset_path"] == str(workspace / "dataset.jsonl")
    assert config["output_dir"] == str(workspace / "fine_tuned_model")
    assert config["note"] == "/workspace/x"
    assert (workspace / "dataset.jsonl").read_bytes() == ROWS


async def test_plain_dataset_is_ready_without_unpacking(files, tmp_path, fake_libraries):
    files.dataset = ROWS
    result = await run(files, tmp_path, PYTHONPATH=fake_libraries)
    assert "✓ Dataset ready (1 lines)" in result.markers


async def test_failing_trainer_shows_its_last_lines_and_gives_its_exit_code(files, tmp_path, fake_libraries):
    files.trainer = b"import sys\nprint('CUDA out of memory')\nsys.exit(3)"
    result = await run(files, tmp_path, PYTHONPATH=fake_libraries)
    assert result.code == 3
    assert result.markers[-3:] == [
        "✗ Training failed with exit code: 3", "Last 50 lines of training output:", "Terminating pod",
    ]  # fmt: skip
    assert result.lines.count("CUDA out of memory") == 2


async def test_killed_trainer_counts_as_137(files, tmp_path, fake_libraries):
    files.trainer = b"import os; os.kill(os.getpid(), 9)"
    assert (await run(files, tmp_path, PYTHONPATH=fake_libraries)).code == 137


@pytest.mark.parametrize(
    ("change", "marker"),
    [
        ({"DATASET_URL": "{url}/nothing"}, "✗ ERROR: Failed to download dataset"),
        ({"DATASET_URL": "file:///etc/passwd"}, "✗ ERROR: Failed to download dataset"),
        ({"DATASET_URL": ""}, "✗ ERROR: Failed to download dataset"),
        ({"RUNSPEC_TRAINER_URL": "{url}/nothing"}, "✗ ERROR: Failed to download standalone_trainer.py"),
        ({"RUNSPEC_TRAINER_SHA256": "0" * 64}, "✗ ERROR: Failed to download standalone_trainer.py"),
        ({"TRAINING_CONFIG_B64": "bm8ganNvbg=="}, "✗ ERROR: Failed to create config.json"),
    ],
)
async def test_what_cannot_be_had_ends_the_start_with_its_reason(files, tmp_path, fake_libraries, change, marker):
    change = {name: value.replace("{url}", files.url) for name, value in change.items()}
    result = await run(files, tmp_path, PYTHONPATH=fake_libraries, **change)
    assert result.code == 1
    assert marker in result.markers
    assert "Starting training with standalone_trainer.py..." not in result.markers


async def test_broken_gzip_is_told_apart_from_a_failed_download(files, tmp_path, fake_libraries):
    files.dataset = gzip.compress(ROWS)[:-9]
    result = await run(files, tmp_path, PYTHONPATH=fake_libraries)
    assert result.code == 1
    assert "✗ ERROR: Failed to decompress gzipped dataset" in result.markers


async def test_expected_checksum_is_accepted(files, tmp_path, fake_libraries):
    digest = hashlib.sha256(files.trainer).hexdigest()
    assert (await run(files, tmp_path, PYTHONPATH=fake_libraries, RUNSPEC_TRAINER_SHA256=digest)).code == 0


async def test_local_pod_without_the_libraries_names_the_extra(files, tmp_path, fake_libraries):
    (Path(fake_libraries) / "trl-9.9.dist-info" / "METADATA").unlink()
    (Path(fake_libraries) / "trl-9.9.dist-info").rmdir()
    result = await run(files, tmp_path, PYTHONPATH=fake_libraries)
    assert result.code == 1
    assert "✗ ERROR: Failed to install dependencies" in result.markers
    assert any("`train` extra" in line for line in result.markers)


async def test_restarted_container_idles_and_says_since_when(files, tmp_path, fake_libraries):
    await run(files, tmp_path, PYTHONPATH=fake_libraries)
    process = await start(files, tmp_path, PYTHONPATH=fake_libraries)
    lines = [(await process.stdout.readline()).decode() for _ in range(2)]
    assert "DETECTED CONTAINER RESTART" in lines[0]
    assert re.search(r"Training script already started at: \d{4}-\d\d-\d\dT", lines[1])
    process.terminate()
    await process.communicate()
    assert process.returncode == 143


async def test_signal_reaches_the_trainer_once_and_ends_the_pod_without_waiting(files, tmp_path, fake_libraries):
    files.trainer = b"""
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("trainer stops", flush=True), sys.exit(143)))
print("trainer runs", flush=True)
time.sleep(60)
"""
    process = await start(files, tmp_path, PYTHONPATH=fake_libraries, RUNSPEC_BOOTSTRAP_LINGER_S="600")
    while b"trainer runs" not in await process.stdout.readline():
        pass
    process.terminate()
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert output.count(b"trainer stops") == 1
    assert process.returncode == 143
