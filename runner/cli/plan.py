"""`runspec plan`: exactly what would run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import click

from runner.cli.loading import check_datasets, plan_of
from runner.cli.options import selecting, targeting
from runner.plan import PlannedJob
from runner.results import Target
from runner.spec.conditions import Scalar
from runner.spec.scalars import format_duration
from runner.spec.titles import step_title

NOTHING_SELECTED = 5


@click.command("plan")
@selecting
@targeting
@click.option("-v", "--verbose", is_flag=True, help="Also steps, criteria and every request to the lab.")
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
    verbose: bool,
) -> int:
    """Show what would run, on which machines, and what it may cost at most. Starts nothing."""
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
        click.echo("nothing selected", err=True)
        return NOTHING_SELECTED
    rows = check_datasets(plan.jobs)
    for job in plan.jobs:
        click.echo(_line(job, rows[job.key], is_local=plan.target is Target.LOCAL))
        if verbose:
            click.echo(_details(job, plan.via))
    if plan.target is Target.CLOUD:
        from runner.cli.preview import prices

        for line in prices(plan.jobs):
            click.echo(line)
    money = "nothing: pods are processes here" if plan.target is Target.LOCAL else f"at most ${plan.worst_case_usd:.2f}"
    click.echo(f"{len(plan.jobs)} {'job' if len(plan.jobs) == 1 else 'jobs'} on {plan.target}, costs {money}")
    return 0


def _line(job: PlannedJob, rows: int, *, is_local: bool) -> str:
    spec = job.spec
    variant = "".join(f" {name}={value}" for name, value in job.variant.items())
    where = "a tiny model on this machine" if is_local else " or ".join(spec.gpu.prefer)
    limit = format_duration(spec.limits.provision + spec.limits.run)
    money = "" if is_local else f", at most ${job.worst_case_usd:.2f}"
    return (
        f"{job.key}{variant}  {spec.template.method} of {spec.template.model}, {rows} {spec.dataset.format} rows, "
        f"seed {job.seed}, on {where}, at most {limit}{money}"
    )


def _details(job: PlannedJob, via: str) -> str:
    steps = [f"    {number}. {step_title(step)}" for number, step in enumerate(job.phase.steps, 1)]
    criteria = [f"    {criterion.id}: {criterion.title}" for criterion in job.criteria]
    return "\n".join(["  steps", *steps, "  criteria", *criteria, *_requests(job, via)])


def _requests(job: PlannedJob, via: str) -> list[str]:
    """What the lab would be sent; of a pod that we create ourselves, the configuration that its trainer gets."""
    if via != "lab":
        config = json.dumps(job.config, indent=2, ensure_ascii=False).replace("\n", "\n    ")
        return ["  configuration", f"    {config}"]
    from runner.cli.preview import requests_of

    return ["  requests", *("    " + text.replace("\n", "\n    ") for text in requests_of(job))]
