"""What every test gets: its own home folder, no settings of the machine, and golden files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

FOREIGN = ("RUNSPEC_", "RUNPOD_", "FINETUNE_LAB_", "SUPABASE_", "HF_", "GITHUB_")
"""Beginnings of the variables that would let a machine's own settings into a test."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite golden files; review the diff")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One worker more than there are cores: many tests wait for processes of their own."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the long sweeps out unless `-m` asks for them."""
    if "sweep" in config.option.markexpr:
        return
    long = [item for item in items if item.get_closest_marker("sweep")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


@pytest.fixture(autouse=True)
def _nobodys_machine(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keeps the home folder and the environment of whoever runs the tests out of reach."""
    home = str(tmp_path_factory.getbasetemp() / "home")
    for name in ("HOME", "USERPROFILE", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, home)
    for name in os.environ:
        if name.startswith(FOREIGN) or name in {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "CI"}:
            monkeypatch.delenv(name)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, Path], None]:
    """`golden(text, path)` compares with the file, or rewrites it under `--update-golden`."""
    update = request.config.getoption("--update-golden")

    def check(actual: str, path: Path) -> None:
        if update:
            path.write_text(actual, encoding="utf-8")
        assert path.exists(), f"no golden file {path.name}; run with --update-golden and review it"
        assert actual == path.read_text(encoding="utf-8")

    return check
