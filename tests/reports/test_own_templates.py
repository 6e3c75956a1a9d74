"""Region templates of the reader's own, in the folder `templates` beside the document."""

from __future__ import annotations

from pathlib import Path

import fake_runs as fake
import pytest

from runner.errors import ReportError
from runner.reports.document import check_document, write_document
from runner.reports.sections import REGIONS
from runner.reports.standing import build_model

STATUS = "<!-- runspec:begin status:cpt_standard -->\n<!-- runspec:end status:cpt_standard -->\n"
MODEL = build_model([fake.subject(title="CPT <b>bold</b> | pipe")], [fake.passing()])


def document(folder: Path, **templates: str) -> Path:
    path = folder / "DOC.md"
    path.write_text(STATUS, encoding="utf-8")
    (folder / "templates").mkdir()
    for name, text in templates.items():
        (folder / "templates" / f"{name}.md.j2").write_text(text, encoding="utf-8")
    return path


def test_a_template_beside_the_document_wins_and_its_values_are_escaped(tmp_path):
    path = document(tmp_path, status="{{ one.subject.title }} is {{ one.status.value }} ({{ one.status | heading }})\n")
    assert write_document(path, MODEL)
    assert "CPT &lt;b&gt;bold&lt;/b&gt; \\| pipe is rehearsed (🧪 **Rehearsed**)" in path.read_text(encoding="utf-8")
    assert not write_document(path, MODEL)
    assert check_document(path, MODEL) == ""


def test_every_region_has_a_template_that_can_be_replaced(tmp_path):
    kinds = [kind.rstrip(":") for kind in REGIONS]
    path = document(tmp_path, **{kind.replace(":", ""): f"my own {kind}\n" for kind in kinds})
    ids = [kind + ("cpt_standard" if kind.endswith(":") else "") for kind in REGIONS if kind != "inventory"]
    marks = "".join(f"<!-- runspec:begin {id_} -->\n<!-- runspec:end {id_} -->\n" for id_ in ids)
    path.write_text(marks, encoding="utf-8")
    assert write_document(path, MODEL)
    text = path.read_text(encoding="utf-8")
    assert [kind for kind in kinds if f"my own {kind}\n" not in text] == ["inventory"]


TABLE = """\
| Key | Method | Status | Model | Notes |
|-----|--------|--------|-------|-------|
{% for one in templates %}
| {{ one.subject.key | code }} | {{ one.subject.method | method }} | {{ one | in_short }} | - |  |
{% endfor %}
"""


def test_an_inventory_of_ones_own_may_say_something_around_its_table(tmp_path):
    path = document(tmp_path, inventory=f"All templates:\n\n{TABLE}\nThat is all.\n")
    path.write_text("<!-- runspec:begin inventory -->\n<!-- runspec:end inventory -->\n", encoding="utf-8")
    assert write_document(path, MODEL)
    text = path.read_text(encoding="utf-8")
    assert "All templates:\n\n| Key | Method |" in text
    assert "| - |  |\n\nThat is all.\n<!-- runspec:end inventory" in text
    noted = text.replace("| - |  |\n", "| - | ask Ada |\n")
    path.write_text(noted, encoding="utf-8")
    assert not write_document(path, MODEL)
    assert path.read_text(encoding="utf-8") == noted


def test_an_inventory_of_ones_own_with_other_columns_is_written_as_it_is(tmp_path):
    path = document(tmp_path, inventory=TABLE)
    path.write_text("<!-- runspec:begin inventory -->\n<!-- runspec:end inventory -->\n", encoding="utf-8")
    assert write_document(path, MODEL)
    (tmp_path / "templates" / "inventory.md.j2").write_text(TABLE.replace(" | - |  |", " |"), encoding="utf-8")
    assert write_document(path, MODEL)
    assert "batch not run |\n<!-- runspec:end inventory" in path.read_text(encoding="utf-8")
    assert not write_document(path, MODEL)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("a\n{{ one.sttus }}", "has no attribute 'sttus'"),
        ("a\n{% if %}", "Expected an expression"),
        ("a\n{{ ''.__class__.__mro__ }}", "unsafe"),
        ("<!-- runspec:end status:cpt_standard -->", "writes a mark of its own"),
    ],
)
def test_a_bad_template_is_an_error_with_its_place_and_changes_nothing(tmp_path, template, message):
    path = document(tmp_path, status=template)
    with pytest.raises(ReportError, match=message) as caught:
        write_document(path, MODEL)
    (problem,) = caught.value.diagnostics
    assert problem.code == "report.bad-template"
    assert problem.span is None or problem.span.line == 2
    assert path.read_text(encoding="utf-8") == STATUS


def test_a_template_of_no_region_is_a_slip(tmp_path):
    path = document(tmp_path, statuss="x")
    with pytest.raises(ReportError, match=r"did you mean `status\.md\.j2`"):
        write_document(path, MODEL)
