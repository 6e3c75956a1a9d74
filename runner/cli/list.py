"""`runspec list`: specs, and how far each is tested."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli.options import with_state

if TYPE_CHECKING:
    from runner.reports.standing import Standing

STANDARD_TEMPLATES = ("sft_standard", "dpo_standard", "rlhf_standard", "orpo_standard", "cpt_standard")
_NOT_HERE = "not in this spec"


@click.command("list")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@with_state
def command(paths: tuple[Path, ...], state: Path) -> int:
    """List specs with the last verdict of each phase, and templates that no spec covers."""
    from runner.cli.documents import model_of
    from runner.cli.loading import load_specs
    from runner.cli.summary import stdout_console
    from runner.cli.tables import Column, print_table
    from runner.store.store import Store

    specs = load_specs(paths)
    with Store.open(state, read_only=True) as store:
        model = model_of(specs, store)
    phases = list(dict.fromkeys(phase for spec in specs for phase in spec.spec.phases))
    rows = []
    counts: Counter[str] = Counter()
    for spec, template in zip(specs, model.templates, strict=True):
        words = {standing.phase.name: _word(standing) for standing in template.phases}
        counts.update(standing.status.value for standing in template.phases)
        about = [spec.name, spec.spec.template.key, spec.spec.template.method.value, spec.spec.template.model]
        rows.append([*about, str(spec.path), *(words.get(phase, _NOT_HERE) for phase in phases)])
    columns = [Column("spec"), Column("template", 4), Column("method", 2), Column("model", 3), Column("file", 1)]
    print_table(stdout_console(), [*columns, *map(Column, phases)], rows)
    tested = ", ".join(f"{number} {word}" for word, number in counts.most_common())
    click.echo(f"{len(specs)} {'spec' if len(specs) == 1 else 'specs'} × {len(phases)} phases: {tested}")
    covered = {spec.spec.template.key for spec in specs}
    missing = [key for key in STANDARD_TEMPLATES if key not in covered]
    if missing and all(path.is_dir() for path in paths):
        click.echo(f"templates without a spec here: {', '.join(missing)}; `runspec new {missing[0]}` writes one")
    return 0


def _word(standing: Standing) -> str:
    """The last verdict, and the day it is from."""
    decisive = standing.decisive
    return standing.status.value if decisive is None else f"{standing.status.value} {decisive.at:%Y-%m-%d}"
