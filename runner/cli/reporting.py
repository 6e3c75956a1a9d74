"""Reports of a recorded run as files: `--report junit=PATH,json=PATH,html=PATH,summary=PATH`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from runner.cli.options import state_flag
from runner.errors import Diagnostic, ReportError, did_you_mean
from runner.history import RecordedRun

if TYPE_CHECKING:
    from runner.store.store import Store

F = TypeVar("F", bound=Callable[..., Any])

KINDS = ("html", "junit", "json", "summary")
STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
Reports = tuple[tuple[str, Path], ...]


def parse_reports(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> Reports:
    """`html=run.html,json=run.json`; `summary` alone means the file that GitHub names."""
    found = [_parsed(part.strip()) for value in values for part in value.split(",") if part.strip()]
    return tuple(found)


def _parsed(part: str) -> tuple[str, Path]:
    kind, _, path = part.partition("=")
    if kind not in KINDS:
        hint = did_you_mean(kind, KINDS) or f"kinds are {', '.join(KINDS)}"
        raise click.BadParameter(f"there is no report `{kind}`: {hint}")
    if not path and kind == "summary":
        path = os.environ.get(STEP_SUMMARY, "")
        if not path:
            raise click.BadParameter(f"`{STEP_SUMMARY}` is not set here: write `summary=PATH`")
    if not path:
        raise click.BadParameter(f"`{part}` names no file: write `{kind}=PATH`")
    return kind, Path(path)


def with_reports(command: F) -> F:
    """Which reports are written."""
    return click.option(
        "--report",
        "reports",
        multiple=True,
        callback=parse_reports,
        metavar="KIND=PATH[,…]",
        help="Write reports: html, junit, json, summary (repeatable; `summary` alone: GitHub's step summary).",
    )(command)


def write_reports(run: RecordedRun, reports: Reports) -> None:
    """Write the reports of a run, each all or nothing; a summary is added to what its file holds.

    Raises:
        ReportError: some cannot be written; the others are.
    """
    problems = []
    for kind, path in reports:
        try:
            _write(kind, path, run)
        except OSError as exc:
            why = (exc.strerror or str(exc)).lower()
            message = f"the {kind} report cannot be written to `{path}`: {why}"
            problems.append(Diagnostic("report.unusable-file", message, fix="give another path with `--report`"))
        else:
            click.echo(f"wrote {path}", err=True)
    if problems:
        raise ReportError(problems)


def write_after_run(store: Store, run: str, reports: Reports) -> None:
    """Write the reports of a run that just ended; a problem with one never changes the run's result."""
    if not reports:
        return
    try:
        write_reports(store.load_run(run), reports)
    except ReportError as exc:
        again = f"runspec report {run}{state_flag(store.path.parent)}"
        click.echo(f"{exc}\nthe run itself is recorded: `{again}` tries again", err=True)


def _write(kind: str, path: Path, run: RecordedRun) -> None:
    content = _RENDERERS[kind](run)
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "summary":
        with path.open("ab") as file:
            file.write(content)
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _html(run: RecordedRun) -> bytes:
    from runner.reports.html import render_page
    from runner.reports.page import view

    page = view(run)
    return render_page(page).encode("utf-8", "replace") if page else b""


def _junit(run: RecordedRun) -> bytes:
    from runner.reports.evidence import summarise
    from runner.reports.junit import render_junit

    report = summarise(run)
    return render_junit(report) if report else b""


def _json(run: RecordedRun) -> bytes:
    from runner.reports.evidence import summarise
    from runner.reports.json_report import render_json

    report = summarise(run)
    return render_json(report) if report else b""


def _summary(run: RecordedRun) -> bytes:
    from runner.reports.evidence import summarise
    from runner.reports.step_summary import render_summary

    report = summarise(run)
    return render_summary(report).encode("utf-8", "replace") if report else b""


_RENDERERS: Mapping[str, Callable[[RecordedRun], bytes]] = {
    "html": _html,
    "junit": _junit,
    "json": _json,
    "summary": _summary,
}
