"""Where each template stands: the newest evidence for every spec and phase, and what it is worth today."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from runner.events import DatasetChecked, IssueObserved
from runner.history import RecordedRun
from runner.reports.difference import RecordedJob, recorded_jobs
from runner.reports.evidence import JobReport, worst
from runner.results import Outcome, Target, Verdict
from runner.spec.models import Phase, Spec


class Status(StrEnum):
    """The words of the tracking document."""

    PENDING = "pending"
    REHEARSED = "rehearsed"
    WORKING = "working"
    KNOWN_ISSUES = "working with known issues"
    FLAKY = "flaky"
    FAILED = "failed"
    STALE = "stale"
    NO_VERDICT = "no verdict"

    @property
    def is_green(self) -> bool:
        """It has evidence that ticks a box."""
        return self in (Status.REHEARSED, Status.WORKING, Status.KNOWN_ISSUES)


SIGNS = {
    Status.PENDING: "⏳",
    Status.REHEARSED: "🧪",
    Status.WORKING: "✅",
    Status.KNOWN_ISSUES: "✅",
    Status.FLAKY: "⚠️",
    Status.FAILED: "❌",
    Status.STALE: "🕓",
    Status.NO_VERDICT: "❔",
}
# A template is called by its worst failure, else by the best that was shown; the other phases are named beside it.
_ORDER = (
    Status.FAILED,
    Status.FLAKY,
    Status.KNOWN_ISSUES,
    Status.WORKING,
    Status.REHEARSED,
    Status.NO_VERDICT,
    Status.STALE,
    Status.PENDING,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseSubject:
    """A phase that a spec is tested in. Without a digest nothing is known of changes since a run."""

    name: str
    title: str
    digest: str = ""
    criteria: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A spec as the document knows it. `file` is what the command line is given to run it."""

    name: str
    title: str
    key: str
    method: str
    model: str
    notes: str
    file: str
    digest: str = ""
    phases: tuple[PhaseSubject, ...] = ()


def subject(
    spec: Spec,
    phases: Mapping[str, Phase],
    *,
    file: str,
    digest: str = "",
    phase_digests: Mapping[str, str] | None = None,
) -> Subject:
    """A loaded spec with its loaded phases, by name; digests are the ones that the plan records."""
    digests = phase_digests or {}
    found = tuple(
        PhaseSubject(
            name=name,
            title=phases[name].title,
            digest=digests.get(name, ""),
            criteria=tuple((one.id, one.title) for one in (*phases[name].success, *spec.success.get(name, ()))),
        )
        for name in spec.phases
        if name in phases
    )
    return Subject(
        name=spec.name,
        title=spec.title,
        key=spec.template.key,
        method=spec.template.method.value,
        model=spec.template.model,
        notes=spec.notes,
        file=file,
        digest=digest,
        phases=found,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseResult:
    """The jobs of one spec and phase in one run."""

    run: str
    target: Target
    at: datetime
    commit: str | None
    jobs: tuple[JobReport, ...]
    notes: tuple[str, ...] = ()
    recorded: tuple[RecordedJob, ...] = ()
    """The same jobs with their events, for whoever asks for the cause of a failure."""
    is_staged: bool = False
    """It went wrong on purpose: listed, and of no consequence."""

    @property
    def outcome(self) -> Outcome:
        """How they ended together; interrupted is errored."""
        return worst(job.outcome or Outcome.ERRORED for job in self.jobs)

    @property
    def has_verdict(self) -> bool:
        """It was judged to an end; errors, skips, interruptions and staged runs show nothing either way."""
        return not self.is_staged and self.outcome in (Outcome.PASSED, Outcome.FAILED, Outcome.UNKNOWN)

    @property
    def status(self) -> Status:
        """What this result alone says."""
        if self.is_staged:
            return Status.NO_VERDICT
        if self.outcome is Outcome.FAILED:
            return Status.FAILED
        if self.outcome is not Outcome.PASSED:
            return Status.NO_VERDICT
        if any(job.is_flaky for job in self.jobs):
            return Status.FLAKY
        if self.target is not Target.CLOUD:
            return Status.REHEARSED
        return Status.KNOWN_ISSUES if self.issues else Status.WORKING

    @property
    def issues(self) -> tuple[IssueObserved, ...]:
        """Known issues that were seen, each once."""
        return tuple({issue.issue: issue for job in self.jobs for issue in job.issues}.values())

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """One verdict a criterion: over several jobs the worst one."""
        found: dict[str, Verdict] = {}
        for verdict in (verdict for job in self.jobs for verdict in job.verdicts):
            other = found.get(verdict.id)
            if other is None or worst((verdict.outcome, other.outcome)) is not other.outcome:
                found[verdict.id] = verdict
        return tuple(found.values())

    @property
    def passed_criteria(self) -> int:
        """How many criteria hold, over all jobs."""
        return sum(job.passed_criteria for job in self.jobs)

    @property
    def all_criteria(self) -> int:
        """How many criteria there are, over all jobs."""
        return sum(len(job.verdicts) for job in self.jobs)

    @property
    def cost_usd(self) -> float:
        """What the jobs cost together."""
        return sum(job.cost_usd for job in self.jobs)

    @property
    def elapsed_s(self) -> float:
        """The longest job's time."""
        return max(job.elapsed_s for job in self.jobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One spec and phase today.

    Attributes:
        results: everything recorded on a target that counts, newest first.
        decisive: the result that the status comes from; None when nothing was judged.
        why_stale: what changed since, when that makes the decisive result stale.
    """

    subject: Subject
    phase: PhaseSubject
    results: tuple[PhaseResult, ...]
    decisive: PhaseResult | None
    why_stale: str
    status: Status

    @property
    def command(self) -> str:
        """What runs this phase."""
        return f"runspec {self.subject.file} --phase {self.phase.name}"

    @property
    def later_attempt(self) -> PhaseResult | None:
        """A newer result than the decisive one that came to no verdict."""
        newest = self.results[0] if self.results else None
        return newest if newest is not None and not newest.has_verdict and newest is not self.decisive else None


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateStanding:
    """One spec today, over all its phases."""

    subject: Subject
    phases: tuple[Standing, ...]

    @property
    def status(self) -> Status:
        """The template's status; phases that did not run are named beside it, not in it."""
        return min((one.status for one in self.phases), key=_ORDER.index, default=Status.PENDING)

    @property
    def results(self) -> tuple[PhaseResult, ...]:
        """Everything recorded of it, newest first."""
        found = [result for phase in self.phases for result in phase.results]
        return tuple(sorted(found, key=lambda result: result.at, reverse=True))

    @property
    def dataset(self) -> tuple[JobReport, DatasetChecked] | None:
        """The newest job whose whole dataset was checked, unless the spec changed since."""
        for result in self.results:
            for job in result.jobs:
                if job.dataset is not None:
                    changed = self.subject.digest and job.record.spec_digest != self.subject.digest
                    return None if changed else (job, job.dataset)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentModel:
    """All that a tracking document is rendered from.

    Attributes:
        runs: the ids of all that was read.
        overrides: somebody's own region templates, (name, source).
    """

    templates: tuple[TemplateStanding, ...]
    runs: tuple[str, ...] = ()
    overrides: tuple[tuple[str, str], ...] = ()

    @property
    def newest(self) -> PhaseResult | None:
        """The newest result of any template."""
        results = (result for template in self.templates for result in template.results)
        return max(results, key=lambda result: (result.at, result.run), default=None)

    def template(self, name: str) -> TemplateStanding | None:
        """The standing of a spec, by its name."""
        return next((one for one in self.templates if one.subject.name == name), None)


def build_model(
    subjects: Sequence[Subject], runs: Iterable[RecordedRun], *, max_age: timedelta | None = None
) -> DocumentModel:
    """Where every spec stands by the recorded runs, in whatever order they come. Scripted runs never count.

    Args:
        max_age: evidence older than this, counted from the newest result of all, is stale.
    """
    by_phase: dict[tuple[str, str], list[PhaseResult]] = {}
    names: set[str] = set()
    for run in runs:
        names.add(run.run)
        for key, result in _results(run):
            by_phase.setdefault(key, []).append(result)
    newest = max((result.at for results in by_phase.values() for result in results), default=None)
    horizon = newest - max_age if newest and max_age else None
    templates = tuple(
        TemplateStanding(
            subject=one,
            phases=tuple(
                _standing(one, phase, by_phase.get((one.name, phase.name), []), horizon) for phase in one.phases
            ),
        )
        for one in subjects
    )
    return DocumentModel(templates=templates, runs=tuple(sorted(names)))


def _results(run: RecordedRun) -> Iterator[tuple[tuple[str, str], PhaseResult]]:
    recorded = recorded_jobs(run)
    if not recorded or recorded[0].run.target is Target.SCRIPTED:
        return
    report = recorded[0].run
    jobs: dict[tuple[str, str], list[RecordedJob]] = {}
    for one in recorded:
        jobs.setdefault((one.job.record.spec, one.job.record.phase), []).append(one)
    for key, group in jobs.items():
        yield (
            key,
            PhaseResult(
                run=report.run,
                target=report.target,
                at=max(one.job.at for one in group),
                commit=report.commit,
                jobs=tuple(one.job for one in group),
                notes=report.notes,
                recorded=tuple(group),
                is_staged=report.is_staged,
            ),
        )


def _standing(one: Subject, phase: PhaseSubject, results: Sequence[PhaseResult], horizon: datetime | None) -> Standing:
    newest_first = tuple(sorted(results, key=lambda result: (result.at, result.run), reverse=True))
    decisive = _decisive(one, phase, newest_first)
    why_stale = _why_stale(one, phase, decisive, horizon) if decisive else ""
    if why_stale:
        status = Status.STALE
    elif decisive:
        status = decisive.status
    else:
        status = Status.NO_VERDICT if newest_first else Status.PENDING
    return Standing(
        subject=one, phase=phase, results=newest_first, decisive=decisive, why_stale=why_stale, status=status
    )


def _decisive(one: Subject, phase: PhaseSubject, newest_first: Sequence[PhaseResult]) -> PhaseResult | None:
    """The result that the status comes from.

    The cloud's newest judged result counts more than any rehearsal, which cannot make good what failed there; only a
    newer rehearsal that failed undoes an older pass. Results of another spec or phase text count only when there is
    nothing better.
    """
    judged = [result for result in newest_first if result.has_verdict]
    fresh = [result for result in judged if not _changed(one, phase, result)]
    candidates = fresh or judged
    cloud = next((result for result in candidates if result.target is Target.CLOUD), None)
    newest = candidates[0] if candidates else None
    return newest if cloud is None or (newest and newest.status is Status.FAILED) else cloud


def _changed(one: Subject, phase: PhaseSubject, result: PhaseResult) -> str:
    record = result.jobs[0].record
    if one.digest and record.spec_digest != one.digest:
        return "the spec changed since"
    if phase.digest and record.phase_digest != phase.digest:
        return "the phase changed since"
    return ""


def _why_stale(one: Subject, phase: PhaseSubject, result: PhaseResult, horizon: datetime | None) -> str:
    if horizon is not None and result.at < horizon:
        return "newer runs make it too old"
    return _changed(one, phase, result)
