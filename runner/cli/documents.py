"""Brings specs and recorded runs together for the tracking document."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from runner.cli.comparisons import refresh_comparison
from runner.errors import Diagnostic, ReportError, RunspecError
from runner.reports.document import write_document
from runner.reports.files import read_bytes
from runner.reports.regions import Text, parse
from runner.reports.standing import DocumentModel, Subject, build_model, subject
from runner.reports.unticked import unticked
from runner.spec.find import find_spec_files
from runner.spec.loader import SpecFile, find_phase, load_spec
from runner.store.store import Store


def model_of(specs: Sequence[SpecFile], store: Store) -> DocumentModel:
    """What the document can say: every spec, judged by every recorded run."""
    return build_model([_subject(file) for file in specs], store.recorded_runs())


def _subject(file: SpecFile) -> Subject:
    phases = {name: find_phase(name, file.path) for name in file.spec.phases}
    return subject(
        file.spec,
        {name: found.resolve(file.spec, {}) for name, found in phases.items()},
        file=str(file.path),
        digest=file.digest,
        phase_digests={name: found.digest for name, found in phases.items()},
    )


def specs_below(folder: Path) -> list[SpecFile]:
    """All specs of a folder, in the order of their files."""
    return [load_spec(path) for path in find_spec_files([folder])]


def check_marks(document: Path) -> None:
    """Refuse a document that nothing could be written into: “up to date” would say that its results are in it.

    Raises:
        ReportError: it has neither a region nor a keyed checkbox, or cannot be read.
    """
    parts, problems = parse(read_bytes(document), str(document))
    if not problems and all(isinstance(part, Text) for part in parts):
        message = f"`{document}` has no marks, so nothing can be written into it"
        fix = f"put them in, which changes nothing else: `runspec render {document} --adopt`"
        raise ReportError([Diagnostic("report.no-marks", message, fix=fix)])


def tell_unticked(path: Path, before: bytes, model: DocumentModel, *, err: bool = False) -> None:
    """Name the boxes that a render unticked in the document that is now in the file."""
    for one in unticked(before, read_bytes(path), model):
        tip = f"; `{one.command}` ticks it when it passes" if one.command else ""
        click.echo(f"  {path}:{one.line}: unticked `{one.text}`: {one.why}{tip}", err=err)


def update_document(path: Path, store: Store, *, specs_root: Path) -> None:
    """Update the document after a run, if there is one, and the comparison beside it, if there is a batch.

    A problem with either never changes the run's result, nor the other one.
    """
    if path.exists():
        _update_text(path, store, specs_root)
    try:
        files = refresh_comparison(path.parent, store)
    except RunspecError as exc:
        click.echo(f"{exc}\nthe comparison was left as it is; the run itself is recorded", err=True)
        return
    for file in files:
        click.echo(f"updated {file}", err=True)


def _update_text(path: Path, store: Store, specs_root: Path) -> None:
    try:
        check_marks(path)
        before, model = read_bytes(path), model_of(specs_below(specs_root), store)
        changed = write_document(path, model)
    except RunspecError as exc:
        click.echo(f"{exc}\nthe document {path} was left as it is; the run itself is recorded", err=True)
        return
    if changed:
        click.echo(f"updated {path}", err=True)
        tell_unticked(path, before, model, err=True)
