"""`runspec [run] PATH…`: run specs, judge them, update the document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click

from runner.cli.loading import check_datasets, plan_of
from runner.cli.options import selecting, targeting, with_document, with_progress, with_state
from runner.cli.progress import Mode
from runner.cli.reporting import Reports, with_reports
from runner.cli.staging import read_staging, with_staging
from runner.results import Target
from runner.spec.conditions import Scalar

NOTHING_SELECTED = 5


@click.command("run")
@selecting
@targeting
@click.option("-j", "--jobs", "parallel", type=click.IntRange(1, 64), default=1, show_default=True, help="In parallel.")
@click.option("-x", "--exitfirst", is_flag=True, help="Launch nothing more after the first job that did not pass.")
@click.option("--max-fail", type=click.IntRange(1), help="Launch nothing more after so many.")
@click.option(
    "--watchdog/--no-watchdog",
    default=True,
    show_default=True,
    help="Beside a run on the cloud, a process that ends its pods should this one die.",
)
@click.option("--fresh", is_flag=True, help="Start anew even if a killed run of the same jobs could go on.")
@with_staging
@with_document
@with_reports
@with_progress
@with_state
def command(
    paths: tuple[Path, ...],
    phases: tuple[str, ...],
    keyword: str,
    tags: tuple[str, ...],
    repeat: int | None,
    vars_: Mapping[str, Scalar],
    target: str,
    via: str,
    max_spend: float | None,
    parallel: int,
    exitfirst: bool,
    max_fail: int | None,
    fresh: bool,
    watchdog: bool,
    faults: Path | None,
    no_dataset_check: bool,
    document: str,
    reports: Reports,
    progress: Mode,
    state: Path,
) -> int:
    """Run specs and judge them. PATHS are spec files or folders; `specs/` when none is given."""
    from runner.cli.launch import Launch
    from runner.cli.targets import check_target
    from runner.engine.run import Options

    staging = read_staging(faults, no_dataset_check=no_dataset_check, target=Target(target))
    plan = plan_of(
        paths,
        phases=phases,
        keyword=keyword,
        tags=tags,
        repeat=repeat,
        vars_=vars_,
        target=Target(target),
        via=via,
        max_spend_usd=max_spend,
    )
    if not plan.jobs:
        click.echo("nothing selected: no job of these specs matches the given phases, tags and `-k`", err=True)
        return NOTHING_SELECTED
    if staging.checks_rows:
        check_datasets(plan.jobs)
    plan = replace(plan, staged=staging.words)
    settings = check_target(plan.target, max_spend_usd=max_spend, folder=plan.jobs[0].base_dir, via=plan.via)
    if plan.via == "runpod":
        from runner.cli.pod_kit import check_plan

        check_plan(plan)
    options = Options(parallel=parallel, max_fail=1 if exitfirst else max_fail)
    launch = Launch(plan, options, progress, state, watchdog=watchdog, reports=reports, staging=staging)
    return launch.run(settings, None if document == "none" else Path(document), fresh=fresh)
