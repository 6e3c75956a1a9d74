"""`runspec history --trend`: how each spec and phase went, run after run."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

from runner.cli.jobline import SIGNS
from runner.cli.summary import stdout_console
from runner.cli.tables import Column, print_table
from runner.reports.evidence import JobReport, summarise
from runner.reports.wording import duration, figure
from runner.results import Outcome

if TYPE_CHECKING:
    from runner.store.store import Store

LOSS = "train_loss"
_COLUMNS = (
    Column("spec / phase"),
    Column("oldest → newest"),
    Column("passed"),
    Column("time", 1, right=True),
    Column("usually", 2, right=True),
    Column("last loss", 1, right=True),
    Column("before", 2, right=True),
)


def print_trend(store: Store, *, limit: int, spec: str | None) -> bool:
    """One row a spec and phase over the newest `limit` runs; False when there is none to print."""
    series: dict[str, list[JobReport]] = {}
    for recorded in store.recorded_runs(limit, spec):
        report = summarise(recorded)
        for job in report.jobs if report else ():
            if spec in (None, job.record.spec):
                series.setdefault(f"{job.record.spec} / {job.record.phase}", []).append(job)
    if series:
        print_table(stdout_console(), _COLUMNS, [_row(name, jobs[::-1]) for name, jobs in sorted(series.items())])
    return bool(series)


def _row(name: str, jobs: Sequence[JobReport]) -> list[str]:
    """A row from jobs, oldest first. What is usual and what was before leave the newest one out."""
    signs = "".join(SIGNS[job.outcome] if job.outcome is not None else "…" for job in jobs)
    passed = sum(job.outcome is Outcome.PASSED for job in jobs)
    last, earlier = jobs[-1], jobs[:-1]
    losses = [loss for job in earlier if (loss := final_loss(job)) is not None]
    return [
        name,
        signs,
        f"{passed} of {len(jobs)}",
        duration(last.elapsed_s),
        duration(median(job.elapsed_s for job in earlier)) if earlier else "first run",
        _loss(final_loss(last)),
        figure(median(losses)) if losses else "first run" if not earlier else "none posted",
    ]


def _loss(value: float | None) -> str:
    return "none posted" if value is None else figure(value)


def final_loss(job: JobReport) -> float | None:
    """The newest value of the training loss; None when none was posted."""
    return next((series.last for series in job.series if series.name == LOSS), None)
