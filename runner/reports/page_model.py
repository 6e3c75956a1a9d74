"""The parts of the HTML report, as plain data: what `page` makes of a run and the templates print."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from runner.events import IssueObserved, StepFinished
from runner.reports import wording
from runner.reports.evidence import JobReport, RunReport, Scaled
from runner.reports.traces import Excerpt, Mark

ORDER = (
    "failed",
    "errored",
    "unknown",
    "interrupted",
    "running",
    "flaky",
    "cancelled",
    "skipped",
    "passed",
    "waiting",
    "open",
)
"""Words of a verdict, the ones that need attention first."""

SIGNS = {
    **{outcome.value: sign for outcome, sign in wording.SIGNS.items()},
    "flaky": "≈",
    "interrupted": "!",
    "running": "…",
    "waiting": "–",
    "open": "…",
}


@dataclass(frozen=True, slots=True)
class CriterionView:
    """One criterion of one job. `word` is its verdict; `anchor` its address in the page."""

    anchor: str
    word: str
    title: str
    expected: str
    observed: str
    evidence: str
    fix: str
    is_optional: bool

    @property
    def is_problem(self) -> bool:
        """It does not hold."""
        return self.word not in ("passed", "skipped")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """One job.

    Attributes:
        why: what did not hold, in a few words; empty when all did.
        scaled_like: another job, by its address, that says what was scaled for this one too; empty without one.
    """

    report: JobReport
    anchor: str
    word: str
    why: str
    gpu: str
    loss: str
    criteria: tuple[CriterionView, ...]
    chart: Markup
    timeline: Markup
    marks: tuple[Mark, ...]
    numbers: tuple[tuple[int, str], ...]
    all_numbers: int
    log: Excerpt
    steps: tuple[StepFinished, ...]

    scaled: tuple[Scaled, ...]
    scaled_like: str

    @property
    def issues(self) -> tuple[IssueObserved, ...]:
        """Known issues that were recognised."""
        return self.report.issues


@dataclass(frozen=True, slots=True)
class Problem:
    """A criterion that does not hold, or a job without a verdict, in all the jobs that it happened to."""

    word: str
    criterion: CriterionView
    jobs: tuple[JobView, ...]
    chart: Markup


@dataclass(frozen=True, slots=True)
class Cell:
    """One template and phase: the worst verdict, criteria met of all, and where to read on. Empty words: not run."""

    word: str
    met: int
    total: int
    anchor: str
    command: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart with its title."""

    title: str
    svg: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class PageView:
    """Everything on the page, in its order."""

    report: RunReport
    word: str
    headline: str
    alarm: str
    facts: tuple[str, ...]
    counts: tuple[tuple[str, int], ...]
    problems: tuple[Problem, ...]
    phases: tuple[str, ...]
    matrix: tuple[tuple[str, tuple[Cell, ...]], ...]
    panels: tuple[Figure, ...]
    strips: tuple[Figure, ...]
    jobs: tuple[JobView, ...]
    context: tuple[tuple[str, str], ...]
    is_live: bool = False
