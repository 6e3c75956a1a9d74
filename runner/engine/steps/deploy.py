"""`deploy: template`: through the lab's own deploy route, or with a pod that we create ourselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.engine.context import JobContext, StepResult
from runner.engine.lease import Created
from runner.engine.steps.bargain import check_pod, check_purse
from runner.engine.steps.deploy_runpod import deploy_on_runpod
from runner.engine.steps.ladder import Order, first_available
from runner.engine.stop import stop_for_provider
from runner.errors import ProviderError
from runner.events import ConfigCreated
from runner.ports import DeployRequest
from runner.results import Outcome

if TYPE_CHECKING:
    from runner.engine.lease import Lease
    from runner.engine.state import JobState
    from runner.engine.world import World


async def deploy_template(context: JobContext) -> StepResult:
    """Get a pod that trains, on the first GPU that can be had, and check what was given."""
    state, world = context.state, context.world
    await check_purse(state, world)
    lease = await deploy_on_runpod(context) if context.via == "runpod" else await _through_the_lab(context)
    context.watch.add(state)
    pod = await check_pod(state, world)
    return StepResult(Outcome.PASSED, f"pod {state.pod_id} on {(pod and pod.gpu) or lease.gpu}")


async def _through_the_lab(context: JobContext) -> Lease:
    """Store configuration and dataset at the lab, and let it deploy."""
    state, world = context.state, context.world
    spec = state.job.spec
    config_id = await _prepare(state, world)

    def order(gpu: str) -> Order:
        request = DeployRequest(
            config_id=config_id, gpu=gpu, gpu_count=spec.gpu.count, budget_usd=spec.limits.spend, env={}
        )

        async def create() -> Created:
            answer = await world.lab.deploy(request)
            return Created(pod_id=answer.pod_id, lab_job_id=answer.lab_job_id, cost_usd_h=answer.cost_usd_h)

        return Order(name=world.lab.pod_name(config_id), via="lab", create=create)

    return await first_available(context, order)


async def _prepare(state: JobState, world: World) -> str:
    job, lab = state.job, world.lab
    # The name is what an operator sees at the lab; the run's own ids make it unique there.
    name = f"runspec {job.key} {world.clock.now():%Y-%m-%d %H:%M:%S}"
    try:
        config_id = await lab.create_config(name=name, template=job.spec.template.key, config=job.config)
        uploaded = await lab.upload_dataset(
            name=name, row_format=job.spec.dataset.format, rows=world.datasets.rows(job)
        )
        await lab.attach_dataset(config_id, uploaded.id)
    except ProviderError as exc:
        raise stop_for_provider("the lab did not take the configuration", exc) from exc
    state.config_id = config_id
    await state.record(
        ConfigCreated(at=state.now(), job=state.key, config_id=config_id, dataset_id=uploaded.id), durable=True
    )
    return config_id
