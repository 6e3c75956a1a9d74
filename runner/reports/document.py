"""The tracking document: regions and keyed checkboxes are rendered from evidence, all else is the author's.

`render_document` is pure and idempotent: the same bytes, specs and runs give the same bytes, on any day.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from difflib import get_close_matches, unified_diff
from pathlib import Path

from runner.errors import Diagnostic, ReportError, Span, did_you_mean
from runner.reports import wording
from runner.reports.foreign import visible
from runner.reports.markdown import code
from runner.reports.phrases import evidence, provenance
from runner.reports.regions import Check, Region, Text, parse
from runner.reports.sections import REGIONS, Section, verdict_of
from runner.reports.standing import DocumentModel, Standing, TemplateStanding

_MOST_DIFF_LINES = 60
_DATASET = "dataset"


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
    if region.was_edited and region.current != content and not force:
        problems.append(_edited(region, content, file))
        return b""
    return region.with_content(content)


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
            "move your text outside the region, or overwrite it with `runspec render --force`, which changes:\n"
            + _diff(now, new, file, region.line)
        ),
    )


def _diff(now: list[str], new: list[str], file: str, offset: int) -> str:
    lines = list(unified_diff(now, new, f"{file} (region at line {offset})", "rendered", lineterm="", n=1))
    shown = [line[:1] + visible(line[1:], longest=160) if line[:1] in "+- " else line for line in lines]
    if len(shown) > _MOST_DIFF_LINES:
        rest = len(shown) - _MOST_DIFF_LINES
        shown = [*shown[:_MOST_DIFF_LINES], f"… and {rest} more lines"]
    return "\n".join(shown)


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
    name, _, rest = check.key.partition(".")
    template = model.template(name)
    if template is None:
        problems.append(_unknown_spec(span, name, model))
        return b""
    found = _tick(template, rest)
    if found is None:
        keys = list(_keys(template))
        fix = did_you_mean(check.key, keys) or f"write one of: {', '.join(keys[:8])}"
        problems.append(Diagnostic("report.unknown-check", f"nothing is called `{check.key}`", span, fix=fix))
        return b""
    is_ticked, words = found
    return check.with_tick(is_ticked=is_ticked, words=words)


def _keys(template: TemplateStanding) -> Iterable[str]:
    name = template.subject.name
    yield f"{name}.{_DATASET}"
    for one in template.phases:
        yield f"{name}.{one.phase.name}"
        yield from (f"{name}.{one.phase.name}.{id_}" for id_, _ in one.phase.criteria)


def _tick(template: TemplateStanding, key: str) -> tuple[bool, str] | None:
    """Whether a key is ticked, and the words behind it; None for a key that nothing has.

    A phase that the spec is not tested in may come later, so its box says so instead of stopping the render; a name
    that is nearly that of a phase is a slip.
    """
    phase, dot, criterion = key.partition(".")
    standing = next((one for one in template.phases if one.phase.name == phase), None)
    if key == _DATASET:
        return _dataset(template)
    if standing is None:
        phases = [one.phase.name for one in template.phases]
        is_slip = get_close_matches(phase, [*phases, _DATASET], n=1, cutoff=0.75)
        return None if is_slip else (False, f"not tested: {code(template.subject.name)} has no phase {code(phase)}")
    if dot and criterion not in dict(standing.phase.criteria):
        return None
    if not dot:
        return standing.status.is_green, str(evidence(standing)) if standing.results else ""
    return _criterion(standing, criterion)


def _criterion(standing: Standing, criterion: str) -> tuple[bool, str]:
    shown = standing.decisive
    if shown is None:
        return False, str(evidence(standing)) if standing.results else ""
    met = verdict_of(standing, criterion)
    word = "passed" if met.is_met else "not passed"
    return met.is_met, f"{word} on {shown.target.value}{met.words} · {provenance(shown)}"


def _dataset(template: TemplateStanding) -> tuple[bool, str]:
    found = template.dataset
    if found is None:
        return False, ""
    job, dataset = found
    rows = f"{wording.count(dataset.rows, 'row')} fit {code(dataset.format)}"
    return True, f"{rows} · run {code(job.run)} · {wording.day(dataset.at)}"


def document_diff(old: bytes, new: bytes, file: str) -> str:
    """What a render would change, as a unified diff; empty when the document is up to date."""
    before, after = (text.decode("utf-8", "replace").splitlines() for text in (old, new))
    lines = unified_diff(before, after, file, f"{file} (rendered)", lineterm="")
    return "\n".join(line[:1] + visible(line[1:], longest=400) if line[:1] in "+- " else line for line in lines)


def check_document(path: Path, model: DocumentModel, *, force: bool = False) -> str:
    """How the document in a file differs from its evidence; empty when it is up to date.

    Raises:
        ReportError: as `render_document`, or the file cannot be read.
    """
    old = _read(path)
    new = render_document(old, model, file=str(path), force=force)
    return "" if old == new else document_diff(old, new, str(path)) or "only line ends or invisible bytes differ"


def write_document(path: Path, model: DocumentModel, *, force: bool = False) -> bool:
    """Render a document in place, all or nothing; False when it was up to date and nothing was written.

    The file's mode is kept, and a symbolic link stays one.

    Raises:
        ReportError: as `render_document`, or the file cannot be read or written; it is then as it was.
    """
    old = _read(path)
    new = render_document(old, model, file=str(path), force=force)
    if new == old:
        return False
    try:
        _replace(path.resolve(), new)
    except OSError as exc:
        raise _unusable(path, "written", exc) from exc
    return True


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise _unusable(path, "read", exc) from exc


def _unusable(path: Path, verb: str, exc: OSError) -> ReportError:
    why = (exc.strerror or str(exc)).lower()
    return ReportError(
        [
            Diagnostic(
                "report.unusable-file",
                f"`{path}` cannot be {verb}: {why}",
                fix="give the path of a document with `--doc`",
            )
        ]
    )


def _replace(path: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary = Path(name)
        temporary.chmod(path.stat().st_mode & 0o7777)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
