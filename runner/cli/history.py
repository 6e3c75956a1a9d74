"""`runspec history [RUN]`: recorded runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli.options import with_state
from runner.results import Outcome

if TYPE_CHECKING:
    from runner.history import RecordedRun, RunSummary
    from runner.store.store import Store


@click.command("history")
@click.argument("run", required=False)
@click.option("-n", "--limit", type=click.IntRange(1), default=20, show_default=True, help="How many runs.")
@click.option("--spec", help="Only runs with a job of this spec.")
@click.option("--metric", help="With RUN: print the recorded points of this metric.")
@with_state
def command(run: str | None, limit: int, spec: str | None, metric: str | None, state: Path) -> int:
    """List recorded runs, newest first, or show RUN again (the beginning of its id is enough)."""
    from runner.cli.summary import print_run
    from runner.store.store import Store

    with Store.open(state, read_only=True) as store:
        if run is None:
            _print_list(store.runs(limit, spec))
        elif metric is None:
            print_run(store, run)
        else:
            _print_points(store, run, metric)
    return 0


def _print_list(runs: list[RunSummary]) -> None:
    from rich.table import Table

    from runner.cli.jobline import SIGNS
    from runner.cli.summary import stdout_console

    if not runs:
        click.echo("no runs are recorded here yet; `runspec specs/cpt.yaml` makes one")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("run", "started (UTC)", "result", "jobs passed", "target", "specs", "phases"):
        table.add_column(title, no_wrap=True)
    for one in runs:
        outcome = f"{SIGNS[one.outcome]} {one.outcome}" if isinstance(one.outcome, Outcome) else "… interrupted"
        table.add_row(
            one.run,
            f"{one.started_at:%Y-%m-%d %H:%M:%S}",
            outcome,
            f"{one.passed} of {one.jobs}",
            one.target.value,
            ", ".join(one.specs),
            ", ".join(one.phases),
        )
    stdout_console().print(table)


def _print_points(store: Store, run: str, metric: str) -> None:
    recorded = store.load_run(run)
    names: set[str] = set()
    for job, points in _points_by_job(recorded).items():
        for step, values in points.items():
            names |= values.keys()
            if metric in values:
                value = values[metric]
                click.echo(f"{job}\t{step}\t{'' if value is None else value}")
    if metric not in names:
        raise click.BadParameter(f"run {recorded.run} recorded {', '.join(sorted(names)) or 'no metrics'}")


def _points_by_job(recorded: RecordedRun) -> dict[str, dict[int, dict[str, float | None]]]:
    from runner.results import MetricsObserved

    found: dict[str, dict[int, dict[str, float | None]]] = {}
    for event in recorded.events:
        if isinstance(event, MetricsObserved):
            for point in event.points:
                found.setdefault(event.job, {}).setdefault(point.step, {}).update(point.values)
    return found
