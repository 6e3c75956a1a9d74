"""The command line in a scratch folder with the project's specs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runner.cli.main import run_cli
from tests.cli.workshop import Said, Workshop, furnish


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.chdir(tmp_path)
    return furnish(tmp_path)


@pytest.fixture
def runspec(workshop: Workshop, capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """`runspec("validate", "specs")` runs the command line in this process, in the workshop."""

    def run(*args: str) -> Said:
        capfd.readouterr()
        code = run_cli(list(args))
        said = capfd.readouterr()
        return Said(code, said.out, said.err)

    return run
