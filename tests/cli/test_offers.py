"""What a shell is offered at Tab: what this folder has, quickly, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from runner.store.store import Store

sys.path.insert(0, str(Path(__file__).parents[1] / "reports"))

import fake_runs as fake

HEAVY = ("aiohttp", "jinja2", "rich", "torch", "transformers")


@pytest.fixture
async def recorded(workshop) -> None:
    for folder in (".runspec", "elsewhere"):
        runs = [fake.passing("7f3a"), fake.failing("8c1d", "dpo_standard/full/1", day=1)]
        with Store.open(workshop.folder / folder) as store:
            for run in runs if folder == ".runspec" else [fake.passing("e15e")]:
                await store.journal(run.run).append(*run.events, durable=True)


@pytest.fixture
def offered(workshop):
    def of(typed: str) -> list[str]:
        words = f"runspec {typed}"
        extra = {"_RUNSPEC_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        said = workshop.process(env=extra)
        assert said.err == ""
        return [line.removeprefix("plain,") for line in said.out.split()]

    return of


@pytest.mark.parametrize("typed", ["run --phase ", "specs/cpt.yaml --phase ", "plan -p ", "compare --phase "])
def test_phases_are_those_of_the_specs(offered, typed):
    assert offered(typed) == ["basic", "full", "batch"]


def test_phases_and_tags_are_those_of_the_specs_on_the_line(offered, workshop):
    file = workshop.folder / "specs" / "cpt.yaml"
    file.write_text(file.read_text("utf-8").replace("tags: [cpt]", "tags: [cpt, mine]\nphases: [basic]"), "utf-8")
    assert offered("specs/cpt.yaml --phase b") == ["basic"]
    assert offered("plan specs/cpt.yaml -t ") == ["cpt", "mine"]
    assert offered("plan specs/dpo.yaml specs/orpo.yaml --tag pre") == ["preference"]


@pytest.mark.parametrize(
    "typed", ["logs ", "history ", "report ", "resume ", "judge ", "compare 8c1d ", "baseline accept "]
)
def test_runs_are_offered_newest_first(recorded, offered, typed):
    assert offered(typed) == ["8c1d", "7f3a", "last"]


def test_runs_are_those_of_the_state_on_the_line(recorded, offered):
    assert offered("logs --state elsewhere ") == ["e15e", "last"]
    assert offered("explain 7f") == ["7f3a", "file,7f"]


def test_specs_of_history_are_those_with_runs(recorded, offered):
    assert sorted(offered("history --spec ")) == ["cpt_standard", "dpo_standard"]


def test_a_folder_without_specs_and_runs_offers_nothing_and_says_nothing(offered, workshop):
    (workshop.folder / "specs").rename(workshop.folder / "others")
    assert offered("plan --phase ") == []
    assert offered("plan nothing/here.yaml --phase ") == []
    assert offered("logs ") == []
    assert not (workshop.folder / ".runspec").exists()


def test_a_spec_with_a_mistake_does_not_stop_the_others_from_being_offered(offered, workshop):
    (workshop.folder / "specs" / "cpt.yaml").write_text("runspec: 1\nname: [", "utf-8")
    assert "full" in offered("plan --phase ")


def test_offering_loads_nothing_heavy(recorded, workshop):
    script = (
        "import sys\nfrom runner.cli.main import cli\nfrom click.shell_completion import BashComplete\n"
        "shell = BashComplete(cli, {}, 'runspec', 'X')\n"
        "found = [one.value for words in (['run', '-p'], ['run', '-t'], ['logs']) "
        "for one in shell.get_completions(words, '')]\n"
        f"print(len(found), [one for one in {HEAVY} if one in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=workshop.folder, env=workshop.environment(), capture_output=True, text=True
    )
    assert done.stdout == "13 []\n"
