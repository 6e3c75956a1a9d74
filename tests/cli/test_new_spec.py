"""`runspec new`: what it writes is valid and says the same as what it was made from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runner.spec.adopt import template_of
from runner.spec.config import template_config
from runner.spec.loader import load_spec

ROOT = Path(__file__).resolve().parents[2]
METHODS = ["sft", "dpo", "orpo", "rlhf", "cpt"]


@pytest.mark.parametrize("method", METHODS)
def test_new_spec_is_valid_for_every_method(runspec, method):
    said = runspec("new", f"my_{method}", "--method", method, "--model", "org/some-model-1B")
    assert said.code == 0, said.err
    assert said.out == f"wrote specs/my_{method}.yaml\n"
    assert f"then `runspec specs/my_{method}.yaml --phase basic`" in said.err
    assert runspec("validate", f"specs/my_{method}.yaml").code == 0


@pytest.mark.parametrize("method", METHODS)
def test_spec_made_from_a_template_of_the_lab_configures_the_same(runspec, workshop, method):
    wanted = template_config(load_spec(ROOT / "specs" / f"{method}.yaml").spec.template)
    Path("config.json").write_text(json.dumps({"config_json": wanted}))
    said = runspec("new", "copied", "--from-template", "config.json", "--title", "Yes: a [copy]")
    assert said.code == 0, said.err
    spec = load_spec(workshop.folder / "specs" / "copied.yaml").spec
    assert spec.title == "Yes: a [copy]"
    assert template_config(spec.template) == wanted


def test_what_a_configuration_leaves_out_is_what_the_lab_deploys_with(runspec, workshop):
    config = {"model": {"name": "org/m"}, "training": {"method": "orpo", "use_lora": True, "lora_r": 8}}
    Path("config.json").write_text(json.dumps(config))
    said = runspec("new", "short", "--from-template", "config.json")
    assert said.code == 0, said.err
    lora = load_spec(workshop.folder / "specs" / "short.yaml").spec.template.lora
    assert (lora.r, lora.alpha) == (8, 32)


def test_template_is_found_by_its_key_among_several(runspec):
    config = template_config(load_spec(ROOT / "specs" / "sft.yaml").spec.template)
    Path("all.yaml").write_text(json.dumps({"templates": {"one": config}}))
    assert runspec("new", "one", "--from-template", "all.yaml").code == 0
    said = runspec("new", "ono", "--from-template", "all.yaml")
    assert said.code == 2
    assert "did you mean `one`?" in said.err


def test_existing_spec_is_never_overwritten(runspec, workshop):
    path = workshop.folder / "specs" / "cpt.yaml"
    before = path.read_bytes()
    said = runspec("new", "cpt", "--method", "cpt", "--model", "org/m")
    assert said.code == 2
    assert "exists already" in said.err
    assert path.read_bytes() == before


def test_without_a_terminal_missing_flags_are_named(workshop):
    said = workshop.process("new", "mine", "--model", "org/m")
    assert said.code == 2
    assert "say --method, or `--from-template FILE`: there is nobody to ask" in said.err
    assert not (workshop.folder / "specs" / "mine.yaml").exists()


@pytest.mark.parametrize("key", ["Mine", "1st", "a/b", "../up", ""])
def test_key_that_cannot_be_a_name_is_refused(runspec, key):
    assert runspec("new", key, "--method", "sft", "--model", "org/m").code == 2


@pytest.mark.parametrize(
    "config", [{}, {"model": {"name": "m"}}, {"model": {"name": "m"}, "training": {"method": "magic"}}, {"training": 1}]
)
def test_what_is_no_configuration_is_refused_with_the_reason(runspec, config):
    Path("config.json").write_text(json.dumps(config))
    said = runspec("new", "mine", "--from-template", "config.json")
    assert said.code == 2
    assert "error[new.bad-config]" in said.err


def test_numbers_keep_their_value_on_the_way_through_yaml(runspec, workshop):
    config = {
        "model": {"name": "org/m"},
        "training": {"method": "sft", "learning_rate": 1e-05, "x": "1e5", "evaluation_strategy": "no"},
    }
    Path("config.json").write_text(json.dumps(config))
    assert runspec("new", "mine", "--from-template", "config.json").code == 0
    spec = load_spec(workshop.folder / "specs" / "mine.yaml").spec
    assert dict(spec.template.training) == {"learning_rate": 1e-05, "x": "1e5", "evaluation_strategy": "no"}
    assert template_of("mine", config)["training"] == {"learning_rate": 1e-05, "x": "1e5", "evaluation_strategy": "no"}
