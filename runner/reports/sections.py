"""What each region of the document holds. A new kind of region is one function and one line in `REGIONS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from traceback import extract_tb

from jinja2 import Environment, TemplateError, TemplateSyntaxError

from runner.errors import Diagnostic, ReportError, Span
from runner.events import IssueObserved
from runner.issues.diagnose import Diagnosis
from runner.reports import comparison as comparisons
from runner.reports import phrases, wording
from runner.reports.evidence import UNJUDGED, JobReport
from runner.reports.explain import cause_of
from runner.reports.markdown import Markdown, code, environment, escaped, inline
from runner.reports.phrases import joined
from runner.reports.standing import DocumentModel, PhaseResult, Standing, Status, TemplateStanding
from runner.results import Outcome

SHOWN_RESULTS = 20
_METHOD_ORDER = ("sft", "dpo", "rlhf", "orpo", "cpt")

Section = Callable[[DocumentModel, str], str]
"""Content of a region from the model and what stands behind the colon of its id (empty without one)."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A criterion or kind of evidence that nobody could have."""

    spec: str
    phase: str
    what: str
    why: str
    run: str


@dataclass(frozen=True, slots=True)
class Met:
    """Whether a criterion is ticked, and what is said behind it."""

    is_met: bool
    words: Markdown


def inventory(model: DocumentModel, _: str) -> str:
    """The table of all templates, those of the standard methods first."""
    return _render(model, "inventory.md.j2", templates=sorted(model.templates, key=_by_method))


def _by_method(one: TemplateStanding) -> int:
    method = one.subject.method
    return _METHOD_ORDER.index(method) if method in _METHOD_ORDER else len(_METHOD_ORDER)


def status(model: DocumentModel, spec: str) -> str:
    """One template's status, and the evidence of each phase."""
    return _render(model, "status.md.j2", one=_of(model, spec))


def plan(model: DocumentModel, spec: str) -> str:
    """One template's phases and criteria as checkboxes."""
    return _render(model, "plan.md.j2", one=_of(model, spec))


def results(model: DocumentModel, spec: str) -> str:
    """One template's results, newest first."""
    return _render(model, "results.md.j2", one=_of(model, spec), shown=SHOWN_RESULTS)


def updated(model: DocumentModel, _: str) -> str:
    """When the newest evidence is from."""
    return _render(model, "updated.md.j2", model=model)


def gaps(model: DocumentModel, _: str) -> str:
    """What could not be known, and why."""
    phases = [phase for one in model.templates for phase in one.phases]
    judged = sum(phase.decisive is not None for phase in phases)
    found = [gap for phase in phases for gap in _gaps_of(phase)]
    return _render(model, "gaps.md.j2", gaps=found, judged=judged, phases=len(phases))


def next_steps(model: DocumentModel, _: str) -> str:
    """What to run or look at next, failures first."""
    order = (Status.FAILED, Status.FLAKY, Status.NO_VERDICT, Status.STALE, Status.PENDING)
    phases = [phase for one in model.templates for phase in one.phases if phase.status in order]
    phases.sort(key=lambda phase: order.index(phase.status))
    pending = [phase for phase in phases if phase.status is Status.PENDING]
    steps = [_step(phase) for phase in phases if phase.status is not Status.PENDING]
    return _render(model, "next-steps.md.j2", steps=[*steps, *_never_run(pending)])


def _never_run(pending: Sequence[Standing]) -> Iterator[Markdown]:
    """What never ran, a line a phase: the phases in the order in which the specs list them."""
    in_order = sorted(pending, key=lambda one: [phase.name for phase in one.subject.phases].index(one.phase.name))
    titles = {one.phase.name: one.phase.title for one in in_order}
    for name, title in titles.items():
        same = [one for one in pending if one.phase.name == name]
        files = " ".join(sorted({one.subject.file for one in same}))
        names = joined(", ", [code(one.subject.name) for one in same])
        yield Markdown(f"{inline(title)}, not run yet: {names}: {code(f'runspec {files} --phase {name}')}")


def comparison(model: DocumentModel, _: str) -> str:
    """What several jobs of each template measured."""
    jobs = [job for one in model.templates for result in one.results if not result.is_staged for job in result.jobs]
    found = comparisons.compare_jobs(jobs)
    text = _render(model, "comparison.md.j2", comparison=found, file=comparisons.FILE)
    return f"**Comparison across templates:**\n\n{text}"


REGIONS: Mapping[str, Section] = {
    "inventory": inventory,
    "status:": status,
    "plan:": plan,
    "results:": results,
    "comparison": comparison,
    "updated": updated,
    "gaps": gaps,
    "next-steps": next_steps,
}
"""By region id; one that ends in a colon is followed by the name of a spec."""


def _of(model: DocumentModel, spec: str) -> TemplateStanding:
    found = model.template(spec)
    assert found is not None, spec  # noqa: S101 - `document` has looked
    return found


def _render(model: DocumentModel, name: str, /, **values: object) -> str:
    try:
        text = _templates(model.overrides).get_template(name).render(values)
    except TemplateError as exc:
        raise ReportError([bad_template(name, exc)]) from exc
    if name in dict(model.overrides) and "runspec:" in text:
        problem = f"the template `{name}` writes a mark of its own"
        raise ReportError([Diagnostic("report.bad-template", problem, fix="leave `runspec:` comments to the document")])
    return "\n".join(line.rstrip() for line in text.strip("\n").split("\n")) + "\n"


def _step(standing: Standing) -> Markdown:
    where = f"{code(standing.subject.name)}, {escaped(standing.phase.title)}"
    shown = standing.decisive or (standing.results[0] if standing.results else None)
    match standing.status:
        case Status.FAILED | Status.FLAKY if shown is not None:
            return Markdown(f"{where}: {standing.status}, look at it with {code(f'runspec explain {shown.run}')}")
        case Status.STALE:
            return Markdown(f"{where}: stale, {standing.why_stale}; run it again with {code(standing.command)}")
        case Status.PENDING:
            return Markdown(f"{where}: not run yet, {code(standing.command)}")
        case _:
            return Markdown(f"{where}: no verdict yet; run it again with {code(standing.command)}")


def _gaps_of(standing: Standing) -> Iterator[Gap]:
    shown = standing.decisive
    if shown is None:
        return
    for verdict in shown.verdicts:
        if verdict.outcome is Outcome.UNKNOWN and verdict.finding.observed != UNJUDGED:
            yield Gap(standing.subject.name, standing.phase.name, verdict.title, verdict.finding.observed, shown.run)
    for source, reason in {one.source: one.reason for job in shown.jobs for one in job.missing}.items():
        yield Gap(standing.subject.name, standing.phase.name, f"All that needs {source}", reason, shown.run)


def verdict_of(standing: Standing, criterion: str) -> Met:
    """Whether the evidence of a phase ticks one of its criteria; stale, flaky and unknown never do."""
    shown = standing.decisive
    found = next((one for one in shown.verdicts if one.id == criterion), None) if shown else None
    if found is None:
        return Met(is_met=False, words=Markdown(""))
    if standing.status in (Status.STALE, Status.FLAKY):
        return Met(is_met=False, words=Markdown(f" ({standing.status})"))
    if found.outcome is Outcome.PASSED:
        return Met(is_met=True, words=Markdown(""))
    return Met(is_met=False, words=Markdown(f" ({phrases.why_not(found)})"))


def job_ids(result: PhaseResult) -> Markdown:
    """The lab's ids of the training jobs."""
    ids = [job.lab_job_id for job in result.jobs if job.lab_job_id]
    return joined(", ", [code(one) for one in ids]) if ids else Markdown("no training job was created")


def devices(result: PhaseResult) -> Markdown:
    """The GPUs that were used."""
    names = sorted({job.gpu for job in result.jobs if job.gpu})
    return joined(", ", [escaped(name) for name in names]) if names else Markdown("no pod was created")


def findings(result: PhaseResult) -> list[Markdown]:
    """What is worth a line: criteria that do not hold, issues, what was scaled, what else a reader has to know."""
    lines = [inline(note) for note in result.notes]
    causes = {one.job.key: cause_of(one) for one in result.recorded if one.job.outcome is not Outcome.PASSED}
    for job in result.jobs:
        found = _findings_of(job, causes.get(job.key))
        lines += [Markdown(phrases.of_job(result, job) + line) for line in found]
    return list(dict.fromkeys(lines))


def _findings_of(job: JobReport, cause: Diagnosis | None) -> Iterator[Markdown]:
    if job.outcome is None:
        yield Markdown("interrupted before a verdict")
    elif job.reason and job.outcome is not Outcome.PASSED:
        yield inline(job.reason)
    if cause is not None:
        yield phrases.cause(cause)
    for verdict in job.verdicts:
        if verdict.outcome is not Outcome.PASSED and job.is_judged:
            yield phrases.finding(verdict)
    if job.is_flaky:
        yield Markdown(f"passed only at attempt {job.attempt}")
    for issue in (one for one in job.issues if cause is None or one.issue != cause.issue):
        fix = f"; fix: {inline(issue.fix)}" if issue.fix else ""
        yield Markdown(f"known issue {code(issue.issue)} ({issue.verdict}): {inline(issue.title)}{fix}")
    for one in job.scaled:
        because = f" ({escaped(one.reason)})" if one.reason else ""
        yield Markdown(f"scaled {code(one.field)}: {escaped(one.before)} → {escaped(one.after)}{because}")
    for pod in job.unconfirmed:
        yield Markdown(f"pod {code(pod.name)} is not proven gone: {escaped(pod.why)}")


def fixed(standing: Standing) -> list[Markdown]:
    """Failures that the spec declares as known, shown by earlier results and no longer by the newest pass."""
    shown = standing.decisive
    if shown is None or shown.outcome is not Outcome.PASSED:
        return []
    earlier = [one for one in standing.results if one.target is shown.target and one.at < shown.at and one.has_verdict]
    known = {issue.issue: issue for one in earlier for issue in one.issues if _is_known_failure(issue)}
    gone = [issue for name, issue in sorted(known.items()) if name not in {issue.issue for issue in shown.issues}]
    return [
        Markdown(f"known issue {code(issue.issue)} is no longer seen: fixed? ({inline(issue.title)})") for issue in gone
    ]


def _is_known_failure(issue: IssueObserved) -> bool:
    return issue.failure_class == "known_issue" and issue.verdict == "error"


def metrics(result: PhaseResult) -> list[Markdown]:
    """The curves that were collected, a line a job and metric; metrics without a number share a line."""
    lines = [line for job in result.jobs for line in _metrics_of(result, job)]
    return lines or [Markdown("none were received")]


def _metrics_of(result: PhaseResult, job: JobReport) -> Iterator[Markdown]:
    head = phrases.of_job(result, job)
    yield from (Markdown(head + phrases.series(one)) for one in job.series if one.points)
    silent = [code(one.name) for one in job.series if not one.points]
    if silent:
        yield Markdown(f"{head}reported without a number: {', '.join(silent)}")


def bad_template(name: str, exc: TemplateError) -> Diagnostic:
    """What is wrong with somebody's own region template, and where."""
    at = exc.lineno if isinstance(exc, TemplateSyntaxError) else _line_of(name, exc)
    place = Span(f"templates/{name}", at, 1) if at else None
    fix = "see the template of the same name in runner/reports/templates for what it can use"
    return Diagnostic("report.bad-template", f"the template `{name}` cannot be rendered: {exc.message}", place, fix=fix)


def _line_of(name: str, exc: TemplateError) -> int:
    frames = [frame for frame in extract_tb(exc.__traceback__) if frame.filename in ("<template>", name)]
    return frames[-1].lineno or 0 if frames else 0


@cache
def _templates(overrides: tuple[tuple[str, str], ...]) -> Environment:
    return environment(
        {
            "claim": phrases.claim,
            "day": wording.day,
            "devices": devices,
            "evidence": phrases.evidence,
            "findings": findings,
            "fixed": fixed,
            "heading": phrases.heading,
            "in_short": phrases.in_short,
            "job_ids": job_ids,
            "method": wording.method,
            "metrics": metrics,
            "minute": wording.minute,
            "provenance": phrases.provenance,
            "sign": phrases.sign,
            "took": wording.duration,
            "verdict": verdict_of,
            **comparisons.FILTERS,
        },
        dict(overrides),
    )
