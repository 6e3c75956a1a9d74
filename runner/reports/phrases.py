"""What the document says of a result, in Markdown: sentences that name the run, target, date, commit and cost."""

from __future__ import annotations

from runner.issues.diagnose import Diagnosis
from runner.reports import wording
from runner.reports.evidence import UNJUDGED, JobReport, Series
from runner.reports.markdown import Markdown, code, escaped, inline
from runner.reports.standing import SIGNS, PhaseResult, Standing, Status, TemplateStanding
from runner.results import Outcome, Verdict


def joined(separator: str, parts: list[str]) -> Markdown:
    """Pieces of Markdown with something between them; empty ones are left out."""
    return Markdown(separator.join(part for part in parts if part))


def heading(status: Status) -> Markdown:
    """`✅ **Working**`; what was never run is not printed bold."""
    word = status.value.capitalize()
    return Markdown(f"{SIGNS[status]} {word if status is Status.PENDING else f'**{word}**'}")


def sign(status: Status) -> Markdown:
    """The sign that stands before a status word."""
    return Markdown(SIGNS[status])


def provenance(result: PhaseResult) -> Markdown:
    """Which run, when, of what commit, at what price."""
    commit = f"commit {code(result.commit[:12])}" if result.commit else ""
    return joined(" · ", [f"run {code(result.run)}", wording.day(result.at), commit, wording.money(result.cost_usd)])


def claim(result: PhaseResult) -> Markdown:
    """What one result shows, in a few words, without its provenance."""
    target = result.target.value
    met = f"{result.passed_criteria} of {result.all_criteria} criteria"
    if result.is_staged:
        return joined(" · ", [f"{result.outcome.value} on {target}, where it was made to go wrong", met])
    match result.status:
        case Status.REHEARSED | Status.WORKING | Status.KNOWN_ISSUES:
            known = " with known issues" if result.issues else ""
            return joined(" · ", [wording.EVIDENCE[result.target] + known, met])
        case Status.FLAKY:
            return joined(" · ", [f"flaky: passed on {target}, but not at the first attempt", met])
        case Status.FAILED:
            return joined(" · ", [f"failed on {target}", met])
        case _:
            return joined(" · ", [f"no verdict on {target}: {_why_none(result)}", met])


def cause(found: Diagnosis) -> Markdown:
    """Why a job did not pass: class, rule, cause and fix in one line."""
    rule = f", rule {code(found.issue)}" if found.issue else ""
    where = f", log line {found.line}" if found.line else ""
    why = f": {inline(found.cause)}" if found.cause else ""
    fix = f" Fix: {inline(found.fix)}" if found.fix else ""
    title = escaped(found.title) + " " if found.title else ""
    return Markdown(f"**cause:** {title}({code(found.failure_class)}{rule}{where}){why}{fix}")


def _why_none(result: PhaseResult) -> Markdown:
    if result.outcome is Outcome.UNKNOWN:
        unknown = sum(verdict.outcome is Outcome.UNKNOWN for verdict in result.verdicts)
        return Markdown(
            f"{wording.count(unknown, 'criterion') if unknown == 1 else f'{unknown} criteria'} cannot be known"
        )
    reasons = [job.reason for job in result.jobs if job.reason]
    if reasons:
        return inline(reasons[0])
    return Markdown("interrupted" if any(job.outcome is None for job in result.jobs) else result.outcome.value)


def evidence(standing: Standing) -> Markdown:
    """Everything the document says of one phase of a spec, in one line."""
    decisive = standing.decisive
    if decisive is None and not standing.results:
        return Markdown(f"not run: {code(standing.command)}")
    shown = decisive or standing.results[0]
    stale = f"stale, {standing.why_stale}: " if standing.why_stale else ""
    later = standing.later_attempt if decisive else None
    after = f" (a later attempt, run {code(later.run)}, came to no verdict)" if later else ""
    return Markdown(f"{stale}{claim(shown)} · {provenance(shown)}{after}")


def in_short(template: TemplateStanding) -> Markdown:
    """The template's status for a table cell: word, the phases behind it with their runs, then the other phases."""
    status = template.status
    behind = [one for one in template.phases if one.status is status]
    if status is Status.PENDING:
        return heading(status)
    runs = [
        f"{escaped(one.phase.name)} (run {code(shown.run)}, {wording.day(shown.at)})"
        for one in behind
        if (shown := one.decisive or one.results[0])
    ]
    others = [f"{escaped(one.phase.name)} {_word(one.status)}" for one in template.phases if one.status is not status]
    return joined("; ", [f"{heading(status)}: {', '.join(runs)}", *others])


def _word(status: Status) -> str:
    return "not run" if status is Status.PENDING else status.value


def of_job(result: PhaseResult, job: JobReport) -> Markdown:
    """`job 3: ` when there are several, so that a finding can be traced."""
    return Markdown("") if len(result.jobs) == 1 else Markdown(f"job {code(job.key.rsplit('/', 1)[-1])}: ")


def finding(verdict: Verdict) -> Markdown:
    """A criterion that does not hold: title, expected, observed, evidence."""
    found = verdict.finding
    head = f"{wording.SIGNS[verdict.outcome]} {inline(verdict.title)}: "
    seen = f"evidence: {escaped(', '.join(found.evidence))}" if found.evidence else ""
    if verdict.outcome is Outcome.FAILED:
        return joined(
            "; ", [f"{head}failed", f"expected {inline(found.expected)}", f"observed {inline(found.observed)}", seen]
        )
    return joined("; ", [head + why_not(verdict), seen])


def why_not(verdict: Verdict) -> Markdown:
    """What became of a criterion that does not hold, with what was seen."""
    observed = inline(verdict.finding.observed)
    if verdict.outcome is Outcome.UNKNOWN:
        return (
            observed if observed.startswith(("cannot be known", UNJUDGED)) else Markdown(f"cannot be known: {observed}")
        )
    return joined(": ", [verdict.outcome.value, observed])


def series(one: Series) -> Markdown:
    """`train_loss`: 100 points, 2.310 → 0.412."""
    points = wording.count(one.points, "point")
    if not one.points:
        points = f"no numbers in {wording.count(one.missing, 'step')}"
    elif one.missing:
        points += f" ({one.missing} without a number)"
    curve = f"{wording.figure(one.first)} → {wording.figure(one.last)}" if one.points else ""
    return Markdown(f"{code(one.name)}: {joined(', ', [points, curve])}")
