"""`runspec doctor`: what works here, what does not, what that costs and how to mend it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli.findings import Finding, State, as_json, exit_code, rendered
from runner.cli.options import with_state
from runner.errors import SpecError

if TYPE_CHECKING:
    from runner.providers.settings import Settings


@click.command("doctor")
@click.option(
    "--target",
    type=click.Choice(["local", "cloud"]),
    help="What has to work: the other target's lacks are only told. By default nothing has to.",
)
@click.option("--offline", is_flag=True, help="Ask no service.")
@click.option("--json", "as_data", is_flag=True, help="Print JSON.")
@with_state
def command(target: str | None, offline: bool, as_data: bool, state: Path) -> int:
    """Check Python, libraries, state directory, keys, services, clock and balance. Changes nothing.

    Exits with 2 when something here is to be mended, with 3 when a service could not be asked. Services are asked only
    with keys that are set.
    """
    findings = _required(_look(target, offline=offline, state=state), target)
    code, verdict = exit_code(findings), _verdict(findings)
    if as_data:
        click.echo(json.dumps(as_json(findings, exit_code=code, verdict=verdict), indent=2))
    else:
        for line in rendered(findings):
            click.echo(line)
        click.echo(verdict)
    return code


def _look(target: str | None, *, offline: bool, state: Path) -> list[Finding]:
    from runner.cli.check_machine import machine, state_directory

    found = [*machine(), *state_directory(state)]
    wanted = target == "cloud"
    settings = _settings(found)
    if settings is None:
        return found
    from runner.cli.check_services import given
    from runner.cli.system import folder_of_keys

    found += given(settings, folder_of_keys(), wanted=wanted)
    if not offline:
        found += asyncio.run(_ask(settings, wanted=wanted))
    return found


def _settings(found: list[Finding]) -> Settings | None:
    """The settings; None, and what is wrong with them in `found`, when they cannot be used."""
    from runner.cli.system import folder_of_keys
    from runner.providers.settings import Settings

    try:
        return Settings.load(os.environ, folder_of_keys())
    except SpecError as exc:
        found += [
            Finding(
                area="settings", name=problem.code, state=State.BROKEN, text=problem.message,
                costs="the cloud target", fix=problem.fix,
            )
            for problem in exc.diagnostics
        ]  # fmt: skip
        return None


async def _ask(settings: Settings, *, wanted: bool) -> list[Finding]:
    from runner.cli.check_services import services

    return [finding async for finding in services(settings, wanted=wanted)]


def _required(findings: Sequence[Finding], target: str | None) -> list[Finding]:
    """For the local target, libraries that are not there are more than an option."""
    return [
        Finding(
            area=one.area, name=one.name, state=State.BROKEN, text=one.text, costs=one.costs, fix=one.fix
        ) if target == "local" and one.name == "training libraries" else one
        for one in findings
    ]  # fmt: skip


def _verdict(findings: Sequence[Finding]) -> str:
    """The last line: which target would run now."""
    local = _lacks(findings, areas=("machine", "state"), needed=("training libraries",))
    cloud = _lacks(
        findings, areas=("state", "settings", "lab", "runpod"), needed=("RUNPOD_API_KEY", "session token")
    )  # fmt: skip
    return "; ".join(
        f"{name} target: ready" if not lacks else f"{name} target: not ready ({', '.join(lacks)})"
        for name, lacks in (("local", local), ("cloud", cloud))
    )


def _lacks(findings: Sequence[Finding], *, areas: tuple[str, ...], needed: tuple[str, ...]) -> list[str]:
    bad = (State.BROKEN, State.UNKNOWN)
    return [
        one.name
        for one in findings
        if one.area in areas and (one.state in bad or (one.state is State.OFF and one.name in needed))
    ]
