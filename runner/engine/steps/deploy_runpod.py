"""`--via runpod`: a pod of our own making, with our bootstrap and agent in it, that reports to a job at the lab."""

from __future__ import annotations

from datetime import timedelta

from runner.engine.context import JobContext
from runner.engine.lease import Created, Lease
from runner.engine.naming import marker
from runner.engine.steps.bargain import check_room
from runner.engine.steps.ladder import Order, first_available
from runner.engine.stop import StopJob, stop_for_provider
from runner.errors import DatasetError, ProviderError
from runner.ports import PodRequest
from runner.results import FailureClass


async def deploy_on_runpod(context: JobContext) -> Lease:
    """Register a job at the lab, and create a pod that trains it.

    Every attempt has a name of its own, so that an answer that was lost can be looked for by it.
    """
    state, world = context.state, context.world
    kit = world.kit
    if kit is None:
        raise StopJob("this target cannot create pods itself; use `--via lab`", FailureClass.PROVIDER)
    try:
        ticket = await world.lab.open_job(model=state.job.spec.template.model, config=state.job.config)
    except ProviderError as exc:
        raise stop_for_provider("the lab did not take the job", exc) from exc
    state.ticket = ticket
    await check_room(world)

    def order(gpu: str) -> Order:
        name = context.names.new()
        deadline = state.now() + timedelta(seconds=state.job.worst_case_s)
        try:
            request = kit.request(
                state.job, ticket, name=name, gpu=gpu, marker=marker(name, deadline), deadline=deadline
            )
        except DatasetError as exc:
            raise StopJob(str(exc), FailureClass.DATASET) from exc
        return Order(name=name, via="runpod", create=lambda: _create(context, request, ticket.lab_job_id))

    return await first_available(context, order)


async def _create(context: JobContext, request: PodRequest, lab_job_id: str) -> Created:
    pod = await context.world.cloud.create_pod(request)
    return Created(pod_id=pod.id, lab_job_id=lab_job_id, cost_usd_h=pod.cost_usd_h)
