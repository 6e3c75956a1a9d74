"""What the HTML report shows of one run, in its order: verdict, failing criterion, evidence, context.

`view` is pure: the same recorded run gives the same page. The live page is the same view of a run that goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from markupsafe import Markup

from runner.events import RunStarted
from runner.history import RecordedRun
from runner.reports import wording
from runner.reports.charts import ALONE, BAND_FROM, Curve, Panel, loss_panel
from runner.reports.compare import compare, newest_groups
from runner.reports.evidence import UNJUDGED, JobReport, RunReport, summarise
from runner.reports.page_model import ORDER, Cell, CriterionView, Figure, JobView, PageView, Problem
from runner.reports.strips import dot_strip, title_of
from runner.reports.terminal import verdict_line
from runner.reports.thresholds import threshold_of
from runner.reports.timeline import timeline
from runner.reports.traces import Trace, excerpt, trace
from runner.results import Outcome, Target, Verdict

LOSS = "train_loss"
_ROWS_OF_NUMBERS = 20


def view(run: RecordedRun, *, is_running: bool = False) -> PageView | None:
    """What a page says of a run; None when not even its start was recorded.

    Args:
        is_running: somebody is working on it now: what is missing is to come and not interrupted.
    """
    report = summarise(run)
    if report is None:
        return None
    traces = {job.key: trace(run.events, job.key) for job in report.jobs}
    jobs = tuple(
        _job(job, traces[job.key], scaled_like=_scaled_like(job, report), is_running=is_running) for job in report.jobs
    )
    word = _run_word(report, is_running=is_running)
    return PageView(
        report=report,
        word=word,
        headline=_headline(report, jobs, word),
        alarm=_alarm(report),
        facts=tuple(_facts(report, is_running=is_running)),
        counts=_counts(jobs),
        problems=tuple(sorted(_problems(jobs, traces), key=lambda one: (ORDER.index(one.word), -len(one.jobs)))),
        phases=tuple(dict.fromkeys(job.report.record.phase for job in jobs)),
        matrix=tuple(_matrix(jobs)),
        panels=tuple(_panels(jobs, traces)),
        strips=tuple(_strips(report)),
        jobs=tuple(sorted(jobs, key=lambda job: ORDER.index(job.word))) if not is_running else jobs,
        context=tuple(_context(run, report)),
        is_live=is_running,
    )


def _run_word(report: RunReport, *, is_running: bool) -> str:
    if report.outcome is None:
        return "running" if is_running else "interrupted"
    if report.outcome is Outcome.PASSED and any(job.is_flaky for job in report.jobs):
        return "flaky"
    return report.outcome.value


def _headline(report: RunReport, jobs: Sequence[JobView], word: str) -> str:
    if word == "running":
        done = sum(job.report.outcome is not None for job in jobs)
        bad = sum(job.word == "failed" for job in jobs)
        failed = f", {bad} failed" if bad else ""
        return f"{done} of {wording.count(len(jobs), 'job')} finished{failed}"
    if not jobs:
        return "no job was selected"
    head, *rest = verdict_line(report).split(" · ")
    counts = f"{rest[0]} met" if rest[0].endswith("criteria") else rest[0]
    return head.partition("interrupted ")[2] if word == "interrupted" else counts


def _alarm(report: RunReport) -> str:
    if report.finished_at is None or not report.open_pods:
        return ""
    names = ", ".join(lease.name for lease in report.open_pods[:5])
    pods = wording.count(len(report.open_pods), "pod")
    return f"{pods} not proven gone and may still be billed: {names}. Run `runspec reap`"


def _facts(report: RunReport, *, is_running: bool) -> Iterator[str]:
    yield wording.EVIDENCE[report.target] if report.outcome is Outcome.PASSED else f"on {report.target.value}"
    limit = f" of {wording.money(report.max_spend_usd)}" if report.max_spend_usd is not None else ""
    yield f"{wording.money(report.cost_usd)}{limit}"
    released = report.pods_opened - sum(lease.pod_id is not None for lease in report.open_pods)
    yield f"{wording.count(report.pods_opened, 'pod')} opened, {released} released"
    if is_running:
        yield _burning(report)
    yield wording.duration(report.elapsed_s)
    yield f"run {report.run}"
    if report.commit:
        yield f"commit {report.commit[:12]}"
    yield wording.minute(report.started_at)


def _burning(report: RunReport) -> str:
    """Pods that run now and what they cost an hour; the embedded cloud's prices are no money."""
    is_paid = report.target is Target.CLOUD
    usd_h = sum(lease.cost_usd_h or 0.0 for lease in report.open_pods) if is_paid else 0.0
    return f"{wording.count(len(report.open_pods), 'pod')} open, {wording.money(usd_h)} an hour"


def _counts(jobs: Sequence[JobView]) -> tuple[tuple[str, int], ...]:
    found = [(word, sum(job.word == word for job in jobs)) for word in ORDER]
    return tuple((word, number) for word, number in found if number)


# --- one job ------------------------------------------------------------------------------------------------------


def _scaled_like(job: JobReport, report: RunReport) -> str:
    same = next(other for other in report.jobs if other.scaled == job.scaled)
    return "" if same is job else same.key


def _job(job: JobReport, found: Trace, *, scaled_like: str, is_running: bool) -> JobView:
    word = _word(job, found, is_running=is_running)
    criteria = tuple(_criterion(job, verdict, is_running=is_running) for verdict in job.verdicts)
    bad = [one for one in criteria if one.is_problem and word not in ("running", "waiting")]
    against = [item for one in job.verdicts if one.outcome is Outcome.FAILED for item in one.finding.evidence]
    other = [item for one in job.verdicts if one.outcome is not Outcome.FAILED for item in one.finding.evidence]
    points = found.points.get(LOSS, ())
    numbers = [(step, value) for step, value in points if value is not None]
    return JobView(
        report=job,
        anchor=job.key,
        word=word,
        why=_why(job, bad, word),
        gpu=job.gpu or "no pod",
        loss=wording.figure(numbers[-1][1]) if numbers else "",
        criteria=criteria,
        chart=loss_panel(_panel(job.key, [(job, found)])) if points else Markup(""),
        timeline=timeline(found),
        marks=found.marks,
        numbers=tuple((step, wording.figure(value)) for step, value in _sampled(numbers)),
        all_numbers=len(numbers),
        log=excerpt(found, against, other, is_good=word in ("passed", "flaky")),
        steps=found.steps,
        scaled=() if scaled_like else job.scaled,
        scaled_like=scaled_like if job.scaled else "",
    )


def _sampled(numbers: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    every = max(1, -(-len(numbers) // _ROWS_OF_NUMBERS))
    return [*numbers[::every], *(numbers[-1:] if numbers and (len(numbers) - 1) % every else ())]


def _word(job: JobReport, found: Trace, *, is_running: bool) -> str:
    if job.outcome is not None:
        return "flaky" if job.is_flaky else job.outcome.value
    if not is_running:
        return "interrupted"
    return "running" if found.length_s or found.marks else "waiting"


def _why(job: JobReport, bad: Sequence[CriterionView], word: str) -> str:
    if word in ("passed", "running", "waiting"):
        return ""
    if word == "flaky":
        return f"passed only at attempt {job.attempt}"
    if bad and job.is_judged:
        first = min(bad, key=lambda one: ORDER.index(one.word))
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        return f"{first.title}: {first.observed}{more}"
    return job.reason or ("nothing more was recorded" if job.outcome is None else "no reason was recorded")


def _criterion(job: JobReport, verdict: Verdict, *, is_running: bool) -> CriterionView:
    found = verdict.finding
    waits = is_running and not job.is_judged
    observed = "" if waits else found.observed
    if verdict.outcome is Outcome.UNKNOWN and observed != UNJUDGED and not waits and "cannot be known" not in observed:
        observed = f"cannot be known: {observed}"
    fix = next((one.fix for one in job.issues if one.verdict == "error" and one.fix), "")
    return CriterionView(
        anchor=f"{job.key}/{verdict.id}",
        word="open" if waits else verdict.outcome.value,
        title=verdict.title,
        expected=found.expected,
        observed=observed,
        evidence=", ".join(found.evidence),
        fix=fix if verdict.outcome is Outcome.FAILED else "",
        is_optional=verdict.optional,
    )


# --- over all jobs ------------------------------------------------------------------------------------------------


def _problems(jobs: Sequence[JobView], traces: Mapping[str, Trace]) -> Iterator[Problem]:
    """Problems grouped by their cause."""
    groups: dict[tuple[str, str], list[tuple[JobView, CriterionView]]] = {}
    for job in jobs:
        for one in _problems_of(job):
            groups.setdefault((one.word, one.title), []).append((job, one))
    for (word, _), members in groups.items():
        job, criterion = members[0]
        is_curve = word == "failed" and LOSS in f"{criterion.expected} {criterion.evidence}"
        panel = _panel(job.report.record.spec, [(one.report, traces[one.anchor]) for one in _like(job, jobs)])
        chart = loss_panel(panel) if is_curve and any(curve.numbers for curve in panel.curves) else Markup("")
        yield Problem(word, criterion, tuple(one for one, _ in members), chart)


def _like(job: JobView, jobs: Sequence[JobView]) -> Iterator[JobView]:
    """The jobs that a failed one is seen against: those of the same template and phase."""
    record = job.report.record
    same = ((one, one.report.record) for one in jobs)
    return (one for one, other in same if (other.spec, other.phase) == (record.spec, record.phase))


def _problems_of(job: JobView) -> Iterator[CriterionView]:
    if job.word in ("running", "waiting", "passed", "skipped"):
        yield from (one for one in job.criteria if one.is_problem and job.word == "passed" and job.report.is_judged)
        return
    bad = [one for one in job.criteria if one.is_problem] if job.report.is_judged else []
    broke = job.word in ("errored", "cancelled", "interrupted", "flaky")
    if broke or not bad:
        yield _broken(job)
    if not broke:
        yield from bad


def _broken(job: JobView) -> CriterionView:
    report = job.report
    cause = f" ({report.failure_class.value})" if report.failure_class else ""
    tries = f", after {report.attempt} attempts" if report.attempt > 1 and job.word != "flaky" else ""
    return CriterionView(
        anchor=job.anchor,
        word=job.word,
        title="Passes at the first attempt" if job.word == "flaky" else "Comes to a verdict",
        expected="one attempt" if job.word == "flaky" else "a verdict on every criterion",
        observed=f"{job.why}{cause}{tries}; {wording.money(report.cost_usd)} spent",
        evidence="",
        fix=f"`runspec resume {report.run}`" if job.word == "interrupted" else "",
        is_optional=False,
    )


def _matrix(jobs: Sequence[JobView]) -> Iterator[tuple[str, tuple[Cell, ...]]]:
    phases = list(dict.fromkeys(job.report.record.phase for job in jobs))
    for spec in dict.fromkeys(job.report.record.spec for job in jobs):
        own = [job for job in jobs if job.report.record.spec == spec]
        yield spec, tuple(_cell(own, phase) for phase in phases)


def _cell(own: Sequence[JobView], phase: str) -> Cell:
    here = [job for job in own if job.report.record.phase == phase]
    if not here:
        return Cell("", 0, 0, "", f"runspec specs/{own[0].report.record.spec_file} --phase {phase}")
    worst = min(here, key=lambda job: ORDER.index(job.word))
    met, total = (sum(get(job.report) for job in here) for get in (_met, _total))
    return Cell(worst.word, met, total, worst.anchor, "")


def _met(job: JobReport) -> int:
    return job.passed_criteria


def _total(job: JobReport) -> int:
    return len(job.verdicts)


def _panels(jobs: Sequence[JobView], traces: Mapping[str, Trace]) -> Iterator[Figure]:
    """A loss panel a template, so that scales are never mixed."""
    for spec in dict.fromkeys(job.report.record.spec for job in jobs):
        own = [(job.report, traces[job.anchor]) for job in jobs if job.report.record.spec == spec]
        panel = _panel(spec, own)
        yield Figure(panel.title, loss_panel(panel))


def _strips(report: RunReport) -> Iterator[Figure]:
    """The jobs of several templates side by side, where there are several jobs of each."""
    found = compare(newest_groups(report.jobs), with_intervals=False)
    if found is not None and len(found.groups) > 1:
        for measure in found.measures:
            yield Figure(title_of(measure), dot_strip(found, measure, standalone=False))


def _panel(title: str, jobs: Sequence[tuple[JobReport, Trace]]) -> Panel:
    curves = tuple(_curve(job, found, is_alone=len(jobs) == 1) for job, found in jobs)
    with_points = sum(bool(curve.numbers) for curve in curves)
    missing = next((one.reason for job, _ in jobs for one in job.missing if one.source == "metrics"), "")
    good = sum(curve.is_good for curve in curves if curve.numbers)
    band = f", band and median of {good}" if good >= BAND_FROM else ""
    counted = f" · {with_points} of {len(curves)} jobs{band}" if len(curves) > 1 else ""
    return Panel(
        title=f"{title}{counted}",
        curves=curves,
        threshold=threshold_of(jobs[0][0].record, LOSS) if jobs else None,
        why_empty=missing or "no loss was received",
    )


def _curve(job: JobReport, found: Trace, *, is_alone: bool) -> Curve:
    number = job.key.rsplit("/", 1)[-1]
    points = found.points.get(LOSS, ())
    return Curve(label=ALONE if is_alone else f"job {number}", points=points, outcome=job.outcome)


def _context(run: RecordedRun, report: RunReport) -> Iterator[tuple[str, str]]:
    start = next(event for event in run.events if isinstance(event, RunStarted))
    yield "command", start.command or "not recorded"
    yield "runspec", report.version or "not recorded"
    yield "target", f"{report.target.value}, deployed via {report.via}"
    if report.target is Target.LOCAL:
        yield "what that means", "the embedded cloud really trains a tiny model: a rehearsal, not a proof on a GPU"
    records = [job.record for job in report.jobs]
    yield "specs", ", ".join(dict.fromkeys(f"{one.spec_file} ({one.spec_digest[:12]})" for one in records))
    yield "phases", ", ".join(dict.fromkeys(f"{one.phase} ({one.phase_digest[:12]})" for one in records))
    for note in report.notes:
        yield "note", note
