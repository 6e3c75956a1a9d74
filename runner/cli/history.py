"""`runspec history [RUN]`: recorded runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli import offers
from runner.cli.options import with_state
from runner.errors import did_you_mean
from runner.results import Outcome

if TYPE_CHECKING:
    from runner.history import RecordedRun, RunSummary
    from runner.store.store import Store


@click.command("history")
@click.argument("run", required=False, shell_complete=offers.runs)
@click.option("-n", "--limit", type=click.IntRange(1, 1_000_000), default=20, show_default=True, help="How many runs.")
@click.option("--spec", shell_complete=offers.specs_with_runs, help="Only runs with a job of this spec.")
@click.option("--trend", is_flag=True, help="Each spec and phase over these runs: verdicts, time and loss.")
@click.option("--metric", help="With RUN: print the recorded points of this metric.")
@with_state
def command(run: str | None, limit: int, spec: str | None, trend: bool, metric: str | None, state: Path) -> int:
    """List recorded runs, newest first, or show RUN again (`last`, or the beginning of its id)."""
    from runner.cli.summary import print_run
    from runner.store.store import Store

    with Store.open(state, read_only=True) as store:
        if trend:
            from runner.cli.trend import print_trend

            if not print_trend(store, limit=limit, spec=spec):
                click.echo(_nothing_recorded(store, spec))
        elif run is None:
            if runs := store.runs(limit, spec):
                _print_list(runs)
            else:
                click.echo(_nothing_recorded(store, spec))
        elif metric is None:
            print_run(store, run)
        else:
            _print_points(store, run, metric)
    return 0


def _nothing_recorded(store: Store, spec: str | None) -> str:
    """Why there is no run to list; it names the nearest spec that has some."""
    specs = {name for run in store.runs() for name in run.specs}
    if not specs or spec is None:
        return "no runs are recorded here yet; `runspec specs/cpt.yaml` makes one"
    fix = did_you_mean(spec, specs) or f"specs with runs: {', '.join(sorted(specs))}"
    return f"no run of a spec `{spec}` is recorded here: {fix}"


def _print_list(runs: list[RunSummary]) -> None:
    from runner.cli.jobline import SIGNS
    from runner.cli.summary import stdout_console
    from runner.cli.tables import Column, print_table

    rows = []
    for one in runs:
        outcome = f"{SIGNS[one.outcome]} {one.outcome}" if isinstance(one.outcome, Outcome) else "… no end recorded"
        started, passed = f"{one.started_at:%Y-%m-%d %H:%M:%S}", f"{one.passed} of {one.jobs}"
        rows.append([one.run, started, outcome, passed, one.target.value, ", ".join(one.specs), ", ".join(one.phases)])
    columns = [Column("run"), Column("started (UTC)"), Column("result"), Column("jobs passed")]
    print_table(stdout_console(), [*columns, Column("target", 2), Column("specs", 3), Column("phases", 1)], rows)


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
    from runner.events import MetricsObserved

    found: dict[str, dict[int, dict[str, float | None]]] = {}
    for event in recorded.events:
        if isinstance(event, MetricsObserved):
            for point in event.points:
                found.setdefault(event.job, {}).setdefault(point.step, {}).update(point.values)
    return found
