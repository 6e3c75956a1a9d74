"""Is it worth its price: the gate before a create, and the first look at the pod that came of it."""

from __future__ import annotations

from collections.abc import Sequence

from runner.engine.naming import is_ours
from runner.engine.state import JobState
from runner.engine.stop import StopJob, stop_for_provider
from runner.engine.world import World
from runner.errors import ProviderError
from runner.ports import ProviderErrorKind
from runner.results import FailureClass, GpuOffer, Pod

MAX_LIVE_PODS = 64
"""More live pods of ours than this are no test any more, but something that got out of hand."""


async def check_purse(state: JobState, world: World) -> None:
    """Refuse to begin what the account cannot pay for; a balance that nobody tells stops nothing."""
    balance = await world.cloud.balance()
    need = state.job.worst_case_usd
    if balance is not None and balance < need:
        raise StopJob(
            f"the account has {balance:.2f} USD, and this job may cost {need:.2f} USD; RunPod ends pods without"
            " credit together with their data",
            FailureClass.LIMIT,
        )


async def check_room(world: World) -> None:
    """Refuse a pod too many. A cloud that cannot list its pods could not prove the end of one either."""
    try:
        pods = await world.cloud.list_pods()
    except ProviderError as exc:
        raise stop_for_provider("the pods that there are cannot be listed", exc) from exc
    ours = sum(pod.is_alive and is_ours(pod.name) for pod in pods)
    if ours >= MAX_LIVE_PODS:
        raise StopJob(f"{ours} pods of runspec are alive; `runspec reap` shows them", FailureClass.LIMIT)


async def affordable(state: JobState, world: World) -> list[str]:
    """The spec's GPUs in the order to try them: those within the price cap, the ones not in stock last.

    The catalog is a hint and may be stale, so a GPU that it does not know is tried too, and what was created is
    looked at again.

    Raises:
        StopJob: every GPU of the spec costs more than its price cap.
    """
    spec = state.job.spec
    offers = await catalog(world, cloud=spec.gpu.cloud, count=spec.gpu.count)
    dear: list[str] = []
    wanted: list[str] = []
    scarce: list[str] = []
    for gpu in state.gpus or spec.gpu.prefer:
        offer = offers.get(gpu)
        price = None if offer is None or offer.price_usd_h is None else offer.price_usd_h * spec.gpu.count
        if price is not None and price > spec.limits.price:
            dear.append(f"{gpu} costs {price:.2f} USD/h")
        elif offer is not None and offer.availability == "NONE":
            scarce.append(gpu)
        else:
            wanted.append(gpu)
    if not wanted and not scarce:
        raise StopJob(
            f"every GPU of the spec is over the limit of {spec.limits.price:.2f} USD/h: {', '.join(dear)}",
            FailureClass.LIMIT,
        )
    return [*wanted, *scarce]


async def catalog(world: World, *, cloud: str, count: int) -> dict[str, GpuOffer]:
    """Offers by GPU; empty when the catalog cannot be read, which stops nothing."""
    try:
        return {offer.id: offer for offer in await world.cloud.gpu_offers(cloud=cloud, count=count)}
    except ProviderError:
        return {}


def bigger(offers: Sequence[GpuOffer], *, than: str, price_cap: float, count: int, prefer: Sequence[str]) -> list[str]:
    """GPUs with more memory than one that was too small, within the price cap; the preferred ones first.

    Args:
        price_cap: USD an hour of the whole pod.
    """
    known = {offer.id: offer for offer in offers}
    floor = known[than].memory_gib if than in known else 0
    fitting = [
        offer
        for offer in offers
        if offer.memory_gib > floor and offer.price_usd_h and offer.price_usd_h * count <= price_cap
    ]
    rank = {gpu: number for number, gpu in enumerate(prefer)}
    fitting.sort(key=lambda offer: (rank.get(offer.id, len(rank)), offer.price_usd_h or 0.0, offer.id))
    return [offer.id for offer in fitting]


async def check_pod(state: JobState, world: World, *, may_be_gone: bool = False) -> Pod | None:
    """Look at a new pod, and give it back at once when it costs more, or is less, than was asked for.

    Args:
        may_be_gone: then None says that it is, and the watch finds out what became of its job.
    Raises:
        StopJob: it is not what was asked for, or cannot be looked at.
    """
    try:
        pod = await _inspect(state, world)
    except ProviderError as exc:
        if may_be_gone and exc.kind == ProviderErrorKind.GONE:
            return None
        raise stop_for_provider("the new pod cannot be looked at", exc) from exc
    _check_bargain(state, pod)
    return pod


async def _inspect(state: JobState, world: World) -> Pod:
    """The pod as its cloud describes it: the lab's own figures are informational only."""
    pod = await world.cloud.get_pod(state.pod_id or "")
    if pod.cost_usd_h is not None:
        state.cost_usd_h = pod.cost_usd_h
    state.lab_job_id = state.lab_job_id or pod.lab_job_id
    return pod


def _check_bargain(state: JobState, pod: Pod) -> None:
    limits, gpu = state.job.spec.limits, state.job.spec.gpu
    if pod.cost_usd_h is not None and pod.cost_usd_h > limits.price:
        raise StopJob(
            f"the pod costs {pod.cost_usd_h:.2f} USD/h, over the limit of {limits.price:.2f} USD/h", FailureClass.LIMIT
        )
    if pod.gpu_count is not None and pod.gpu_count < gpu.count:
        raise StopJob(f"the pod has {pod.gpu_count} of {gpu.count} GPUs", FailureClass.INFRASTRUCTURE)
    if state.lab_job_id is None:
        raise StopJob("a pod was found, but not the training job it belongs to", FailureClass.PROVIDER)
