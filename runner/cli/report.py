"""`runspec report RUN`: reports of a recorded run as files."""

from __future__ import annotations

from pathlib import Path

import click

from runner.cli import offers
from runner.cli.options import with_state
from runner.cli.reporting import Reports, with_reports, write_reports
from runner.errors import StoreError
from runner.history import RunSummary


@click.command("report")
@click.argument("run", default="last", shell_complete=offers.runs)
@with_reports
@with_state
def command(run: str, reports: Reports, state: Path) -> int:
    """Write reports of RUN (the beginning of its id is enough; `last` is the newest) from what is recorded.

    Without `--report`, one HTML file named after the run is written into the current folder.
    """
    from runner.store.store import Store

    with Store.open(state, read_only=True) as store:
        recorded = store.load_run(_newest(store.runs(1)) if run == "last" else run)
    write_reports(recorded, reports or (("html", Path(f"runspec-{recorded.run}.html")),))
    return 0


def _newest(runs: list[RunSummary]) -> str:
    if not runs:
        raise StoreError("no run is recorded here yet: `runspec specs/cpt.yaml` makes one")
    return runs[0].run
