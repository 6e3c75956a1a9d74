"""The map of the code names every room, and the decisions are numbered and listed."""

from __future__ import annotations

import re

from tests.docs.book import ROOT

MAP = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
DECISIONS = sorted((ROOT / "docs" / "adr").glob("*.md"))


def test_the_map_names_every_room_of_the_package():
    rooms = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in (ROOT / "runner").iterdir()
        if path.name[0] not in "_." and (path.is_dir() or path.suffix == ".py")
    }
    table = MAP.partition("| room of `runner/` | knows |")[2].partition("\n\n")[0]
    named = {name for row in table.splitlines() for name in re.findall(r"`([^`]+)`", row.split("|")[1] if row else "")}
    assert named - {"---"} == rooms


def test_the_map_names_no_module_that_is_not_there():
    for name in re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", MAP):
        assert (ROOT / "runner" / name).is_file(), name


def test_decisions_are_numbered_without_a_gap_and_listed_on_the_site():
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for number, path in enumerate(DECISIONS, 1):
        assert path.name.startswith(f"{number:04d}-"), path.name
        assert path.read_text(encoding="utf-8").startswith(f"# {number}. "), path.name
        assert f"adr/{path.name}" in site, f"{path.name} is not on the site"
