"""The site: every page has its place in the navigation."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]


def test_every_page_is_in_the_navigation_once():
    nav = YAML(typ="safe").load(ROOT / "mkdocs.yml")["nav"]
    listed = [page for entry in nav for page in pages(entry)]
    decisions = "adr/"
    there = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert len(listed) == len(set(listed))
    assert {page for page in there ^ set(listed) if not page.startswith(decisions)} == set()


def pages(entry: object) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    assert isinstance(entry, dict)
    return [
        page
        for below in entry.values()
        for one in (below if isinstance(below, list) else [below])
        for page in pages(one)
    ]
