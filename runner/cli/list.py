"""`runspec list`: specs, and how far each is tested."""

from __future__ import annotations

from pathlib import Path

import click

from runner.cli.options import with_state

STANDARD_TEMPLATES = ("sft_standard", "dpo_standard", "rlhf_standard", "orpo_standard", "cpt_standard")


@click.command("list")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@with_state
def command(paths: tuple[Path, ...], state: Path) -> int:
    """List specs with the last verdict of each phase, and templates that no spec covers."""
    from rich.table import Table

    from runner.cli.documents import model_of
    from runner.cli.loading import load_specs
    from runner.cli.summary import stdout_console
    from runner.store.store import Store

    specs = load_specs(paths)
    with Store.open(state, read_only=True) as store:
        model = model_of(specs, store)
    phases = list(dict.fromkeys(phase for spec in specs for phase in spec.spec.phases))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("spec", "template", "method", "model", "file", *phases):
        table.add_column(title, no_wrap=True)
    for spec, template in zip(specs, model.templates, strict=True):
        status = {standing.phase.name: standing.status.value for standing in template.phases}
        cells = [spec.name, spec.spec.template.key, spec.spec.template.method.value, spec.spec.template.model]
        table.add_row(*cells, str(spec.path), *(status.get(phase, "not in this spec") for phase in phases))
    stdout_console().print(table)
    covered = {spec.spec.template.key for spec in specs}
    if missing := [key for key in STANDARD_TEMPLATES if key not in covered]:
        click.echo(f"templates without a spec here: {', '.join(missing)}")
    return 0
