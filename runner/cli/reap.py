"""`runspec reap`: find what killed runs left, by the journal and by name, and end it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli.options import state_flag, with_state
from runner.results import Target

if TYPE_CHECKING:
    from runner.cli.strays import Found
    from runner.engine.world import World
    from runner.store.store import Store

UNCONFIRMED = 6
NO_VERDICT = 3


@click.command("reap")
@click.option(
    "--target",
    type=click.Choice(["local", "cloud"]),
    help="Which cloud; without it, each that may have something left.",
)
@click.option("--yes", is_flag=True, help="End the pods; without it they are only listed.")
@click.option("--all", "everything", is_flag=True, help="Also pods that runs of other machines may still need.")
@with_state
def command(target: str | None, yes: bool, everything: bool, state: Path) -> int:
    """List pods that earlier runs may have left, and with `--yes` end them.

    Looks for the pods of this state directory's journal, and for pods named `runspec-…` that are past the deadline
    which they carry: whoever started them is gone. Pods of others are never touched. Exits with 6 while anything
    remains.
    """
    from runner.store.store import Store

    with Store.open(state) as store:
        wanted = [Target(target)] if target is not None else _concerned(store)
        codes = [asyncio.run(_reap(store, one, state, yes=yes, everything=everything)) for one in wanted]
    # A pod that may bill comes before an account that could not be asked.
    return max(codes)


def _concerned(store: Store) -> list[Target]:
    """The clouds that the journal names; the account too where there is a key to ask with, or nothing else to do."""
    from runner.cli.leftovers import leftovers
    from runner.cli.system import folder_of_keys
    from runner.providers.settings import Settings

    concerned = [target for target in (Target.LOCAL, Target.CLOUD) if leftovers(store, target)]
    has_key = Settings.load(os.environ, folder_of_keys()).runpod_key is not None
    if Target.CLOUD not in concerned and (has_key or not concerned):
        concerned.append(Target.CLOUD)
    return concerned


async def _reap(store: Store, target: Target, state: Path, *, yes: bool, everything: bool) -> int:
    from runner.cli.leftovers import leftovers
    from runner.cli.strays import find
    from runner.cli.system import folder_of_keys
    from runner.cli.targets import open_for_ending, open_world
    from runner.errors import ProviderError
    from runner.providers.settings import Settings

    settings = Settings.load(os.environ, folder_of_keys()) if target is Target.CLOUD else None
    leases = leftovers(store, target)
    if settings is not None and settings.runpod_key is None:
        return _without_key(find(leases, [], now=None, everything=everything))
    if target is Target.LOCAL and not leases:
        # Local pods are processes of a runner and end with it; there is nothing to ask.
        click.echo("nothing is left: every pod of the journal is proven gone")
        return 0
    opening = (
        open_for_ending(settings)
        if settings is not None
        else open_world(target, store.journal(leases[0].run), state_dir=state, settings=None)
    )
    async with opening as world:
        try:
            pods = await world.cloud.list_pods()
        except ProviderError as exc:
            click.echo(f"error: the pods of the account cannot be listed: {exc}", err=True)
            _print(find(leases, [], now=None, everything=everything))
            return UNCONFIRMED
        is_paid = target is Target.CLOUD
        found = find(leases, pods, now=world.clock.now(), everything=everything, is_paid=is_paid)
        _print(found)
        if not yes:
            return _advise(found, target, state)
        return await _end(store, world, found)


def _print(found: Sequence[Found]) -> None:
    for one in found:
        click.echo(one.line)


def _without_key(found: Sequence[Found]) -> int:
    _print(found)
    click.echo(
        "`RUNPOD_API_KEY` is not set, so only the journal was read: pods that it does not name are not seen", err=True
    )
    return UNCONFIRMED if found else NO_VERDICT


def _advise(found: Sequence[Found], target: Target, state: Path) -> int:
    ours = [one for one in found if one.is_to_end]
    if not ours:
        click.echo("nothing is left: every pod of the journal is proven gone, and none by our name is overdue")
        return 0
    what = "are not proven gone" if target is Target.LOCAL else "may still bill"
    click.echo(f"{len(ours)} {what}; `runspec reap --target {target} --yes{state_flag(state)}` ends them")
    return UNCONFIRMED


async def _end(store: Store, world: World, found: Sequence[Found]) -> int:
    from runner.cli.leftovers import end_leases
    from runner.cli.strays import end_strays

    leases = [one.lease for one in found if one.lease is not None]
    strays = [one for one in found if one.lease is None and one.is_to_end]
    left = [lease.pod_id or lease.name for lease in await end_leases(store, world, leases)]
    left += await end_strays(world, strays)
    for name in left:
        click.echo(f"could not confirm that {name} is gone: it may still bill", err=True)
    total = len(leases) + len(strays)
    click.echo(f"{total - len(left)} of {total} are gone" if total else "nothing is left")
    return UNCONFIRMED if left else 0
