"""From a recorded run back to its plan, so that what was interrupted can go on without the spec files of then."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError

from runner.errors import Diagnostic, PlanError
from runner.events import AnyEvent, JobFinished, PlannedJobRecord, RunStarted
from runner.plan import Plan, PlannedJob
from runner.results import FailureClass, Outcome
from runner.spec.config import job_config
from runner.spec.models import Phase, Spec

_NOT_RUN = (Outcome.CANCELLED, Outcome.SKIPPED)


def plan_of_record(started: RunStarted) -> Plan:
    """The plan of a recorded run, as it was: changes to its spec files since then have no effect.

    Raises:
        PlanError: the record was made by a version with another format.
    """
    return Plan(
        jobs=tuple(_job(record) for record in started.jobs),
        target=started.target,
        via=started.via,
        max_spend_usd=started.max_spend_usd,
        staged=started.staged,
    )


def _job(record: PlannedJobRecord) -> PlannedJob:
    try:
        spec = Spec.model_validate(record.content["spec"])
        phase = Phase.model_validate(record.content["phase"])
    except (KeyError, ValidationError) as exc:
        raise PlanError(
            [
                Diagnostic(
                    "plan.unreadable-record",
                    f"the record of `{record.job}` does not hold a spec that this version understands",
                    label=type(exc).__name__,
                    fix="start the run anew from its spec files",
                )
            ]
        ) from exc
    folder = Path(str(record.content.get("folder", "specs")))
    return PlannedJob(
        key=record.job,
        spec=spec,
        phase=phase,
        number=int(record.job.rpartition("/")[2]),
        variant=dict(record.content.get("variant", {})),
        seed=record.seed,
        spec_path=folder / record.spec_file,
        spec_digest=record.spec_digest,
        phase_digest=record.phase_digest,
        config=job_config(spec.template, seed=record.seed),
        criteria=(*phase.success, *spec.success.get(phase.name, ())),
        base_dir=folder,
    )


def started_of(events: Iterable[AnyEvent]) -> RunStarted | None:
    """How a run began; a run that was resumed began several times, always with the same plan."""
    return next((event for event in events if isinstance(event, RunStarted)), None)


def is_verdict(job: JobFinished) -> bool:
    """Whether a job ended by itself: it was neither interrupted nor left out."""
    return job.outcome not in _NOT_RUN and job.failure_class is not FailureClass.INTERRUPTED


def past_of(events: Sequence[AnyEvent]) -> list[AnyEvent]:
    """What a run that goes on has to know of its earlier life: all but the ends of jobs that are to run again."""
    return [event for event in events if not isinstance(event, JobFinished) or is_verdict(event)]


def finished_jobs(events: Iterable[AnyEvent]) -> dict[str, JobFinished]:
    """The jobs of a run that have their verdict, by key."""
    last = {event.job: event for event in events if isinstance(event, JobFinished)}
    return {job: event for job, event in last.items() if is_verdict(event)}


def is_same_work(plan: Plan, started: RunStarted) -> bool:
    """Whether a plan is exactly what a recorded run set out to do: target, jobs, seeds, spec and phase files."""
    ours = [(job.key, job.seed, job.spec_digest, job.phase_digest, dict(job.variant)) for job in plan.jobs]
    theirs = [
        (job.job, job.seed, job.spec_digest, job.phase_digest, dict(job.content.get("variant", {})))
        for job in started.jobs
    ]
    return (plan.target, plan.via, plan.staged, ours) == (started.target, started.via, started.staged, theirs)
