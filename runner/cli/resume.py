"""`runspec resume RUN`: go on with a run that was killed or interrupted, under its own id.

What a run set out to do is in its journal, so neither its command line nor the spec files of then are needed. Jobs that
have their verdict are left alone. What becomes of the others is the engine's: see `run_plan(past=…)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from runner.cli import offers
from runner.cli.options import parse_usd, state_flag, with_document, with_progress, with_state
from runner.cli.progress import Mode
from runner.cli.reporting import Reports, with_reports
from runner.engine.exit_code import exit_code
from runner.errors import RunspecError
from runner.events import AnyEvent, RunFinished, RunStarted
from runner.plan import Plan

if TYPE_CHECKING:
    from runner.history import RecordedRun
    from runner.store.store import Store

UNCONFIRMED = 6
NO_VERDICT = 3
NOT_OLDER = timedelta(days=2)
"""A run that was killed longer ago is not taken up without being asked for."""


@click.command("resume")
@click.argument("run", default="", shell_complete=offers.runs)
@click.option("-j", "--jobs", "parallel", type=click.IntRange(1, 64), default=1, show_default=True, help="In parallel.")
@click.option("-x", "--exitfirst", is_flag=True, help="Launch nothing more after the first job that did not pass.")
@click.option("--max-fail", type=click.IntRange(1), help="Launch nothing more after so many.")
@click.option("--max-spend", callback=parse_usd, metavar="USD", help="Another limit for the whole run, its past too.")
@with_document
@with_reports
@with_progress
@with_state
def command(
    run: str,
    parallel: int,
    exitfirst: bool,
    max_fail: int | None,
    max_spend: float | None,
    document: str,
    reports: Reports,
    progress: Mode,
    state: Path,
) -> int:
    """Go on with RUN (the newest unfinished one by default); finished jobs are not repeated."""
    from runner.cli.launch import Launch
    from runner.cli.loading import check_datasets
    from runner.cli.reporting import write_after_run
    from runner.cli.targets import check_target
    from runner.engine.run import Options
    from runner.store.store import Store

    with Store.open(state, read_only=True) as store:
        recorded = store.load_run(run or _newest_unfinished(store))
    plan, left = _plan_of(recorded.events, max_spend)
    if plan.staged:
        raise RunspecError(f"run {recorded.run} went wrong on purpose ({'; '.join(plan.staged)}): start it anew")
    if not left:
        click.echo(f"run {recorded.run} is complete: all of its {len(plan.jobs)} jobs have their verdict")
        with Store.open(state, read_only=True) as store:
            write_after_run(store, recorded.run, reports)
        return _code_of(recorded, state)
    check_datasets([job for job in plan.jobs if job.key in left])
    settings = check_target(plan.target, max_spend_usd=plan.max_spend_usd, folder=plan.jobs[0].base_dir, via=plan.via)
    if plan.via == "runpod":
        from runner.cli.pod_kit import check_plan

        check_plan(plan)
    _say(recorded.run, plan, len(left))
    options = Options(parallel=parallel, max_fail=1 if exitfirst else max_fail)
    launch = Launch(plan, options, progress, state, continued=recorded.run, reports=reports)
    return launch.run(settings, None if document == "none" else Path(document))


def _code_of(recorded: RecordedRun, state: Path) -> int:
    """What a complete run came to: being complete makes no failure a success, and no lost pod a found one."""
    from runner.history import open_leases
    from runner.replan import finished_jobs

    code = exit_code(finished_jobs(recorded.events).values())
    if left := open_leases(recorded.run, recorded.events):
        names = ", ".join(lease.pod_id or lease.name for lease in left)
        reap = f"runspec reap --yes{state_flag(state)}"
        click.echo(f"{names} may still bill, no end was proven; `{reap}` ends what is left", err=True)
        return UNCONFIRMED
    # Proven gone since then; the job has no verdict all the same.
    return NO_VERDICT if code == UNCONFIRMED else code


def _newest_unfinished(store: Store) -> str:
    found = store.unfinished_runs()
    if not found:
        raise RunspecError("no run was left unfinished; name one as in `runspec resume RUN`, see `runspec history`")
    return found[0].run


def _plan_of(events: Sequence[AnyEvent], max_spend: float | None) -> tuple[Plan, set[str]]:
    """The plan of a recorded run, and the keys of the jobs that have no verdict yet."""
    from dataclasses import replace

    from runner.replan import finished_jobs, plan_of_record, started_of

    started = started_of(events)
    if started is None:
        raise RunspecError("the journal of this run has no beginning, so nobody knows what it set out to do")
    plan = plan_of_record(started)
    if max_spend is not None:
        plan = replace(plan, max_spend_usd=max_spend)
    return plan, {job.key for job in plan.jobs} - finished_jobs(events).keys()


def _say(run: str, plan: Plan, left: int) -> None:
    done = len(plan.jobs) - left
    click.echo(f"going on with run {run}: {done} of {len(plan.jobs)} jobs have their verdict already", err=True)


def offer_to_continue(store: Store, plan: Plan) -> str | None:
    """The id of the newest run, when it was killed while it did exactly this and has something to lose."""
    from runner.replan import finished_jobs, is_same_work, started_of

    if plan.staged:
        return None
    newest = next(iter(store.runs(limit=1)), None)
    if newest is None or newest.finished_at is not None or datetime.now(UTC) - newest.started_at > NOT_OLDER:
        return None
    events = store.load_run(newest.run).events
    started, done = started_of(events), len(finished_jobs(events))
    if started is None or not done or not is_same_work(plan, started):
        return None
    _say(newest.run, plan, len(plan.jobs) - done)
    click.echo("it was killed; `--fresh` starts anew instead", err=True)
    return newest.run


async def begin_again(store: Store, run: str) -> list[AnyEvent]:
    """What the run has to know of its earlier life; a run that had ended is unfinished again from here on."""
    from runner.replan import past_of, started_of

    events = store.load_run(run).events
    started = started_of(events)
    last = next((event for event in reversed(events) if isinstance(event, RunStarted | RunFinished)), None)
    if started is not None and isinstance(last, RunFinished):
        again = msgspec.structs.replace(started, at=datetime.now(UTC))
        await store.journal(run).append(again, durable=True)
    return past_of(events)
