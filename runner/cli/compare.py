"""`runspec compare [RUN…]`: templates against each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli import offers
from runner.cli.options import with_state

if TYPE_CHECKING:
    from runner.reports.compare import Comparison
    from runner.reports.measures import Measure

NO_VERDICT = 3


@click.command("compare")
@click.argument("runs", nargs=-1, metavar="[RUN…]", shell_complete=offers.runs)
@click.option(
    "-p",
    "--phase",
    shell_complete=offers.phases,
    help="Compare jobs of this phase; the newest batch when none is given.",
)
@click.option("--write", is_flag=True, help="Write COMPARISON.md and its charts into the folder.")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default="reports",
    show_default=True,
    help="Where `--write` puts them.",
)
@with_state
def command(runs: tuple[str, ...], phase: str | None, write: bool, folder: Path, state: Path) -> int:
    """Compare templates by several jobs of each: the newest batch, or the given RUNs (beginnings of ids are enough).

    Two RUNs that have jobs in common are compared job by job: the first as it was before, the second as it is now.
    """
    from runner.cli.comparisons import write_comparison
    from runner.cli.two_runs import pairs, print_pairs
    from runner.reports.comparison import compare_runs
    from runner.store.store import Store

    with Store.open(state, read_only=True) as store:
        recorded = [store.load_run(run) for run in runs] if runs else list(store.recorded_runs())
        if len(runs) == 2 and not write and (both := pairs(*recorded, phase=phase)):
            print_pairs(both)
            return 0
        found = compare_runs(recorded, phase=phase)
        if found is None:
            which = f" of phase `{phase}`" if phase else ""
            click.echo(
                f"nothing to compare: no template has several jobs{which} in one run; "
                "`runspec specs/ --phase batch` makes them",
                err=True,
            )
            return NO_VERDICT
        _show(found)
        if write:
            changed = write_comparison(folder, store, comparison=found)
            click.echo(f"wrote {len(changed)} files into {folder}" if changed else f"{folder} is up to date", err=True)
    return 0


def _show(found: Comparison) -> None:
    from rich.table import Table

    from runner.cli.summary import stdout_console
    from runner.reports import wording
    from runner.reports.comparison import middle

    console = stdout_console()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("template", no_wrap=True)
    table.add_column("passed", justify="right")
    for measure in found.measures:
        table.add_column(_head(measure), justify="right")
    for group in found.groups:
        cells = [
            str(middle(group.summaries.get(measure.name))) if measure.is_of(group.method) else "–"
            for measure in found.measures
        ]
        table.add_row(group.spec, f"{group.passed} of {len(group.jobs)}", *cells)
    console.print(table)
    lines = ["", "median of each template's jobs, in brackets the range of the middle half", found.pattern]
    if found.unreported:
        lines.append(f"not reported by any job: {'; '.join(map(_head, found.unreported))}")
    for pair in found.pairs:
        p = f" (p = {pair.test.p:.3f})" if pair.test.p is not None else ""
        lines.append(f"{pair.one} against {pair.other}, {pair.measure.label.lower()}: {pair.test.words}{p}")
    lines += [
        f"outlier {one.job}: {one.measure.label.lower()} {one.value:.4g} against a median of {one.median:.4g}"
        for one in found.outliers
    ]
    if not found.has_intervals:
        lines.append("intervals and tests are left out: they need SciPy (`pip install 'finetune-runspec[stats]'`)")
    jobs = wording.count(found.jobs, "job")
    lines += [
        "",
        f"{jobs} compared · {found.passed} passed · {wording.EVIDENCE[found.target]} · run {', '.join(found.runs)}",
    ]
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False, emoji=False)


def _head(measure: Measure) -> str:
    label = measure.label[0].lower() + measure.label[1:]
    return f"{label}, {measure.unit}" if measure.unit else label
