"""`runspec validate`: everything that can be checked without starting anything."""

from __future__ import annotations

from pathlib import Path

import click

from runner.cli.loading import check_datasets, load_specs
from runner.plan import Selection, make_plan
from runner.results import Target
from runner.spec.loader import find_phase

NOTHING_SELECTED = 5


@click.command("validate")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
def command(paths: tuple[Path, ...]) -> int:
    """Check specs, their phases and every row of their datasets. Works offline, needs no account and no torch."""
    specs = load_specs(paths)
    if not specs:
        click.echo(f"nothing to check: there is no spec in {', '.join(map(str, paths)) or 'specs'}", err=True)
        return NOTHING_SELECTED
    plan = make_plan(specs, find_phase=find_phase, selection=Selection(), target=Target.LOCAL)
    rows = check_datasets(plan.jobs)
    for spec in specs:
        jobs = [job for job in plan.jobs if job.spec_path == spec.path]
        phases = ", ".join(spec.spec.phases)
        count = rows[jobs[0].key] if jobs else 0
        click.echo(f"✓ {spec.path}  {spec.name}: {count} {spec.spec.dataset.format} rows, phases {phases}")
    click.echo(f"{len(specs)} {'spec is' if len(specs) == 1 else 'specs are'} valid")
    return 0
