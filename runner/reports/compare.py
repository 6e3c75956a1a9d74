"""Templates against each other: what several jobs of each measured, where they differ, how failures cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations

from runner.reports.evidence import JobReport
from runner.reports.measures import MEASURES, Measure
from runner.reports.statistics import Summary, Test, compare_values, decided, has_scipy, summarise_values
from runner.results import Outcome, Target

LEAST_JOBS = 2
"""One job of a template is no sample."""
_PREFERRED_PHASE = "batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The jobs of one spec that are compared.

    Attributes:
        summaries: by name of the measure, over the jobs that reported it.
    """

    spec: str
    method: str
    run: str
    at: datetime
    jobs: tuple[JobReport, ...]
    summaries: Mapping[str, Summary]

    @property
    def passed(self) -> int:
        """How many jobs passed."""
        return sum(job.outcome is Outcome.PASSED for job in self.jobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One measure of two templates that train on the same rows."""

    one: str
    other: str
    measure: Measure
    medians: tuple[float, float]
    test: Test


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlier:
    """A job far from the others of its template."""

    job: str
    measure: Measure
    value: float
    median: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Jobs that did not pass, by what they have in common. `of` is how many jobs have it at all."""

    kind: str
    name: str
    count: int
    of: int
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything that can be said of several templates.

    Attributes:
        measures: those that any job reported.
        unreported: those that jobs of these methods could have reported, and none did.
        has_intervals: intervals and tests were computed.
    """

    phase: str
    phase_title: str
    target: Target
    groups: tuple[Group, ...]
    measures: tuple[Measure, ...]
    unreported: tuple[Measure, ...]
    pairs: tuple[Pair, ...]
    outliers: tuple[Outlier, ...]
    failures: tuple[Failures, ...]
    pattern: str
    has_intervals: bool

    @property
    def jobs(self) -> int:
        """How many jobs are compared."""
        return sum(len(group.jobs) for group in self.groups)

    @property
    def passed(self) -> int:
        """How many of them passed."""
        return sum(group.passed for group in self.groups)

    @property
    def cost_usd(self) -> float:
        """What all jobs cost together."""
        return sum(job.cost_usd for group in self.groups for job in group.jobs)

    @property
    def runs(self) -> tuple[str, ...]:
        """The runs behind it, in the order of their first group."""
        return tuple(dict.fromkeys(group.run for group in self.groups))


def newest_groups(jobs: Iterable[JobReport], phase: str | None = None) -> list[list[JobReport]]:
    """The jobs to compare: of each spec the newest run with several jobs of one phase, all of one phase and target.

    Args:
        phase: compare this one; without it `batch` when there is any, else the one with the newest result.
    """
    groups: dict[tuple[str, str, Target, str], list[JobReport]] = {}
    for job in jobs:
        if job.target is not Target.SCRIPTED:
            groups.setdefault((job.record.spec, job.record.phase, job.target, job.run), []).append(job)
    samples = [group for group in groups.values() if len(group) >= LEAST_JOBS]
    wanted = phase or (
        _PREFERRED_PHASE if any(group[0].record.phase == _PREFERRED_PHASE for group in samples) else None
    )
    samples = [group for group in samples if wanted is None or group[0].record.phase == wanted]
    if not samples:
        return []
    newest = max(samples, key=_age)[0]
    found: dict[str, list[JobReport]] = {}
    for group in sorted(samples, key=_age):
        if (group[0].record.phase, group[0].target) == (newest.record.phase, newest.target):
            found[group[0].record.spec] = group
    return list(found.values())


def _age(group: Sequence[JobReport]) -> tuple[bool, datetime, str]:
    # A rehearsal, however new, never hides what real GPUs measured.
    return group[0].target is Target.CLOUD, max(job.at for job in group), group[0].run


def compare(groups: Sequence[Sequence[JobReport]], *, with_intervals: bool = True) -> Comparison | None:
    """The comparison of groups of jobs, one a spec; None without any.

    Args:
        with_intervals: compute intervals and tests when SciPy is there.
    """
    made = sorted((_group(jobs, with_intervals=with_intervals) for jobs in groups if jobs), key=lambda one: one.spec)
    if not made:
        return None
    first = made[0].jobs[0]
    jobs = [job for group in made for job in group.jobs]
    # What cost nothing anywhere, as on the embedded cloud, is no column.
    reported = {name for group in made for name, found in group.summaries.items() if any(found.values)}
    return Comparison(
        phase=first.record.phase,
        phase_title=first.record.phase_title,
        target=first.target,
        groups=tuple(made),
        measures=tuple(one for one in MEASURES if one.name in reported),
        unreported=tuple(_unreported(made)),
        pairs=tuple(_pairs(made)) if with_intervals else (),
        outliers=tuple(_outliers(made)),
        failures=tuple(_failures(jobs)),
        pattern=_pattern(jobs),
        has_intervals=with_intervals and has_scipy(),
    )


def _unreported(groups: Sequence[Group]) -> Iterable[Measure]:
    for each in MEASURES:
        able = [group for group in groups if each.is_of(group.method)]
        if able and not any(each.name in group.summaries for group in groups):
            yield each


def _group(jobs: Sequence[JobReport], *, with_intervals: bool) -> Group:
    ordered = sorted(jobs, key=_number)
    values = {one.name: [job.measures[one.name] for job in ordered if one.name in job.measures] for one in MEASURES}
    first = ordered[0]
    return Group(
        spec=first.record.spec,
        method=first.record.method,
        run=first.run,
        at=max(job.at for job in ordered),
        jobs=tuple(ordered),
        summaries={
            name: summarise_values(found, with_interval=with_intervals) for name, found in values.items() if found
        },
    )


def _number(job: JobReport) -> tuple[str, int, str]:
    head, _, number = job.key.rpartition("/")
    return head, int(number) if number.isdigit() else 0, number


def _pairs(groups: Sequence[Group]) -> Iterable[Pair]:
    """Templates that train on the same kind of rows, such as ORPO and DPO, by every measure that both reported."""
    for one, other in combinations(groups, 2):
        if one.jobs[0].record.dataset_format != other.jobs[0].record.dataset_format:
            continue
        shared = [each for each in MEASURES if each.is_comparable and _have_both(one, other, each)]
        sides = [(one.summaries[each.name], other.summaries[each.name]) for each in shared]
        tests = decided([compare_values(mine.values, theirs.values) for mine, theirs in sides])
        for each, (mine, theirs), test in zip(shared, sides, tests, strict=True):
            yield Pair(one=one.spec, other=other.spec, measure=each, medians=(mine.median, theirs.median), test=test)


def _have_both(one: Group, other: Group, measure: Measure) -> bool:
    mine, theirs = one.summaries.get(measure.name), other.summaries.get(measure.name)
    return mine is not None and theirs is not None and any((*mine.values, *theirs.values))


def _outliers(groups: Sequence[Group]) -> Iterable[Outlier]:
    for group in groups:
        for each in MEASURES:
            summary = group.summaries.get(each.name)
            if summary is None:
                continue
            reporting = [job for job in group.jobs if each.name in job.measures]
            for index in summary.outliers:
                yield Outlier(
                    job=reporting[index].key, measure=each, value=summary.values[index], median=summary.median
                )


# --- failures -------------------------------------------------------------------------------------------------------


def failure_of(job: JobReport) -> str:
    """What a job failed of, in one word: the class of its issue, else that of its failure."""
    issues = [issue.failure_class for issue in job.issues if issue.verdict != "expected"]
    known = [one for one in issues if one not in ("trainer_error", "trainer_killed")]
    if known or issues:
        return (known or issues)[0]
    if job.failure_class is not None:
        return job.failure_class.value
    return job.outcome.value if job.outcome else "interrupted"


def _failures(jobs: Sequence[JobReport]) -> Iterable[Failures]:
    failed = [job for job in jobs if job.outcome is not Outcome.PASSED]
    by_class = Counter(failure_of(job) for job in failed)
    for name, count in by_class.most_common():
        templates = sorted({job.record.spec for job in failed if failure_of(job) == name})
        yield Failures(kind="class", name=name, count=count, of=len(jobs), detail=", ".join(templates))
    for kind, of in (("template", _template), ("GPU", _gpu)):
        everywhere = Counter(of(job) for job in jobs)
        for name, count in Counter(of(job) for job in failed).most_common():
            classes = sorted({failure_of(job) for job in failed if of(job) == name})
            yield Failures(kind=kind, name=name, count=count, of=everywhere[name], detail=", ".join(classes))


def _template(job: JobReport) -> str:
    return job.record.spec


def _gpu(job: JobReport) -> str:
    return job.gpu or "no pod"


def _pattern(jobs: Sequence[JobReport]) -> str:
    """What the failures have in common, as far as it is not chance; says so when there is nothing."""
    failed = [job for job in jobs if job.outcome is not Outcome.PASSED]
    if not failed:
        return "No job failed, so there is no pattern of failures."
    if len(failed) == 1:
        return f"One job failed ({failure_of(failed[0])}): one is no pattern."
    for words, of in (("template", _template), ("GPU", _gpu)):
        names = {of(job) for job in failed}
        if len(names) == 1 and len({of(job) for job in jobs}) > 1:
            name = names.pop()
            there = sum(of(job) == name for job in jobs)
            where = f"{len(failed)} of {there} jobs there, none elsewhere"
            return f"All {len(failed)} failures are of one {words}, {name}: {where}."
    if len({failure_of(job) for job in failed}) == 1:
        where = ", on several templates" if len({_template(job) for job in failed}) > 1 else ""
        return f"All {len(failed)} failures are of one class, {failure_of(failed[0])}{where}."
    return f"{len(failed)} of {len(jobs)} jobs failed, of several classes and templates: no common cause is visible."
