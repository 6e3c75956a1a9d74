"""`validate: dataset`."""

from __future__ import annotations

from runner.engine.context import JobContext, StepResult
from runner.engine.stop import StopJob
from runner.engine.world import dataset_checked
from runner.errors import DatasetError
from runner.results import FailureClass, Outcome


async def validate_dataset(context: JobContext) -> StepResult:
    """Check every row; a dataset that does not fit ends the job before anything is paid for."""
    state, world = context.state, context.world
    try:
        summary = world.datasets.check(state.job)
    except DatasetError as exc:
        raise StopJob(str(exc), FailureClass.DATASET) from exc
    if summary is None:
        return StepResult(Outcome.SKIPPED, "rows are to go to the trainer unchecked")
    await state.record(dataset_checked(state.job, summary, world.clock))
    return StepResult(Outcome.PASSED, f"{summary.rows} rows")
