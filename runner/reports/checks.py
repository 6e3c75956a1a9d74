"""What a keyed checkbox says: whether the evidence ticks it, and the words behind it.

A key is `SPEC.PHASE`, `SPEC.PHASE.CRITERION` (several criteria joined by `+`), `SPEC.dataset`,
`SPEC.same-dataset.SPEC`, `SPEC.compare.SPEC` or `SPEC.metric.NAME`. For `SPEC` stands `all` where every spec is
meant: `all.PHASE`, `all.PHASE.CRITERION`, `all.comparison`, `all.gaps`. `@cloud` behind a key ticks it for evidence
of the real cloud only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from runner.events import DatasetChecked
from runner.reports import wording
from runner.reports.evidence import JobReport
from runner.reports.markdown import Markdown, code, escaped
from runner.reports.phrases import evidence, joined, provenance
from runner.reports.sections import verdict_of
from runner.reports.standing import DocumentModel, PhaseResult, Standing, TemplateStanding
from runner.results import Target

ALL = "all"
CLOUD_ONLY = "@cloud"
JOBS_TO_COMPARE = 3
"""Fewer jobs of each spec are no comparison."""
_DATASET, _SAME, _COMPARE, _METRIC = "dataset", "same-dataset", "compare", "metric"
_OF_ALL = ("comparison", "gaps")


@dataclass(frozen=True, slots=True)
class Tick:
    """Whether a box is ticked, and the evidence in Markdown; empty words when there is nothing to say yet."""

    is_ticked: bool
    words: str


@dataclass(frozen=True, slots=True)
class UnknownSpec:
    """The key begins with a name that no spec has."""

    name: str


def tick(model: DocumentModel, key: str) -> Tick | UnknownSpec | None:
    """What a key comes to; None for a key that names nothing of a spec that exists."""
    bare = key.removesuffix(CLOUD_ONLY)
    name, _, rest = bare.partition(".")
    is_cloud_only = bare != key
    if name == ALL and model.template(ALL) is None:
        return _of_all(model, rest, is_cloud_only=is_cloud_only)
    template = model.template(name)
    if template is None:
        return UnknownSpec(name)
    head, _, other = rest.partition(".")
    if head in (_SAME, _COMPARE):
        second = model.template(other)
        if second is None:
            return UnknownSpec(other)
        return _same_dataset(template, second) if head == _SAME else _comparison(template, second)
    if rest == _DATASET:
        return _dataset(template)
    if head == _METRIC:
        return _metric(template, other, is_cloud_only=is_cloud_only)
    return _phase(template, head, other, is_cloud_only=is_cloud_only)


def known_keys(model: DocumentModel, spec: str) -> Iterable[str]:
    """Keys that a checkbox of this spec can have, for suggestions."""
    template = model.template(spec)
    phases = template.phases if template else tuple(one for each in model.templates for one in each.phases)
    if template:
        yield f"{spec}.{_DATASET}"
    for one in phases:
        yield f"{spec}.{one.phase.name}"
        yield from (f"{spec}.{one.phase.name}.{id_}" for id_, _ in one.phase.criteria)
    if not template:
        yield from (f"{spec}.{one}" for one in _OF_ALL)


def _phase(template: TemplateStanding, phase: str, criteria: str, *, is_cloud_only: bool) -> Tick | None:
    """A phase that the spec is not tested in may come later, so its box says so instead of stopping the render; a
    name that is nearly that of a phase is a slip."""
    standing = next((one for one in template.phases if one.phase.name == phase), None)
    if standing is None:
        phases = [one.phase.name for one in template.phases]
        if get_close_matches(phase, [*phases, _DATASET], n=1, cutoff=0.75):
            return None
        return Tick(is_ticked=False, words=f"not tested: {code(template.subject.name)} has no phase {code(phase)}")
    if not criteria:
        found = Tick(standing.status.is_green, str(evidence(standing)) if standing.results else "")
    else:
        wanted = criteria.split("+")
        if not set(wanted) <= set(dict(standing.phase.criteria)):
            return None
        found = _criteria(standing, wanted)
    shown = standing.decisive
    if is_cloud_only and found.is_ticked and shown is not None and shown.target is not Target.CLOUD:
        return Tick(is_ticked=False, words=f"{found.words} · not yet on the cloud")
    return found


def _criteria(standing: Standing, criteria: list[str]) -> Tick:
    shown = standing.decisive
    if shown is None:
        return Tick(is_ticked=False, words=str(evidence(standing)) if standing.results else "")
    met = [verdict_of(standing, one) for one in criteria]
    is_met = all(one.is_met for one in met)
    why = next((one.words for one in met if not one.is_met), Markdown(""))
    word = "passed" if is_met else "not passed"
    if standing.why_stale:
        word, why = f"stale, {standing.why_stale}: judged", Markdown("")
    return Tick(is_met, f"{word} on {shown.target.value}{why} · {provenance(shown)}")


def _dataset(template: TemplateStanding) -> Tick:
    found = template.dataset
    if found is None:
        return Tick(is_ticked=False, words="")
    job, dataset = found
    return Tick(is_ticked=True, words=f"{_rows(dataset)} · {_when(job, dataset)}")


def _same_dataset(template: TemplateStanding, other: TemplateStanding) -> Tick:
    one, two = template.dataset, other.dataset
    if one is None or two is None:
        return Tick(is_ticked=False, words="")
    is_same = one[1].digest == two[1].digest
    word = "the same rows as" if is_same else "other rows than"
    words = f"{word} {code(other.subject.name)}: {_rows(one[1])} · {_when(*one)}"
    return Tick(is_same, words)


def _rows(dataset: DatasetChecked) -> str:
    return f"{wording.count(dataset.rows, 'row')} fit {code(dataset.format)}"


def _when(job: JobReport, dataset: DatasetChecked) -> str:
    return f"run {code(job.run)} · {wording.day(dataset.at)}"


def _metric(template: TemplateStanding, name: str, *, is_cloud_only: bool) -> Tick:
    """Whether a metric was collected by the newest judged result that counts."""
    for standing in template.phases:
        shown = standing.decisive
        if shown is None or (is_cloud_only and shown.target is not Target.CLOUD):
            continue
        series = [one for job in shown.jobs for one in job.series if one.name == name]
        if points := sum(one.points for one in series):
            words = f"{wording.count(points, 'point')} of {code(name)} on {shown.target.value} · {provenance(shown)}"
            return Tick(is_ticked=not standing.why_stale, words=words)
        if series:
            words = f"{code(name)} has no numbers on {shown.target.value} · {provenance(shown)}"
            return Tick(is_ticked=False, words=words)
    return Tick(is_ticked=False, words="")


def _comparison(template: TemplateStanding, other: TemplateStanding) -> Tick:
    """A comparison is one of several jobs each, of the same phase on the same target."""
    best = Tick(is_ticked=False, words="")
    for one, two in _common(template, other):
        counts = f"{len(one.jobs)} against {wording.count(len(two.jobs), 'job')} of {code(one.jobs[0].record.phase)}"
        runs = joined(" and ", list(dict.fromkeys([f"run {code(one.run)}", f"run {code(two.run)}"])))
        words = f"{counts} on {one.target.value} · {runs}"
        if min(len(one.jobs), len(two.jobs)) >= JOBS_TO_COMPARE:
            return Tick(is_ticked=True, words=words)
        best = Tick(is_ticked=False, words=f"not enough evidence, {JOBS_TO_COMPARE} jobs each are needed: {words}")
    return best


def _common(template: TemplateStanding, other: TemplateStanding) -> Iterator[tuple[PhaseResult, PhaseResult]]:
    for one in template.phases:
        two = next((phase for phase in other.phases if phase.phase.name == one.phase.name), None)
        first, second = one.decisive, two.decisive if two else None
        is_green = one.status.is_green and two is not None and two.status.is_green
        if first and second and is_green and first.target is second.target:
            yield first, second


def _of_all(model: DocumentModel, rest: str, *, is_cloud_only: bool) -> Tick | None:
    if rest == "comparison":
        return _every(model, "batch", "", is_cloud_only=is_cloud_only)
    if rest == "gaps":
        return _gaps(model)
    phase, _, criteria = rest.partition(".")
    return _every(model, phase, criteria, is_cloud_only=is_cloud_only)


def _every(model: DocumentModel, phase: str, criteria: str, *, is_cloud_only: bool) -> Tick | None:
    """Ticked when it holds for every spec; a criterion counts where a spec has it, and somebody must."""
    ticks: dict[str, Tick] = {}
    for template in model.templates:
        found = _phase(template, phase, criteria, is_cloud_only=is_cloud_only)
        if found is not None:
            ticks[template.subject.name] = found
    if not ticks and model.templates:
        return None
    met = [name for name, one in ticks.items() if one.is_ticked]
    missing = [code(name) for name, one in ticks.items() if not one.is_ticked]
    if not any(one.words for one in ticks.values()) or not _has_run(model, phase):
        return Tick(is_ticked=False, words="")
    words = f"{len(met)} of {wording.count(len(ticks), 'template')}"
    words += f"; still to do: {joined(', ', [str(one) for one in missing])}" if missing else ""
    runs = _runs_behind(model, phase)
    return Tick(not missing, joined(" · ", [words, *runs]))


def _has_run(model: DocumentModel, phase: str) -> bool:
    return any(one.phase.name == phase and one.results for template in model.templates for one in template.phases)


def _runs_behind(model: DocumentModel, phase: str) -> list[str]:
    decisive = [one.decisive for each in model.templates for one in each.phases if one.phase.name == phase]
    runs = {shown.run: shown for shown in decisive if shown is not None}
    targets = sorted({shown.target.value for shown in runs.values()})
    if not runs:
        return []
    return [f"on {escaped(' and '.join(targets))}", f"run {', '.join(code(run) for run in sorted(runs))}"]


def _gaps(model: DocumentModel) -> Tick:
    """Gaps are known when every phase of every spec has been judged once."""
    phases = [one for template in model.templates for one in template.phases]
    judged = [one for one in phases if one.decisive is not None]
    if not judged:
        return Tick(is_ticked=False, words="")
    words = f"{len(judged)} of {wording.count(len(phases), 'phase')} judged"
    return Tick(len(judged) == len(phases), words)
