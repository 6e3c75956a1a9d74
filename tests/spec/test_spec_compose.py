"""`extends`, `use`, `vars` and references between files."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest

from runner.errors import SpecError
from runner.spec.compose import specs_root
from runner.spec.loader import load_phase, load_spec

BASE = """\
runspec: 1
name: base
title: Base
tags: [base, old]
vars: {size: 4}
template: {key: base, method: sft, model: org/base, training: {batch_size: "${vars.size}", packing: true}}
dataset: {format: messages, file: data.jsonl}
limits: {run: 45m, price: 0.5 USD/h}
"""


@pytest.fixture
def write(tmp_path):
    def write(name: str, text: str) -> Path:
        path = tmp_path / "specs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def only(error: SpecError):
    (diagnostic,) = error.diagnostics
    return diagnostic


def test_an_extending_spec_merges_mappings_and_replaces_the_rest(write):
    write("base.yaml", BASE)
    path = write(
        "own.yaml", "runspec: 1\nname: own\nextends: base.yaml\ntags: [own]\ntemplate: {training: {packing: false}}\n"
    )
    spec = load_spec(path).spec
    assert spec.name == "own"
    assert spec.tags == ("own",)
    assert spec.template.training == {"batch_size": 4, "packing": False}
    assert spec.limits.run == timedelta(minutes=45)
    assert spec.title == "Base"


def test_parts_are_merged_in_order_under_the_spec_and_over_what_it_extends(write):
    write("base.yaml", BASE)
    write("a.yaml", "limits: {run: 10m, price: 0.1 USD/h, spend: 9 USD}\n")
    write("b.yaml", "limits: {run: 20m, price: 0.2 USD/h}\n")
    path = write("own.yaml", "runspec: 1\nname: own\nextends: base.yaml\nuse: [a.yaml, b.yaml]\nlimits: {run: 30m}\n")
    limits = load_spec(path).spec.limits
    assert (limits.run, limits.price, limits.spend) == (timedelta(minutes=30), 0.2, 9)


def test_a_chain_of_specs_is_followed(write):
    write("base.yaml", BASE)
    write("team/middle.yaml", "runspec: 1\nname: middle\nextends: ../base.yaml\nvars: {size: 8}\n")
    path = write("own.yaml", "runspec: 1\nname: own\nextends: team/middle.yaml\nrepeat: ${vars.size}\n")
    spec = load_spec(path).spec
    assert spec.template.training["batch_size"] == spec.repeat == 8


def test_null_takes_back_what_another_file_says(write):
    write("base.yaml", BASE + "matrix: {axes: {seed: [1]}}\n")
    path = write(
        "own.yaml",
        "runspec: 1\nname: own\nextends: base.yaml\nmatrix: null\ndataset: {file: null, generate: {rows: 5}}\n",
    )
    spec = load_spec(path).spec
    assert spec.matrix is None
    assert spec.dataset.file is None


def test_a_problem_is_shown_in_the_file_that_it_came_from(write):
    base = write("base.yaml", BASE.replace("batch_size:", "batch_size: [1], other:"))
    path = write("own.yaml", "runspec: 1\nname: own\nextends: base.yaml\nrepaet: 5\n")
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    assert [(Path(d.span.file).resolve(), d.span.line) for d in caught.value.diagnostics] == [(path, 4), (base, 6)]


def test_the_digest_covers_every_file_that_a_spec_is_made_of(write):
    base = write("base.yaml", BASE)
    part = write("part.yaml", "repeat: 2\n")
    path = write("own.yaml", "runspec: 1\nname: own\nextends: base.yaml\nuse: [part.yaml]\n")
    digests = {load_spec(path).digest}
    for file in (base, part, path):
        file.write_text(file.read_text() + "# more\n")
        digests.add(load_spec(path).digest)
    assert len(digests) == 4
    assert all(len(digest) == 64 for digest in digests)


def test_a_symlink_may_not_lead_out_of_the_specs(write, tmp_path):
    outside = tmp_path / "outside.yaml"
    outside.write_text("repeat: 2\n")
    path = write("own.yaml", BASE + "use: [link.yaml]\n")
    (path.parent / "link.yaml").symlink_to(outside)
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    assert only(caught.value).code == "spec.bad-path"
    (path.parent / "link.yaml").unlink()
    (path.parent / "link.yaml").symlink_to("link.yaml")
    with pytest.raises(SpecError, match=r"spec\.(bad-path|unreadable|not-found)"):
        load_spec(path)


def test_a_part_may_stand_anywhere_below_the_folder_called_specs(write, tmp_path):
    write("common/part.yaml", "repeat: 3\n")
    path = write("team/deep/own.yaml", BASE + "use: [../../common/part.yaml]\n")
    assert load_spec(path).spec.repeat == 3
    assert specs_root(path) == tmp_path / "specs"
    assert load_spec(path).root == tmp_path / "specs"


def test_a_file_that_is_no_file_is_not_read(write, tmp_path):
    path = write("own.yaml", BASE + "use: [folder]\n")
    (path.parent / "folder").mkdir()
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    assert only(caught.value).code == "spec.not-a-file"
    with pytest.raises(SpecError) as caught:
        load_spec(tmp_path)
    assert only(caught.value).code == "spec.not-a-file"


def test_too_many_files_are_refused(write):
    for number in range(60):
        write(f"s{number}.yaml", f"runspec: 1\nname: s{number}\nextends: s{number + 1}.yaml\n")
    write("s60.yaml", BASE)
    with pytest.raises(SpecError, match="more than 50 files"):
        load_spec(write("own.yaml", "runspec: 1\nname: own\nextends: s0.yaml\n"))


def test_given_vars_win_over_those_of_the_file_and_show_in_the_spec(write):
    file = load_spec(write("base.yaml", BASE))
    spec = file.resolve({"size": 16, "extra": "x"})
    assert spec.template.training["batch_size"] == 16
    assert spec.vars == {"size": 16, "extra": "x"}
    assert file.spec.vars == {"size": 4}


def test_given_text_is_taken_as_it_is(write):
    base = BASE.replace("batch_size:", "optim:")  # the name of an optimizer may be any text
    spec = load_spec(write("base.yaml", base)).resolve({"size": "${vars.nothing}"})
    assert spec.template.training["optim"] == spec.vars["size"] == "${vars.nothing}"


def test_a_given_value_that_does_not_fit_is_shown_where_it_is_used(write):
    base = BASE.replace("batch_size:", "optim:")
    file = load_spec(write("base.yaml", base + "repeat: ${vars.size}\n"))
    with pytest.raises(SpecError) as caught:
        file.resolve({"size": "many"})
    problem = only(caught.value)
    assert (problem.span.line, problem.label) == (9, "from `${vars.size}`")


def test_a_matrix_axis_stands_for_its_first_value_until_the_plan_chooses(write):
    text = BASE.replace("vars: {size: 4}\n", "") + "matrix: {axes: {size: [2, 8]}}\n"
    file = load_spec(write("base.yaml", text))
    assert file.spec.template.training["batch_size"] == 2
    assert file.resolve({"size": 8}).template.training["batch_size"] == 8


def test_a_spec_knows_where_its_parts_were_written(write):
    file = load_spec(write("base.yaml", BASE))
    assert str(file.span("template", "model")).endswith("base.yaml:6:43")
    assert file.span("tags", 1).length == 3
    assert file.span("phases", 0) is None


PHASE = """\
runspec-phase: 1
name: phase
title: For ${name}
vars: {steps: 100, word: ready}
steps:
  - {wait: {metric: step, gte: "${vars.steps}"}, timeout: "${limits.run}"}
success:
  - {id: a, title: "${template.method} with ${template.training.batch_size}", expect: {log: "${vars.word}"}}
"""


def test_a_phase_takes_vars_from_itself_then_the_spec_then_what_is_given(write):
    spec = load_spec(write("base.yaml", BASE.replace("size: 4", "size: 4, steps: 50, word: set"))).spec
    phase = load_phase(write("phases/phase.yaml", PHASE))
    assert phase.phase.vars == {"steps": 100, "word": "ready"}
    resolved = phase.resolve(spec, {"steps": 5})
    assert resolved.vars == {"steps": 5, "word": "set"}
    assert resolved.steps[0].wait.gte == 5
    assert resolved.steps[0].timeout == timedelta(minutes=45)
    assert resolved.title == "For base"
    assert resolved.success[0].title == "sft with 4"
    assert resolved.success[0].expect.log == "set"


def test_a_phase_that_needs_what_a_spec_lacks_says_so_when_they_meet(write):
    spec = load_spec(write("base.yaml", BASE)).spec
    phase = load_phase(write("phases/phase.yaml", PHASE.replace("batch_size", "batchsize")))
    with pytest.raises(SpecError) as caught:
        phase.resolve(spec, {})
    assert only(caught.value).fix == "did you mean `template.training.batch_size`?"


def test_a_name_that_a_spec_will_give_may_stand_where_text_is_needed(write):
    text = PHASE.replace('{log: "${vars.word}"}', '{log: "${template.training.optim}"}')
    assert load_phase(write("phases/phase.yaml", text)).phase.success[0].expect.log == "text"


def test_a_digest_of_a_phase_is_that_of_its_bytes(write):
    path = write("phases/phase.yaml", PHASE)
    inner = hashlib.sha256(path.read_bytes()).digest()
    assert load_phase(path).digest == hashlib.sha256(inner).hexdigest()
