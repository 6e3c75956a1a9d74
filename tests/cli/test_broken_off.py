"""A run that breaks off after its launch never says that nothing was launched."""

from __future__ import annotations

import pytest

from runner.cli import targets
from runner.errors import ProviderError, RunspecError
from runner.local.cloud import EmbeddedCloud
from runner.local.pods import PodLeakError, ProcessPods


@pytest.fixture
def local(workshop, monkeypatch):
    """A workshop whose spec needs a pod and no training."""
    phase = "runspec-phase: 1\nname: quick\ntitle: A pod\nsteps:\n  - {deploy: template}\n"
    phase += "success:\n  - {id: comes, title: It comes, expect: {pod: started}}\n"
    (workshop.folder / "specs" / "phases" / "quick.yaml").write_text(phase)
    workshop.write_spec("quick", phases=["quick"])
    monkeypatch.setattr(targets, "TRAIN_MODULES", ())
    return workshop


def closing_with(monkeypatch, kind, error: Exception) -> None:
    close = kind.aclose

    async def and_fail(self) -> None:
        await close(self)
        raise error

    monkeypatch.setattr(kind, "aclose", and_fail)


def test_processes_that_outlive_every_pod_are_no_usage_error(local, runspec, monkeypatch):
    closing_with(monkeypatch, ProcessPods, PodLeakError("pod p1 still has processes [4711]"))
    said = runspec("run", "specs/quick.yaml", "--progress", "none")
    assert said.code == 6
    assert "pod p1 still has processes [4711]" in said.err
    assert "has to be ended by hand" in said.err


@pytest.mark.parametrize(
    "error", [RunspecError("the rehearsal cannot be closed"), ProviderError("no answer", kind="transient")]
)
def test_another_error_after_the_launch_is_no_verdict(local, runspec, monkeypatch, error):
    closing_with(monkeypatch, EmbeddedCloud, error)
    said = runspec("run", "specs/quick.yaml", "--progress", "none")
    assert said.code == 3
    assert f"error: {error}" in said.err
    assert "without a verdict; every pod was given back" in said.err


def test_a_leak_at_the_end_of_another_command_is_told_by_its_exit_code_too(local, runspec, monkeypatch):
    def leaks(*_: object) -> None:
        raise PodLeakError("pod p1 still has processes [4711]")

    monkeypatch.setattr("runner.store.store.Store.open", leaks)
    assert runspec("reap").code == 6


def test_a_bug_that_leaves_a_pod_unproven_is_told_by_its_exit_code_too(local, runspec, monkeypatch, tmp_path):
    async def breaks(*_: object, **__: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr("runner.engine.lease.end_pod", breaks)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    said = runspec("run", "specs/quick.yaml", "--progress", "none")
    assert said.code == 6
    assert "this is a bug in runspec" in said.err
    assert "pods may still be billed: training-" in said.err
