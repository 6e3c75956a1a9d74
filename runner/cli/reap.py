"""`runspec reap`: find what killed runs left, and end it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli.options import with_state
from runner.results import Target

if TYPE_CHECKING:
    from runner.history import Lease
    from runner.store.store import Store

UNCONFIRMED = 6


@click.command("reap")
@click.option(
    "--target", type=click.Choice(["local", "cloud"]), default="cloud", show_default=True, help="Which cloud."
)
@click.option("--yes", is_flag=True, help="End the pods; without it they are only listed.")
@with_state
def command(target: str, yes: bool, state: Path) -> int:
    """List pods that earlier runs may have left, and with `--yes` end them.

    Only pods of this state directory's journal are touched. Exits with 6 while anything may remain.
    """
    from runner.cli.leftovers import leftovers
    from runner.store.store import Store

    with Store.open(state) as store:
        found = leftovers(store, Target(target))
        for lease in found:
            click.echo(
                f"{lease.pod_id or '(id unknown)'}  {lease.name}  asked for {lease.requested_at:%Y-%m-%d %H:%M:%SZ}  "
                f"{lease.cost_usd_h or 0:.2f} USD/h  {lease.job} of run {lease.run}"
            )
        if not found:
            click.echo("nothing is left: every pod of the journal is proven gone")
            return 0
        if not yes:
            click.echo(f"{len(found)} may still bill; `runspec reap --target {target} --yes` ends them")
            return UNCONFIRMED
        return asyncio.run(_end(store, found, Target(target), state))


async def _end(store: Store, found: list[Lease], target: Target, state: Path) -> int:
    from runner.cli.leftovers import end_leases
    from runner.cli.targets import open_world
    from runner.providers.settings import Settings

    settings = Settings.load(os.environ, Path.cwd()) if target is Target.CLOUD else None
    async with open_world(target, store.journal(found[0].run), state_dir=state, settings=settings) as world:
        left = await end_leases(store, world, found)
    for lease in left:
        click.echo(f"could not confirm that {lease.pod_id or lease.name} is gone: it may still bill", err=True)
    click.echo(f"{len(found) - len(left)} of {len(found)} are gone")
    return UNCONFIRMED if left else 0
