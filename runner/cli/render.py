"""`runspec render [DOC]`: write results into the tracking document."""

from __future__ import annotations

from pathlib import Path

import click

from runner.cli.options import DEFAULT_DOCUMENT, with_state
from runner.errors import Diagnostic, ReportError

OUT_OF_DATE = 7


@click.command("render")
@click.argument("document", type=click.Path(path_type=Path, dir_okay=False), default=DEFAULT_DOCUMENT)
@click.option("--check", is_flag=True, help="Change nothing; show what is out of date and exit with 7.")
@click.option("--force", is_flag=True, help="Overwrite regions that were edited by hand.")
@click.option(
    "--specs",
    type=click.Path(path_type=Path, exists=True),
    default="specs",
    show_default=True,
    help="The specs that the document is about.",
)
@with_state
def command(document: Path, check: bool, force: bool, specs: Path, state: Path) -> int:
    """Write what is recorded into the regions of DOCUMENT; everything outside them is left byte for byte."""
    from runner.cli.documents import model_of, specs_below, stale_parts
    from runner.reports.document import write_document
    from runner.store.store import Store

    if not document.exists():
        raise ReportError(
            [Diagnostic("report.not-found", f"there is no document `{document}`", fix="name it: `runspec render PATH`")]
        )
    with Store.open(state, read_only=True) as store:
        if check:
            difference = stale_parts(document, store, specs_root=specs)
            if difference:
                click.echo(difference, nl=False)
                click.echo(f"{document} is out of date: run `runspec render {document}`", err=True)
                return OUT_OF_DATE
            click.echo(f"{document} is up to date")
            return 0
        changed = write_document(document, model_of(specs_below(specs), store), force=force)
    click.echo(f"updated {document}" if changed else f"{document} is up to date")
    return 0
