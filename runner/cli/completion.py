"""`runspec completion SHELL`: completes commands, options, spec files, phases, tags and recorded runs."""

from __future__ import annotations

import click

HOW = {
    "bash": 'eval "$(runspec completion bash)"   # in ~/.bashrc',
    "zsh": 'eval "$(runspec completion zsh)"    # in ~/.zshrc, after compinit',
    "fish": "runspec completion fish > ~/.config/fish/completions/runspec.fish",
}


@click.command("completion", epilog="Install it:\n\n\b\n" + "\n".join(f"  {line}" for line in HOW.values()))
@click.argument("shell", type=click.Choice(list(HOW)))
def command(shell: str) -> int:
    """Print what makes SHELL complete commands, options, spec files, phases, tags and recorded runs."""
    from click.shell_completion import get_completion_class

    from runner.cli.main import cli

    found = get_completion_class(shell)
    if found is None:  # pragma: no cover - click has all three
        raise click.ClickException(f"click cannot complete for {shell}")
    click.echo(found(cli, {}, "runspec", "_RUNSPEC_COMPLETE").source())
    return 0
