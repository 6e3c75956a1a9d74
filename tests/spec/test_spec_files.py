"""The specs that the product ships, and how files are found."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from runner.errors import SpecError
from runner.spec.config import template_config
from runner.spec.loader import find_phase, find_spec_files, load_phase, load_spec

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "specs"
STANDARD = ["cpt_standard", "dpo_standard", "orpo_standard", "rlhf_standard", "sft_standard"]
CONFIGS = Path(__file__).parent / "golden" / "config"


def standard(name: str):
    return load_spec(SPECS / f"{name.removesuffix('_standard')}.yaml")


@pytest.mark.parametrize("name", STANDARD)
def test_a_standard_template_has_exactly_the_values_of_the_lab(name):
    file = standard(name)
    assert file.name == file.spec.template.key == name
    assert template_config(file.spec.template) == json.loads((CONFIGS / f"{name}.json").read_text())


@pytest.mark.parametrize("name", STANDARD)
def test_a_standard_spec_is_small_and_runs_in_its_phases(name):
    file = standard(name)
    assert file.dataset_path(file.spec).parent == SPECS / "data"
    for phase in file.spec.phases:
        assert find_phase(phase, file.path).resolve(file.spec, {}).name == phase
    lines = [line for line in file.path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 50


def test_preference_methods_share_one_dataset():
    assert standard("dpo_standard").spec.dataset == standard("orpo_standard").spec.dataset


def test_the_basic_phase_has_the_steps_and_criteria_of_the_tracking_document():
    spec = standard("sft_standard").spec
    phase = load_phase(SPECS / "phases" / "basic.yaml").resolve(spec, {})
    assert phase.title == "Basic Template Verification"
    assert phase.goal == "Verify each template can start training on RunPod"
    assert [step.title for step in phase.steps][1:] == [
        "Deploy job to RunPod using template",
        "Verify pod starts successfully",
        "Verify standalone_trainer.py downloads",
        "Verify training begins (first few steps complete)",
        "Check alert notification for `job_started`",
        "Monitor first 100 steps for metrics POST",
        "Cancel job (don't wait for completion)",
    ]
    assert [criterion.title for criterion in phase.success] == [
        "Pod deploys without errors",
        'Training starts (logs show "Training started")',
        "`job_started` alert received",
        "Metrics POST successfully to `/api/training/local/metrics`",
        "No errors in first 100 steps",
    ]
    assert phase.steps[2].timeout == spec.limits.provision


def test_a_template_without_adapters_and_quantization_has_no_such_sections():
    template = standard("sft_standard").spec.template.model_copy(update={"lora": None, "quantization": "none"})
    training = template_config(template)["training"]
    assert training["use_lora"] is False
    assert not {"lora_r", "lora_config", "quantization"} & set(training)


def test_null_leaves_a_setting_out_of_the_config():
    template = standard("sft_standard").spec.template
    template = template.model_copy(update={"training": {**template.training, "warmup_ratio": None}})
    assert "warmup_ratio" not in template_config(template)["training"]


def test_a_folder_gives_its_specs_sorted_and_nothing_else():
    found = find_spec_files([SPECS])
    assert found == [SPECS / f"{name}.yaml" for name in ("cpt", "dpo", "orpo", "rlhf", "sft")]
    assert find_spec_files([SPECS / "sft.yaml", SPECS, SPECS / "sft.yaml"])[0] == SPECS / "sft.yaml"
    assert len(find_spec_files([SPECS / "sft.yaml", SPECS])) == 5


def test_hidden_folders_phases_and_other_yaml_are_not_specs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.yaml", "b.yml", "deep/c.yaml", ".hidden/d.yaml", "phases/e.yaml", ".f.yaml", "notes.txt"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("# a comment\nrunspec: 1\n")
    Path("phase.yaml").write_text("runspec-phase: 1\n")
    Path("other.yaml").write_text("nested:\n  runspec: 1\n")
    Path("json.yaml").write_text('{"runspec": 1}')
    assert find_spec_files([Path()]) == [Path(name) for name in ("a.yaml", "b.yml", "deep/c.yaml", "json.yaml")]


def test_a_path_that_is_not_there_is_told_with_its_neighbour():
    with pytest.raises(SpecError) as caught:
        find_spec_files([SPECS / "stf.yaml", SPECS / "sft.yaml", SPECS / "nowhere"])
    first, second = caught.value.diagnostics
    assert (first.code, first.fix) == ("spec.not-found", f"did you mean `{SPECS}/sft.yaml`?")
    assert second.code == "spec.not-found"
    with pytest.raises(SpecError, match="there is no file"):
        load_spec(SPECS / "stf.yaml")


@pytest.mark.parametrize("target", ["circle.yaml", "nowhere.yaml"])
def test_a_link_that_leads_to_no_file_is_called_one_and_does_not_suggest_itself(tmp_path, target):
    link = tmp_path / "circle.yaml"
    link.symlink_to(target)
    with pytest.raises(SpecError) as caught:
        find_spec_files([link])
    (problem,) = caught.value.diagnostics
    assert (problem.code, problem.message) == ("spec.not-found", f"`{link}` is a symbolic link that leads to no file")
    assert not problem.fix


@pytest.mark.parametrize("load", [load_spec, load_phase])
def test_nothing_of_a_file_that_a_link_fetches_from_elsewhere_is_shown(tmp_path, load):
    (tmp_path / "specs").mkdir()
    (tmp_path / "secret.txt").write_text("the secret is 42\n")
    link = tmp_path / "specs" / "out.yaml"
    link.symlink_to("../secret.txt")
    with pytest.raises(SpecError, match="a symbolic link to outside the folder `specs`") as caught:
        load(link)
    assert "42" not in str(caught.value)


def test_a_link_inside_the_folder_of_the_specs_is_followed(tmp_path):
    shutil.copytree(SPECS, tmp_path / "specs")
    link = tmp_path / "specs" / "same.yaml"
    link.symlink_to("cpt.yaml")
    assert load_spec(link).spec.name == "cpt_standard"


def test_an_unknown_phase_is_told_with_its_neighbour_and_the_known_ones():
    with pytest.raises(SpecError) as caught:
        find_phase("basci", SPECS / "sft.yaml", asked_at=standard("sft_standard").span("name"))
    (problem,) = caught.value.diagnostics
    assert problem.code == "spec.unknown-phase"
    assert problem.fix == "did you mean `basic`?"
    assert "basic" in problem.label
    assert problem.span.line == 3


@pytest.mark.parametrize("name", ["../phases/basic", "", "BASIC", "a\nb", "/etc/passwd", "x" * 300])
def test_a_phase_name_cannot_lead_to_another_file(name):
    with pytest.raises(SpecError, match=r"spec\.unknown-phase"):
        find_phase(name, SPECS / "sft.yaml")


def test_a_phase_is_looked_for_beside_the_spec_and_above_it():
    assert find_phase("basic", SPECS / "team" / "deep" / "x.yaml").path.resolve() == SPECS / "phases" / "basic.yaml"
    assert find_phase("basic", SPECS).name == "basic"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_a_diagnostic(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("runspec: 1\n")
    path.chmod(0)
    with pytest.raises(SpecError, match=r"spec\.unreadable"):
        load_spec(path)


def test_a_device_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(SpecError, match=r"spec\.not-a-file"):
        load_spec(tmp_path / "pipe.yaml")
    with pytest.raises(SpecError, match=r"spec\.not-a-file"):
        load_spec(Path("/dev/zero"))


def test_loading_imports_nothing_heavy():
    code = "import runner.spec.loader, sys; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"aiohttp", "jinja2", "torch", "rich", "numpy", "tenacity"} & set(run.stdout.split())


def test_every_code_has_its_entry_in_the_documentation():
    text = "".join(path.read_text() for path in (ROOT / "runner" / "spec").glob("*.py"))
    codes = set(re.findall(r'"(spec\.[a-z-]+)"', text)) | {"spec.unknown-step", "spec.unknown-condition"}
    page = (ROOT / "docs" / "diagnostics.md").read_text()
    documented = set(re.findall(r"^## `(spec\.[a-z-]+)`$", page, re.MULTILINE))
    assert codes == documented


def test_limits_have_their_defaults_when_a_spec_says_nothing():
    assert load_spec(SPECS / "rlhf.yaml").spec.limits.teardown == timedelta(minutes=10)
