"""`--faults` and `--no-dataset-check`: make a run go wrong on purpose, to see how that is noticed and told.

Only on the embedded cloud, where it costs nothing. Such a run is recorded as staged: the document lists it, but no
status comes from it, and it is not resumed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from runner.errors import Diagnostic, PlanError
from runner.results import Target

if TYPE_CHECKING:
    from runner.local.faults import Rule

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Staging:
    """What is to go wrong on purpose.

    Attributes:
        faults: the rules of the embedded cloud.
        checks_rows: datasets are checked before anything starts, as always.
        words: the same for a reader of the record; empty in an honest run.
    """

    faults: tuple[Rule, ...] = ()
    checks_rows: bool = True
    words: tuple[str, ...] = ()


AS_ALWAYS = Staging()


def with_staging(command: F) -> F:
    """Options that make a run on the embedded cloud go wrong."""
    for option in (
        click.option(
            "--no-dataset-check",
            is_flag=True,
            help="Upload rows unchecked, to see the trainer's own error. Local target only.",
        ),
        click.option(
            "--faults",
            type=click.Path(path_type=Path, dir_okay=False, exists=True),
            help="Faults to inject into the embedded cloud (YAML). Local target only.",
        ),
    ):
        command = option(command)
    return command


def read_staging(faults: Path | None, *, no_dataset_check: bool, target: Target) -> Staging:
    """What the options say.

    Raises:
        PlanError: the target is one that costs money.
        SpecError: a rule is malformed.
    """
    asked = [flag for flag, given in (("--faults", faults), ("--no-dataset-check", no_dataset_check)) if given]
    if asked and target is not Target.LOCAL:
        message = f"`{asked[0]}` makes a run go wrong on purpose, and on the cloud that would cost money"
        raise PlanError([Diagnostic("target.staged", message, fix="leave it out, or use `--target local`")])
    words = ["rows were not checked (`--no-dataset-check`)"] if no_dataset_check else []
    rules = read_rules(faults) if faults is not None else ()
    words += [f"fault: {_told(rule)}" for rule in rules]
    return Staging(faults=rules, checks_rows=not no_dataset_check, words=tuple(words))


def read_rules(path: Path) -> tuple[Rule, ...]:
    """The fault rules in a YAML file.

    Raises:
        SpecError: a rule is malformed.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    from runner.local.faults import parse_rules

    try:
        data = YAML(typ="safe").load(path)
    except (YAMLError, UnicodeDecodeError) as exc:
        raise click.ClickException(f"{path} is not YAML: {exc}") from exc
    return parse_rules(data)


def _told(rule: Rule) -> str:
    import msgspec

    if isinstance(rule.what, str):
        return f"{rule.where} {rule.what}"
    given, usual = msgspec.to_builtins(rule.what), msgspec.to_builtins(type(rule.what)())
    changed = {name: value for name, value in given.items() if value != usual[name]}
    return f"{rule.where} {json.dumps(changed)}"
