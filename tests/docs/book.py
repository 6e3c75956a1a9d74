"""What a page of the documentation asks its reader to do: files to write and commands to run.

A fenced block that begins with `# path/to/file` is a file. A `console` block says before it, in a comment, whether it
is executed: `<!-- run -->`, `<!-- run: exit 2 -->`, `<!-- run: training -->` or `<!-- not run: why -->`. What a block
shows below a command must be in the command's output, in this order; `…` stands for anything, and figures may differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    Path("README.md"),
    *sorted(
        path.relative_to(ROOT)
        for path in (ROOT / "docs").rglob("*.md")
        if "adr" not in path.parts
        and "reference" not in path.parts
        and path.name not in {"diagnostics.md", "issues.md"}
    ),
]
_BLOCK = re.compile(r"(?:<!-- (?P<note>[^>]*?) -->\n)?^```(?P<kind>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w./-]+\.(?:yaml|yml|toml|md))$")


@dataclass(frozen=True)
class File:
    """A file that the reader writes."""

    path: str
    text: str


@dataclass(frozen=True)
class Appendix:
    """What the reader adds to a file."""

    path: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command line, what the page shows of its output, and its exit code."""

    line: str
    shown: tuple[str, ...]
    code: int = 0
    is_training: bool = False


@dataclass(frozen=True)
class NotRun:
    """A block that nobody executes, and why."""

    why: str


Deed = File | Appendix | Command | NotRun


def deeds(page: Path) -> Iterator[Deed]:
    """What a page asks for, in its order."""
    for block in _BLOCK.finditer((ROOT / page).read_text(encoding="utf-8")):
        note, kind, body = block["note"] or "", block["kind"], block["body"]
        first, _, rest = body.partition("\n")
        if appended := re.fullmatch(r"<!-- append to (\S+) -->", first):
            yield Appendix(appended[1], rest)
        elif (named := _FILE.match(first)) and kind == "yaml":
            yield File(named[1], rest)
        elif kind == "console":
            yield from _commands(page, note, body)


def _commands(page: Path, note: str, body: str) -> Iterator[Deed]:
    if note.startswith("not run: "):
        yield NotRun(note.removeprefix("not run: "))
        return
    how = re.fullmatch(r"run(?:: (?:(training)|exit (\d+)))?", note)
    assert how, f"{page}: say of every console block whether it is run; this one says {note!r}:\n{body}"
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        line, *shown = part.rstrip().splitlines()
        yield Command(line, tuple(text for text in shown if text), int(how[2] or 0), is_training=how[1] is not None)


def matches(shown: tuple[str, ...], said: str) -> list[str]:
    """The shown lines that the output does not have at their place."""
    left = iter([_normal(line) for line in said.splitlines()])
    return [line for line in shown if line.strip() != "…" and not any(_fits(line, other) for other in left)]


def _fits(shown: str, actual: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in _normal(shown).split("…"))
    return re.search(f"^{pattern.strip()}$", actual) is not None


def _normal(line: str) -> str:
    line = re.sub(r"under \$\d+\.\d+|\$\d+\.\d+", "$N", line)
    return re.sub(r"\s+", " ", re.sub(r"\b\d+(\.\d+)? (s|min)\b", r"N \2", line)).strip()
