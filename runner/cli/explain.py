"""`runspec explain RUN|LOGFILE`: why it failed, and what to do about it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli import offers
from runner.cli.options import with_state
from runner.errors import Diagnostic, ReportError, StoreError

if TYPE_CHECKING:
    from rich.console import Console

    from runner.issues.diagnose import Diagnosis
    from runner.issues.logtext import Line, LogText
    from runner.reports.explain import Explanation
    from runner.results import Verdict

METHODS = ("sft", "dpo", "rlhf", "ppo", "orpo", "cpt", "any")
MOST_JOBS = 5
_MOST_TREE = 24


@click.command("explain")
@click.argument("what", metavar="[RUN|LOGFILE]", default="last", shell_complete=offers.runs_and_files)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.option("--method", type=click.Choice(METHODS, case_sensitive=False), help="How LOGFILE's training trains.")
@click.option("--exit-code", type=int, help="Exit code of LOGFILE's process, when it is known.")
@click.option("-k", "keyword", default="", help="With RUN: only jobs whose key contains this.")
@with_state
def command(what: str, as_json: bool, method: str | None, exit_code: int | None, keyword: str, state: Path) -> int:
    """Say why RUN (an id's beginning; the newest by default) or the training behind LOGFILE failed; `-` reads a log."""
    if what == "-" or Path(what).is_file():
        _explain_log(what, as_json=as_json, method=method, exit_code=exit_code)
    elif what and (Path(what).exists() or any(mark in what for mark in "/.\\")):
        raise _no_file(what)
    else:
        _explain_run(what, as_json=as_json, keyword=keyword, state=state)
    return 0


def _no_file(what: str, why: str = "") -> ReportError:
    reason = why or ("it is a folder" if Path(what).is_dir() else "there is no such file")
    fix = "give the path of a log file, or the id of a run: `runspec history` lists them"
    return ReportError([Diagnostic("explain.no-log", f"`{what}` cannot be read: {reason}", fix=fix)])


# --- a log file ---------------------------------------------------------------------------------------------------


def _explain_log(what: str, *, as_json: bool, method: str | None, exit_code: int | None) -> None:
    from runner.issues.diagnose import diagnose
    from runner.issues.logtext import LogText
    from runner.spec.models import Method

    try:
        log = LogText.of_bytes(sys.stdin.buffer.read(LogText.LONGEST)) if what == "-" else LogText.read(Path(what))
    except OSError as exc:
        raise _no_file(what, (exc.strerror or str(exc)).lower()) from exc
    name = (method or "any").lower()
    known = Method.RLHF if name == "ppo" else None if name == "any" else Method(name)
    found = diagnose(log, method=known, exit_code=exit_code)
    if as_json:
        _print_json(found.as_json())
    else:
        _show_log(found, log)


def _show_log(found: Diagnosis, log: LogText) -> None:
    from runner.cli.summary import stdout_console
    from runner.reports.explain import CONTEXT

    console = stdout_console()
    _show_diagnosis(console, found)
    if found.line:
        _blank(console)
        _show_lines(console, log.around(found.line, CONTEXT), found.line)
    if found.also:
        _blank(console)
        _pair(console, "also", ", ".join(found.also))
    if found.note:
        _pair(console, "note", found.note)


def _show_diagnosis(console: Console, found: Diagnosis) -> None:
    from runner.reports.foreign import visible

    code = f", exit code {found.exit_code}" if found.exit_code is not None else ""
    rule = f", rule {found.issue}" if found.issue else ""
    _line(console, f"{found.failure_class}: {visible(found.title)}{rule}{code}")
    _pair(console, "cause", found.cause)
    _pair(console, "fix", found.fix)


def _show_lines(console: Console, lines: Sequence[Line], middle: int) -> None:
    from runner.reports.foreign import visible

    width = max((len(str(line.number)) for line in lines), default=1)
    for line in lines:
        mark = ">" if line.number == middle else " "
        indent = line.text[: len(line.text) - len(line.text.lstrip(" "))][:40]
        _line(console, f"{mark} {line.number:>{width}} | {indent}{visible(line.text)}".rstrip())


# --- a run --------------------------------------------------------------------------------------------------------


def _explain_run(run: str, *, as_json: bool, keyword: str, state: Path) -> None:
    from runner.cli.summary import stdout_console
    from runner.reports.difference import last_passed, recorded_jobs
    from runner.reports.explain import explain
    from runner.results import Outcome
    from runner.store.store import Store

    with Store.open(state, read_only=True) as store:
        recorded = store.load_run(run)
        jobs = [job for job in recorded_jobs(recorded) if keyword in job.job.key]
        if not jobs:
            raise StoreError(f"run {recorded.run} has no job whose key contains `{keyword}`")
        failed = sorted(
            (job for job in jobs if job.job.outcome is not Outcome.PASSED),
            key=lambda job: job.job.outcome is not Outcome.FAILED,
        )
        chosen = failed if as_json else failed[:MOST_JOBS]
        found = [explain(job, last_passed(job, store.recorded_runs(spec=job.job.record.spec))) for job in chosen]
    if as_json:
        _print_json({"run": recorded.run, "jobs": [one.as_json() for one in found]})
        return
    console = stdout_console()
    if not found:
        _line(console, f"nothing to explain: every job of run {recorded.run} passed")
    for one in found:
        _show_job(console, one)
    if len(failed) > len(found):
        _line(console, f"… and {len(failed) - len(found)} more jobs that did not pass: narrow with `-k`, or `--json`")


def _show_job(console: Console, one: Explanation) -> None:
    from runner.reports import wording
    from runner.reports.foreign import visible
    from runner.results import Outcome

    job = one.job.job
    outcome = f"{wording.SIGNS[job.outcome]} {job.outcome.value}" if job.outcome else "! interrupted"
    _line(console, f"{outcome}  {visible(job.key)}  {job.passed_criteria} of {len(job.verdicts)} criteria")
    if job.reason:
        _pair(console, "reason", job.reason)
    _blank(console)
    if one.diagnosis is not None:
        _show_diagnosis(console, one.diagnosis)
        if one.lines:
            _show_lines(console, one.lines, one.diagnosis.line or 0)
        if one.diagnosis.also:
            _pair(console, "also", ", ".join(one.diagnosis.also))
    elif job.outcome is Outcome.CANCELLED:
        _line(console, "it was stopped before all of it could be judged; what follows was still open")
    else:
        _line(console, "no known issue explains it; read the criteria below and the log: `runspec logs`")
    for verdict in one.verdicts:
        _show_criterion(console, verdict)
    _blank(console)
    _show_changes(console, one)


def _show_criterion(console: Console, verdict: Verdict) -> None:
    from runner.reports import wording
    from runner.reports.explain import tree
    from runner.reports.foreign import visible

    _blank(console)
    _line(console, f"{wording.SIGNS[verdict.outcome]} {verdict.outcome.value}  {visible(verdict.title)}")
    rows = list(tree(verdict.finding))
    for depth, text in rows[:_MOST_TREE]:
        _line(console, "  " * (depth + 1) + visible(text))
    if len(rows) > _MOST_TREE:
        _line(console, f"  … and {len(rows) - _MOST_TREE} more")
    if verdict.finding.evidence:
        _pair(console, "evidence", ", ".join(verdict.finding.evidence))


def _show_changes(console: Console, one: Explanation) -> None:
    from runner.reports.explain import when
    from runner.reports.foreign import visible

    if one.before is None:
        _line(console, "no earlier run of this spec and phase passed here, so there is nothing to compare with")
    else:
        what = "different" if one.changes else "nothing recorded is different"
        _line(console, f"{what} since {when(one.before)}, which passed" + (":" if one.changes else ""))
        for change in one.changes:
            _line(console, f"  {visible(change.what)}: {visible(change.before)} → {visible(change.now)}")
    _blank(console)


# --- printing -----------------------------------------------------------------------------------------------------


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _pair(console: Console, label: str, text: str) -> None:
    from runner.reports.foreign import visible

    _line(console, f"  {label.ljust(8)}  {visible(text, longest=600)}")


def _blank(console: Console) -> None:
    _line(console, "")


def _line(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, highlight=False, markup=False, emoji=False)
