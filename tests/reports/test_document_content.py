"""What the document says, whole, and what strangers' text can do to it: nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import fake_runs as fake
import pytest
from hostile import PAYLOADS, hostile_run
from markdown_it import MarkdownIt

from runner.cli.documents import model_of, specs_below
from runner.reports.document import render_document
from runner.reports.foreign import visible
from runner.reports.lint import contradictions
from runner.reports.markdown import code, escaped, inline
from runner.reports.regions import Region, parse
from runner.reports.sections import REGIONS
from runner.reports.slots import slots_of
from runner.reports.standing import build_model
from runner.results import Outcome, Target
from runner.store import Store

HERE = Path(__file__).parent
DOCUMENT = Path(__file__).parents[2] / "reports" / "RUNPOD_TESTING.md"
SPECS = Path(__file__).parents[2] / "specs"


def parsed(text: str):
    return MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough").parse(text)


def whole_document(*specs: str) -> bytes:
    ids = ["inventory", "updated", "gaps", "next-steps"]
    ids += [f"{kind}:{spec}" for spec in specs for kind in ("status", "plan", "results")]
    marks = "\n".join(f"<!-- runspec:begin {one} -->\n<!-- runspec:end {one} -->\n" for one in ids)
    keys = "\n".join(f"- [ ] Basic of {spec} <!-- runspec:check {spec}.basic -->" for spec in specs)
    return f"# Testing\n\n{marks}\n{keys}\n\nEnd of document.\n".encode()


def everything_that_can_happen():
    cloud = fake.passing("c10d", "sft_standard/basic/1", target=Target.CLOUD, day=-1)
    full = fake.run(
        "b00b",
        *(
            fake.job_events(
                f"sft_standard/batch/{number}",
                extra=[fake.losses(f"sft_standard/batch/{number}")],
                judged=judged,
                outcome=outcome,
                cost=0.01,
            )
            for number, (outcome, judged) in enumerate(
                [
                    (Outcome.PASSED, fake.verdicts()),
                    (Outcome.FAILED, fake.verdicts(metrics_post=fake.FAILED_METRICS)),
                    (None, None),
                ],
                1,
            )
        ),
        outcome=Outcome.FAILED,
        day=2,
        notes=("2 events of kind `pod.moved` left out: this version does not know it",),
    )
    known = fake.run(
        "kn0w",
        fake.job_events(
            "orpo_standard/basic/1",
            Outcome.PASSED,
            fake.verdicts(),
            extra=[fake.issue("orpo_standard/basic/1")],
            cost=0.41,
        ),
        target=Target.CLOUD,
    )
    scripted = fake.failing("5c5c", "cpt_standard/full/1", target=Target.SCRIPTED, day=3)
    return [fake.passing(), cloud, full, fake.unknown(), fake.errored(), known, scripted]


def all_subjects():
    names = ("sft", "dpo", "rlhf", "orpo", "cpt")
    return [fake.subject(f"{name}_standard", name, title=name.upper()) for name in names]


def test_a_decimal_is_no_list_and_is_left_legible():
    assert escaped("0.0002") == "0.0002"
    assert parsed(escaped("1. first"))[0].type == "paragraph_open"
    assert parsed(escaped("7)"))[0].type == "paragraph_open"


def test_the_whole_document_reads_as_agreed(golden):
    subjects = all_subjects()
    document = whole_document(*(one.name for one in subjects))
    rendered = render_document(document, build_model(subjects, everything_that_can_happen()))
    golden(rendered.decode(), HERE / "golden" / "document.md")


def test_the_document_before_any_run_reads_as_agreed(golden):
    rendered = render_document(whole_document("cpt_standard"), build_model([fake.subject()], []))
    golden(rendered.decode(), HERE / "golden" / "document_empty.md")


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_hostile_text_stays_text(payload):
    subject = fake.subject(title=payload, notes=payload, model=payload, file="specs/cpt.yaml")
    model = build_model([subject], [hostile_run(payload)])
    rendered = render_document(whole_document("cpt_standard"), model)
    assert render_document(rendered, model) == rendered

    parts, problems = parse(rendered, "DOC.md")
    assert problems == []
    assert [part.id for part in parts if isinstance(part, Region)] == [
        "inventory", "updated", "gaps", "next-steps",
        "status:cpt_standard", "plan:cpt_standard", "results:cpt_standard",
    ]  # fmt: skip

    harmless = render_document(whole_document("cpt_standard"), build_model([fake.subject()], [hostile_run("harmless")]))
    assert shape(rendered) == shape(harmless)


def shape(document: bytes) -> list[str]:
    """The document's structure: which blocks there are, and everything but text that stands in them."""
    text = document.decode()
    assert not set(map(chr, [*range(9), 11, 12, *range(14, 32), *range(127, 160), 0x202E, 0x2066, 0x200B])) & set(text)
    found = []
    for token in parsed(text):
        if token.type == "html_block":
            assert token.content.startswith("<!-- runspec:")
            assert token.content.count("<!--") == 1
        found.append(token.type)
        kinds = {child.type for child in token.children or ()}
        assert not kinds & {"image", "link_open", "s_open"}
        htmls = [child.content for child in token.children or () if child.type == "html_inline"]
        assert all(html.startswith("<!-- runspec:check ") for html in htmls)
    return found


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
@pytest.mark.parametrize("style", [escaped, code, inline])
def test_escaped_text_shows_what_was_written_in_a_table_cell(payload, style):
    tokens = parsed(f"| a | b |\n|---|---|\n| {style(payload)} | end |\n")
    assert [token.type for token in tokens].count("td_open") == 2
    cell = next(token for token in tokens if token.type == "inline" and token.level == 4 and token.content != "")
    kinds = {child.type for child in tokens[tokens.index(cell)].children}
    assert kinds <= {"text", "code_inline", "text_special"}


def test_plain_names_and_titles_stay_readable_in_the_source():
    assert escaped("train_loss steps 0-99, 2.3 -> 0.4") == "train_loss steps 0-99, 2.3 -&gt; 0.4"
    assert code("cpt_standard") == "`cpt_standard`"
    assert inline("`job_started` alert received") == "`job_started` alert received"


def test_what_cannot_be_seen_is_shown_as_an_escape():
    assert visible("\x1b[31m\u202e") == "\\x1b[31m\\u202e"
    assert visible("a\r\n\tb") == "a b"
    assert visible("x" * 400, longest=10) == "xxxxxxxxx…"


def test_a_new_kind_of_region_is_one_function():
    sections = {**REGIONS, "comparison": lambda model, _: f"{len(model.templates)} templates\n"}
    document = b"<!-- runspec:begin comparison -->\n<!-- runspec:end comparison -->\n"
    rendered = render_document(document, build_model([fake.subject()], []), sections=sections)
    assert b"\n1 templates\n" in rendered


def test_the_checked_in_document_keeps_every_word_of_its_author_and_renders(tmp_path):
    text = DOCUMENT.read_bytes()
    parts, problems = parse(text, "RUNPOD_TESTING.md")
    assert problems == []
    regions = [part for part in parts if isinstance(part, Region)]
    shared = {part.id: slots_of(part.id) for part in regions}
    ours = {part.id: slots.owned(part.current) if (slots := shared[part.id]) else part.current for part in regions}
    assert [part.id for part in regions if part.differs_from_recorded(ours[part.id])] == []
    assert {part.id for part in regions} >= {"inventory", "updated", "status:cpt_standard", "results:dpo_standard"}
    with Store.open(tmp_path, read_only=True) as store:
        model = model_of(specs_below(SPECS), store)
    assert {part.id for part in regions if part.id.startswith("status:")} == {
        f"status:{one.subject.name}" for one in model.templates
    }
    rendered = render_document(text, model)
    assert render_document(rendered, model) == rendered
    assert contradictions(text, model) == []


async def test_runs_read_back_from_the_store_give_the_same_bytes(tmp_path):
    runs = everything_that_can_happen()
    with Store.open(tmp_path) as store:
        for run in runs:
            await store.journal(run.run).append(*run.events, durable=True)
        read_back = [
            dataclasses.replace(one, notes=runs[2].notes if one.run == "b00b" else ()) for one in store.recorded_runs()
        ]
    subjects = all_subjects()
    document = whole_document(*(one.name for one in subjects))
    live, replayed = (render_document(document, build_model(subjects, given)) for given in (runs, read_back))
    assert live == replayed
