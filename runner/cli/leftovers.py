"""Pods that earlier, killed runs may have left."""

from __future__ import annotations

from collections.abc import Sequence

import click

from runner.cli.options import state_flag
from runner.engine.recorder import Recorder
from runner.engine.recover import recover
from runner.engine.world import World
from runner.history import Lease
from runner.results import Target
from runner.store.store import Store


def leftovers(store: Store, target: Target) -> list[Lease]:
    """Open leases of runs on this target, oldest first."""
    targets = {summary.run: summary.target for summary in store.runs()}
    return [lease for lease in store.open_leases() if targets.get(lease.run) is target]


async def end_leases(store: Store, world: World, leases: Sequence[Lease]) -> list[Lease]:
    """End pods and record it in the journals of the runs that left them; returns those not proven gone."""
    left = []
    for run in sorted({lease.run for lease in leases}):
        recorder = Recorder(store.journal(run))
        left += await recover([lease for lease in leases if lease.run == run], world, recorder)
    return left


async def end_or_announce(store: Store, world: World, target: Target, *, run: str) -> None:
    """Before a run: tidy up the local cloud silently; on the real one, say what may be billing.

    Args:
        run: the one that is about to go on; the pods that it is going to take up again are no leftovers.
    """
    found = leftovers(store, target)
    if target is Target.LOCAL:
        await end_leases(store, world, found)
        return
    found = [lease for lease in found if lease.run != run]
    if not found:
        return
    names = ", ".join(lease.pod_id or lease.name for lease in found)
    reap = f"runspec reap{state_flag(store.path.parent)}"
    click.echo(f"warning: earlier runs may have left pods: {names}; `{reap}` shows them", err=True)
