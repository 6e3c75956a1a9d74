"""What a run on the cloud needs is asked for before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.cli.targets import check_target
from runner.errors import PlanError
from runner.results import Target

NEEDED = {
    "RUNPOD_API_KEY": "rpa_x",
    "FINETUNE_LAB_JWT": "a.b.c",
    "RUNSPEC_TRAINER_URL": "https://files.example/standalone_trainer.py",
}


@pytest.fixture
def keys(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("FINETUNE_LAB_INTERNAL_KEY", raising=False)
    return monkeypatch


def checked(via: str = "runpod", max_spend_usd: float | None = 2.0):
    return check_target(Target.CLOUD, max_spend_usd=max_spend_usd, folder=Path(), via=via)


@pytest.mark.parametrize("name", NEEDED)
def test_each_missing_key_is_named_with_its_purpose(keys, name):
    keys.delenv(name)
    with pytest.raises(PlanError, match=f"`{name}` is not set; it is needed"):
        checked()


def test_a_run_that_costs_money_wants_a_limit(keys):
    with pytest.raises(PlanError, match="costs money and needs a limit"):
        checked(max_spend_usd=None)


def test_pods_whose_alerts_will_be_refused_are_warned_of_before_they_cost_anything(keys, capsys):
    assert checked() is not None
    assert "`FINETUNE_LAB_INTERNAL_KEY` is not set" in capsys.readouterr().err
    assert checked(via="lab") is not None
    keys.setenv("FINETUNE_LAB_INTERNAL_KEY", "k")
    assert checked() is not None
    assert capsys.readouterr().err == ""
