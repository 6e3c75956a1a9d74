"""A scratch folder with the project's specs, and the command as a process in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 600.0
"""A bound for what hangs, and no assertion: machines that are shared are slow at times."""
COMMAND = (sys.executable, "-m", "runner.cli.main")
SMALL_SPEC = """\
runspec: 1
name: {name}
title: SFT on a 3B model
use: [common/qlora.yaml]
template:
  key: {name}
  method: sft
  model: Qwen/Qwen2.5-3B-Instruct
  training: {{batch_size: 2, learning_rate: 0.0001, max_length: 1024}}
dataset: {{format: messages, generate: {{rows: 60, seed: 7}}}}
"""


def _variables() -> dict[str, str]:
    """This process's environment; read again when another test changes it under a thread that reads it."""
    while True:
        try:
            return dict(os.environ)
        except (KeyError, RuntimeError):
            continue


@dataclass(frozen=True)
class Said:
    """What one command line came to."""

    code: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        return self.out.rstrip().splitlines()[-1]


@dataclass
class Process:
    """A `runspec` that is still running, with its standard error as it comes."""

    popen: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def wait_for(self, text: str, *, timeout_s: float = PATIENCE_S) -> str:
        """The first line of standard error with `text` in it."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            ended = self.popen.poll() is not None
            for line in list(self.lines):
                if text in line:
                    return line
            if ended:
                break
            time.sleep(0.02)
        raise AssertionError(f"never said {text!r}:\n" + "\n".join(self.lines))

    def end(self, *, timeout_s: float = PATIENCE_S) -> Said:
        """Wait for its end."""
        code = self.popen.wait(timeout_s)
        assert self.popen.stdout is not None
        return Said(code, self.popen.stdout.read(), "\n".join(self.lines))


@dataclass(frozen=True)
class Workshop:
    """A folder with `specs/` and `reports/`, as somebody who cloned the project has it."""

    folder: Path

    @property
    def document(self) -> Path:
        return self.folder / "reports" / "RUNPOD_TESTING.md"

    def write_spec(self, name: str, *, phases: Sequence[str] = ()) -> None:
        """A template that nobody wrote any Python for."""
        more = f"phases: [{', '.join(phases)}]\n" if phases else ""
        (self.folder / "specs" / f"{name}.yaml").write_text(SMALL_SPEC.format(name=name) + more)

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        return {**_variables(), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(extra or {})}

    def process(self, *args: str, env: Mapping[str, str] | None = None, timeout_s: float = PATIENCE_S) -> Said:
        """Run the command as a process, to its end."""
        done = subprocess.run(
            [*COMMAND, *args],
            cwd=self.folder,
            env=self.environment(env),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def started(self, *args: str) -> Iterator[Process]:
        """Start the command as a process; whatever is left of it is ended with the block."""
        popen = subprocess.Popen(
            [*COMMAND, *args],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        process = Process(popen)
        reader = threading.Thread(target=_read_into, args=(popen, process.lines))
        reader.start()
        try:
            yield process
        finally:
            if popen.poll() is None:
                popen.kill()
                popen.wait(PATIENCE_S)
            reader.join(PATIENCE_S)
            for stream in (popen.stdout, popen.stderr):
                if stream is not None:
                    stream.close()

    def pod_processes(self) -> dict[int, str]:
        """Living processes that work below this folder's state, by id, with their command lines."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                folder = str((entry / "cwd").readlink())
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if folder.startswith(f"{self.folder}/.runspec") and state != "Z":
                found[int(entry.name)] = command
        return found

    def assert_nothing_runs(self, *, within_s: float = PATIENCE_S) -> None:
        until = time.monotonic() + within_s
        while self.pod_processes() and time.monotonic() < until:
            time.sleep(0.05)
        assert self.pod_processes() == {}


def _read_into(popen: subprocess.Popen[str], lines: list[str]) -> None:
    assert popen.stderr is not None
    lines.extend(line.rstrip("\n") for line in popen.stderr)


def furnish(folder: Path) -> Workshop:
    """Copy what a clone has into a folder."""
    shutil.copytree(ROOT / "specs", folder / "specs")
    shutil.copytree(ROOT / "reports", folder / "reports", ignore=shutil.ignore_patterns("charts"))
    return Workshop(folder)
