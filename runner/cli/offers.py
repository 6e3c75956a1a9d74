"""What a shell offers at Tab beyond commands, options and files: phases, tags, recorded runs and their specs.

Nothing is said of what cannot be read: a message would stand in the middle of what somebody types.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.errors import RunspecError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from runner.history import RunSummary
    from runner.spec.models import Spec

_SPECS = "specs"
_MOST_RUNS = 50


def phases(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Phases of the specs on the line; of all below `specs` when there are none."""
    return _items(((name, "") for spec in _specs(ctx) for name in spec.phases), incomplete)


def tags(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Tags of the specs on the line; of all below `specs` when there are none."""
    return _items(((name, "") for spec in _specs(ctx) for name in spec.tags), incomplete)


def runs(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Recorded runs, newest first, with what they came to."""
    found = [(one.run, _said_of(one)) for one in _recorded(ctx)]
    return _items([*found, ("last", "the newest run")] if found else [], incomplete)


def runs_and_files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Recorded runs, and files."""
    from click.shell_completion import CompletionItem

    return [*runs(ctx, param, incomplete), CompletionItem(incomplete, type="file")]


def specs_with_runs(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of specs that a recorded run has jobs of."""
    return _items(((name, "") for one in _recorded(ctx) for name in one.specs), incomplete)


def _items(found: Iterator[tuple[str, str]] | list[tuple[str, str]], incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(name, help=said) for name, said in dict(found).items() if name.startswith(incomplete)]


def _specs(ctx: click.Context) -> Iterator[Spec]:
    from runner.spec.find import find_spec_files
    from runner.spec.loader import load_spec

    # An option that still waits for its value keeps click from parsing the arguments before it.
    words = [*(ctx.params.get("paths") or ()), *ctx.args]
    named = [Path(one) for one in words if Path(one).exists()]
    for file in find_spec_files(named or [one for one in [Path(_SPECS)] if one.is_dir()]):
        with suppress(RunspecError):
            yield load_spec(file).spec


def _recorded(ctx: click.Context) -> list[RunSummary]:
    from runner.cli.options import DEFAULT_STATE
    from runner.store.store import Store

    with suppress(RunspecError), Store.open(ctx.params.get("state") or DEFAULT_STATE, read_only=True) as store:
        return store.runs(_MOST_RUNS)
    return []


def _said_of(run: RunSummary) -> str:
    came_to = run.outcome.value if run.outcome else "no end recorded"
    return f"{came_to}, {run.started_at:%Y-%m-%d %H:%M}, {', '.join(run.specs)}"
