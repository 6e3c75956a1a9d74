"""Which key a hand-written checkbox means: by its words, and by the template that its section is about."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runner.reports.checks import ALL, CLOUD_ONLY
from runner.reports.standing import DocumentModel, TemplateStanding

_NUMBER = re.compile(r"^\s*\d+[.)]\s*")
_PHASES = (("basic", "basic"), ("outside dev", "full"), ("batch", "batch"))
_BY_HAND = re.compile(r"\b(research|implement|investigate|identify|discuss|decide)\b", re.IGNORECASE)
_DATASET = re.compile(r"\bdataset\b", re.IGNORECASE)
_SAME = re.compile(r"\bsame\b", re.IGNORECASE)
_COMPARE = re.compile(r"\bcompare\b", re.IGNORECASE)
_MEMORY = re.compile(r"\bmemory\b", re.IGNORECASE)
_DEPLOY = re.compile(r"\bdeploy\b", re.IGNORECASE)
_STEPS = re.compile(r"\bmonitor\b.*\bsteps\b", re.IGNORECASE)
_METRICS_ALERTS = re.compile(r"\bmetrics\b.*\balerts?\b", re.IGNORECASE)
_WORD = re.compile(r"[a-z0-9]+")
_COMMON = {"verify", "works", "work", "correctly", "check", "is", "are", "the", "a", "and", "of", "in", "with", "no"}


def spec_of(text: str, model: DocumentModel) -> str | None:
    """The spec that a heading or list item is about: by its key, its title, or its method; None when none or several
    are."""
    bare = _NUMBER.sub("", text).casefold()
    for names in (_names, _methods):
        found = {one.subject.name for one in model.templates for name in names(one) if _has(bare, name)}
        if len(found) == 1:
            return found.pop()
        if found:
            return None
    return None


def _names(template: TemplateStanding) -> Iterator[str]:
    subject = template.subject
    yield from (subject.name, subject.key, subject.title, subject.title.partition("(")[0].strip())


def _methods(template: TemplateStanding) -> Iterator[str]:
    yield template.subject.method


def _has(text: str, name: str) -> bool:
    return bool(name) and re.search(rf"(?<![\w-]){re.escape(name.casefold())}(?![\w-])", text) is not None


def key_of_box(text: str, spec: str | None, model: DocumentModel) -> str | None:
    """The key of a checkbox with this text in the section of a spec, or of the whole document; None when nothing that
    runspec records could tick it."""
    template = model.template(spec) if spec else None
    if template is not None:
        return _of_spec(text, template, model)
    return _of_all(text, model)


def _of_spec(text: str, template: TemplateStanding, model: DocumentModel) -> str | None:
    name = template.subject.name
    if _BY_HAND.search(text):
        return None
    other = _other(text, template, model)
    if _COMPARE.search(text) and other:
        return f"{name}.compare.{other}"
    if _DATASET.search(text):
        return f"{name}.same-dataset.{other}" if other and _SAME.search(text) else f"{name}.dataset"
    phase = _phase(text, template)
    if phase:
        return f"{name}.{phase}"
    first = template.phases[0].phase.name if template.phases else "basic"
    if _DEPLOY.search(text) and (one := _criterion("pod deploys", template, first)):
        return f"{name}.{first}.{one}{CLOUD_ONLY}"
    if _METRICS_ALERTS.search(text):
        ids = [_criterion(words, template, first) for words in ("metrics post", "job_started alert")]
        return f"{name}.{first}.{'+'.join(one for one in ids if one)}" if all(ids) else None
    if _MEMORY.search(text):
        return f"{name}.metric.gpu_memory_allocated_gb"
    if _STEPS.search(text) and (one := _criterion("no errors first steps", template, first)):
        return f"{name}.{first}.{one}"
    one = _criterion(text, template, first)
    return f"{name}.{first}.{one}" if one else None


def _other(text: str, template: TemplateStanding, model: DocumentModel) -> str | None:
    """Another spec that the text names."""
    words = text.casefold()
    found = [
        one.subject.name
        for one in model.templates
        if one is not template and any(_has(words, name) for name in (*_names(one), *_methods(one)))
    ]
    return found[0] if len(found) == 1 else None


def _phase(text: str, template: TemplateStanding) -> str | None:
    words = text.casefold()
    own = [one.phase for one in template.phases]
    for phase in own:
        if words in (phase.name, phase.title.casefold()) or phase.title.casefold() in words:
            return phase.name
    return next((name for hint, name in _PHASES if hint in words), None)


def _criterion(text: str, template: TemplateStanding, phase: str) -> str | None:
    """The criterion of a phase that has all the telling words of a text, in its title or its id."""
    wanted = set(_WORD.findall(text.casefold())) - _COMMON
    standing = next((one for one in template.phases if one.phase.name == phase), None)
    if not wanted or standing is None:
        return None
    found = [
        id_
        for id_, title in standing.phase.criteria
        if wanted <= set(_WORD.findall(f"{id_} {title.replace('`', ' ')}".casefold()))
    ]
    return found[0] if found else None


def _of_all(text: str, model: DocumentModel) -> str | None:
    """A step for the whole document, such as `Run 5 jobs per template`."""
    words = text.casefold()
    if _BY_HAND.search(words) or not model.templates:
        return None
    if "comparison" in words or "performance characteristics" in words:
        return f"{ALL}.comparison"
    if "gaps" in words:
        return f"{ALL}.gaps"
    if "batch" in words or "jobs per template" in words or "aggregate" in words:
        return f"{ALL}.batch"
    if "outside dev" in words:
        return f"{ALL}.full"
    if "metrics" in words and "sdk" in words:
        found = next((one for each in model.templates if (one := _criterion("metrics sdk", each, "full"))), None)
        return f"{ALL}.full.{found}" if found else f"{ALL}.full"
    return None
