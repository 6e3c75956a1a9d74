"""Looks at this machine for `runspec doctor`: Python, libraries, the state directory; imports none of them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from runner import __version__
from runner.cli.findings import Finding, State
from runner.errors import StoreError

DISTRIBUTION = "finetune-runspec"
NEEDED_PYTHON = (3, 11)
TRL_WITH_PPO = "1.12.0"
TRAIN_LIBRARIES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")
TRAIN_COSTS = "the local target: nothing can be trained on this machine"
TRAIN_FIX = f"pip install '{DISTRIBUTION}[train]' (with a CPU build of torch first, see the README)"
LOW_DISK_GB = 2.0

# Library: (extra, what does not work without it).
OPTIONAL = {
    "finetune-lab": ("sdk", "`collect: metrics` with `via: sdk` is a gap"),
    "scipy": ("stats", "`compare` has no confidence intervals and no tests"),
    "bitsandbytes": (None, "4-bit templates train unquantised on the local target, which is said in their results"),
}


def machine() -> Iterator[Finding]:
    """Python, runspec, and the libraries that train."""
    yield _python()
    yield _found("runspec", State.OK, __version__)
    yield from _training()
    for name, (extra, costs) in OPTIONAL.items():
        version = _version(name)
        if version:
            yield _found(name, State.OK, version)
        else:
            wanted = f"{DISTRIBUTION}[{extra}]" if extra else name
            yield _found(name, State.OFF, "not installed", costs=costs, fix=f"pip install '{wanted}'")


def _python() -> Finding:
    running = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= NEEDED_PYTHON:
        return _found("Python", State.OK, running)
    return _found("Python", State.BROKEN, running, costs="everything", fix="install Python 3.11 or newer")


def _training() -> Iterator[Finding]:
    missing = [name for name in TRAIN_LIBRARIES if not _version(name)]
    if missing:
        yield _found(
            "training libraries", State.OFF, f"not installed: {', '.join(missing)}", costs=TRAIN_COSTS, fix=TRAIN_FIX
        )  # fmt: skip
    if _version("torch"):
        yield _torch()
    if _version("trl"):
        yield _trl()


def _torch() -> Finding:
    version, cuda = _version("torch"), _cuda_of_torch()
    if cuda == "":
        return _found("torch", State.OK, f"{version}, built for CPUs, which is all that the local target needs")
    build = f"built for CUDA {cuda}" if cuda else "of an unknown build"
    return _found(
        "torch", State.OK, f"{version}, {build}; the local target uses the CPU all the same",
        costs="several GB of disk" if cuda else None,
    )  # fmt: skip


def _cuda_of_torch() -> str | None:
    """The CUDA version that torch was built for, empty for none, from its `version.py`: importing takes seconds."""
    root = _package_folder("torch")
    try:
        written = (root / "version.py").read_text(encoding="utf-8") if root else ""
    except OSError:
        return None
    match = re.search(r"^cuda(?:\s*:[^=\n]*)?\s*=\s*(None|['\"]([\d.]+)['\"])", written, re.MULTILINE)
    return None if match is None else match.group(2) or ""


def _trl() -> Finding:
    version, root = _version("trl") or "", _package_folder("trl")
    has_ppo = root is not None and (root / "experimental" / "ppo").is_dir()
    if version == TRL_WITH_PPO and has_ppo:
        return _found("trl", State.OK, version)
    if has_ppo:
        return _found(
            "trl", State.WARN, f"{version}; tested with {TRL_WITH_PPO}", fix=f"pip install trl=={TRL_WITH_PPO}"
        )
    return _found(
        "trl", State.WARN, f"{version} has no PPO trainer", costs="RLHF templates fail on the local target",
        fix=f"pip install trl=={TRL_WITH_PPO}",
    )  # fmt: skip


def _package_folder(name: str) -> Path | None:
    found = importlib.util.find_spec(name)
    return Path(found.origin).parent if found is not None and found.origin else None


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _found(name: str, state: State, text: str, *, costs: str | None = None, fix: str | None = None) -> Finding:
    return Finding(area="machine", name=name, state=state, text=text, costs=costs, fix=fix)


def state_directory(folder: Path) -> Iterator[Finding]:
    """Where runs are recorded: can it be written, is there room, and does it know of pods that may bill?"""
    home = folder if folder.is_dir() else next(parent for parent in folder.resolve().parents if parent.is_dir())
    if not os.access(home, os.W_OK):
        yield _kept("folder", State.BROKEN, f"{home} cannot be written", "no run can be recorded", "use `--state DIR`")
        return
    yield _kept("folder", State.OK, f"{folder}" + ("" if folder.is_dir() else " (made by the first run)"))
    free_gb = shutil.disk_usage(home).free / 1e9
    if free_gb < LOW_DISK_GB:
        yield _kept("disk", State.WARN, f"{free_gb:.1f} GB free", "runs may lose their evidence", "make room")
    if folder.is_dir():
        yield from _journal(folder)


def _journal(folder: Path) -> Iterator[Finding]:
    from runner.store.store import Store

    try:
        with Store.open(folder, read_only=True) as store:
            runs, leases = len(store.runs()), store.open_leases()
    except StoreError as exc:
        yield _kept("journal", State.BROKEN, str(exc), "history, `resume` and `reap`", "use another `--state`")
        return
    yield _kept("journal", State.OK, f"{runs} runs")
    if leases:
        names = ", ".join(lease.pod_id or lease.name for lease in leases)
        yield _kept(
            "pods", State.WARN, f"{len(leases)} not proven gone: {names}", "they may be billed", "runspec reap"
        )  # fmt: skip


def _kept(name: str, state: State, text: str, costs: str | None = None, fix: str | None = None) -> Finding:
    return Finding(area="state", name=name, state=state, text=text, costs=costs, fix=fix)
