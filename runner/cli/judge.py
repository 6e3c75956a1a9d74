"""`runspec judge RUN`: judge a recorded run again by the criteria of today's spec files; nothing is run or paid for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli import offers
from runner.cli.options import parse_vars, with_state
from runner.errors import Diagnostic, PlanError, RunspecError
from runner.events import AnyEvent, JobEvent, JobFinished, JobJudged, PlannedJobRecord
from runner.results import FailureClass, Outcome, Target, Verdict
from runner.spec.conditions import Scalar

if TYPE_CHECKING:
    from runner.spec.loader import SpecFile
    from runner.spec.models import Criterion
    from runner.store.store import Store

SIGNS = {
    Outcome.PASSED: "✓", Outcome.FAILED: "✗", Outcome.ERRORED: "!", Outcome.UNKNOWN: "?", Outcome.CANCELLED: "–",
    Outcome.SKIPPED: "–",
}  # fmt: skip
BY_VERDICTS = (None, FailureClass.CRITERION, FailureClass.NO_EVIDENCE)
"""Jobs whose outcome is what their verdicts say; the others ended for a reason that no criterion changes."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One job, as it was judged and as it is judged now."""

    record: PlannedJobRecord
    finished: JobFinished
    before: tuple[Verdict, ...]
    now: tuple[Verdict, ...]

    @property
    def outcome(self) -> Outcome:
        """How the job ends by the new verdicts."""
        from runner.conditions.judge import job_outcome

        if self.finished.failure_class not in BY_VERDICTS:
            return self.finished.outcome
        return job_outcome(self.now)

    def changes(self) -> Iterator[str]:
        """What the new verdicts say otherwise, a line each."""
        old = {verdict.id: verdict for verdict in self.before}
        new = {verdict.id: verdict for verdict in self.now}
        for name in (*new, *(name for name in old if name not in new)):
            was, becomes = old.get(name), new.get(name)
            if becomes is None:
                yield f"- {name}: no criterion any more" + (f" (was {was.outcome})" if was else "")
            elif was is None:
                yield f"+ {name}: {_in_words(becomes)}"
            elif was.outcome is not becomes.outcome:
                yield f"~ {name}: {was.outcome} → {_in_words(becomes)}"


def _in_words(verdict: Verdict) -> str:
    from runner.reports.foreign import visible

    return f"{SIGNS[verdict.outcome]} {verdict.outcome}: {visible(verdict.finding.observed)}"


@click.command("judge")
@click.argument("run", shell_complete=offers.runs)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--record", "is_recorded", is_flag=True, help="Append the new verdicts to the run's journal.")
@click.option("--set", "vars_", multiple=True, callback=parse_vars, metavar="NAME=VALUE", help="Set a variable.")
@with_state
def command(run: str, paths: tuple[Path, ...], is_recorded: bool, vars_: Mapping[str, Scalar], state: Path) -> int:
    """Judge RUN by the criteria of today's spec files, and print what changes.

    The specs are looked for where they were, or in PATHS. Without `--record` nothing is written; with it, new verdicts
    are appended to the journal, which keeps the old ones. Exits with 0, 1 or 3 as a run would.
    """
    from runner.store.store import Store

    with Store.open(state, read_only=not is_recorded) as store:
        recorded = store.load_run(run)
        judged = list(_judge_all(recorded.events, paths, vars_))
        changed = [one for one in judged if any(one.changes())]
        _print(recorded.run, judged, changed)
        if is_recorded and changed:
            _record(store, recorded.run, changed)
            click.echo(f"recorded: {len(changed)} jobs of run {recorded.run} have new verdicts")
        elif changed:
            click.echo("nothing was written; `--record` appends the new verdicts to the run")
    outcomes = {one.outcome for one in judged}
    return 1 if Outcome.FAILED in outcomes else 0 if outcomes <= {Outcome.PASSED, Outcome.SKIPPED} else 3


def _judge_all(events: Sequence[AnyEvent], paths: Sequence[Path], given: Mapping[str, Scalar]) -> Iterator[Judged]:
    from runner.replan import started_of

    started = started_of(events)
    if started is None:
        raise RunspecError("the journal of this run has no beginning, so nobody knows what it set out to do")
    by_job: dict[str, list[AnyEvent]] = {}
    for event in events:
        if isinstance(event, JobEvent):
            by_job.setdefault(event.job, []).append(event)
    specs = _Specs(paths, started.target)
    for record in started.jobs:
        own = by_job.get(record.job, [])
        finished = next((event for event in reversed(own) if isinstance(event, JobFinished)), None)
        before = next((event for event in reversed(own) if isinstance(event, JobJudged)), None)
        if finished is not None and before is not None:
            now = _again(specs.criteria(record, given), own, finished, before.verdicts)
            yield Judged(record, finished, before.verdicts, now)


def _again(
    criteria: Sequence[Criterion], events: Sequence[AnyEvent], finished: JobFinished, before: Sequence[Verdict]
) -> tuple[Verdict, ...]:
    """New verdicts; where something else broke, what was no verdict then is none now."""
    import msgspec

    from runner.conditions.evidence import Evidence
    from runner.conditions.judge import judge

    evidence = Evidence()
    evidence.apply_all(events)
    evidence.close()
    verdicts = judge(criteria, evidence)
    errored = {verdict.id for verdict in before if verdict.outcome is Outcome.ERRORED}
    if finished.failure_class not in BY_VERDICTS and finished.outcome is not Outcome.FAILED:
        errored |= {verdict.id for verdict in verdicts} - {verdict.id for verdict in before}
    return tuple(
        msgspec.structs.replace(verdict, outcome=Outcome.ERRORED)
        if verdict.outcome is Outcome.FAILED and verdict.id in errored
        else verdict
        for verdict in verdicts
    )


class _Specs:
    """The spec files of today, by the names in the record."""

    def __init__(self, paths: Sequence[Path], target: Target) -> None:
        self._paths = paths
        self._target = target
        self._files: dict[str, SpecFile] = {}

    def criteria(self, record: PlannedJobRecord, given: Mapping[str, Scalar]) -> tuple[Criterion, ...]:
        """What the job's phase asks of it today."""
        from runner.baselines import criteria_with, fitting, read_baselines
        from runner.spec.loader import find_phase

        file = self._file(record)
        spec_then = record.content.get("spec", {})
        chosen = {**_set_by_hand(spec_then.get("vars", {}), file), **record.content.get("variant", {}), **given}
        spec = file.resolve(chosen) if chosen else file.spec
        phase = find_phase(record.phase, file.path).resolve(spec, chosen)
        criteria = (*phase.success, *spec.success.get(phase.name, ()))
        return criteria_with(criteria, fitting(read_baselines(file.path.parent), spec, phase.name, self._target))

    def _file(self, record: PlannedJobRecord) -> SpecFile:
        from runner.cli.loading import load_specs

        if not self._files:
            folder = Path(str(record.content.get("folder", "specs")))
            self._files = {file.name: file for file in load_specs(self._paths or [folder])}
        if record.spec not in self._files:
            raise PlanError(
                [
                    Diagnostic(
                        "judge.no-spec",
                        f"there is no spec named `{record.spec}` to judge `{record.job}` by",
                        label=f"specs there: {', '.join(sorted(self._files)) or 'none'}",
                        fix="name the folder that has it: `runspec judge RUN specs/`",
                    )
                ]
            )
        return self._files[record.spec]


def _set_by_hand(then: Mapping[str, Scalar], file: SpecFile) -> dict[str, Scalar]:
    """Variables that were set on the command line of the run: the record has them, and no spec file does."""
    return {name: value for name, value in then.items() if name not in file.spec.vars}


def _print(run: str, judged: Sequence[Judged], changed: Sequence[Judged]) -> None:
    if not judged:
        click.echo(f"run {run} has no job with a verdict")
        return
    for one in changed:
        arrow = f"{one.finished.outcome} → {one.outcome}" if one.outcome is not one.finished.outcome else one.outcome
        click.echo(f"{SIGNS[one.outcome]} {one.record.job}: {arrow}")
        for line in one.changes():
            click.echo(f"    {line}")
    same = len(judged) - len(changed)
    click.echo(f"{len(judged)} jobs of run {run} judged again: {len(changed)} change, {same} stay as they were")


def _record(store: Store, run: str, changed: Sequence[Judged]) -> None:
    import asyncio

    events = [JobJudged(at=datetime.now(UTC), job=one.record.job, verdicts=one.now) for one in changed]
    asyncio.run(store.journal(run).append(*events, durable=True))
