"""The result of a run on the terminal: a table of verdicts, and the verdict as the last line."""

from __future__ import annotations

import os

from rich.console import Console

from runner.cli.options import state_flag
from runner.reports.difference import recorded_jobs
from runner.reports.evidence import summarise
from runner.reports.explain import explain
from runner.reports.terminal import print_summary
from runner.results import Outcome
from runner.store.store import Store


class OutputConsole(Console):
    """A console whose reader may go away; rich would exit with 1, which says that a criterion failed."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        raise BrokenPipeError


def stdout_console() -> Console:
    """Standard output; a pipe gets lines as long as they are, whatever the width of some terminal."""
    console = OutputConsole(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = OutputConsole(highlight=False, width=200)
    return console


def print_run(store: Store, run: str) -> None:
    """Print one recorded run."""
    recorded = store.load_run(run)
    report = summarise(recorded)
    if report is not None:
        failed = (job for job in recorded_jobs(recorded) if job.job.outcome is not Outcome.PASSED)
        explanations = {job.job.key: explain(job) for job in failed}
        print_summary(report, stdout_console(), explanations, flags=state_flag(store.path.parent))
