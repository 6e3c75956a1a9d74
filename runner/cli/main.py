"""`runspec`: finds the command, turns errors into messages and exit codes."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from runner import __version__
from runner.cli.mishaps import message_of, report_bug
from runner.cli.options import read_environment
from runner.errors import LeakError, ProviderError, RunspecError, did_you_mean

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {
    "run": "Run specs and judge them; a bare path means this.",
    "resume": "Go on with a run that was killed or interrupted.",
    "baseline": "Accept what a run came to, or show it and its drift.",
    "judge": "Judge a recorded run again by today's criteria; runs nothing.",
    "plan": "Show exactly what would run, and what it may cost.",
    "validate": "Check specs and datasets; starts nothing.",
    "list": "List specs with their phases and last verdicts.",
    "new": "Write a valid spec for a template.",
    "status": "Show what goes on, open pods and the last result.",
    "logs": "Print what the pods of a run wrote.",
    "explain": "Say why a run or a training log failed, and what to do.",
    "history": "List recorded runs, or show one of them.",
    "report": "Write a run as HTML, JUnit XML, JSON or GitHub summary.",
    "serve": "Show runs in a browser, live; on this machine only.",
    "compare": "Compare templates by several jobs of each.",
    "render": "Write results into the tracking document.",
    "reap": "Find pods that earlier runs may have left, and end them.",
    "watchdog": "End pods that outlive their deadline and their runner.",
    "schema": "Print, write or check the JSON Schemas of the spec format.",
    "doctor": "Check keys, services, libraries and state.",
    "local": "The embedded cloud by itself.",
    "completion": "Print what makes a shell complete commands and options.",
}

GROUPS = {
    "Write and check": ("new", "validate", "plan", "list", "schema", "doctor"),
    "Run": ("run", "resume", "status", "logs"),
    "Understand": ("explain", "history", "compare", "judge", "baseline"),
    "Report": ("render", "report", "serve"),
    "Clean up": ("reap", "watchdog"),
}
"""How `--help` orders the commands."""

USAGE_ERROR = 2
NO_VERDICT = 3
MAY_BILL = 6
INTERRUPTED = 130
BROKEN_PIPE = 141
"""What a shell reports of a program whose reader went away (128 + SIGPIPE); no verdict is ever 141."""


class ReaderGoneError(Exception):
    """Whoever read our output has stopped, as `head` does."""


class CommandGroup(click.Group):
    """A group whose commands are imported on use, and whose default command is `run`."""

    def invoke(self, ctx: click.Context) -> Any:
        # click would turn a broken pipe into exit code 1, which says that a criterion failed.
        try:
            return super().invoke(ctx)
        except BrokenPipeError as exc:
            raise ReaderGoneError from exc

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"runner.cli.{cmd_name}")
        command: click.Command = module.command
        return read_environment(command)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands and options, and files, because a bare path is a run."""
        from click.shell_completion import CompletionItem

        return [*super().shell_complete(ctx, incomplete), CompletionItem(incomplete, type="file")]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        grouped = {name for names in GROUPS.values() for name in names}
        rest = [name for name in COMMANDS if name not in grouped]
        for title, names in {**GROUPS, "More": rest}.items():
            rows = [(name, COMMANDS[name]) for name in names if name in COMMANDS]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """`runspec specs/cpt.yaml --phase basic` is `runspec run specs/cpt.yaml --phase basic`."""
        first = next((arg for arg in args if not arg.startswith("-")), None)
        if first is not None and first not in COMMANDS and _looks_like_path(first):
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name and name not in COMMANDS:
            hint = (
                did_you_mean(name, COMMANDS) or _spec_named(name) or "a spec is given as a path, as in `specs/cpt.yaml`"
            )
            raise click.UsageError(f"there is no command or file `{name}`: {hint}", ctx)
        return super().resolve_command(ctx, args)


def _spec_named(word: str) -> str:
    """Which file somebody means who gives the name of a spec."""
    from contextlib import suppress

    from runner.errors import SpecError
    from runner.spec.find import find_spec_files
    from runner.spec.loader import load_spec

    folder = Path("specs")
    named: dict[str, Path] = {}
    for file in find_spec_files([folder]) if folder.is_dir() else []:
        with suppress(SpecError):
            named[load_spec(file).name] = file
        named.setdefault(file.stem, file)
    known = next((name for name in (word, *get_close_matches(word, named, n=1, cutoff=0.8)) if name in named), None)
    return f"did you mean `{named[known]}`?" if known else ""


def _looks_like_path(word: str) -> bool:
    return word.endswith((".yaml", ".yml")) or os.sep in word or Path(word).exists()


EXIT_CODES = (
    "Exit codes: 0 passed; 1 a criterion failed; 2 nothing was launched (usage, spec, data, key); 3 no verdict;"
    " 4 stopped by a limit; 5 nothing selected; 6 a pod may still bill; 7 something is out of date; 130 interrupted."
)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(__version__, prog_name="runspec", message="%(prog)s %(version)s")
def cli() -> None:
    """Test fine-tuning templates that train on RunPod through FineTune Lab.

    `runspec specs/cpt.yaml` runs one spec on the embedded cloud: no account, no GPU, real training of a tiny model.
    """


def main() -> NoReturn:
    """Entry point of the command `runspec`."""
    try:
        code = run_cli(sys.argv[1:])
    except KeyboardInterrupt:
        code = INTERRUPTED
    # What there was to say is said; while Python tidies up, nothing may change how it ended.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


def run_cli(args: list[str]) -> int:
    """Run one command line; returns its exit code and never raises for a user's mistake."""
    try:
        code = _run(args)
        sys.stdout.flush()
    except (ReaderGoneError, BrokenPipeError):
        # Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return code


def _run(args: list[str]) -> int:
    try:
        result = cli.main(args=args, prog_name="runspec", standalone_mode=False)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as exc:
        exc.show()
        return USAGE_ERROR
    except RunspecError as exc:
        click.echo(message_of(exc), err=True)
        return _code_of(exc)
    except (ReaderGoneError, BrokenPipeError):
        raise
    except Exception:  # a bug of ours: say so, and where its traceback is
        click.echo(report_bug(), err=True)
        return NO_VERDICT
    return result if isinstance(result, int) else 0


def _code_of(exc: RunspecError) -> int:
    if isinstance(exc, LeakError):
        return MAY_BILL
    return NO_VERDICT if isinstance(exc, ProviderError) else USAGE_ERROR


if __name__ == "__main__":
    main()
