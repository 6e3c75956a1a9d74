"""The result of a run, in one number."""

from __future__ import annotations

from collections.abc import Iterable

from runner.events import JobFinished
from runner.results import FailureClass, Outcome


def exit_code(jobs: Iterable[JobFinished], *, interrupted: bool = False) -> int:
    """The exit code of a run, most serious finding first: 6, 130, 1, 4, 3, 0; 5 when there were no jobs.

    An unconfirmed pod outweighs everything: somebody may be paying for it right now.
    """
    jobs = list(jobs)
    if any(job.failure_class is FailureClass.LEAK for job in jobs):
        return 6
    if interrupted:
        return 130
    if not jobs:
        return 5
    if any(job.outcome is Outcome.FAILED for job in jobs):
        return 1
    if any(job.failure_class is FailureClass.LIMIT for job in jobs):
        return 4
    return 0 if all(job.outcome in (Outcome.PASSED, Outcome.SKIPPED) for job in jobs) else 3
