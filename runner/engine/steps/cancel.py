"""`cancel: job`: through the lab, as its users do; the pod's end is proven by the lease."""

from __future__ import annotations

from runner.engine.context import JobContext, StepResult
from runner.engine.stop import stop_for_provider
from runner.errors import ProviderError
from runner.results import Outcome


async def cancel_job(context: JobContext) -> StepResult:
    """Ask the lab to cancel the training job. There is no cancelled alert to wait for."""
    state = context.state
    if state.lab_job_id is None:
        return StepResult(Outcome.SKIPPED, "no job was deployed")
    if state.is_job_over:
        return StepResult(Outcome.SKIPPED, "the job had ended by itself")
    await wind_down(context)
    try:
        await end_lab_job(context)
    except ProviderError as exc:
        # The lease ends the pod anyway; that the lab could not is a finding about the lab.
        raise stop_for_provider("the lab did not cancel the job", exc) from exc
    return StepResult(Outcome.PASSED)


async def end_lab_job(context: JobContext) -> None:
    """Let the lab end its job: with its pod, or, where the pod is of our own making, in its books only."""
    state, lab = context.state, context.world.lab
    if state.ticket is not None:
        await lab.close_job(state.ticket, status="cancelled")
    elif state.lab_job_id is not None and context.via == "lab":
        # A runner that took over a pod of its own has no token any more; the job then stays open in the lab's books.
        await lab.cancel_job(state.lab_job_id)


async def wind_down(context: JobContext) -> None:
    """From here on the pod ends because we say so: what it still writes is no evidence."""
    context.state.is_winding_down = True
    await context.watch.stop_logs(context.state)
