"""Options that several commands share."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from runner.cli import offers
from runner.results import Target
from runner.spec.conditions import Scalar
from runner.spec.yaml_tree import parse_scalar

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_STATE = ".runspec"
DEFAULT_DOCUMENT = "reports/RUNPOD_TESTING.md"


COMMON_FLAGS = frozenset(
    {
        "--phase", "--keyword", "--tag", "--repeat", "--set", "--target", "--via", "--max-spend", "--jobs",
        "--exitfirst", "--max-fail", "--report", "--doc", "--progress", "--state", "--yes",
    }
)  # fmt: skip
"""Flags that mean the same in every command, and so can be set once for all of them."""


def environment_variable(flag: str) -> str:
    """`--max-spend` is also read from `RUNSPEC_MAX_SPEND`."""
    return "RUNSPEC_" + flag.removeprefix("--").replace("-", "_").upper()


def read_environment(command: click.Command) -> click.Command:
    """Let the common flags of a command be given by environment variables; the command line wins."""
    for option in command.params:
        common = next((flag for flag in option.opts if flag in COMMON_FLAGS), None)
        if common and isinstance(option, click.Option):
            option.envvar = environment_variable(common)
    return command


def parse_vars(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> Mapping[str, Scalar]:
    """`--set name=value`, the value read as YAML would: `100` is a number, `yes` is text."""
    found: dict[str, Scalar] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise click.BadParameter(f"`{text}` is not of the form name=value")
        found[name.strip()] = parse_scalar(value)
    return found


def parse_usd(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """`--max-spend 2` and `--max-spend '2 USD'` both mean two dollars."""
    if value is None:
        return None
    try:
        amount = float(value.removesuffix("USD").strip().removeprefix("$"))
    except ValueError:
        raise click.BadParameter(f"`{value}` is not an amount of US dollars, such as `2`") from None
    if not 0 <= amount < math.inf:  # also catches NaN
        raise click.BadParameter(f"`{value}` is no limit: give 0 or more US dollars")
    return amount


def selecting(command: F) -> F:
    """Options that choose specs and jobs."""
    for option in reversed(
        [
            click.argument("paths", nargs=-1, type=click.Path(path_type=Path)),
            click.option(
                "-p",
                "--phase",
                "phases",
                multiple=True,
                shell_complete=offers.phases,
                help="Only this phase (repeatable).",
            ),
            click.option("-k", "--keyword", default="", help="Only jobs whose key contains this."),
            click.option(
                "-t",
                "--tag",
                "tags",
                multiple=True,
                shell_complete=offers.tags,
                help="Only specs with this tag (repeatable).",
            ),
            click.option("--repeat", type=click.IntRange(1, 100), help="Jobs per spec and phase."),
            click.option(
                "--set", "vars_", multiple=True, callback=parse_vars, metavar="NAME=VALUE", help="Set a variable."
            ),
        ]
    ):
        command = option(command)
    return command


def targeting(command: F) -> F:
    """Options that choose where jobs run and what they may cost."""
    for option in reversed(
        [
            click.option(
                "--target",
                type=click.Choice([Target.LOCAL.value, Target.CLOUD.value]),
                default=Target.LOCAL.value,
                show_default=True,
                help="`local`: the embedded cloud. `cloud`: RunPod and FineTune Lab; costs money.",
            ),
            click.option(
                "--via",
                type=click.Choice(["lab", "runpod"]),
                default="lab",
                show_default=True,
                help="`lab`: deploy through FineTune Lab. `runpod`: create the pod ourselves.",
            ),
            click.option("--max-spend", callback=parse_usd, metavar="USD", help="Most that this invocation may cost."),
        ]
    ):
        command = option(command)
    return command


def with_state(command: F) -> F:
    """Where runs are recorded."""
    return click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEFAULT_STATE,
        show_default=True,
        help="Folder that runs are recorded in.",
    )(command)


def state_flag(state: Path) -> str:
    """What an advised command needs to find the runs of this state directory: empty when it looks there anyway."""
    usual = os.environ.get(environment_variable("--state"), DEFAULT_STATE)
    return "" if state == Path(usual) else f" --state {shlex.quote(str(state))}"


def with_progress(command: F) -> F:
    """How a run is shown while it goes on."""
    return click.option(
        "--progress",
        type=click.Choice(["auto", "rich", "plain", "jsonl", "none"]),
        default="auto",
        show_default=True,
        help="How the run is shown while it goes on.",
    )(command)


def with_document(command: F) -> F:
    """Which tracking document is kept up to date."""
    return click.option(
        "--doc",
        "document",
        default=DEFAULT_DOCUMENT,
        show_default=True,
        metavar="PATH|none",
        help="Tracking document to update.",
    )(command)
