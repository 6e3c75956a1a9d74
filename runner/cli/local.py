"""`runspec local serve`: the embedded cloud as a program of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click


@click.group("local")
def command() -> None:
    """The embedded cloud: RunPod REST v2 and the FineTune Lab API on loopback."""


@command.command("serve")
@click.option("--port-lab", type=click.IntRange(0, 65535), default=0, help="Port of the lab; 0 takes a free one.")
@click.option("--port-runpod", type=click.IntRange(0, 65535), default=0, help="Port of RunPod; 0 takes a free one.")
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=".runspec/serve",
    show_default=True,
    help="Folder of its database, keys and pods.",
)
@click.option("--faults", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="Faults to inject (YAML).")
@click.option("--pods", type=click.Choice(["process", "scripted"]), default="process", show_default=True)
def serve(port_lab: int, port_runpod: int, state: Path, faults: Path | None, pods: str) -> int:
    """Serve both APIs until SIGINT or SIGTERM.

    Prints one line of JSON with addresses and keys once both listen.
    """
    from runner.cli.staging import read_rules
    from runner.local.serve import serve as run_servers

    rules = read_rules(faults) if faults is not None else ()
    try:
        asyncio.run(
            run_servers(
                state,
                lab_port=port_lab,
                runpod_port=port_runpod,
                faults=rules,
                pods="scripted" if pods == "scripted" else "process",
            )
        )
    except OSError as exc:
        raise click.ClickException(f"cannot listen: {exc.strerror or exc}") from exc
    return 0
