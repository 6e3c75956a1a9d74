"""Specs as pytest items."""

from __future__ import annotations

import subprocess
import sys
from xml.etree import ElementTree

import pytest

from tests.cli.workshop import PATIENCE_S


@pytest.fixture
def pytest_in(workshop):
    def run(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:asyncio", *args]
        return subprocess.run(
            command, cwd=workshop.folder, env=workshop.environment(), capture_output=True, text=True, timeout=PATIENCE_S
        )

    return run


def test_plugin_is_off_unless_asked_for(pytest_in):
    done = pytest_in("specs", "--collect-only", "-q")
    assert done.returncode == 5
    assert "cpt_standard" not in done.stdout


def test_each_spec_and_phase_is_an_item_and_nothing_else(pytest_in):
    done = pytest_in("specs", "--runspec", "--collect-only", "-q")
    assert done.returncode == 0, done.stdout
    assert "specs/cpt.yaml::cpt_standard/basic" in done.stdout
    assert "phases/" not in done.stdout
    assert "common/" not in done.stdout


def test_items_are_selected_by_keyword_and_by_tag(pytest_in):
    by_name = pytest_in("specs", "--runspec", "--collect-only", "-q", "-k", "cpt_standard and basic").stdout
    assert "cpt_standard/basic" in by_name
    assert "sft_standard" not in by_name
    by_tag = pytest_in("specs", "--runspec", "--collect-only", "-q", "-k", "preference and basic").stdout
    assert "dpo_standard/basic" in by_tag
    assert "cpt_standard" not in by_tag


def test_spec_with_problems_is_a_collection_error_with_all_of_them(pytest_in, workshop):
    path = workshop.folder / "specs" / "cpt.yaml"
    path.write_text(path.read_text().replace("title:", "titel:"))
    done = pytest_in("specs/cpt.yaml", "--runspec")
    assert done.returncode == 2
    assert "error[spec.unknown-key]" in done.stdout
    assert "Traceback" not in done.stdout


def test_what_could_not_be_started_is_an_error_and_no_failure(pytest_in, workshop):
    path = workshop.folder / "specs" / "dpo.yaml"
    path.write_text(path.read_text().replace("data/preference.jsonl", "data/text.jsonl"))
    done = pytest_in("specs/dpo.yaml", "--runspec", "-k", "basic", "--junit-xml", "result.xml")
    assert done.returncode == 1
    assert "text.jsonl:1" in done.stdout
    suite = ElementTree.parse(workshop.folder / "result.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("errors"), suite.get("failures")) == ("1", "1", "0")
    assert not (workshop.folder / ".runspec").exists()
