"""`deploy: template`, through the lab's own deploy route."""

from __future__ import annotations

from runner.engine.context import JobContext, StepResult
from runner.engine.lease import Created, Lease
from runner.engine.state import JobState
from runner.engine.stop import StopJob, stop_for_provider
from runner.engine.world import World
from runner.errors import ProviderError
from runner.ports import DeployRequest, ProviderErrorKind
from runner.results import ConfigCreated, FailureClass, Outcome, Pod

TRY_NEXT = {ProviderErrorKind.CAPACITY, ProviderErrorKind.UNSUPPORTED}
"""Refusals that another GPU may not meet: there is none of this kind free, or the lab cannot ask for it."""


async def deploy_template(context: JobContext) -> StepResult:
    """Store configuration and dataset at the lab, deploy on the first GPU that can be had, check what was given."""
    state = context.state
    config_id = await _prepare(state, context.world)
    lease = await _first_available(context, config_id)
    context.watch.add(state)
    pod = await _inspect(state, context.world)
    _check_bargain(state, pod)
    return StepResult(Outcome.PASSED, f"pod {state.pod_id} on {pod.gpu or lease.gpu}")


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


async def _first_available(context: JobContext, config_id: str) -> Lease:
    """Walk down the list of GPUs; only a refusal for want of machines leads to the next one."""
    state, world = context.state, context.world
    spec = state.job.spec
    refusals = []
    for gpu in spec.gpu.prefer:
        if context.interrupt.level:
            raise StopJob("interrupted before a pod was created", FailureClass.INTERRUPTED)
        lease = Lease(state, world, name=world.lab.pod_name(config_id), via="lab", gpu=gpu)
        context.leases.append(lease)
        request = DeployRequest(
            config_id=config_id,
            gpu=gpu,
            gpu_count=spec.gpu.count,
            budget_usd=spec.limits.spend,
            env={},
        )

        async def create(request: DeployRequest = request) -> Created:
            answer = await world.lab.deploy(request)
            return Created(pod_id=answer.pod_id, lab_job_id=answer.lab_job_id, cost_usd_h=answer.cost_usd_h)

        try:
            await lease.open(create)
        except ProviderError as exc:
            if exc.kind not in TRY_NEXT:
                raise stop_for_provider("the deploy failed", exc) from exc
            refusals.append(f"{gpu}: {exc}")
        else:
            return lease
    raise StopJob("no GPU of the list could be had: " + "; ".join(refusals), FailureClass.CAPACITY)


async def _inspect(state: JobState, world: World) -> Pod:
    """The pod as its cloud describes it: the lab's own figures are informational only."""
    try:
        pod = await world.cloud.get_pod(state.pod_id or "")
    except ProviderError as exc:
        raise stop_for_provider("the new pod cannot be looked at", exc) from exc
    if pod.cost_usd_h is not None:
        state.cost_usd_h = pod.cost_usd_h
    state.lab_job_id = state.lab_job_id or pod.lab_job_id
    return pod


def _check_bargain(state: JobState, pod: Pod) -> None:
    """A pod that costs more, or is less, than was asked for is given back at once."""
    limits, gpu = state.job.spec.limits, state.job.spec.gpu
    if pod.cost_usd_h is not None and pod.cost_usd_h > limits.price:
        raise StopJob(
            f"the pod costs {pod.cost_usd_h:.2f} USD/h, over the limit of {limits.price:.2f} USD/h", FailureClass.LIMIT
        )
    if pod.gpu_count is not None and pod.gpu_count < gpu.count:
        raise StopJob(f"the pod has {pod.gpu_count} of {gpu.count} GPUs", FailureClass.INFRASTRUCTURE)
    if state.lab_job_id is None:
        raise StopJob("a pod was found, but not the training job it belongs to", FailureClass.PROVIDER)
