"""The phase `full` through the command: a model is trained, handed over, downloaded, loaded and asked."""

from __future__ import annotations

import pytest

from runner.events import Generated, MetricsCompared, ModelDownloaded
from runner.store.store import Store
from tests.cli.workshop import Said, Workshop, furnish

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return furnish(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def said(home: Workshop) -> Said:
    return home.process("specs/orpo.yaml", "--phase", "full", "--set", "rows=100", "--doc", "none")


@pytest.fixture(scope="module")
def events(home: Workshop, said: Said) -> list:
    with Store.open(home.folder / ".runspec", read_only=True) as store:
        return list(store.events(store.runs()[0].run))


def test_a_template_passes_from_its_rows_to_its_answers(said):
    assert said.code == 0, said.err
    assert said.last_line.startswith("✓ passed")


def test_the_model_came_with_its_base_and_adapter(events):
    (model,) = [event for event in events if isinstance(event, ModelDownloaded)]
    assert {"runspec_model.json", "base_model/model.safetensors", "orpo_model/adapter_model.safetensors"} <= set(
        model.files
    )
    assert not any("checkpoint" in name or name.endswith((".pt", ".bin")) for name in model.files)


def test_the_trained_model_says_something_else_than_its_base(events):
    answers = [event for event in events if isinstance(event, Generated)]
    assert len(answers) == 3
    assert all(answer.answer.strip() for answer in answers)
    assert any(answer.answer != answer.base for answer in answers)


def test_the_published_sdk_reads_the_same_points(events):
    (compared,) = [event for event in events if isinstance(event, MetricsCompared)]
    assert compared.via == "finetune-lab 0.6.0"
    assert compared.points > 100
    assert compared.difference == ""


def test_nothing_of_the_model_is_left(home, said):
    assert not list((home.folder / ".runspec" / "models").rglob("*.safetensors"))
    home.assert_nothing_runs()
