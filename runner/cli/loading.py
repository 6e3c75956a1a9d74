"""From the paths on the command line to a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from runner.baselines import with_baselines
from runner.datasets.source import check_dataset
from runner.errors import DatasetError, Diagnostic, SpecError
from runner.plan import Plan, PlannedJob, Selection, make_plan
from runner.results import Target
from runner.spec.conditions import Scalar
from runner.spec.find import find_spec_files
from runner.spec.loader import SpecFile, find_phase, load_spec

DEFAULT_PATHS = (Path("specs"),)


def load_specs(paths: Sequence[Path]) -> list[SpecFile]:
    """Every spec below the paths.

    Raises:
        SpecError: with the problems of all files, not only of the first bad one.
    """
    specs: list[SpecFile] = []
    problems: list[Diagnostic] = []
    for path in find_spec_files(paths or DEFAULT_PATHS):
        try:
            specs.append(load_spec(path))
        except SpecError as exc:
            problems += exc.diagnostics
    if problems:
        raise SpecError(problems)
    return specs


def plan_of(
    paths: Sequence[Path],
    *,
    phases: Sequence[str],
    keyword: str,
    tags: Sequence[str],
    repeat: int | None,
    vars_: Mapping[str, Scalar],
    target: Target,
    max_spend_usd: float | None,
    via: str = "lab",
) -> Plan:
    """The plan that the selection options describe."""
    plan = make_plan(
        load_specs(paths),
        find_phase=find_phase,
        selection=Selection(phases=phases, keyword=keyword, tags=tags, repeat=repeat, vars=vars_),
        target=target,
        via=via,
        max_spend_usd=max_spend_usd,
    )
    return with_baselines(plan)


def check_datasets(jobs: Sequence[PlannedJob]) -> dict[str, int]:
    """Check the rows of every dataset in a plan, each dataset once; returns rows by job key.

    Raises:
        DatasetError: with the problems of all datasets.
    """
    rows: dict[str, int] = {}
    known: dict[tuple[object, ...], int] = {}
    problems: list[Diagnostic] = []
    for job in jobs:
        identity = (job.spec.dataset, job.base_dir, job.needs_reward)
        if identity not in known:
            try:
                summary = check_dataset(job.spec.dataset, base_dir=job.base_dir, needs_reward=job.needs_reward)
                known[identity] = summary.rows
            except DatasetError as exc:
                # What is wrong with a whole file is shown where the spec names it.
                problems += [one if one.span else replace(one, span=job.dataset_at) for one in exc.diagnostics]
                known[identity] = 0
        rows[job.key] = known[identity]
    if problems:
        raise DatasetError(problems)
    return rows
