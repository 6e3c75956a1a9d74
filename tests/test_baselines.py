"""Accepted results: their file, and their way into a plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.baselines import Entry, baselines_in, fitting, read_baselines, with_baselines, write_baselines
from runner.errors import SpecError
from runner.plan import Plan, Selection, make_plan
from runner.results import Target
from runner.spec.conditions import BaselineHolds, Never
from runner.spec.loader import find_phase, load_spec

SPECS = Path(__file__).parents[1] / "specs"
ENTRY = Entry(
    spec="sft_standard", phase="full", metric="train_loss", model="meta-llama/Llama-3.2-1B-Instruct",
    device="cpu (local)", dataset="0123456789ab", value=2.5, run="12e45678", at="2026-11-22",
)  # fmt: skip


def plan_of(target: Target) -> Plan:
    selection = Selection(phases=["full"])
    return make_plan([load_spec(SPECS / "sft.yaml")], find_phase=find_phase, selection=selection, target=target)


def accepted_in(plan: Plan) -> list[str]:
    asked = [one for criterion in plan.jobs[0].criteria for one in baselines_in(criterion.expect)]
    return [accepted.device for one in asked for accepted in one.accepted]


def test_what_is_written_is_read_again_sorted_and_quoted(tmp_path):
    other = ENTRY.model_copy(update={"spec": "cpt_standard", "model": "it's: a {model}", "run": "1e5"})
    path = write_baselines(tmp_path, [ENTRY, other])
    assert read_baselines(tmp_path) == (other, ENTRY)
    assert write_baselines(tmp_path, read_baselines(tmp_path)).read_text() == path.read_text()


def test_no_file_is_no_baseline(tmp_path):
    assert read_baselines(tmp_path) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("runspec-baselines: 2\n", "does not hold baselines: `runspec-baselines`"),
        ("runspec-baselines: 1\naccepted: [{spec: a}]\n", "accepted.0.phase"),
        ("runspec-baselines: 1\naccepted: [\n", "error"),
    ],
)
def test_a_file_that_is_something_else_is_refused_in_words(tmp_path, text, message):
    write_baselines(tmp_path, []).write_text(text)
    with pytest.raises(SpecError, match=message):
        read_baselines(tmp_path)


def test_the_baselines_of_this_project_are_for_its_own_specs():
    entries = read_baselines(SPECS)
    assert {entry.spec for entry in entries} == {f"{name}_standard" for name in ("sft", "dpo", "rlhf", "orpo", "cpt")}
    assert {entry.phase for entry in entries} == {"full", "batch"}


def test_a_plan_carries_the_values_of_its_target_only():
    assert accepted_in(with_baselines(plan_of(Target.LOCAL))) == ["cpu (local)"]
    assert accepted_in(with_baselines(plan_of(Target.CLOUD))) == []
    assert accepted_in(plan_of(Target.LOCAL)) == []


def test_values_of_another_model_or_phase_do_not_fit():
    spec = load_spec(SPECS / "sft.yaml").spec
    assert fitting([ENTRY], spec, "full", Target.LOCAL) == [ENTRY]
    assert fitting([ENTRY], spec, "batch", Target.LOCAL) == []
    assert fitting([ENTRY.model_copy(update={"model": "m"})], spec, "full", Target.LOCAL) == []
    assert fitting([ENTRY.model_copy(update={"device": "NVIDIA A40"})], spec, "full", Target.CLOUD) != []


def test_baselines_are_found_inside_of_other_conditions():
    inner = BaselineHolds(baseline="train_loss")
    assert list(baselines_in(Never(never=inner))) == [inner]
