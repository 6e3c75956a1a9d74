"""From spec files to the jobs that will run."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import PlanError, SpecError
from runner.plan import Plan, Selection, make_plan
from runner.results import Target
from runner.spec.loader import find_phase, load_spec

SPEC = """\
runspec: 1
name: demo
title: Demo
template: {key: demo, method: sft, model: org/demo}
dataset: {format: messages, file: data.jsonl}
"""
PHASE = """\
runspec-phase: 1
name: basic
title: Basic
steps: [{deploy: template}]
success: [{id: deploys, title: Deploys, expect: {pod: started}}]
"""


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    folder = tmp_path / "specs"
    (folder / "phases").mkdir(parents=True)
    (folder / "phases" / "basic.yaml").write_text(PHASE)
    return folder


def planned(specs: Path, *texts: str) -> Plan:
    files = []
    for number, text in enumerate(texts):
        path = specs / f"{number}.yaml"
        path.write_text(text)
        files.append(load_spec(path))
    return make_plan(files, find_phase=find_phase, selection=Selection(), target=Target.LOCAL)


def places(error: SpecError) -> list[tuple[str, str]]:
    return [(one.code, f"{Path(one.span.file).name}:{one.span.line}:{one.span.col}") for one in error.diagnostics]


def test_phases_that_nobody_wrote_are_told_for_all_specs_where_they_are_named(specs):
    other = SPEC.replace("name: demo", "name: other") + "success:\n  bsaic: []\n"
    with pytest.raises(SpecError) as caught:
        planned(specs, SPEC + "phases: [basic, ful, bath]\n", other)
    assert places(caught.value) == [
        ("spec.unknown-phase", "0.yaml:6:17"),
        ("spec.unknown-phase", "0.yaml:6:22"),
        ("spec.unknown-phase", "1.yaml:7:3"),
    ]
    assert caught.value.diagnostics[-1].fix == "did you mean `basic`?"


def test_a_spec_may_have_criteria_for_a_phase_that_it_is_not_tested_in(specs):
    (specs / "phases" / "full.yaml").write_text(PHASE.replace("name: basic", "name: full"))
    plan = planned(specs, SPEC + "success:\n  full: [{id: a, title: A, expect: {pod: gone}}]\n")
    assert [job.key for job in plan.jobs] == ["demo/basic/1"]
    assert [criterion.id for criterion in plan.jobs[0].criteria] == ["deploys"]


def test_a_criterion_cannot_have_the_id_of_one_of_its_phase(specs):
    with pytest.raises(SpecError, match="the phase `basic` has a criterion of this id") as caught:
        planned(specs, SPEC + "success:\n  basic:\n    - {id: deploys, title: A, expect: {pod: gone}}\n")
    assert places(caught.value) == [("spec.duplicate-id", "0.yaml:8:12")]


def test_a_matrix_has_the_product_of_its_sizes_less_what_is_left_out_and_what_is_added(specs):
    matrix = "matrix: {axes: {a: [1, 2, 3], b: [x, y]}, exclude: [{a: 2}], include: [{a: 9, b: z}]}\n"
    plan = planned(specs, SPEC + matrix)
    assert [tuple(job.variant.values()) for job in plan.jobs] == [(1, "x"), (1, "y"), (3, "x"), (3, "y"), (9, "z")]
    assert [job.number for job in plan.jobs] == [1, 2, 3, 4, 5]


def test_a_plan_that_nobody_can_have_meant_is_refused_before_it_is_made(specs):
    matrix = f"matrix: {{axes: {{a: {list(range(1000))}}}}}\nrepeat: 100\n"
    with pytest.raises(PlanError, match="more than 10,000 jobs"):
        planned(specs, SPEC + matrix)
