"""The tracking document: regions and keyed checkboxes are rendered from evidence, all else is the author's.

`render_document` is pure and idempotent: the same bytes, specs and runs give the same bytes, on any day.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from difflib import unified_diff
from pathlib import Path

from runner.errors import Diagnostic, ReportError, Span, did_you_mean
from runner.reports.checks import Tick, UnknownSpec, known_keys, tick
from runner.reports.files import read_bytes, replace_bytes
from runner.reports.foreign import visible
from runner.reports.regions import Check, Part, Region, Text, parse
from runner.reports.sections import REGIONS, Section
from runner.reports.slots import slots_of
from runner.reports.standing import DocumentModel

OVERRIDES = "templates"
_MOST_DIFF_LINES = 60
_RUN = re.compile(rb"\brun `([0-9A-Za-z_-]{1,64})`")


def render_document(
    document: bytes,
    model: DocumentModel,
    *,
    file: str = "document",
    force: bool = False,
    sections: Mapping[str, Section] = REGIONS,
) -> bytes:
    """The document with its regions and checkboxes as the evidence has them; every other byte as it was.

    Args:
        file: how messages call the document.
        force: overwrite what somebody wrote inside a region.
        sections: what regions can hold, by id.
    Raises:
        ReportError: marks that do not fit together or name nothing, and regions edited by hand: all in one go.
    """
    parts, problems = parse(document, file)
    rendered = bytearray()
    for part in parts:
        match part:
            case Text():
                rendered += b"".join(part.lines)
            case Region():
                rendered += _region(part, model, file, force, sections, problems)
            case Check():
                rendered += _check(part, model, file, problems)
    if problems:
        raise ReportError(sorted(problems, key=lambda one: one.span.line if one.span else 0))
    return bytes(rendered)


def _region(
    region: Region,
    model: DocumentModel,
    file: str,
    force: bool,
    sections: Mapping[str, Section],
    problems: list[Diagnostic],
) -> bytes:
    kind, colon, name = region.id.partition(":")
    section = sections.get(kind + colon)
    if section is None:
        known = [one + ("SPEC" if one.endswith(":") else "") for one in sections]
        fix = did_you_mean(kind + colon, sections) or f"regions are: {', '.join(known)}"
        problems.append(_at(region, file, "report.unknown-region", f"nobody knows a region `{region.id}`", fix))
        return b""
    if colon and model.template(name) is None:
        problems.append(_unknown_spec(_begin_span(region, file), name, model))
        return b""
    content = section(model, name)
    slots = slots_of(region.id)
    if slots is not None:
        before = slots.adopted(region.current) if region.is_adopted else region.current
        content = slots.fill(content, before)
    owned, ours = (slots.owned(text) if slots else text for text in (region.current, content))
    if region.differs_from_recorded(owned) and region.current != content and not force:
        problems.append(_edited(region, content, file))
        return b""
    return region.with_content(content, ours)


def _edited(region: Region, content: str, file: str) -> Diagnostic:
    now, new = region.current.split("\n"), content.split("\n")
    first = next((index for index, pair in enumerate(zip(now, new, strict=False)) if pair[0] != pair[1]), 0)
    line = region.line + 1 + min(first, max(0, len(region.body) - 1))
    text = now[min(first, len(now) - 1)]
    return Diagnostic(
        "report.edited-region",
        f"region `{region.id}` was edited by hand",
        Span(file, line, 1, max(1, len(text)), text) if region.body else _begin_span(region, file),
        label="differs from what the evidence says",
        fix=(
            f"move your text outside the region, or overwrite it with `runspec render {file} --force`, which changes:\n"
            + _diff(now, new, file, region.line)
        ),
    )


def _diff(now: list[str], new: list[str], file: str, offset: int) -> str:
    lines = list(unified_diff(now, new, f"{file} (region at line {offset})", "rendered", lineterm="", n=1))
    shown = [_harmless(line, longest=160) for line in lines]
    if len(shown) > _MOST_DIFF_LINES:
        rest = len(shown) - _MOST_DIFF_LINES
        shown = [*shown[:_MOST_DIFF_LINES], f"… and {rest} more lines"]
    return "\n".join(shown)


def _harmless(line: str, *, longest: int) -> str:
    """A line of a diff for a terminal, its sign and its indentation kept."""
    text = line[1:]
    indent = len(text) - len(text.lstrip(" "))
    return line[:1] + text[:indent] + visible(text[indent:], longest=longest) if line[:1] in "+- " else line


def _begin_span(region: Region, file: str) -> Span:
    text = region.begin.decode("utf-8", "replace").rstrip("\r\n")
    return Span(file, region.line, 1, len(text), text)


def _at(region: Region, file: str, code_: str, message: str, fix: str) -> Diagnostic:
    return Diagnostic(code_, message, _begin_span(region, file), fix=fix)


def _unknown_spec(span: Span, name: str, model: DocumentModel) -> Diagnostic:
    known = [one.subject.name for one in model.templates]
    fix = did_you_mean(name, known) or f"specs are: {', '.join(known) or 'none'}"
    return Diagnostic("report.unknown-spec", f"no spec is named `{name}`", span, fix=fix)


def _check(check: Check, model: DocumentModel, file: str, problems: list[Diagnostic]) -> bytes:
    text = check.source.decode("utf-8", "replace").rstrip("\r\n")
    span = Span(file, check.line, 1, len(text), text)
    match tick(model, check.key):
        case Tick(is_ticked=is_ticked, words=words):
            return check.with_tick(is_ticked=is_ticked, words=words)
        case UnknownSpec(name=name):
            problems.append(_unknown_spec(span, name, model))
        case None:
            keys = list(known_keys(model, check.key.partition(".")[0]))
            fix = did_you_mean(check.key, keys) or f"write one of: {', '.join(keys[:8])}"
            problems.append(Diagnostic("report.unknown-check", f"nothing is called `{check.key}`", span, fix=fix))
    return b""


def document_diff(old: bytes, new: bytes, file: str) -> str:
    """What a render would change, as a unified diff; empty when the document is up to date."""
    before, after = (text.decode("utf-8", "replace").splitlines() for text in (old, new))
    lines = unified_diff(before, after, file, f"{file} (rendered)", lineterm="")
    return "\n".join(_harmless(line, longest=400) for line in lines)


def check_document(path: Path, model: DocumentModel, *, force: bool = False) -> str:
    """How the document in a file differs from its evidence; empty when it is up to date.

    Raises:
        ReportError: as `render_document`, or the file cannot be read.
    """
    old = read_bytes(path)
    new = render_document(old, with_overrides(model, path), file=str(path), force=force)
    return "" if old == new else document_diff(old, new, str(path)) or "only line ends or invisible bytes differ"


def with_overrides(model: DocumentModel, path: Path) -> DocumentModel:
    """The model with the region templates in the folder `templates` beside the document, which win over ours.

    Raises:
        ReportError: one cannot be read, or has the name of no region's template.
    """
    folder = path.parent / OVERRIDES
    found = sorted(folder.glob("*.md.j2")) if folder.is_dir() else []
    known = {f"{kind.rstrip(':')}.md.j2" for kind in REGIONS}
    for file in found:
        if file.name not in known:
            fix = did_you_mean(file.name, known) or f"names are: {', '.join(sorted(known))}"
            raise ReportError([Diagnostic("report.bad-template", f"`{file}` is the template of no region", fix=fix)])
    sources = tuple((file.name, read_bytes(file).decode("utf-8", "replace")) for file in found)
    return replace(model, overrides=sources)


def missing_runs(document: bytes, model: DocumentModel) -> tuple[str, ...]:
    """Runs that the document's regions and ticks name and that the model was not made from.

    They are recorded on another machine, or were deleted: rendering without them would drop their evidence.
    """
    parts, _ = parse(document, "")
    ours = b"".join(line for part in parts for line in _rendered_lines(part))
    named = {match.decode() for match in _RUN.findall(ours)}
    return tuple(sorted(named - set(model.runs)))


def _rendered_lines(part: Part) -> tuple[bytes, ...]:
    match part:
        case Region():
            return part.body
        case Check():
            return (part.words,)
        case Text():
            return ()


def write_document(path: Path, model: DocumentModel, *, force: bool = False) -> bool:
    """Render a document in place, all or nothing; False when it was up to date and nothing was written.

    The file's mode is kept, and a symbolic link stays one.

    Raises:
        ReportError: as `render_document`; the document names runs that are not recorded here, whose evidence would be
            lost (`force` drops it); or the file cannot be read or written. It is then as it was.
    """
    old = read_bytes(path)
    new = render_document(old, with_overrides(model, path), file=str(path), force=force)
    if new == old:
        return False
    missing = missing_runs(old, model)
    if missing and not force:
        raise ReportError([_would_drop(path, missing)])
    replace_bytes(path, new)
    return True


def _would_drop(path: Path, runs: tuple[str, ...]) -> Diagnostic:
    names = ", ".join(f"`{run}`" for run in runs[:5]) + (f" and {len(runs) - 5} more" if len(runs) > 5 else "")
    return Diagnostic(
        "report.missing-runs",
        f"`{path}` names runs that are not recorded here: {names}",
        label="rendering from this history would drop what they showed",
        fix=f"render where they are recorded (`--state DIR`), or drop them with `runspec render {path} --force`",
    )
