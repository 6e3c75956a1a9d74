"""Puts the marks into a document that somebody wrote by hand, and changes nothing else.

What is adopted: the inventory table, the status and the test plan of each template's section, the head of each
template's entry in the results log, and the line that says when the document was updated. Checkboxes whose text says
what they are about get a key. Taking the marks away gives the author's bytes again. What stands between new marks is
recorded as adopted, so that the next render may replace it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from runner.errors import ReportError
from runner.reports.boxkeys import key_of_box, spec_of
from runner.reports.outline import Box, Heading, Outline, outline
from runner.reports.regions import Region, digest, parse
from runner.reports.sections import REGIONS
from runner.reports.slots import slots_of
from runner.reports.standing import DocumentModel

_BOM = b"\xef\xbb\xbf"
_INVENTORY = ("template key", "method", "status", "model", "notes")
_ENTRY_FIELDS = ("test date", "status")
_OF_ALL = re.compile(r"\b(next steps|to-?dos?|all|overall|roadmap|checklist|plan|phase)\b", re.IGNORECASE)
"""Words of a section that is about all templates although it stands beside sections of single ones."""


@dataclass(slots=True)
class Adoption:
    """What was found.

    Attributes:
        document: the bytes with their marks.
        regions: ids of the regions that were put in.
        keys: keys of the checkboxes that got one.
        unkeyed: texts of checkboxes that stay the author's own, with their lines in the marked document from 1.
        missing: regions that have no place in this document.
    """

    document: bytes = b""
    regions: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    unkeyed: list[tuple[int, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Place:
    """Lines from `begin` up to `end` become a region; equal ones mean an empty region before that line."""

    id: str
    begin: int
    end: int


def adopt_document(document: bytes, model: DocumentModel, *, file: str = "document") -> Adoption:
    """Mark up an unmarked document for the specs of a model. Marks that are there already are left alone.

    Args:
        file: how messages call the document.
    Raises:
        ReportError: marks that are there do not fit together, so that nobody can tell what is whose.
    """
    bom = _BOM if document.startswith(_BOM) else b""
    text = document[len(bom) :].decode("utf-8", "replace")
    parts, problems = parse(document, file)
    if problems:
        raise ReportError(problems)
    marked = [part for part in parts if isinstance(part, Region)]
    taken = {part.id for part in marked}
    found = outline(text, ignoring={line for part in marked for line in part.lines})
    done = Adoption()
    wanted = _wanted(model)
    places = {place.id: place for place in _places(found, model) if place.id in wanted and place.id not in taken}
    done.regions = [one for one in wanted if one in places]
    done.missing = [one for one in wanted if one not in places and one not in taken]
    marks = _checks(found, model, done)
    done.unkeyed = [(line + _marks_above(line, places.values()), text) for line, text in done.unkeyed]
    raw = document[len(bom) :].split(b"\n")
    done.document = bom + _marked(raw, sorted(places.values(), key=lambda one: (one.begin, one.end)), marks)
    return done


def _marks_above(line: int, places: Iterable[_Place]) -> int:
    return sum((one.begin < line) + (one.end < line) for one in places)


def _wanted(model: DocumentModel) -> list[str]:
    names = [one.subject.name for one in model.templates]
    each = [f"{kind}:{name}" for name in names for kind in ("status", "plan", "results")]
    return [one for one in ("inventory", *each, "comparison", "gaps", "next-steps", "updated") if _is_known(one)]


def _is_known(id_: str) -> bool:
    kind, colon, _ = id_.partition(":")
    return kind + colon in REGIONS


def _places(found: Outline, model: DocumentModel) -> Iterator[_Place]:
    for table in found.tables:
        # Further columns are the author's.
        if tuple(word.lower() for word in table.header[: len(_INVENTORY)]) == _INVENTORY:
            yield _Place("inventory", table.line, table.end)
            break
    for heading in found.headings:
        spec = spec_of(heading.text, model)
        if spec is None:
            continue
        is_log = any("result" in parent.lower() for parent in heading.parents)
        yield from (_entry(found, heading, spec) if is_log else _details(found, heading, spec))
    yield from _findings(found)
    steps = next((one for one in found.headings if "next steps" in one.text.lower()), None)
    if steps is not None:
        yield _Place("next-steps", _after_heading(found, steps), _after_heading(found, steps))
    updated = [one for one in found.fields if one.name.lower() == "last updated"]
    if updated:
        yield _Place("updated", updated[-1].line, updated[-1].line + 1)


def _after_heading(found: Outline, heading: Heading) -> int:
    # An underlined heading takes two lines; the mark goes behind both.
    underlined = not found.lines[heading.line].lstrip().startswith("#")
    return heading.line + (2 if underlined else 1)


def _details(found: Outline, heading: Heading, spec: str) -> Iterator[_Place]:
    status = next((one for one in found.fields if _is_in(one.line, heading) and one.name.lower() == "status"), None)
    boxes = [one for one in found.boxes if _is_in(one.line, heading)]
    if status is not None:
        yield _Place(f"status:{spec}", status.line, status.line + 1)
    if boxes:
        yield _Place(f"plan:{spec}", boxes[-1].line + 1, boxes[-1].line + 1)


def _entry(found: Outline, heading: Heading, spec: str) -> Iterator[_Place]:
    """The head of an entry is the run's to say; what is below it is the author's."""
    head = [one.line for one in found.fields if _is_in(one.line, heading) and one.name.lower() in _ENTRY_FIELDS]
    lines = [line for offset, line in enumerate(head) if line == head[0] + offset]
    if lines:
        yield _Place(f"results:{spec}", lines[0], lines[-1] + 1)
    else:
        yield _Place(f"results:{spec}", _after_heading(found, heading), _after_heading(found, heading))


def _findings(found: Outline) -> Iterator[_Place]:
    """Comparison and gaps: under headings of that name, else at the end of the results."""
    named = {
        "comparison": next((one for one in found.headings if "comparison" in one.text.lower()), None),
        "gaps": next((one for one in found.headings if "gaps" in one.text.lower()), None),
    }
    log = next((one for one in found.headings if "results" in one.text.lower()), None)
    for id_, heading in named.items():
        if heading is not None:
            yield _Place(id_, _after_heading(found, heading), _after_heading(found, heading))
        elif log is not None:
            end = found.last_text_line(log.line, log.end) + 1
            yield _Place(id_, end, end)


def _is_in(line: int, heading: Heading) -> bool:
    return heading.line < line < heading.end


def _checks(found: Outline, model: DocumentModel, done: Adoption) -> dict[int, str]:
    marks: dict[int, str] = {}
    for box in found.boxes:
        if "runspec:check" in found.lines[box.line]:
            continue
        spec = _spec_around(found, box, model)
        key = key_of_box(box.text, spec, model) if spec or not _is_beside_specs(found, box, model) else None
        if key is None:
            done.unkeyed.append((box.line + 1, box.text))
        else:
            marks[box.line] = key
            done.keys.append(key)
    return marks


def _spec_around(found: Outline, box: Box, model: DocumentModel) -> str | None:
    heading = found.heading_of(box.line)
    words = [box.owner, *([heading.text, *reversed(heading.parents)] if heading else [])]
    return next((spec for text in words if (spec := spec_of(text, model)) is not None), None)


def _is_beside_specs(found: Outline, box: Box, model: DocumentModel) -> bool:
    """It stands where the others are about one spec each: what is done there is done for something without a spec."""
    around = [one for one in found.headings if one.line <= box.line < one.end]
    owners = [one.owner for one in found.boxes if found.heading_of(one.line) in around[-1:]]
    if box.owner and any(spec_of(owner, model) for owner in owners):
        return True
    return any(
        one.parents == heading.parents and one.level == heading.level and spec_of(one.text, model)
        for heading in around
        if not _OF_ALL.search(heading.text)
        for one in found.headings
    )


def _marked(lines: list[bytes], places: list[_Place], checks: dict[int, str]) -> bytes:
    newline = b"\r\n" if lines[0].endswith(b"\r") else b"\n"
    has_final = lines[-1] == b""
    body = lines[:-1] if has_final else lines
    written: list[bytes] = []
    for number, line in enumerate([*body, b""]):
        for place in (one for one in places if one.begin == one.end == number):
            if number == len(body) and not has_final:
                written[-1] = written[-1].removesuffix(newline) + newline
            written += _marks(place, b"", newline)
        opening = next((one for one in places if one.begin == number < one.end), None)
        if opening is not None:
            written.append(f"<!-- runspec:begin {opening.id} -->".encode() + newline)
        if number < len(body):
            written.append(_line(line, checks.get(number)) + (b"\n" if has_final or number + 1 < len(body) else b""))
        closing = next((one for one in places if one.begin <= number == one.end - 1), None)
        if closing is not None:
            written[-1] = written[-1].rstrip(b"\r\n") + newline
            inner = b"\n".join(one.rstrip(b"\r") for one in body[closing.begin : closing.end]) + b"\n"
            written.append(_marks(closing, inner, newline)[-1])
    whole = b"".join(written)
    return whole if has_final else whole.removesuffix(newline)


def _marks(place: _Place, inner: bytes, newline: bytes) -> list[bytes]:
    begin = f"<!-- runspec:begin {place.id} -->".encode() + newline
    if not inner:
        return [begin, f"<!-- runspec:end {place.id} -->".encode() + newline]
    content = "".join(line.rstrip() + "\n" for line in inner.decode("utf-8", "surrogateescape").split("\n")[:-1])
    slots = slots_of(place.id)
    hash_ = digest(slots.owned(content) if slots else content)
    return [begin, f"<!-- runspec:end {place.id} adopted:{hash_} -->".encode() + newline]


def _line(line: bytes, key: str | None) -> bytes:
    if key is None:
        return line
    bare = line.rstrip(b"\r")
    return bare + f" <!-- runspec:check {key} -->".encode() + line[len(bare) :]
