"""Gives back what runs left behind that were killed: every lease of the journal without a proven end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from runner.engine.ending import end_pod, look_for
from runner.engine.recorder import Recorder
from runner.engine.world import World
from runner.events import PodGone, PodRefused, PodTerminating, PodUnconfirmed
from runner.history import Lease

INSIST_S = 600.0
"""How long one pod's end is insisted on."""


async def recover(leases: Sequence[Lease], world: World, recorder: Recorder) -> list[Lease]:
    """End every pod that an earlier run may have left, all at once, and record it in that run's journal.

    A lease without a pod id was interrupted around its create: its pod is looked for by name, for as long as
    listings may lag.

    Returns:
        The leases whose pods nobody could prove gone.
    """
    async with asyncio.TaskGroup() as group:
        endings = [(lease, group.create_task(_end(lease, world, recorder))) for lease in leases]
    return [lease for lease, ending in endings if not ending.result()]


async def _end(lease: Lease, world: World, recorder: Recorder) -> bool:
    clock = world.clock
    pod_id = lease.pod_id
    if pod_id is None and (found := await look_for(world, name=lease.name)):
        pod_id = found[0].id
    await recorder.record_if_possible(
        PodTerminating(
            at=clock.now(), job=lease.job, name=lease.name, pod_id=pod_id, reason="left by an interrupted run"
        )
    )
    ending = await end_pod(world, name=lease.name, pod_id=pod_id, within_s=INSIST_S)
    if not ending.is_proven:
        await recorder.record_if_possible(
            PodUnconfirmed(at=clock.now(), job=lease.job, name=lease.name, pod_id=ending.pod_id, why=ending.last_error)
        )
        return False
    if ending.pod_id is None:
        message = f"no pod named `{lease.name}` ever showed"
        await recorder.record_if_possible(
            PodRefused(at=clock.now(), job=lease.job, name=lease.name, kind="not-found", message=message)
        )
        return True
    alive_s = max(0.0, (clock.now() - lease.requested_at).total_seconds())
    await recorder.record_if_possible(
        PodGone(
            at=clock.now(),
            job=lease.job,
            name=lease.name,
            pod_id=ending.pod_id,
            alive_s=alive_s,
            cost_usd=alive_s * (lease.cost_usd_h or 0.0) / 3600,
        )
    )
    return True
