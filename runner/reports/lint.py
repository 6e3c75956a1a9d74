"""What a document says of one template in two places that cannot both be true."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from runner.reports.boxkeys import spec_of
from runner.reports.foreign import visible
from runner.reports.outline import Outline, outline
from runner.reports.regions import Region, parse
from runner.reports.slots import cells_of, key_of
from runner.reports.standing import DocumentModel

_BOM = "\ufeff"
_CLAIMS = (
    ("failed", re.compile(r"❌|\bfail(s|ed|ing)?\b|\bbroken\b", re.IGNORECASE)),
    ("rehearsed", re.compile(r"🧪|\brehearsed\b", re.IGNORECASE)),
    ("pending", re.compile(r"⏳|\bpending\b|\bnot yet tested\b|\bre-?verify\b", re.IGNORECASE)),
    ("working", re.compile(r"✅|\b(?<!not )work(s|ed|ing)\b", re.IGNORECASE)),
)
_FIELDS = ("status", "test date", "notes")
_NO_VERDICT = ("pending", "rehearsed")
"""What we write as long as the real cloud has shown nothing: what somebody remembers of it may be true all the same."""
_TELLING = ("inventory", "status:")
"""Regions that say what a template's status is; the results log holds what it once was."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One place that says how a template stands. `line` counts from 1.

    Attributes:
        is_ours: we rendered it.
        is_remembered: it tells what somebody saw, and sets no status.
    """

    spec: str
    words: str
    line: int
    text: str
    is_ours: bool
    is_remembered: bool


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A template that is called two things."""

    spec: str
    claims: tuple[Claim, ...]

    def render(self, file: str) -> str:
        """The contradiction as text, a line a claim."""
        what = " and ".join(dict.fromkeys(claim.words for claim in self.claims))
        lines = [f"warning[report.contradiction]: `{self.spec}` is called {what}"]
        places = [f"  --> {file}:{one.line}: {visible(one.text, longest=90)}" for one in self.claims]
        return "\n".join([*lines, *dict.fromkeys(places)])


def contradictions(document: bytes, model: DocumentModel) -> list[Contradiction]:
    """Every template that the document calls two things, in the order of the document.

    What was claimed by hand and is quoted as that is of the past, and contradicts nothing.
    """
    text = document.decode("utf-8", "replace").removeprefix(_BOM)
    parts, _ = parse(document, "")
    regions = [part for part in parts if isinstance(part, Region) and not part.is_adopted]
    other = {line for part in regions if not part.id.startswith(_TELLING) for line in part.lines}
    ours = {line for part in regions if part.id.startswith(_TELLING) for line in part.lines}
    found = outline(text, ignoring=other)
    claims: dict[str, list[Claim]] = {}
    for claim in (*_in_tables(found, model, ours), *_in_fields(found, model, ours)):
        claims.setdefault(claim.spec, []).append(claim)
    return [
        Contradiction(name, tuple(sorted(said, key=lambda one: one.line)))
        for name, said in claims.items()
        if _differ(said)
    ]


def _differ(said: list[Claim]) -> bool:
    return any(
        one.words != two.words and not _may_both_be(one, two) and not _may_both_be(two, one)
        for one, two in combinations(said, 2)
    )


def _may_both_be(shown: Claim, remembered: Claim) -> bool:
    return shown.is_ours and shown.words in _NO_VERDICT and remembered.is_remembered


def _in_tables(found: Outline, model: DocumentModel, ours: set[int]) -> Iterator[Claim]:
    names = {one.subject.key: one.subject.name for one in model.templates}
    for table in found.tables:
        header = [word.lower() for word in table.header]
        for line in range(table.line + 2, table.end) if "status" in header else ():
            cells = cells_of(found.lines[line])
            spec = names.get(key_of(cells[0])) if len(cells) >= len(header) else None
            if spec is not None:
                yield from _claims(spec, cells[header.index("status")], line, is_ours=line in ours)
                if "notes" in header:
                    yield from _claims(spec, cells[header.index("notes")], line, is_remembered=True)


def _in_fields(found: Outline, model: DocumentModel, ours: set[int]) -> Iterator[Claim]:
    for field in found.fields:
        heading = found.heading_of(field.line)
        spec = spec_of(heading.text, model) if heading else None
        name = field.name.lower()
        if spec is not None and name in _FIELDS:
            is_ours = field.line in ours
            yield from _claims(spec, field.value, field.line, is_ours=is_ours, is_remembered=name != "status")


def _claims(spec: str, text: str, line: int, *, is_ours: bool = False, is_remembered: bool = False) -> Iterator[Claim]:
    """What a text claims; of one that we rendered only what it begins with, for it goes on with other phases."""
    hits = [(match.start(), word) for word, pattern in _CLAIMS if (match := pattern.search(text))]
    for _, word in sorted(hits)[: 1 if is_ours else None]:
        yield Claim(spec, word, line + 1, text, is_ours, is_remembered)
