"""`pytest specs --runspec`: one test a spec and phase. Off unless asked for.

Options of a run come from its environment variables, such as `RUNSPEC_TARGET` and `RUNSPEC_MAX_SPEND`. A criterion that
does not hold is a failure; what ends without a verdict is an error.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_SUFFIXES = (".yaml", ".yml")
_FAILED, _NOTHING_SELECTED, _UNCONFIRMED, _INTERRUPTED = 1, 5, 6, 130


class RunspecError(Exception):
    """A run that did not pass; its text is the run's own summary."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--runspec`."""
    group = parser.getgroup("runspec", "fine-tuning templates")
    group.addoption("--runspec", action="store_true", help="Collect spec files: one test a spec and phase.")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A spec file is a collector; other YAML files are left alone."""
    if file_path.suffix not in _SUFFIXES or not parent.config.getoption("--runspec"):
        return None
    from runner.spec.find import find_spec_files

    is_spec = file_path in find_spec_files([file_path.parent])
    return SpecCollector.from_parent(parent, path=file_path) if is_spec else None


class SpecCollector(pytest.File):
    """One spec."""

    def collect(self) -> Iterator[pytest.Item]:
        """One item a phase; a spec with problems is a collection error that shows all of them."""
        from runner.errors import SpecError
        from runner.spec.loader import load_spec

        try:
            spec = load_spec(self.path)
        except SpecError as exc:
            raise self.CollectError(str(exc)) from exc
        for phase in spec.spec.phases:
            item: PhaseItem = PhaseItem.from_parent(self, name=f"{spec.name}/{phase}", phase=phase)
            item.extra_keyword_matches.update(spec.spec.tags)
            yield item


class PhaseItem(pytest.Item):
    """One spec in one phase, with all its jobs."""

    def __init__(self, *, phase: str, **rest: Any) -> None:
        super().__init__(**rest)
        self._phase = phase
        self._code = 0
        self._said = ""

    def setup(self) -> None:
        """Runs it; no verdict, and what never started, is an error and no failure."""
        from runner.cli.main import run_cli

        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            self._code = run_cli(self._arguments())
        self._said = out.getvalue().strip() or err.getvalue().strip()
        self.add_report_section("setup", "runspec", err.getvalue())
        if self._code == _INTERRUPTED:
            raise KeyboardInterrupt
        if self._code == _NOTHING_SELECTED:
            pytest.skip("nothing selected")
        if self._code == _UNCONFIRMED:
            self.session.shouldstop = "a pod may still be billed: run `runspec reap`"
        if self._code not in (0, _FAILED):
            raise RunspecError(self._said)

    def runtest(self) -> None:
        """Fails when a criterion failed."""
        if self._code == _FAILED:
            raise RunspecError(self._said)

    def _arguments(self) -> list[str]:
        arguments = ["run", str(self.path), "--phase", self._phase]
        if "RUNSPEC_DOC" not in os.environ:
            arguments += ["--doc", "none"]
        if worker := os.environ.get("PYTEST_XDIST_WORKER"):
            # One runner owns a state directory, so each worker of pytest-xdist gets its own.
            arguments += ["--state", str(Path(os.environ.get("RUNSPEC_STATE", ".runspec")) / worker)]
        return arguments

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The run's own words; a traceback would only show this file."""
        return str(excinfo.value) if isinstance(excinfo.value, RunspecError) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where pytest says that the test is."""
        return self.path, None, self.name
