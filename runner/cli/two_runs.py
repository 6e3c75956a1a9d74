"""`runspec compare A B`: what became of the jobs that two runs have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from runner.cli.jobline import SIGNS
from runner.cli.summary import stdout_console
from runner.cli.tables import Column, print_table
from runner.cli.trend import final_loss
from runner.reports import wording
from runner.reports.difference import RecordedJob, changes, recorded_jobs
from runner.reports.foreign import visible
from runner.results import Outcome

if TYPE_CHECKING:
    from runner.history import RecordedRun

_MOST_NAMES = 3


@dataclass(frozen=True, slots=True)
class Pair:
    """A job by its key, as it went in the first and in the second run."""

    key: str
    before: RecordedJob
    now: RecordedJob

    @property
    def is_worse(self) -> bool:
        """It passed and does not any more."""
        return self._passed(self.before) and not self._passed(self.now)

    @property
    def is_better(self) -> bool:
        """It passes and did not."""
        return self._passed(self.now) and not self._passed(self.before)

    @staticmethod
    def _passed(one: RecordedJob) -> bool:
        return one.job.outcome is Outcome.PASSED


def pairs(before: RecordedRun, now: RecordedRun, *, phase: str | None = None) -> list[Pair]:
    """The jobs that both runs planned, those first that passed only in the first, then those that pass only now."""
    old, new = ({one.job.key: one for one in recorded_jobs(run) if _is_of(one, phase)} for run in (before, now))
    found = [Pair(key, old[key], new[key]) for key in sorted(old.keys() & new.keys())]
    return sorted(found, key=lambda one: (not one.is_worse, not one.is_better))


def print_pairs(found: Sequence[Pair]) -> None:
    """A row a job, then what is different, then how many are worse and better."""
    before, now = found[0].before.run, found[0].now.run
    columns = [
        Column("job"),
        Column(f"run {before.run}"),
        Column(f"run {now.run}"),
        Column("criteria", 1),
        Column("time", 1),
        Column("last loss", 2),
        Column("cost", 3),
    ]
    print_table(stdout_console(), columns, [_row(pair) for pair in found])
    for line, keys in _differences(found).items():
        click.echo(f"  {line}  ({_names(keys)})")
    levels = dict.fromkeys(wording.EVIDENCE[run.target] for run in (before, now))
    worse, better = sum(pair.is_worse for pair in found), sum(pair.is_better for pair in found)
    counts = [f"{worse} passed only in {before.run}", f"{better} only in {now.run}"]
    click.echo("")
    click.echo(" · ".join([f"{wording.count(len(found), 'job')} in both runs", *counts, " and ".join(levels)]))


def _is_of(one: RecordedJob, phase: str | None) -> bool:
    return phase in (None, one.job.record.phase)


def _row(pair: Pair) -> list[str]:
    old, new = pair.before.job, pair.now.job
    losses = [final_loss(old), final_loss(new)]
    return [
        visible(pair.key),
        _word(old.outcome),
        _word(new.outcome),
        _course(*(f"{one.passed_criteria} of {len(one.verdicts)}" for one in (old, new))),
        _course(*(wording.duration(one.elapsed_s) for one in (old, new))),
        _course(*("none posted" if loss is None else wording.figure(loss) for loss in losses)),
        _course(*(wording.money(one.cost_usd) for one in (old, new))),
    ]


def _word(outcome: Outcome | None) -> str:
    return "! interrupted" if outcome is None else f"{SIGNS[outcome]} {outcome.value}"


def _course(before: str, now: str) -> str:
    return before if before == now else f"{before} → {now}"


def _differences(found: Sequence[Pair]) -> dict[str, list[str]]:
    """Every difference in words, with the jobs that have it."""
    lines: dict[str, list[str]] = {}
    for pair in found:
        for line in (*_criteria(pair), *_changes(pair)):
            lines.setdefault(line, []).append(pair.key)
    return lines


def _criteria(pair: Pair) -> Iterator[str]:
    if not pair.before.job.is_judged or not pair.now.job.is_judged:
        return
    old = {one.id: one for one in pair.before.job.verdicts}
    for verdict in pair.now.job.verdicts:
        earlier = old.pop(verdict.id, None)
        was = earlier.outcome.value if earlier else "not asked"
        if was != verdict.outcome.value:
            seen = "" if verdict.outcome is Outcome.PASSED else f": {verdict.finding.observed}"
            yield visible(f"{verdict.title.replace('`', '')}: {was} → {verdict.outcome.value}{seen}", longest=200)
    for gone in old.values():
        yield visible(f"{gone.title.replace('`', '')}: {gone.outcome.value} → not asked", longest=200)


def _changes(pair: Pair) -> Iterator[str]:
    for one in changes(pair.before, pair.now):
        yield visible(f"{one.what}: {one.before} → {one.now}", longest=200)


def _names(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _MOST_NAMES} more" if len(keys) > _MOST_NAMES else ""
    return visible(", ".join(keys[:_MOST_NAMES]) + more)
