"""The command as somebody types it: what it says, and its exit code."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runner.cli import main as cli_main
from runner.events import PodCreated, PodRequested, RunStarted
from runner.results import Target
from runner.store import lock
from runner.store.store import Store

ROOT = Path(__file__).resolve().parents[2]


# --- start-up -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--version"], ["validate", "specs"], ["--help"]])
def test_light_commands_import_no_server_no_templates_and_no_torch(workshop, arguments):
    code = (
        "import sys\nfrom runner.cli.main import run_cli\n"
        f"code = run_cli({arguments!r})\n"
        "heavy = {'aiohttp', 'jinja2', 'torch', 'transformers'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=workshop.folder, env=workshop.environment(), capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == "[]"


def test_version_is_one_line(runspec):
    said = runspec("--version")
    assert said.code == 0
    assert said.out.startswith("runspec ")
    assert said.out.count("\n") == 1


def test_help_names_every_command(runspec):
    said = runspec("--help")
    assert said.code == 0
    for name in cli_main.COMMANDS:
        assert f"  {name} " in said.out


def test_help_says_what_each_exit_code_means(runspec):
    text = " ".join(runspec("--help").out.split())
    for code in (0, 1, 2, 3, 4, 5, 6, 7, 130):
        assert re.search(rf"[:;] {code} \w", text), code


def test_every_command_explains_itself(runspec):
    for name in cli_main.COMMANDS:
        said = runspec(name, "--help")
        assert said.code == 0
        assert said.out.startswith(f"Usage: runspec {name}"), name


def test_bare_command_shows_the_help(runspec):
    said = runspec()
    assert said.code == 2
    assert "Usage: runspec" in said.err + said.out


# --- mistakes -------------------------------------------------------------------------------------------------------


def test_mistyped_command_is_answered_with_the_nearest(runspec):
    said = runspec("valdate")
    assert said.code == 2
    assert "there is no command or file `valdate`: did you mean `validate`?" in said.err


def test_name_of_a_spec_is_answered_with_its_file(runspec):
    said = runspec("cpt_standard")
    assert said.code == 2
    assert "did you mean `specs/cpt.yaml`?" in said.err


def test_mistyped_option_is_answered_with_the_nearest(runspec):
    said = runspec("specs/cpt.yaml", "--phas", "basic")
    assert said.code == 2
    assert "--phase" in said.err


def test_missing_file_is_answered_with_the_nearest(runspec):
    said = runspec("specs/ctp.yaml")
    assert said.code == 2
    assert "there is no file `specs/ctp.yaml`" in said.err
    assert "did you mean `specs/cpt.yaml`?" in said.err


def test_mistyped_phase_is_answered_with_the_nearest(runspec):
    said = runspec("specs/cpt.yaml", "--phase", "basci")
    assert said.code == 2
    assert "did you mean `basic`?" in said.err


def test_mistyped_variable_is_answered_with_the_nearest(runspec):
    said = runspec("specs/cpt.yaml", "--set", "watch_step=5")
    assert said.code == 2
    assert "no selected spec or phase has a variable `watch_step`" in said.err
    assert "did you mean `watch_steps`?" in said.err


def test_variable_without_a_value_is_refused(runspec):
    said = runspec("specs/cpt.yaml", "--set", "watch_steps")
    assert said.code == 2
    assert "`watch_steps` is not of the form name=value" in said.err


def test_selection_of_nothing_says_so_and_starts_nothing(runspec, workshop):
    said = runspec("specs", "-k", "no such job")
    assert said.code == 5
    assert "nothing selected" in said.err
    assert not (workshop.folder / ".runspec").exists()


def test_every_problem_of_every_file_is_shown_at_once(runspec, workshop):
    for name in ("cpt", "sft"):
        path = workshop.folder / "specs" / f"{name}.yaml"
        path.write_text(path.read_text().replace("title:", "titel:"))
    said = runspec("validate", "specs")
    assert said.code == 2
    assert "specs/cpt.yaml:4:1" in said.err
    assert "specs/sft.yaml:4:1" in said.err
    assert "did you mean `title`?" in said.err


def test_mistake_shows_no_traceback(workshop):
    (workshop.folder / "specs" / "cpt.yaml").write_bytes(b"\xff\xfe\x00")
    said = workshop.process("validate", "specs/cpt.yaml")
    assert said.code == 2
    assert "Traceback" not in said.err
    assert "error[spec." in said.err


def test_bug_of_ours_is_admitted_and_its_traceback_kept(runspec, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("runner.cli.loading.find_spec_files", lambda _: 1 / 0)
    said = runspec("validate")
    assert said.code == 3
    assert "this is a bug in runspec" in said.err
    assert "Traceback" not in said.err
    assert "ZeroDivisionError" in Path(said.err.split()[-1]).read_text()


# --- before anything is paid for ------------------------------------------------------------------------------------


def test_dataset_of_another_shape_is_refused_with_row_and_missing_key_before_any_pod(runspec, workshop):
    spec = workshop.folder / "specs" / "dpo.yaml"
    spec.write_text(spec.read_text().replace("data/preference.jsonl", "data/text.jsonl"))
    said = runspec("specs/dpo.yaml")
    assert said.code == 2
    assert "text.jsonl:1" in said.err
    for missing in ("`prompt`", "`chosen`", "`rejected`"):
        assert missing in said.err
    assert "`text`" in said.err
    assert not (workshop.folder / ".runspec").exists(), "neither a journal nor an embedded cloud was made"


def test_dataset_that_is_not_there_is_told_where_the_spec_names_it(runspec, workshop):
    spec = workshop.folder / "specs" / "dpo.yaml"
    text = spec.read_text().replace("data/preference.jsonl", "data/preferense.jsonl")
    spec.write_text(text)
    line = next(number for number, row in enumerate(text.splitlines(), start=1) if "preferense" in row)
    said = runspec("validate", "specs")
    assert said.code == 2
    assert "there is no file `specs/data/preferense.jsonl`" in said.err
    assert f"--> specs/dpo.yaml:{line}:" in said.err
    assert "did you mean `preference.jsonl`?" in said.err


def test_without_torch_the_local_target_says_what_to_install_before_any_pod(runspec, workshop, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "trl", None)
    said = runspec("specs/cpt.yaml")
    assert said.code == 2
    assert "the local target really trains, but torch, trl cannot be imported" in said.err
    assert "pip install 'finetune-runspec[train]'" in said.err
    assert not (workshop.folder / ".runspec").exists()


def test_without_torch_specs_are_validated_and_planned_all_the_same(runspec, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert runspec("validate").code == 0
    assert runspec("plan").code == 0


def test_cloud_wants_a_limit_and_keys_and_says_all_of_it_at_once(runspec, workshop):
    said = runspec("specs/cpt.yaml", "--target", "cloud")
    assert said.code == 2
    assert "--max-spend" in said.err
    assert "RUNPOD_API_KEY" in said.err
    assert "FINETUNE_LAB_JWT" in said.err
    assert not (workshop.folder / ".runspec").exists()


# --- commands that start nothing ------------------------------------------------------------------------------------


def test_validate_counts_the_rows_of_every_spec(runspec):
    said = runspec("validate")
    assert said.code == 0
    assert "cpt_standard: 100 text rows" in said.out
    assert said.last_line == "5 specs are valid"


def test_plan_shows_what_would_run_and_starts_nothing(runspec, workshop):
    said = runspec("plan", "specs", "--phase", "basic")
    assert said.code == 0
    assert said.out.count("/basic/1") == 5
    assert "5 jobs on local" in said.last_line
    assert not (workshop.folder / ".runspec").exists()


def test_plan_of_the_cloud_says_what_it_may_cost_at_most(runspec):
    said = runspec("plan", "specs/cpt.yaml", "--target", "cloud", "--max-spend", "0.50")
    assert said.code == 0
    assert "at most $0.50" in said.last_line


def test_plan_in_detail_shows_the_configuration_that_the_lab_gets(runspec):
    said = runspec("plan", "specs/cpt.yaml", "-v")
    assert '"method": "cpt"' in said.out
    assert "packing" in said.out


def test_list_shows_coverage_without_any_run(runspec):
    said = runspec("list")
    assert said.code == 0
    assert "cpt_standard" in said.out
    assert "pending" in said.out


@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_narrow_terminals_lose_columns_and_no_letters(runspec, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    said = runspec("list")
    assert "…" not in said.out
    assert max(map(len, said.out.splitlines())) <= int(columns)
    assert all(name in said.out for name in ("cpt_standard", "rlhf_standard", "basic", "pending"))


def test_list_of_one_spec_does_not_miss_the_others(runspec):
    assert "templates without a spec" not in runspec("list", "specs/cpt.yaml").out


def test_list_names_templates_that_no_spec_covers(runspec, workshop):
    (workshop.folder / "specs" / "orpo.yaml").unlink()
    assert "templates without a spec here: orpo_standard" in runspec("list").out


def test_history_of_nothing_says_how_to_make_some(runspec):
    said = runspec("history")
    assert said.code == 0
    assert "`runspec specs/cpt.yaml` makes one" in said.out


def test_schemas_of_the_project_are_up_to_date(runspec, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert runspec("schema", "--check").code == 0


def unexplained(schema: dict) -> list[str]:
    """Keys that an editor has no hover text for, neither their own nor that of the model they refer to."""
    models = schema["$defs"]
    keys = [
        (f"{name}.{key}", value)
        for name, model in [("top", schema), *models.items()]
        for key, value in model.get("properties", {}).items()
    ]
    texts = {key: value.get("description") or ("$ref" in value and told(models, value)) for key, value in keys}
    return [key for key, text in texts.items() if not text]


def told(models: dict, value: dict) -> str | None:
    return models[value["$ref"].removeprefix("#/$defs/")].get("description")


def test_every_key_of_every_schema_is_explained(runspec):
    names = runspec("schema").out.split()
    assert {"spec.schema.json", "faults.schema.json", "issues.schema.json", "report.schema.json"} <= set(names)
    for name in names:
        assert unexplained(json.loads(runspec("schema", name).out)) == [], name


def test_stale_schema_is_noticed(runspec, workshop):
    assert runspec("schema", "--write").code == 0
    path = workshop.folder / "schemas" / "spec.schema.json"
    path.write_text(path.read_text() + "\n")
    said = runspec("schema", "--check")
    assert said.code == 7
    assert "schemas/spec.schema.json is out of date" in said.err


def test_reap_of_nothing_is_content(runspec):
    said = runspec("reap", "--target", "local")
    assert said.code == 0
    assert "nothing is left" in said.out


# --- streams --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["schema", "spec.schema.json"], ["list"], ["plan", "-v"]])
def test_reader_that_goes_away_gets_no_traceback(workshop, arguments):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "runner.cli.main", *arguments],
            cwd=workshop.folder,
            env=workshop.environment({"PYTHONUNBUFFERED": ""}),
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(writing)
    assert done.stderr == ""
    assert done.returncode == cli_main.BROKEN_PIPE


def test_data_goes_to_standard_output_and_the_rest_to_standard_error(runspec):
    said = runspec("schema", "spec.schema.json")
    assert json.loads(said.out)["title"] == "runspec spec"
    assert said.err == ""


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("RUNSPEC_PHASE", "basci", "did you mean `basic`?"),
        ("RUNSPEC_SET", "watch_step=5", "no selected spec or phase has a variable `watch_step`"),
        ("RUNSPEC_TARGET", "moon", "'moon' is not one of"),
        ("RUNSPEC_MAX_SPEND", "lots", "`lots` is not an amount"),
        ("RUNSPEC_JOBS", "0", "0 is not in the range"),
        ("RUNSPEC_PROGRESS", "loud", "'loud' is not one of"),
        ("RUNSPEC_KEYWORD", "no such job", "nothing selected"),
        ("RUNSPEC_TAG", "no-such-tag", "nothing selected"),
    ],
)
def test_common_flags_are_read_from_the_environment(runspec, monkeypatch, variable, value, expected):
    monkeypatch.setenv(variable, value)
    assert expected in runspec("specs/cpt.yaml").err


def test_flag_wins_over_its_environment_variable(runspec, monkeypatch):
    monkeypatch.setenv("RUNSPEC_TARGET", "cloud")
    assert "on local" in runspec("plan", "specs/cpt.yaml", "--target", "local").last_line
    assert "on cloud" in runspec("plan", "specs/cpt.yaml").last_line


# --- looking at what goes on ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["status", "logs"])
def test_nothing_recorded_is_said_with_what_makes_a_record(runspec, name):
    said = runspec(name)
    assert said.code == 0
    assert "`runspec specs/cpt.yaml` makes one" in said.out + said.err


@pytest.mark.parametrize(
    ("target", "advice"),
    [
        (Target.LOCAL, "! local pod p1 of run dead is not proven gone: `runspec reap --target local --yes`"),
        (Target.CLOUD, "! pod p1 of run dead may still be billed: `runspec reap`"),
    ],
)
def test_status_of_a_killed_run_names_what_goes_on_with_it_and_what_ends_its_pods(runspec, workshop, target, advice):
    now = datetime.now(UTC)
    requested = PodRequested(at=now, job="cpt/basic/1", name="n", via="lab", gpu="g", price_cap_usd_h=1, deadline=now)
    created = PodCreated(at=now, job="cpt/basic/1", name="n", pod_id="p1", cost_usd_h=0)
    started = RunStarted(at=now, run="dead", target=target, via="lab", jobs=())
    with closing(Store.open(workshop.folder / ".runspec")) as store:
        asyncio.run(store.journal("dead").append(started, requested, created, durable=True))
    (workshop.folder / ".runspec" / lock.FILE).write_text("")  # as if the process that took it were gone
    said = runspec("status")
    assert "run dead was interrupted, 0 of 0 jobs done: `runspec resume dead`" in said.out
    assert advice in said.out
    (workshop.folder / ".runspec").rename(workshop.folder / "other")
    elsewhere = runspec("status", "--state", "other").out
    assert "`runspec resume dead --state other`" in elsewhere
    assert f"{advice.removesuffix('`')} --state other`" in elsewhere


def test_last_run_of_nothing_says_so(runspec):
    said = runspec("history", "last")
    assert said.code == 2
    assert "no runs are recorded here yet" in said.err


def test_unknown_run_is_refused(runspec):
    assert runspec("logs", "feedbeef").code == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_each_shell(runspec, shell):
    said = runspec("completion", shell)
    assert said.code == 0
    assert "_RUNSPEC_COMPLETE" in said.out


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("va", "plain,validate"), ("plan --tar", "plain,--target"), ("run --target cl", "plain,cloud"), ("sp", "file,sp")],
)
def test_shell_is_offered_commands_options_values_and_files(workshop, typed, offered):
    words = f"runspec {typed}"
    extra = {"_RUNSPEC_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    assert offered in workshop.process(env=extra).out.splitlines()


# --- plan, in detail -----------------------------------------------------------------------------------------------


def test_plan_in_detail_shows_every_request_as_it_would_be_sent(runspec):
    said = runspec("plan", "specs/dpo.yaml", "--phase", "basic", "-v")
    assert said.code == 0
    for request in (
        "POST /api/training\n",
        "POST /api/training/dataset\n",
        "POST /api/training/CONFIG_ID/attach-dataset\n",
        "POST /api/training/deploy/runpod\n",
    ):
        assert request in said.out
    assert '"training_config_id": "CONFIG_ID"' in said.out
    assert "session token" not in said.out


def test_plan_of_the_cloud_says_how_to_see_prices_without_a_key(runspec):
    assert "set RUNPOD_API_KEY to see them" in runspec("plan", "specs/cpt.yaml", "--target", "cloud").out


def test_plan_goes_on_when_prices_cannot_be_had(runspec, monkeypatch):
    monkeypatch.setattr("runner.cli.preview.PATIENCE_S", 0.2)
    monkeypatch.setenv("RUNPOD_API_KEY", "secret-key")
    monkeypatch.setenv("RUNSPEC_RUNPOD_URL", "http://127.0.0.1:9")
    said = runspec("plan", "specs/cpt.yaml", "--phase", "basic", "--target", "cloud")
    assert said.code == 0
    assert "GPU prices: not known" in said.out
    assert "secret-key" not in said.out + said.err
    assert said.last_line.startswith("1 job on cloud")


def test_plan_shows_prices_and_availability_of_a_real_catalog(workshop):
    served = subprocess.Popen(
        [sys.executable, "-m", "runner.cli.main", "local", "serve", "--pods", "scripted"],
        cwd=workshop.folder,
        env=workshop.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert served.stdout is not None
        addresses = json.loads(served.stdout.readline())
        env = {"RUNPOD_API_KEY": addresses["runpod_api_key"], "RUNSPEC_RUNPOD_URL": addresses["runpod_url"]}
        said = workshop.process("plan", "specs/cpt.yaml", "--phase", "basic", "--target", "cloud", env=env)
    finally:
        served.terminate()
        assert served.wait(20) == 0
        served.stdout.close()
    assert said.code == 0, said.err
    assert re.search(r"  NVIDIA RTX A4000: 16 GB, 0\.\d\d USD/h, availability \w+", said.out)


# --- edges ----------------------------------------------------------------------------------------------------------


def test_a_folder_without_specs_is_nothing_that_could_be_called_valid(runspec, workshop):
    (workshop.folder / "empty").mkdir()
    said = runspec("validate", "empty")
    assert said.code == 5
    assert said.err == "nothing to check: there is no spec in empty\n"


@pytest.mark.parametrize("limit", ["inf", "nan", "-1"])
def test_a_spend_limit_that_limits_nothing_is_refused(runspec, limit):
    said = runspec("plan", "--max-spend", limit)
    assert said.code == 2
    assert f"`{limit}` is no limit: give 0 or more US dollars" in said.err


def test_a_document_without_marks_is_not_called_up_to_date(runspec, workshop):
    (workshop.folder / "notes.md").write_text("# Notes\n", encoding="utf-8")
    for flags in ([], ["--check"]):
        said = runspec("render", "notes.md", *flags)
        assert said.code == 2
        assert "report.no-marks" in said.err
        assert "`runspec render notes.md --adopt`" in said.err


def test_adopting_a_document_about_one_template_names_the_others_in_one_line(runspec, workshop):
    (workshop.folder / "team.md").write_text("## CPT Standard\n\n- [ ] Basic verification\n", encoding="utf-8")
    said = runspec("render", "team.md", "--adopt")
    assert said.code == 0
    assert said.out.startswith("marked 1 region and 1 checkbox in team.md; your text is as it was\n")
    (absent,) = [line for line in said.out.splitlines() if "no heading names" in line]
    assert "`sft_standard`" in absent
    assert "cpt_standard" not in absent
    assert said.out.count("no place for") == 1
    assert "`results:cpt_standard`" in said.out
    assert "results:sft_standard" not in said.out


def test_adopting_again_names_a_template_that_was_added_since(runspec, workshop):
    assert runspec("render", "--adopt").out == "reports/RUNPOD_TESTING.md has all the marks that have a place in it\n"
    runspec("new", "mine", "--method", "sft", "--model", "a/b")
    said = runspec("render", "--adopt")
    assert said.out.splitlines()[1:] == ["  no heading names `mine`: give a template one, and adopt again"]


def test_a_tick_made_by_hand_is_not_taken_away_in_silence(runspec, workshop):
    document = workshop.folder / "team.md"
    document.write_text("## CPT Standard\n\n- [x] Basic verification\n- [x] Write a poem\n", encoding="utf-8")
    command = "`runspec specs/cpt.yaml --phase basic`"
    said = runspec("render", "team.md", "--adopt")
    assert f"team.md:3: a render unticks `Basic verification` until {command} passes" in said.out
    assert said.out.count("a render unticks") == 1
    said = runspec("render", "team.md")
    assert f"team.md:3: unticked `Basic verification`: no recorded run shows it; {command} ticks it" in said.out
    assert "- [x] Write a poem\n" in document.read_text("utf-8")
    assert runspec("render", "team.md").out == "team.md is up to date\n"


def test_a_refused_edit_is_told_how_to_be_overwritten_in_that_very_document(runspec, workshop):
    document = workshop.folder / "team.md"
    document.write_text("## CPT Standard\n\n**Status:** new\n", encoding="utf-8")
    assert runspec("render", "team.md", "--adopt").code == 0
    document.write_text(document.read_text("utf-8").replace("new", "great"), encoding="utf-8")
    said = runspec("render", "team.md")
    assert said.code == 2
    assert "`runspec render team.md --force`" in said.err
    assert "great" in document.read_text("utf-8")


def test_no_run_has_no_name(runspec):
    said = runspec("explain", "")
    assert said.code == 2
    assert "no run is called ``" in said.err


def test_a_limit_of_runs_beyond_all_numbers_is_a_mistake_and_no_bug(runspec):
    said = runspec("history", "-n", "9" * 23)
    assert said.code == 2
    assert "is not in the range" in said.err
