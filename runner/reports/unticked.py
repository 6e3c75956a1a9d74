"""Boxes that were ticked and whose tick no evidence bears, and what would tick them: no tick goes in silence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runner.reports.checks import ALL, CLOUD_ONLY, Tick, tick
from runner.reports.foreign import visible
from runner.reports.regions import Check, parse
from runner.reports.standing import DocumentModel, TemplateStanding

_WITH_ANOTHER = ("same-dataset", "compare")
_BY_ANY_PHASE = ("dataset", "same-dataset", "metric")


@dataclass(frozen=True, slots=True)
class Unticked:
    """A box that loses its tick. `line` counts from 1.

    Attributes:
        why: what the evidence says; that there is none, when it says nothing.
        command: what gives the evidence that ticks it; empty when no command alone does.
    """

    line: int
    text: str
    why: str
    command: str


def unticked(before: bytes, after: bytes, model: DocumentModel) -> list[Unticked]:
    """The boxes that a render of a document unticks, by their lines in `after`, which has the same boxes."""
    pairs = zip(_checks(before), _checks(after), strict=True)
    return [_unticked(old, new.line, model) for old, new in pairs if old.is_ticked and not _holds(model, old.key)]


def _checks(document: bytes) -> Iterator[Check]:
    return (part for part in parse(document, "")[0] if isinstance(part, Check))


def _holds(model: DocumentModel, key: str) -> bool:
    found = tick(model, key)
    return isinstance(found, Tick) and found.is_ticked


def _unticked(check: Check, line: int, model: DocumentModel) -> Unticked:
    found = tick(model, check.key)
    words = found.words if isinstance(found, Tick) else ""
    why = visible(words, longest=160) if words else "no recorded run shows it"
    return Unticked(line, visible(check.text, longest=90), why, _command(check.key, model))


def _command(key: str, model: DocumentModel) -> str:
    name, _, rest = key.removesuffix(CLOUD_ONLY).partition(".")
    head, _, other = rest.partition(".")
    target = " --target cloud" if key.endswith(CLOUD_ONLY) else ""
    template = model.template(name)
    if template is None:
        phase = {"comparison": " --phase batch", "gaps": ""}.get(head, f" --phase {head}")
        return f"runspec specs/{phase}{target}" if name == ALL else ""
    second = model.template(other) if head in _WITH_ANOTHER else None
    files = [one.subject.file for one in (template, second) if one]
    phase = _phase(template, head)
    return f"runspec {' '.join(files)} --phase {phase}{target}" if phase else ""


def _phase(template: TemplateStanding, head: str) -> str:
    names = [one.phase.name for one in template.phases]
    if head in _BY_ANY_PHASE:
        return names[0] if names else ""
    wanted = "batch" if head == "compare" else head
    return wanted if wanted in names else ""
