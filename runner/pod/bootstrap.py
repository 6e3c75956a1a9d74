#!/usr/bin/env python3
"""Prepare a training pod and run the trainer in it: the first program of every deployed pod.

Standard library only, Python 3.8 or newer, one file: it travels in an environment variable. Each step prints the
marker line by which a runner follows a start that sends no metric and no alert.

Environment: DATASET_URL, or DATASET_B64 for a dataset that travels along; RUNSPEC_TRAINER_URL, JOB_ID;
RUNSPEC_DATASET_SHA256 (of the bytes that arrive) and RUNSPEC_TRAINER_SHA256 are checked when given;
TRAINING_CONFIG_B64 or TRAINING_CONFIG_URL holds the config; RUNSPEC_AGENT_B64 holds the agent that looks after this
pod (gzip), which is started before anything else, and beside which this program never exits; RUNSPEC_WORKSPACE
(default /workspace) is where files go; RUNSPEC_BOOTSTRAP_LINGER_S replaces every waiting time;
RUNSPEC_BOOTSTRAP_INSTALL=1 installs the libraries with pip, 0 never does, and by default a pod that is no local one
does so when some are missing.

Source: FineTune Lab contract §4.3 (generation of December 2025), read 2026-11.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections import deque
from pathlib import Path
from typing import Any, NoReturn

PACKAGES = (
    "trl==0.26.0", "transformers>=4.40.0,<5", "datasets>=2.18.0", "accelerate>=0.27.0", "peft>=0.9.0",
    "bitsandbytes>=0.42.0", "tensorboard>=2.14.0", "pynvml>=11.5.0", "huggingface_hub>=0.20.0", "requests>=2.31.0",
)  # fmt: skip
NEEDED = ("torch", "trl", "transformers", "datasets", "accelerate", "peft")
LINGER_AFTER_SUCCESS_S = 3600.0
LINGER_AFTER_BOOTSTRAP_FAILURE_S = 60.0
LINGER_AFTER_TRAINING_FAILURE_S = 120.0
DOWNLOAD_TIMEOUT_S = 120
SHOWN_TAIL = 50
SHOWN_CONFIG_LINES = 20
USER_AGENT = "runspec-bootstrap/1"
GZIP_MAGIC = b"\x1f\x8b"

trainers: list[subprocess.Popen[bytes]] = []
stopped_by: list[int] = []
agents: list[subprocess.Popen[bytes]] = []
POD_LOG, ENDED, STARTED = "pod.log", ".training_ended", ".training_started"


def say(text: str) -> None:
    """Print one marker line."""
    emit(f"[{time.strftime('%a %b %d %H:%M:%S UTC %Y', time.gmtime())}] {text}\n".encode())


def emit(line: bytes) -> None:
    """Print, and keep for the agent what was printed."""
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
    if agents:
        with Path(POD_LOG).open("ab") as log:
            log.write(line)


def main() -> int:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    workspace = Path(os.environ.get("RUNSPEC_WORKSPACE") or "/workspace")
    workspace.mkdir(parents=True, exist_ok=True)
    os.chdir(workspace)
    arm_agent(workspace)
    lock_against_restart(workspace / STARTED)
    say("RunPod Training Script Started")
    say("=== System Information ===")
    say(f"GPU: {gpu_name()}")
    say(f"Python: {platform.python_version()}")
    provide_dependencies()
    download_dataset(workspace / "dataset.jsonl")
    download_trainer(workspace / "standalone_trainer.py")
    write_config(workspace / "config.json", workspace)
    job_id = os.environ.get("JOB_ID", "")
    say("✓ Environment variables set")
    say(f"JOB_ID: {job_id}")
    say(f"METRICS_API_URL: {os.environ.get('METRICS_API_URL', '')}")
    return conclude(*train(workspace, job_id))


def on_signal(number: int, _frame: object) -> None:
    """Pass the signal on to the trainer; without one, end."""
    stopped_by.append(number)
    alive = [trainer for trainer in trainers if trainer.poll() is None]
    if not alive:
        sys.exit(128 + number)
    alive[0].send_signal(number)


def arm_agent(workspace: Path) -> None:
    """Start the agent, first of all: whatever happens to this program, the pod ends when its time is up."""
    packed = os.environ.get("RUNSPEC_AGENT_B64")
    if not packed:
        return
    program = workspace / "agent.py"
    program.write_bytes(gzip.decompress(base64.b64decode(packed)))
    restarted = ["--restarted"] if (workspace / STARTED).exists() else []
    # A session of its own, so that no signal meant for the training ends it.
    agents.append(subprocess.Popen([sys.executable, str(program), *restarted], start_new_session=True))


def finish(code: int) -> int:
    """The end of this program; beside an agent it stays, since a container that exits is restarted and billed."""
    if not agents:
        return code
    Path(ENDED).write_text(json.dumps({"at": time.time(), "code": code}), encoding="utf-8")
    while True:
        signal.pause()


def lock_against_restart(lock: Path) -> None:
    """Idle for ever when the platform restarted the container: a second training would overwrite the first."""
    try:
        with lock.open("x", encoding="utf-8") as file:
            file.write(time.strftime("%Y-%m-%dT%H:%M:%SZ\n", time.gmtime()))
    except FileExistsError:
        say("DETECTED CONTAINER RESTART")
        say(f"Training script already started at: {lock.read_text(encoding='utf-8').strip()}")
        say("Idling, so that nothing is trained twice. Terminate this pod: it bills.")
        while True:
            signal.pause()


def give_up(*lines: str) -> NoReturn:
    """Say why the bootstrap failed, stay a while so that the log can be read, end with 1."""
    for line in lines:
        say(line)
    if not agents:
        linger(LINGER_AFTER_BOOTSTRAP_FAILURE_S)
    sys.exit(finish(1))


def linger(seconds: float) -> None:
    time.sleep(float(os.environ.get("RUNSPEC_BOOTSTRAP_LINGER_S") or seconds))


def gpu_name() -> str:
    command = shutil.which("nvidia-smi")
    if command is None:
        return "none"
    try:
        answer = subprocess.run(
            [command, "--query-gpu=name,memory.total", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.strip().replace("\n", "; ")


def provide_dependencies() -> None:
    """Look the libraries up, and install them where that is wanted. A local pod uses what this machine has."""
    say("Installing dependencies...")
    missing = [name for name in NEEDED if installed_version(name) is None]
    local = os.environ.get("RUNSPEC_LOCAL_POD") == "1"
    wish = os.environ.get("RUNSPEC_BOOTSTRAP_INSTALL", "")
    if wish == "1" or (missing and not local and wish != "0"):
        install()
        missing = [name for name in NEEDED if installed_version(name) is None]
    if missing:
        give_up(
            "✗ ERROR: Failed to install dependencies",
            f"Missing: {', '.join(missing)}. On this machine they come with the `train` extra of runspec.",
        )
    say("✓ Dependencies installed successfully")
    say(f"TRL version: {installed_version('trl')}")


def installed_version(name: str) -> str | None:
    # Reading the metadata takes milliseconds, importing the library seconds.
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def install() -> None:
    pip = [sys.executable, "-m", "pip", "install", "--no-cache-dir", "--quiet", "--disable-pip-version-check"]
    if subprocess.call([*pip, *PACKAGES]) != 0:
        give_up("✗ ERROR: Failed to install dependencies")
    importlib.invalidate_caches()


def download_dataset(path: Path) -> None:
    say("Downloading dataset...")
    try:
        content = dataset_bytes()
    except (OSError, ValueError) as exc:
        give_up(
            "✗ ERROR: Failed to download dataset",
            f"{type(exc).__name__}: {exc}",
            "Possible causes: the download tokens expire after 2 hours, or the network is down",
        )
    say(f"✓ Dataset downloaded ({human_size(len(content))})")
    outcome = "ready"
    if content.startswith(GZIP_MAGIC):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError) as exc:
            give_up("✗ ERROR: Failed to decompress gzipped dataset", f"{type(exc).__name__}: {exc}")
        outcome = "decompressed"
    path.write_bytes(content)
    # Line ends, as `wc -l` counts them: stored datasets have none after their last line.
    say(f"✓ Dataset {outcome} ({content.count(10)} lines)")


def dataset_bytes() -> bytes:
    """The dataset as it arrives.

    Raises:
        OSError: it cannot be fetched.
        ValueError: there is no address, or it is not what was promised.
    """
    inline = os.environ.get("DATASET_B64")
    content = base64.b64decode(inline) if inline else fetch(os.environ.get("DATASET_URL", ""))
    check_sum(content, os.environ.get("RUNSPEC_DATASET_SHA256", ""))
    return content


def check_sum(content: bytes, expected: str) -> None:
    """Raises `ValueError` when a checksum was promised and this is not it."""
    found = hashlib.sha256(content).hexdigest()
    if expected and found != expected.lower():
        raise ValueError(f"sha256 is {found}, but {expected} was promised")


def download_trainer(path: Path) -> None:
    try:
        content = fetch(os.environ.get("RUNSPEC_TRAINER_URL", ""))
        check_sum(content, os.environ.get("RUNSPEC_TRAINER_SHA256", ""))
    except (OSError, ValueError) as exc:
        give_up("✗ ERROR: Failed to download standalone_trainer.py", f"{type(exc).__name__}: {exc}")
    path.write_bytes(content)
    say(f"✓ standalone_trainer.py downloaded ({content.count(10)} lines)")


def fetch(url: str) -> bytes:
    """The content of an http address.

    Raises:
        OSError: no answer, or one that is an error.
        ValueError: no http address.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"not an http address: {url!r}")
    request = urllib.request.Request(url, headers={"User-Agent": USER_AGENT})  # noqa: S310  checked above
    with urllib.request.urlopen(request, timeout=DOWNLOAD_TIMEOUT_S) as answer:  # noqa: S310
        content: bytes = answer.read()
    return content


def human_size(count: float) -> str:
    for unit in ("B", "K", "M"):
        if count < 1024:
            return f"{count:.0f}{unit}" if unit == "B" else f"{count:.1f}{unit}"
        count /= 1024
    return f"{count:.1f}G"


def write_config(path: Path, workspace: Path) -> None:
    try:
        config = json.loads(config_text())
    except (OSError, ValueError) as exc:
        give_up("✗ ERROR: Failed to create config.json", f"{type(exc).__name__}: {exc}")
    text = json.dumps(moved(config, str(workspace)), indent=2)
    path.write_text(text + "\n", encoding="utf-8")
    say("✓ config.json created")
    emit(("\n".join(text.split("\n")[:SHOWN_CONFIG_LINES]) + "\n").encode())


def config_text() -> bytes:
    encoded = os.environ.get("TRAINING_CONFIG_B64")
    return base64.b64decode(encoded) if encoded else fetch(os.environ.get("TRAINING_CONFIG_URL", ""))


def moved(config: Any, workspace: str) -> Any:
    """The config with the paths below /workspace put below the workspace of this pod."""
    for key in ("dataset_path", "output_dir"):
        value = config.get(key) if isinstance(config, dict) else None
        if isinstance(value, str) and (value == "/workspace" or value.startswith("/workspace/")):
            config[key] = workspace + value[len("/workspace") :]
    return config


def train(workspace: Path, job_id: str) -> tuple[int, deque[bytes]]:
    """Run the trainer; its exit code and the last lines of what it printed."""
    say("Starting training with standalone_trainer.py...")
    command = [sys.executable, "standalone_trainer.py", "--config", "config.json", "--execution-id", job_id]
    tail: deque[bytes] = deque(maxlen=SHOWN_TAIL)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with (workspace / "training_output.log").open("wb") as log:
        # A session of its own, so that a signal to the pod's group reaches the trainer once: through `on_signal`.
        trainer = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        trainers.append(trainer)
        for line in trainer.stdout or ():
            tail.append(line)
            log.write(line)
            log.flush()
            emit(line)
        code = trainer.wait()
    return (code if code >= 0 else 128 - code), tail


def conclude(code: int, tail: deque[bytes]) -> int:
    if stopped_by:
        say(f"✗ Training stopped by signal {stopped_by[0]}")
        return 128 + stopped_by[0]
    if code == 0:
        say("✓ Training completed successfully! (exit code: 0)")
        if agents:
            say("The agent serves the model; it ends the pod when nobody fetches it any more")
            return finish(0)
        say("Pod will remain active for 1 hour for model download")
        linger(LINGER_AFTER_SUCCESS_S)
        say("Shutting down pod")
        return 0
    say(f"✗ Training failed with exit code: {code}")
    say(f"Last {SHOWN_TAIL} lines of training output:")
    emit(b"".join(tail))
    if not agents:
        linger(LINGER_AFTER_TRAINING_FAILURE_S)
        say("Terminating pod")
    return finish(code)


if __name__ == "__main__":
    sys.exit(main())
