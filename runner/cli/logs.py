"""`runspec logs [RUN]`: what the pods of a run wrote."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli import offers
from runner.cli.options import with_state

if TYPE_CHECKING:
    from runner.events import AnyEvent
    from runner.store.store import Store

POLL_S = 0.5


@click.command("logs")
@click.argument("run", required=False, shell_complete=offers.runs)
@click.option("--job", default="", help="Only jobs whose key contains this.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
@with_state
def command(run: str | None, job: str, follow: bool, state: Path) -> int:
    """Print the recorded log of RUN (the newest one when none is named), with the line numbers that findings name."""
    from runner.events import LogsObserved
    from runner.reports.foreign import visible
    from runner.store.store import Store

    with Store.open(state, read_only=True) as store:
        name = run or _newest(store)
        if name is None:
            click.echo("no runs are recorded here yet; `runspec specs/cpt.yaml` makes one", err=True)
            return 0
        for event in _events(store, name, follow=follow):
            if isinstance(event, LogsObserved) and job in event.job:
                for number, line in enumerate(event.lines, event.first):
                    source = "" if line.source == "container" else f"[{line.source}] "
                    click.echo(f"{event.job}:{number}: {source}{visible(line.text)}")
    return 0


def _newest(store: Store) -> str | None:
    runs = store.runs(1)
    return runs[0].run if runs else None


def _events(store: Store, run: str, *, follow: bool) -> Iterator[AnyEvent]:
    from runner.events import RunFinished

    seen = 0
    while True:
        events = store.load_run(run).events
        yield from events[seen:]
        seen = len(events)
        if not follow or any(isinstance(event, RunFinished) for event in events):
            return
        time.sleep(POLL_S)
