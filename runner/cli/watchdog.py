"""`runspec watchdog`: ends pods that outlive their deadline although their runner is gone, asleep or stuck.

A process of its own, because a runner that was killed enforces nothing any more. A run on the cloud starts one; it
reads the journal, needs no runner, and leaves when no pod is left.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli.options import with_state
from runner.results import Target

if TYPE_CHECKING:
    from runner.engine.world import World
    from runner.history import Lease

UNCONFIRMED = 6
GRACE = timedelta(minutes=2)
"""How long a living runner may be late with what is its own duty."""


@click.command("watchdog")
@click.option("--once", is_flag=True, help="Look once and leave, as for a scheduled job.")
@click.option("--every", type=click.FloatRange(0.1), default=30.0, show_default=True, help="Seconds between two looks.")
@with_state
def command(once: bool, every: float, state: Path) -> int:
    """End pods on the cloud that are past their deadline; leave when no pod of the journal is left.

    Exits with 6 when the end of a pod could not be proven.
    """
    return asyncio.run(watch_over(state, once=once, every_s=every))


def start_beside(state: Path, keys: Path) -> None:
    """Start a watchdog that lives on when this process and its terminal are gone.

    Args:
        keys: the folder with the `.env` of the run; without its keys a watchdog could end nothing.
    """
    subprocess.Popen(
        # `-P`: nothing in a folder of specs may stand in for a module of ours.
        [sys.executable, "-P", "-m", "runner.cli.main", "watchdog", "--state", str(state.resolve())],
        cwd=keys,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


async def watch_over(state: Path, *, once: bool, every_s: float) -> int:
    """Look at the journal again and again, and end what is overdue."""
    from runner.cli.system import folder_of_keys
    from runner.cli.targets import open_for_ending
    from runner.errors import StoreError
    from runner.providers.settings import Settings
    from runner.store.lock import is_owned

    async with open_for_ending(Settings.load(os.environ, folder_of_keys())) as world:
        is_proven = True
        while True:
            try:
                leases = _open_leases(state)
            except StoreError:
                # A journal that is busy for a moment must not leave its pods without a guard.
                if once or not is_owned(state):
                    raise
                leases = []
            if not leases and not is_owned(state):
                break
            overdue = [lease for lease in leases if is_overdue(lease, world.clock.now())]
            is_proven = await _end(state, world, overdue)
            if once:
                break
            await world.clock.sleep(every_s)
    return 0 if is_proven else UNCONFIRMED


def is_overdue(lease: Lease, now: datetime) -> bool:
    """Whether a pod has outlived its deadline, and its runner the chance to end it."""
    return lease.deadline is not None and now > lease.deadline + GRACE


def _open_leases(state: Path) -> list[Lease]:
    from runner.cli.leftovers import leftovers
    from runner.store.store import Store

    with Store.open(state, read_only=True) as store:
        return leftovers(store, Target.CLOUD)


async def _end(state: Path, world: World, leases: Sequence[Lease]) -> bool:
    """End pods and record it; where a runner holds the journal, it will find its pod gone by itself."""
    from runner.cli.leftovers import end_leases
    from runner.engine.ending import end_pod
    from runner.engine.recover import INSIST_S
    from runner.errors import StoreError
    from runner.store.store import Store

    if not leases:
        return True
    try:
        with Store.open(state) as store:
            return not await end_leases(store, world, leases)
    except StoreError:
        # All at once: a pod that resists must not keep the others alive.
        endings = await asyncio.gather(
            *(end_pod(world, name=lease.name, pod_id=lease.pod_id, within_s=INSIST_S) for lease in leases)
        )
        return all(ending.is_proven for ending in endings)
