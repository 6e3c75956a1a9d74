"""What a render may touch: regions and ticks, and not a byte more."""

from __future__ import annotations

import stat

import fake_runs as fake
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import ReportError
from runner.reports.document import check_document, render_document, write_document
from runner.reports.regions import parse, part_bytes
from runner.reports.standing import build_model
from runner.reports.unticked import unticked

SUBJECTS = [fake.subject()]
EMPTY = build_model(SUBJECTS, [])
PASSED = build_model(SUBJECTS, [fake.passing()])
FAILED_LATER = build_model(SUBJECTS, [fake.passing(), fake.failing(day=1)])
UPDATED = b"<!-- runspec:begin updated -->\n<!-- runspec:end updated -->\n"
STATUS = b"<!-- runspec:begin status:cpt_standard -->\n<!-- runspec:end status:cpt_standard -->\n"

outside = st.binary(max_size=80).map(
    lambda raw: raw.replace(b"runspec:", b"").replace(b"```", b"").replace(b"~~~", b"")
)


def problems(document: bytes, model=PASSED, **kwargs) -> list:
    with pytest.raises(ReportError) as caught:
        render_document(document, model, file="DOC.md", **kwargs)
    return list(caught.value.diagnostics)


@given(before=outside, between=outside, after=outside, crlf=st.booleans(), bom=st.booleans())
def test_every_byte_outside_a_region_is_preserved(before, between, after, crlf, bom):
    newline = b"\r\n" if crlf else b"\n"
    marks = [mark.replace(b"\n", newline) for mark in (UPDATED, STATUS)]
    head = (b"\xef\xbb\xbf" if bom else b"") + before + newline
    rendered = render_document(head + marks[0] + between + newline + marks[1] + after, PASSED)
    assert rendered.startswith(head)
    assert rendered.endswith(after)
    assert between in rendered
    assert render_document(rendered, PASSED) == rendered
    assert b"Last Updated:** 2026-01-04 (run `7f3a`)" + newline in rendered


@given(document=st.binary(max_size=400))
def test_a_document_without_marks_is_returned_as_it_is(document):
    document = b"\n" + document.replace(b"runspec:", b"")
    assert render_document(document, PASSED) == document


@given(
    pieces=st.lists(
        st.sampled_from(
            [
                b"text",
                b"\n",
                b"\r\n",
                b"```\n",
                b"~~~~\n",
                b"    ",
                UPDATED,
                STATUS,
                b"\xef\xbb\xbf",
                b"\xff\x00",
                b"- [x] a",
            ]
        ),
        max_size=14,
    )
)
def test_the_parts_of_any_document_joined_are_the_document(pieces):
    document = b"".join(pieces)
    parts, _ = parse(document, "DOC.md")
    assert b"".join(part_bytes(part) for part in parts) == document


def test_a_render_depends_on_nothing_but_its_arguments(monkeypatch):
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    first = render_document(UPDATED + STATUS, PASSED)
    assert first == render_document(UPDATED + STATUS, build_model(SUBJECTS, iter([fake.passing()])))


def test_the_order_in_which_runs_are_read_does_not_matter():
    runs = [fake.passing(), fake.failing(day=1), fake.passing("9999", day=2), fake.errored(day=3)]
    subjects = [fake.subject(), fake.subject("dpo_standard", "dpo")]
    document = STATUS + b"<!-- runspec:begin results:cpt_standard -->\n<!-- runspec:end results:cpt_standard -->\n"
    one = render_document(document, build_model(subjects, runs))
    assert one == render_document(document, build_model(subjects, reversed(runs)))


def test_a_document_without_a_final_newline_keeps_none():
    rendered = render_document(UPDATED.rstrip(b"\n"), PASSED)
    assert rendered.endswith(b" -->")
    assert render_document(rendered, PASSED) == rendered


def test_an_old_region_is_replaced_when_the_evidence_changes():
    first = render_document(STATUS, PASSED)
    second = render_document(first, FAILED_LATER)
    assert b"**Rehearsed**" in first
    assert b"**Failed**" in second
    assert render_document(second, PASSED) == first


def test_a_hand_edit_inside_a_region_is_refused_with_place_and_diff():
    edited = b"# Title\n\n" + render_document(STATUS, PASSED).replace(b"Rehearsed", b"Working great")
    (problem,) = problems(edited)
    assert problem.code == "report.edited-region"
    assert (problem.span.file, problem.span.line) == ("DOC.md", 4)
    assert "-**Status:** 🧪 **Working great**" in problem.fix
    assert "+**Status:** 🧪 **Rehearsed**" in problem.fix


def test_a_hand_edit_is_overwritten_when_that_is_asked_for():
    good = render_document(STATUS, PASSED)
    edited = good.replace(b"Rehearsed", b"Working great")
    assert render_document(edited, PASSED, force=True) == good


def test_text_between_marks_that_were_never_rendered_is_not_lost():
    document = STATUS.replace(b" -->\n<!--", b" -->\nMy own words\n<!--")
    (problem,) = problems(document)
    assert "-My own words" in problem.fix
    assert b"My own words" not in render_document(document, PASSED, force=True)


def test_line_ends_changed_by_git_are_no_hand_edit():
    rendered = render_document(UPDATED + STATUS, PASSED)
    converted = rendered.replace(b"\n", b"\r\n")
    assert render_document(converted, PASSED) == converted
    assert b"\n" not in render_document(converted, FAILED_LATER).replace(b"\r\n", b"")


def test_marks_in_fenced_code_are_somebodys_example():
    example = b"````markdown\n```\n" + STATUS + b"- [x] a <!-- runspec:check nobody.basic -->\n````\n"
    assert render_document(example, PASSED) == example
    assert render_document(example + UPDATED, PASSED).startswith(example)


def test_every_wrong_mark_is_reported_in_one_go_and_in_order():
    document = (
        b"<!-- runspec:begin inventry -->\n<!-- runspec:end inventry -->\n"
        b"<!-- runspec:end updated -->\n"
        b"<!-- runspec:begin status:cpt_standart -->\n<!-- runspec:end status:cpt_standart -->\n"
        b"<!-- runspec: begin -->\n"
        b"- [ ] a <!-- runspec:check cpt_standard.basik -->\n"
        b"no box <!-- runspec:check cpt_standard.basic -->\n"
        b"<!-- runspec:begin updated -->\n<!-- runspec:begin gaps -->\n<!-- runspec:end gaps -->\n"
        b"<!-- runspec:begin gaps -->\n"
    )
    found = [(one.span.line, one.code) for one in problems(document)]
    assert found == [
        (1, "report.unknown-region"),
        (3, "report.stray-end"),
        (4, "report.unknown-spec"),
        (6, "report.bad-mark"),
        (7, "report.unknown-check"),
        (8, "report.bad-check"),
        (10, "report.crossed-regions"),
        (11, "report.stray-end"),
        (12, "report.open-region"),
    ]
    fixes = {one.code: one.fix for one in problems(document)}
    assert fixes["report.unknown-region"] == "did you mean `inventory`?"
    assert fixes["report.unknown-spec"] == "did you mean `cpt_standard`?"
    assert fixes["report.unknown-check"] == "did you mean `cpt_standard.basic`?"


def test_a_region_that_stands_twice_is_refused_with_both_lines():
    (problem,) = problems(UPDATED + b"text\n" + STATUS + UPDATED)
    assert (problem.code, problem.span.line) == ("report.copied-region", 6)
    assert problem.message == "region `updated` stands here and in line 1"


def test_a_refusal_shows_a_strangers_line_without_obeying_it():
    line = "- [ ] \u202egnp\x1b[31m \u2066a\u200bb\x9b1m <!-- runspec:check nobody.basic -->"
    (problem,) = problems(line.encode())
    shown = problem.render()
    assert "1 | - [ ] �gnp�[31m �a�b�1m <!-- runspec" in shown
    assert "  | " + "^" * len(line) in shown


CHECK = b"* [ ] Basic verification <!-- runspec:check cpt_standard.basic --> and more\r\n"


def test_a_checkbox_is_ticked_with_its_evidence_and_the_rest_of_the_line_kept():
    ticked = render_document(CHECK, PASSED)
    words = "→ *rehearsed on local · 5 of 5 criteria · run `7f3a` · 2026-01-04 · commit `1a2b3c4d5e6f` · $0.00*"
    assert ticked.decode() == (
        f"* [x] Basic verification <!-- runspec:check cpt_standard.basic --> {words} and more\r\n"
    )
    assert render_document(ticked, PASSED) == ticked


def test_a_checkbox_is_unticked_when_the_newest_run_fails():
    ticked = render_document(CHECK, PASSED)
    unticked = render_document(ticked, FAILED_LATER)
    assert unticked.startswith(b"* [ ] Basic verification")
    assert "→ *failed on local · 4 of 5 criteria · run `8c1d` · 2026-01-05".encode() in unticked


def test_a_box_of_a_phase_that_the_spec_does_not_have_is_unticked_and_says_so():
    line = b"- [x] Soak test <!-- runspec:check cpt_standard.soak -->\n"
    rendered = render_document(line, PASSED)
    assert rendered.startswith(b"- [ ] Soak test <!-- ")
    assert rendered.endswith("→ *not tested: `cpt_standard` has no phase `soak` · ticked by hand*\n".encode())


def test_a_tick_nobody_ran_for_is_taken_away_and_kept_in_words_until_there_is_evidence():
    by_hand = CHECK.replace(b"[ ]", b"[X]")
    claimed = render_document(by_hand, EMPTY)
    assert claimed == CHECK.replace(b"--> and", "--> → *ticked by hand* and".encode())
    assert render_document(claimed, EMPTY) == claimed
    failed = render_document(claimed, FAILED_LATER)
    assert failed.startswith(b"* [ ] Basic")
    assert "· $0.00 · ticked by hand* and more".encode() in failed
    assert render_document(failed, FAILED_LATER) == failed
    assert render_document(failed, PASSED) == render_document(CHECK, PASSED)
    assert render_document(claimed.replace(" → *ticked by hand*".encode(), b""), EMPTY) == CHECK


@pytest.mark.parametrize(
    ("key", "command"),
    [
        ("cpt_standard.basic", "runspec specs/cpt.yaml --phase basic"),
        ("cpt_standard.basic.pod@cloud", "runspec specs/cpt.yaml --phase basic --target cloud"),
        ("cpt_standard.dataset", "runspec specs/cpt.yaml --phase basic"),
        ("cpt_standard.same-dataset.dpo_standard", "runspec specs/cpt.yaml specs/dpo.yaml --phase basic"),
        ("cpt_standard.soak", ""),
        ("all.full", "runspec specs/ --phase full"),
        ("all.comparison", "runspec specs/ --phase batch"),
        ("all.gaps", "runspec specs/"),
    ],
)
def test_a_box_that_loses_its_tick_is_named_with_what_would_tick_it(key, command):
    model = build_model([*SUBJECTS, fake.subject("dpo_standard", "dpo", file="specs/dpo.yaml")], [])
    document = f"# Doc\n\n- [x] `It` works <!-- runspec:check {key} -->\n- [ ] no <!-- runspec:check {key} -->\n"
    (one,) = unticked(document.encode(), b"\n" + document.encode(), model)
    assert (one.line, one.text, one.command) == (4, "`It` works", command)
    assert one.why == "no recorded run shows it" or command == ""


def test_a_box_with_evidence_keeps_its_tick_and_is_not_named():
    ticked = render_document(CHECK, PASSED)
    assert unticked(ticked, ticked, PASSED) == []
    (one,) = unticked(ticked, ticked, FAILED_LATER)
    assert one.why.startswith("failed on local · 4 of 5 criteria · run `8c1d`")


@pytest.mark.parametrize(
    ("key", "before", "after"),
    [
        ("cpt_standard.basic.trains", "[x]", "[x]"),
        ("cpt_standard.basic.metrics-post", "[x]", "[ ]"),
        ("cpt_standard.dataset", "[x]", "[x]"),
        ("cpt_standard.full", "[ ]", "[ ]"),
    ],
)
def test_phases_criteria_and_the_dataset_have_boxes_of_their_own(key, before, after):
    line = f"1. [ ] What <!-- runspec:check {key} -->".encode()
    assert before.encode() in render_document(line, PASSED)
    assert after.encode() in render_document(render_document(line, PASSED), FAILED_LATER)


def test_an_asterisk_in_the_evidence_does_not_confuse_the_next_render():
    model = build_model(SUBJECTS, [fake.passing("a*b"), fake.failing("c*d*", day=1)])
    once = render_document(CHECK, model)
    assert render_document(once, model) == once
    assert render_document(once, EMPTY) == CHECK


def test_a_file_is_replaced_as_a_whole_and_keeps_its_mode(tmp_path):
    path = tmp_path / "DOC.md"
    path.write_bytes(STATUS)
    path.chmod(0o640)
    assert write_document(path, PASSED)
    assert path.read_bytes() == render_document(STATUS, PASSED)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [one.name for one in tmp_path.iterdir()] == ["DOC.md"]


def test_a_document_that_is_up_to_date_is_not_written(tmp_path):
    path = tmp_path / "DOC.md"
    path.write_bytes(render_document(STATUS, PASSED))
    before = path.stat()
    assert not write_document(path, PASSED)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert check_document(path, PASSED) == ""


def test_a_link_to_a_document_stays_a_link(tmp_path):
    (tmp_path / "real.md").write_bytes(STATUS)
    (tmp_path / "DOC.md").symlink_to("real.md")
    assert write_document(tmp_path / "DOC.md", PASSED)
    assert (tmp_path / "DOC.md").is_symlink()
    assert b"Rehearsed" in (tmp_path / "real.md").read_bytes()


def test_checking_shows_what_would_change_and_writes_nothing(tmp_path):
    path = tmp_path / "DOC.md"
    path.write_bytes(render_document(STATUS, PASSED))
    diff = check_document(path, FAILED_LATER)
    assert "-**Status:** 🧪 **Rehearsed**" in diff
    assert "+**Status:** ❌ **Failed**" in diff
    assert b"Rehearsed" in path.read_bytes()


def test_a_document_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(ReportError, match=r"report.unusable-file.*cannot be read: no such file"):
        write_document(tmp_path / "none.md", PASSED)


def test_a_refused_document_is_left_as_it_was(tmp_path):
    path = tmp_path / "DOC.md"
    document = STATUS + b"<!-- runspec:begin nothing -->\n"
    path.write_bytes(document)
    with pytest.raises(ReportError, match=r"DOC\.md:3:1"):
        write_document(path, PASSED)
    assert path.read_bytes() == document
