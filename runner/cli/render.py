"""`runspec render [DOC]`: write results into the tracking document."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli.options import DEFAULT_DOCUMENT, with_state
from runner.errors import Diagnostic, ReportError

if TYPE_CHECKING:
    from runner.reports.adopt import Adoption
    from runner.reports.standing import DocumentModel

OUT_OF_DATE = 7
OF_A_TEMPLATE = {"status", "plan", "results"}
"""Regions that each template has."""


@click.command("render")
@click.argument("document", type=click.Path(path_type=Path, dir_okay=False), default=DEFAULT_DOCUMENT)
@click.option("--check", is_flag=True, help="Change nothing; show what is out of date and exit with 7.")
@click.option("--adopt", is_flag=True, help="Put marks where they are missing, and change nothing else.")
@click.option("--force", is_flag=True, help="Overwrite hand edits in regions, and drop runs not recorded here.")
@click.option(
    "--specs",
    type=click.Path(path_type=Path, exists=True),
    default="specs",
    show_default=True,
    help="The specs that the document is about.",
)
@with_state
def command(document: Path, check: bool, adopt: bool, force: bool, specs: Path, state: Path) -> int:
    """Write what is recorded into the regions of DOCUMENT; everything outside them is left byte for byte.

    `--check` in a clone without the runs that the document names checks what it can there: marks, keys and that no
    region was edited by hand. It says that it did not compare the evidence, and passes.
    """
    from runner.cli.comparisons import refresh_comparison
    from runner.cli.documents import check_marks, model_of, specs_below, tell_unticked
    from runner.reports.document import write_document
    from runner.reports.files import read_bytes
    from runner.store.store import Store

    if check and (adopt or force):
        raise click.UsageError("`--check` changes nothing: give it alone")
    if not document.exists():
        raise ReportError(
            [Diagnostic("report.not-found", f"there is no document `{document}`", fix="name it: `runspec render PATH`")]
        )
    if not adopt:
        check_marks(document)
    with Store.open(state, read_only=True) as store:
        model = model_of(specs_below(specs), store)
        written = [] if adopt or check else refresh_comparison(document.parent, store)
    if adopt:
        return _adopt(document, model)
    if check:
        return _check(document, model, state)
    before = read_bytes(document)
    changed = write_document(document, model, force=force)
    click.echo(f"updated {document}" if changed else f"{document} is up to date")
    if changed:
        tell_unticked(document, before, model)
    for file in written:
        click.echo(f"updated {file}")
    _warn(document, model)
    return 0


def _check(document: Path, model: DocumentModel, state: Path) -> int:
    from runner.reports.document import check_document, missing_runs

    difference = check_document(document, model)
    _warn(document, model)
    missing = missing_runs(document.read_bytes(), model)
    if difference and missing:
        names = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        click.echo(f"{document}: its marks and keys are sound and no region was edited by hand")
        click.echo(f"not compared with its evidence: {state} has no record of run {names}", err=True)
        return 0
    if difference:
        click.echo(difference)
        click.echo(f"{document} is out of date: run `runspec render {document}`", err=True)
        return OUT_OF_DATE
    click.echo(f"{document} is up to date")
    return 0


def _adopt(document: Path, model: DocumentModel) -> int:
    from runner.reports.adopt import adopt_document
    from runner.reports.files import read_bytes, replace_bytes

    old = read_bytes(document)
    done = adopt_document(old, model, file=str(document))
    if done.document == old:
        click.echo(f"{document} has all the marks that have a place in it")
        _tell_missing(done.missing)
    else:
        replace_bytes(document, done.document)
        _tell(document, done, model)
    _warn(document, model)
    return 0


def _tell(document: Path, done: Adoption, model: DocumentModel) -> None:
    from runner.reports.unticked import unticked
    from runner.reports.wording import count

    boxes = "1 checkbox" if len(done.keys) == 1 else f"{len(done.keys)} checkboxes"
    click.echo(f"marked {count(len(done.regions), 'region')} and {boxes} in {document}; your text is as it was")
    for line, text in done.unkeyed:
        click.echo(f"  {document}:{line}: nothing recorded can tick `{text}`: it stays yours")
    for one in unticked(done.document, done.document, model):
        tip = f" until `{one.command}` passes" if one.command else ""
        click.echo(f"  {document}:{one.line}: a render unticks `{one.text}`{tip}: {one.why}")
    _tell_missing(done.missing)
    click.echo(f"what is between the marks is replaced by `runspec render {document}`")


def _tell_missing(missing: Sequence[str]) -> None:
    """Templates that the document has no section of take one line together, and so do regions without a place."""
    kinds: dict[str, set[str]] = {}
    for id_ in missing:
        kind, colon, spec = id_.partition(":")
        if colon:
            kinds.setdefault(spec, set()).add(kind)
    absent = [spec for spec, of_spec in kinds.items() if of_spec == OF_A_TEMPLATE]
    placeless = [id_ for id_ in missing if id_.partition(":")[2] not in absent]
    if absent:
        click.echo(f"  no heading names {_ticked(absent)}: give a template one, and adopt again")
    if placeless:
        click.echo(f"  no place for {_ticked(placeless)}: where you want one, put two lines:")
        click.echo(f"  `<!-- runspec:begin {placeless[0]} -->` and below it `<!-- runspec:end {placeless[0]} -->`")


def _ticked(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _warn(document: Path, model: DocumentModel) -> None:
    from runner.reports.lint import contradictions

    for one in contradictions(document.read_bytes(), model):
        click.echo(one.render(str(document)), err=True)
