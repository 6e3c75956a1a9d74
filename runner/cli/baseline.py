"""`runspec baseline accept RUN` and `runspec baseline show`: what templates are expected to come to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

import click

from runner.baselines import Entry, baselines_in, read_baselines, write_baselines
from runner.cli import offers
from runner.cli.options import with_state
from runner.conditions.curves import DIGEST_CHARS, LOCAL_DEVICE, final_value
from runner.conditions.evidence import Evidence
from runner.errors import RunspecError
from runner.events import JobEvent, JobFinished
from runner.history import RecordedRun
from runner.plan import PlannedJob
from runner.replan import plan_of_record, started_of
from runner.results import Outcome, Target
from runner.spec.conditions import BaselineHolds

FOLDER = click.option(
    "--specs",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default="specs",
    show_default=True,
    help="Folder that `baselines/accepted.yaml` is in.",
)


@click.group("baseline")
def command() -> None:
    """Accept what a run came to as the baseline of its templates, or show what is accepted and how it drifts."""


@command.command("accept", short_help="Keep what the passed jobs of RUN came to.")
@click.argument("run", shell_complete=offers.runs)
@click.option("-k", "keyword", default="", help="Only jobs whose key contains this.")
@click.option(
    "--metric", "metrics", multiple=True, help="A metric that no criterion of the run asked for (repeatable)."
)
@FOLDER
@with_state
def accept(run: str, keyword: str, metrics: tuple[str, ...], folder: Path, state: Path) -> int:
    """Write what the passed jobs of RUN came to into `baselines/accepted.yaml`; review the diff and commit it.

    Metrics that a `baseline` condition of the run asked for are taken, and those given; of several jobs of a template
    their median.
    """
    from runner.store.store import Store

    with Store.open(state, read_only=True) as store:
        recorded = store.load_run(run)
    ends = [end for end in _ends(recorded, metrics) if keyword in end.job]
    if not ends:
        raise RunspecError(
            f"no passed job of run {recorded.run} has a criterion with `baseline`; name a metric with `--metric`"
        )
    found: dict[tuple[str, ...], list[End]] = {}
    for end in ends:
        found.setdefault(end.key, []).append(end)
    known = {entry.key: entry for entry in read_baselines(folder)}
    for key, values in sorted(found.items()):
        new = values[0].entry(median(end.value for end in values), recorded.run)
        was = f" (was {known[key].value:.6g})" if key in known else ""
        click.echo(f"{new.spec}/{new.phase}  {new.metric} = {new.value:.6g}{was}  {new.device}")
        known[key] = new
    click.echo(f"written to {write_baselines(folder, known.values())}")
    return 0


@command.command("show", short_help="Show accepted values, and the drift of recorded runs.")
@click.argument("spec", default="", shell_complete=offers.specs_with_runs)
@click.option("-n", "--limit", type=click.IntRange(1), default=10, show_default=True, help="How many runs.")
@FOLDER
@with_state
def show(spec: str, limit: int, folder: Path, state: Path) -> int:
    """Show accepted values, and how far recorded runs, newest first, ended from them."""
    from runner.store.store import Store

    entries = [entry for entry in read_baselines(folder) if spec in ("", entry.spec)]
    if not entries:
        click.echo("nothing is accepted here; `runspec baseline accept RUN` does it")
        return 0
    with Store.open(state, read_only=True) as store:
        metrics = {entry.metric for entry in entries}
        ends = [end for recorded in store.recorded_runs(limit) for end in _ends(recorded, metrics)]
    for entry in entries:
        click.echo(f"{entry.spec}/{entry.phase}  {entry.metric}  {entry.value:.6g}  {entry.device}  run {entry.run}")
        for end in ends:
            if end.key == entry.key:
                drift = f"{(end.value - entry.value) / abs(entry.value):+.1%}" if entry.value else f"{end.value:+.4g}"
                click.echo(f"    {end.at:%Y-%m-%d %H:%M}  {end.run}  {end.job}  {end.value:.6g}  {drift}")
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Where one metric of one passed job ended."""

    run: str
    job: str
    at: datetime
    spec: str
    phase: str
    metric: str
    model: str
    device: str
    dataset: str
    value: float

    @property
    def key(self) -> tuple[str, ...]:
        """What it is the value of, as `Entry.key`."""
        return (self.spec, self.phase, self.metric, self.model, self.device, self.dataset)

    def entry(self, value: float, run: str) -> Entry:
        """What is written down of it."""
        return Entry(
            spec=self.spec,
            phase=self.phase,
            metric=self.metric,
            model=self.model,
            device=self.device,
            dataset=self.dataset,
            value=value,
            run=run,
            at=f"{self.at:%Y-%m-%d}",
        )


def _ends(recorded: RecordedRun, metrics: Iterable[str]) -> Iterator[End]:
    started = started_of(recorded.events)
    if started is None:
        return
    for job in plan_of_record(started).jobs:
        own = [event for event in recorded.events if isinstance(event, JobEvent) and event.job == job.key]
        finished = next((event for event in reversed(own) if isinstance(event, JobFinished)), None)
        if finished is not None and finished.outcome is Outcome.PASSED:
            evidence = Evidence()
            evidence.apply_all(own)
            asked = {name: BaselineHolds(baseline=name) for name in metrics}
            asked |= {one.baseline: one for criterion in job.criteria for one in baselines_in(criterion.expect)}
            yield from _ends_of(job, asked.values(), evidence, recorded.run, finished.at, started.target)


def _ends_of(
    job: PlannedJob, asked: Iterable[BaselineHolds], evidence: Evidence, run: str, at: datetime, target: Target
) -> Sequence[End]:
    device = LOCAL_DEVICE if target is not Target.CLOUD else evidence.gpu
    found = []
    for condition in asked:
        value = final_value(evidence.metric(condition.baseline), condition.window)
        if value is not None and device is not None and evidence.dataset_digest is not None:
            found.append(
                End(
                    run=run, job=job.key, at=at, spec=job.spec.name, phase=job.phase.name, metric=condition.baseline,
                    model=job.spec.template.model, device=device, value=value,
                    dataset=evidence.dataset_digest[:DIGEST_CHARS],
                )
            )  # fmt: skip
    return found
