"""`runspec status`: what goes on in a state directory right now."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli.options import state_flag, with_state
from runner.results import Target

if TYPE_CHECKING:
    from runner.history import Lease


@click.command("status")
@with_state
def command(state: Path) -> int:
    """Show runs that have not ended, pods that may be billed, and the last result. Changes nothing."""
    from runner.cli.jobline import Board
    from runner.cli.liveview import frame
    from runner.cli.summary import stdout_console
    from runner.reports.evidence import summarise
    from runner.reports.terminal import verdict_line
    from runner.store.lock import is_owned
    from runner.store.store import Store

    with Store.open(state, read_only=True) as store:
        runs = store.runs(1)
        if not runs:
            click.echo("no runs are recorded here yet; `runspec specs/cpt.yaml` makes one")
            return 0
        going = store.unfinished_runs()[:1] if is_owned(state) else []
        for summary in going:
            board = Board()
            for event in store.events(summary.run):
                board.apply(event)
            click.echo(f"run {summary.run} goes on, {summary.finished} of {summary.jobs} jobs done")
            console = stdout_console()
            for line in frame(board, datetime.now(UTC), width=console.width, height=1_000):
                console.print(line)
        shown = {summary.run for summary in going}
        for summary in store.unfinished_runs()[:1]:
            if summary.run not in shown:
                done = f"{summary.finished} of {summary.jobs} jobs done"
                resume = f"runspec resume {summary.run}{state_flag(state)}"
                click.echo(f"run {summary.run} was interrupted, {done}: `{resume}`")
        targets = {summary.run: summary.target for summary in store.runs()}
        for lease in store.open_leases():
            if lease.run not in shown:
                click.echo(_lease_line(lease, targets.get(lease.run), state_flag(state)))
        last = next((run for run in store.runs(20) if run.finished_at is not None), None)
        report = summarise(store.load_run(last.run)) if last else None
        if report is not None:
            click.echo(f"last result, run {report.run}: {verdict_line(report)}")
    return 0


def _lease_line(lease: Lease, target: Target | None, flag: str) -> str:
    pod = f"pod {lease.pod_id or lease.name} of run {lease.run}"
    if target is Target.LOCAL:
        # It ended with its runner and costs nothing; the journal only does not know it yet.
        return f"! local {pod} is not proven gone: `runspec reap --target local --yes{flag}`"
    return f"! {pod} may still be billed: `runspec reap{flag}`"
