"""Putting marks into the author's own document: nothing of hers changes, and what runs show gets in and out again."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import fake_runs as fake
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import ReportError
from runner.reports.adopt import adopt_document
from runner.reports.document import missing_runs, render_document, write_document
from runner.reports.lint import contradictions
from runner.reports.regions import Region, parse
from runner.reports.standing import build_model
from runner.results import Outcome, Target

SEED = (Path(__file__).parent / "data" / "RUNPOD_TESTING.md").read_bytes()
METHODS = ("cpt", "dpo", "orpo", "rlhf", "sft")
TITLES = {
    "cpt": "CPT Standard (Continued Pre-Training)",
    "dpo": "DPO Standard (Direct Preference Optimization)",
    "orpo": "ORPO Standard (Odds Ratio Preference Optimization)",
    "rlhf": "RLHF Standard (PPO)",
    "sft": "SFT Standard (Supervised Fine-Tuning)",
}
SUBJECTS = [fake.subject(f"{name}_standard", name, title=TITLES[name], notes="") for name in METHODS]
EMPTY = build_model(SUBJECTS, [])
BOM = b"\xef\xbb\xbf"


def without_marks(document: bytes) -> bytes:
    lines = re.sub(rb"(?m)^<!-- runspec:(begin|end) [^\n]*-->(\r?\n|$)", b"", document)
    return re.sub(rb" <!-- runspec:check \S+ -->", b"", lines)


def adopted(document: bytes = SEED) -> bytes:
    return adopt_document(document, EMPTY).document


def rendered(*runs: fake.RecordedRun, before: bytes | None = None) -> str:
    return render_document(adopted() if before is None else before, build_model(SUBJECTS, runs)).decode()


def boxes(text: str) -> dict[str, bool]:
    found = re.findall(r"- \[([ x])\].*?<!-- runspec:check (\S+) -->", text)
    return {key: tick == "x" for tick, key in found}


def status_lines(text: str) -> dict[str, str]:
    return dict(re.findall(r"begin status:(\w+) -->\n\*\*Status:\*\* (.*)\n", text))


def test_taking_the_marks_away_gives_the_authors_bytes_again():
    assert adopted() != SEED
    assert without_marks(adopted()) == SEED


def test_windows_line_ends_and_a_byte_order_mark_are_kept():
    document = BOM + SEED.replace(b"\n", b"\r\n")
    marked = adopted(document)
    assert without_marks(marked) == document
    assert b"\n" not in marked.replace(b"\r\n", b"")
    assert marked.replace(b"\r\n", b"\n").removeprefix(BOM) == adopted()


def test_a_document_without_a_final_newline_gets_none():
    marked = adopted(SEED.rstrip(b"\n"))
    assert not marked.endswith(b"\n")
    assert without_marks(marked).rstrip(b"\n") == SEED.rstrip(b"\n")


@pytest.mark.parametrize(
    "last", ["- [ ] Basic verification", "**Test Plan:**\n- [x] Batch test", "## Next Steps", "**Status:** x"]
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_mark_behind_an_unfinished_last_line_stands_on_a_line_of_its_own(last, newline):
    document = f"# Doc\n\n### CPT Standard\n\n{last}".replace("\n", newline).encode()
    marked = adopted(document)
    assert marked != document
    assert parse(marked, "DOC.md")[1] == []
    assert without_marks(marked).rstrip() == document
    assert adopted(marked) == marked


@given(
    pieces=st.lists(st.sampled_from(SEED.decode().split("\n")), max_size=60), newline=st.sampled_from(["\n", "\r\n"])
)
def test_no_mixture_of_lines_loses_a_byte(pieces, newline):
    document = (newline.join(pieces) + newline).encode()
    marked = adopted(document)
    assert without_marks(marked) == document
    assert parse(marked, "DOC.md")[1] == []


@given(pieces=st.lists(st.sampled_from(SEED.decode().split("\n")), min_size=1, max_size=60))
def test_no_mixture_of_lines_without_a_final_newline_gets_marks_that_do_not_fit(pieces):
    marked = adopted("\n".join(pieces).encode())
    assert parse(marked, "DOC.md")[1] == []
    assert adopted(marked) == marked


@given(document=st.binary(max_size=300))
def test_no_bytes_at_all_are_lost_or_make_it_stumble(document):
    document = b"\n" + document.replace(b"runspec:", b"")
    assert without_marks(adopted(document)).rstrip(b"\r\n") == document.rstrip(b"\r\n")


@pytest.mark.parametrize("document", [SEED, adopted()], ids=["unmarked", "marked"])
def test_a_document_with_carriage_returns_alone_is_refused_in_one_sentence(document):
    old = document.replace(b"\n", b"\r")
    for use in (adopt_document, render_document):
        with pytest.raises(ReportError, match="carriage returns alone") as caught:
            use(old, EMPTY, file="DOC.md")
        assert [one.code for one in caught.value.diagnostics] == ["report.lone-returns"]


def test_every_region_finds_its_place_in_the_authors_document():
    done = adopt_document(SEED, EMPTY)
    assert done.missing == []
    regions = [part for part in parse(done.document, "DOC.md")[0] if isinstance(part, Region)]
    each = {f"{kind}:{name}_standard" for kind in ("status", "plan", "results") for name in METHODS}
    assert {part.id for part in regions} >= each | {"inventory", "gaps", "next-steps", "updated"}
    assert not any(part.was_edited for part in regions if part.id != "inventory")


def test_adopting_twice_and_after_a_render_changes_nothing():
    assert adopted(adopted()) == adopted()
    after = rendered(fake.passing()).encode()
    assert adopted(after) == after


@pytest.mark.parametrize("lost", ["begin status:dpo_standard -->", "end status:dpo_standard", "begin inventory -->"])
def test_a_document_that_lost_a_mark_is_refused_and_not_marked_again(lost):
    lines = rendered().splitlines(keepends=True)
    broken = "".join(line for line in lines if f"<!-- runspec:{lost}" not in line)
    with pytest.raises(ReportError, match=r"never began|has not ended"):
        adopted(broken.encode())


def test_checkboxes_mean_what_their_section_is_about():
    keys = list(boxes(adopted().decode()))
    assert {
        "dpo_standard.dataset",
        "sft_standard.basic",
        "sft_standard.full",
        "sft_standard.batch",
        "orpo_standard.same-dataset.dpo_standard",
        "orpo_standard.compare.dpo_standard",
        "rlhf_standard.metric.gpu_memory_allocated_gb",
        "dpo_standard.basic.metrics-post+alert-started",
        "cpt_standard.basic.pod-deploys@cloud",
        "all.full",
        "all.batch",
        "all.comparison",
        "all.gaps",
    } <= set(keys)
    unkeyed = [text for _, text in adopt_document(SEED, EMPTY).unkeyed]
    assert "Research reward model implementation" in unkeyed
    assert "Identify optimal hyperparameters" in unkeyed


def test_a_box_of_a_template_without_a_spec_is_not_ticked_by_the_others():
    section = "### 6. KTO Standard\n\n- [x] Batch test\n\n### 7. DPO and ORPO\n\n- [ ] Outside dev test\n\n"
    item = "1. **KTO Template Test**\n   - [ ] Run 5 jobs per template\n\n"
    text = SEED.decode().replace("## 🚨", f"{section}## 🚨").replace("1. **DPO Tem", f"{item}1. **DPO Tem")
    done = adopt_document(text.encode(), EMPTY)
    assert {words for _, words in done.unkeyed} > {"Batch test", "Outside dev test", "Run 5 jobs per template"}
    assert sorted(done.keys) == sorted(adopt_document(SEED, EMPTY).keys)


def test_steps_for_all_keep_their_keys_beside_sections_of_templates():
    done = adopt_document(
        b"# Doc\n\n## CPT Standard\n\ntext\n\n## Next Steps\n\n- [ ] Run 5 jobs per template\n", EMPTY
    )
    assert done.keys == ["all.batch"]


def test_packing_is_keyed_when_the_spec_has_the_criterion():
    criteria = (*fake.CRITERIA, ("packing", "Packing works"))
    phases = (fake.PhaseSubject(name="basic", title="Basic Template Verification", criteria=criteria),)
    one = dataclasses.replace(SUBJECTS[0], phases=phases)
    marked = adopt_document(SEED, build_model([one], [])).document.decode()
    assert "Verify packing works correctly <!-- runspec:check cpt_standard.basic.packing -->" in marked


def test_without_a_run_nothing_is_ticked_and_every_template_is_pending():
    text = rendered()
    assert not any(boxes(text).values())
    assert set(status_lines(text).values()) == {"⏳ Pending"}
    assert len(status_lines(text)) == 5


def test_five_templates_show_what_their_runs_came_to():
    runs = [
        fake.passing("a1", "sft_standard/basic/1", target=Target.CLOUD),
        fake.failing("a2", "dpo_standard/basic/1"),
        fake.unknown("a3"),
        fake.passing("a4", "cpt_standard/basic/1"),
    ]
    text = rendered(*runs)
    assert status_lines(text) == {
        "sft_standard": "✅ **Working**",
        "dpo_standard": "❌ **Failed**",
        "rlhf_standard": "❔ **No verdict**",
        "orpo_standard": "⏳ Pending",
        "cpt_standard": "🧪 **Rehearsed**",
    }
    assert render_document(text.encode(), build_model(SUBJECTS, runs)) == text.encode()
    ticked = boxes(text)
    assert ticked["sft_standard.basic"]
    assert ticked["cpt_standard.basic"]
    assert not ticked["dpo_standard.basic"]
    assert not ticked["rlhf_standard.basic.metrics-post+alert-started"]


def test_what_never_ran_is_to_be_run_in_the_order_of_the_phases():
    text = rendered(fake.passing("a1", "cpt_standard/basic/1"))
    steps = text[text.index("begin next-steps") : text.index("end next-steps")]
    phases = re.findall(r"--phase (\w+)`", steps)
    assert phases == ["basic", "full", "batch"], "although the first template has only full and batch before it"


def test_a_step_on_runpod_is_not_ticked_by_a_rehearsal():
    key = "cpt_standard.basic.pod-deploys@cloud"
    local = rendered(fake.passing("a4"))
    assert not boxes(local)[key]
    assert "· not yet on the cloud*" in local
    assert boxes(rendered(fake.passing("a4", target=Target.CLOUD)))[key]


def test_a_tick_goes_when_a_later_run_fails():
    first = rendered(fake.passing())
    second = rendered(fake.passing(), fake.failing(day=1), before=first.encode())
    assert boxes(first)["cpt_standard.basic"]
    assert not boxes(second)["cpt_standard.basic"]


def test_a_step_for_all_templates_is_ticked_when_the_last_one_passed():
    jobs = [fake.passing(f"b{index}", f"{name}_standard/full/1") for index, name in enumerate(METHODS)]
    assert not boxes(rendered(*jobs[:4]))["all.full"]
    assert "4 of 5 templates; still to do: `sft_standard`" in rendered(*jobs[:4])
    assert boxes(rendered(*jobs))["all.full"]


def batch(run: str, spec: str, count: int) -> fake.RecordedRun:
    names = [f"{spec}/batch/{number}" for number in range(1, count + 1)]
    return fake.run(run, *(fake.job_events(name, Outcome.PASSED, fake.verdicts()) for name in names))


def test_two_jobs_are_no_comparison():
    key = "orpo_standard.compare.dpo_standard"
    few = rendered(batch("c1", "orpo_standard", 2), batch("c2", "dpo_standard", 5))
    assert not boxes(few)[key]
    assert "not enough evidence, 3 jobs each are needed: 2 against 5 jobs of `batch`" in few
    assert boxes(rendered(batch("c1", "orpo_standard", 5), batch("c2", "dpo_standard", 5)))[key]


def test_the_same_rows_are_known_by_their_digest():
    runs = [fake.passing("d1", "orpo_standard/basic/1"), fake.passing("d2", "dpo_standard/basic/1")]
    assert boxes(rendered(*runs))["orpo_standard.same-dataset.dpo_standard"]


def test_the_inventory_keeps_the_authors_order_and_notes():
    text = rendered(fake.passing("a1", "dpo_standard/basic/1"))
    rows = re.findall(r"(?m)^\| `(\w+)` \| .* \| (.*) \|$", text)
    assert [name for name, _ in rows] == [f"{name}_standard" for name in ("sft", "dpo", "rlhf", "orpo", "cpt")]
    assert dict(rows)["sft_standard"] == "Confirmed working with some issues"
    assert dict(rows)["rlhf_standard"] == "Requires reward model"


def test_a_note_edited_in_the_inventory_survives_and_a_status_does_not():
    text = rendered().replace("Mentioned working yesterday", "ask Ada first")
    after = rendered(fake.passing(), before=text.encode())
    assert "| ask Ada first |" in after
    with pytest.raises(ReportError, match="was edited by hand"):
        rendered(before=text.replace("| ⏳ Pending | Llama-3.2-1B | ask", "| ✅ Fine | Llama-3.2-1B | ask").encode())


def test_columns_behind_the_notes_are_the_authors():
    wider = re.sub(rb"(?m)^(\|.*\|)$", rb"\1 owner |", SEED).replace(b"|-------| owner |", b"|-------|:-----:|")
    wider = wider.replace(b"Requires reward model | owner |", b"Requires reward model | Ada |")
    marked = adopted(wider)
    assert without_marks(marked) == wider
    kto = fake.subject("kto_standard", "kto", title="KTO", notes="")
    model = build_model([*SUBJECTS, kto], [fake.passing()])
    text = render_document(marked, model).decode()
    assert "| Template Key | Method | Status | Model | Notes | owner |\n|-------------|--------|" in text
    assert "|-------| :-----: |\n" in text
    assert "| Requires reward model | Ada |\n" in text
    assert re.search(r"\n\| `kto_standard` \|.*\|  \|  \|\n\n\*\*By hand, before", text)
    assert render_document(text.encode(), model).decode() == text
    assert "| Bob |" in render_document(text.replace("| Ada |", "| Bob |").encode(), model).decode()


def test_a_row_of_a_template_without_a_spec_is_kept_and_never_green():
    marked = adopted().replace(
        b"| `dpo_standard`", b"| `kto_standard` | KTO | \xe2\x9c\x85 Working | L | mine |\n| `dpo_standard`"
    )
    text = render_document(marked, EMPTY, force=True).decode()
    assert "| `kto_standard` | KTO | ➖ Not tested: no spec | L | mine |" in text


def by_hand(text: str) -> dict[str, str]:
    regions = [part for part in parse(text.encode(), "DOC.md")[0] if isinstance(part, Region)]
    lines = {part.id: line for part in regions for line in part.current.split("\n") if "By hand, before" in line}
    return {id_: line.removeprefix("**By hand, before runspec:** ") for id_, line in lines.items()}


def test_what_a_person_claimed_is_kept_as_her_claim_beside_the_evidence():
    text = rendered(fake.failing("a1", "sft_standard/basic/1"))
    assert status_lines(text)["sft_standard"] == "❌ **Failed**"
    claims = {
        "inventory": "`sft_standard`: ✅ **Working**",
        "status:sft_standard": "✅ Working (with some issues)",
        "status:cpt_standard": "⏳ Pending (mentioned working yesterday)",
        "results:sft_standard": "Test Date: Ongoing · Status: ✅ Working (with some issues)",
        "results:cpt_standard": "Test Date: 2025-12-18 (mentioned working) · Status: ⏳ Need to re-verify",
    }
    assert by_hand(text) == claims
    later = rendered(fake.passing("a2", "sft_standard/basic/1", day=1), before=text.encode())
    assert by_hand(later) == claims
    assert rendered(fake.passing("a2", "sft_standard/basic/1", day=1), before=later.encode()) == later


def test_a_status_that_stands_only_in_the_table_is_kept_as_a_claim():
    table = (
        b"| Template Key | Method | Status | Model | Notes |\n|---|---|---|---|---|\n"
        b"| `sft_standard` | SFT | \xe2\x9c\x85 **Working** | L | mine |\n"
        b"| `dpo_standard` | DPO | \xe2\x8f\xb3 Pending | L |  |\n"
        b"| `kto_standard` | KTO | Works \\| mostly | L |  |\n"
    )
    text = rendered(before=adopted(table))
    claims = {"inventory": "`sft_standard`: ✅ **Working** · `kto_standard`: Works \\| mostly"}
    assert by_hand(text) == claims
    assert "| `sft_standard` | SFT | ⏳ Pending |" in text
    later = rendered(fake.passing("a1", "dpo_standard/basic/1"), before=text.encode())
    assert by_hand(later) == claims
    assert rendered(before=later.encode()) == text
    assert contradicted(text) == []
    without = text.replace("\n**By hand, before runspec:** " + claims["inventory"] + "\n", "")
    assert by_hand(without) == {}
    assert rendered(before=without.encode()) == without


def test_a_claim_made_by_hand_may_be_changed_or_deleted_by_hand():
    text = rendered()
    changed = text.replace(": ✅ Working (with some issues)\n<!--", ": worked for Ada\n<!--")
    assert rendered(before=changed.encode()) == changed
    without = re.sub(r"\n\*\*By hand, before runspec:\*\* [^\n]*\n", "", text)
    assert by_hand(without) == {}
    assert rendered(before=without.encode()) == without


def test_a_tick_made_by_hand_goes_and_its_claim_stays():
    box = "Basic verification (confirmed working) <!-- runspec:check sft_standard.basic -->"
    text = rendered()
    assert f"- [ ] {box} → *ticked by hand*\n" in text
    assert rendered(before=text.encode()) == text
    assert f"- [x] {box} → *rehearsed on local" in rendered(
        fake.passing("a1", "sft_standard/basic/1"), before=text.encode()
    )


def test_boxes_that_stay_the_authors_are_named_by_their_lines_in_the_marked_document():
    done = adopt_document(SEED, EMPTY)
    lines = done.document.decode().split("\n")
    assert len(done.unkeyed) > 2
    assert [text for line, text in done.unkeyed if text in lines[line - 1]] == [text for _, text in done.unkeyed]


def test_a_status_changed_between_adopting_and_rendering_is_a_hand_edit():
    with pytest.raises(ReportError, match="status:sft_standard` was edited by hand"):
        rendered(
            before=adopted().replace(b"**Status:** \xe2\x9c\x85 Working (with some issues)", b"**Status:** fine", 1)
        )


def test_findings_and_notes_of_the_author_stay_below_the_results():
    text = rendered(fake.passing("a1", "sft_standard/basic/1"))
    assert "**Job ID:** Multiple jobs tested" in text
    assert "**Notes:** User mentioned CPT worked yesterday with notifications" in text
    log = text[text.index("begin results:sft_standard") :]
    assert log.index("run `a1`") < log.index("Multiple jobs tested")


def test_a_template_with_two_statuses_is_named_with_every_line():
    found = {one.spec: one for one in contradictions(SEED, EMPTY)}
    assert list(found) == ["cpt_standard"]
    text = found["cpt_standard"].render("DOC.md")
    assert text.startswith("warning[report.contradiction]: `cpt_standard` is called pending and working")
    assert "DOC.md:31: Mentioned working yesterday" in text
    assert "DOC.md:371: ⏳ Need to re-verify" in text


def contradicted(text: str | bytes, *runs: fake.RecordedRun) -> list[str]:
    document = text.encode() if isinstance(text, str) else text
    return [one.spec for one in contradictions(document, build_model(SUBJECTS, runs))]


def test_old_results_do_not_contradict_the_status():
    assert contradicted(rendered(fake.failing(), fake.passing(day=1))) == []


def test_what_was_claimed_before_runspec_contradicts_no_missing_evidence():
    text = rendered()
    assert "**By hand, before runspec:** ✅ Working (with some issues)" in text
    assert "Confirmed working with some issues" in text
    assert contradicted(text) == []
    assert contradicted(rendered(fake.passing("a1", "sft_standard/basic/1"))) == []


def test_a_status_of_the_authors_own_contradicts_the_evidence_and_her_other_one():
    hand = "**Config:**\n- Model: `meta-llama/Llama-3.2-1B`\n"
    with_status = rendered().replace(hand, "**Status:** ✅ Working\n\n" + hand)
    assert contradicted(with_status) == ["cpt_standard"]
    fails = rendered(fake.failing("a1", "sft_standard/basic/1"))
    assert contradicted(fails) == ["sft_standard"], "its note says that it works"
    assert contradicted(adopted()) == ["cpt_standard"], "what is adopted is still hers"


def test_evidence_of_another_machine_is_not_dropped_in_silence(tmp_path):
    path = tmp_path / "DOC.md"
    path.write_text(rendered(fake.passing("7f3a")))
    assert missing_runs(path.read_bytes(), EMPTY) == ("7f3a",)
    with pytest.raises(ReportError, match="names runs that are not recorded here: `7f3a`"):
        write_document(path, EMPTY)
    assert write_document(path, EMPTY, force=True)
    assert missing_runs(path.read_bytes(), EMPTY) == ()
