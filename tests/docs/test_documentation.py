"""Every command and every spec in the documentation does what the page says."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.workshop import Workshop, furnish
from tests.docs.book import PAGES, ROOT, Appendix, Command, File, NotRun, deeds, matches

QUICK = [page for page in PAGES if not any(isinstance(one, Command) and one.is_training for one in deeds(page))]
TRAINING = [page for page in PAGES if page not in QUICK]
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?!https?:)([^)#\s]*)(?:#([\w-]+))?\)|!\[[^\]]*\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a `runspec` that is this one, for the shell."""
    folder = tmp_path_factory.mktemp("bin")
    for name, module in (("runspec", "runner.cli.main"), ("pytest", "pytest")):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        script.chmod(0o755)
    return folder


def follow(page: Path, workshop: Workshop, shelf: Path, done: dict[str, str]) -> None:
    """Do what a page says; a training command that was done before is not done again."""
    for deed in deeds(page):
        match deed:
            case File(path=path, text=text):
                target = workshop.folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text)
            case Appendix(path=path, text=text):
                with (workshop.folder / path).open("a") as file:
                    file.write(text)
            case NotRun(why=why):
                assert why
            case Command():
                if deed.line not in done or not deed.is_training:
                    done[deed.line] = execute(deed, workshop, shelf)
                missing = matches(deed.shown, done[deed.line])
                assert not missing, f"{page}: `{deed.line}` does not say {missing}:\n{done[deed.line]}"
    execute(Command("runspec validate specs", ()), workshop, shelf)


def execute(deed: Command, workshop: Workshop, shelf: Path) -> str:
    path = f"{shelf}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "-c", deed.line],
        cwd=workshop.folder,
        env=workshop.environment({"PATH": path}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ran.returncode == deed.code, f"`{deed.line}` ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}"
    return ran.stdout + ran.stderr


@pytest.mark.parametrize("page", QUICK, ids=str)
def test_page_does_what_it_says(page, tmp_path, shelf):
    follow(page, furnish(tmp_path), shelf, {})


@pytest.mark.training
def test_readme_and_tutorial_do_what_they_say(tmp_path, shelf):
    workshop, done = furnish(tmp_path), {}
    for page in TRAINING:
        follow(page, workshop, shelf, done)
    workshop.assert_nothing_runs()


def test_only_readme_and_tutorial_train():
    assert [str(page) for page in TRAINING] == ["README.md", "docs/tutorial.md"]


def test_spec_on_the_first_screen_is_the_one_that_is_run():
    block = re.search(r"```yaml\n# specs/cpt.yaml, [^\n]*\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block is not None
    lines = block[1].splitlines()
    assert len(lines) <= 10
    spec = iter((ROOT / "specs" / "cpt.yaml").read_text().splitlines())
    assert [line for line in lines if line not in spec] == []


@pytest.mark.parametrize("page", [*PAGES, *sorted(Path("docs/reference").glob("*.md"))], ids=str)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for match in _LINK.finditer(re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        target, anchor, image = match[1], match[2], match[3]
        file = (ROOT / page).parent / (image or target) if (image or target) else ROOT / page
        assert file.exists(), f"{page} links to {image or target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}


def test_generated_reference_is_current():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main(["--check"]) == 0


def test_every_diagnostic_is_explained():
    code = re.compile(r'"((?:spec|plan|target|dataset|report|new)\.[a-z]+(?:-[a-z]+)*)"')
    used = {found for path in (ROOT / "runner").rglob("*.py") for found in code.findall(path.read_text("utf-8"))}
    page = (ROOT / "docs" / "diagnostics.md").read_text("utf-8")
    no_codes = {"dataset.checked", "dataset.jsonl"}
    assert {one for one in used - no_codes if f"`{one}`" not in page} == set()
