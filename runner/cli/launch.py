"""One launch of a plan: state directory, target, signals, progress, summary, document."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner import __version__
from runner.cli.heard_pods import UNCONFIRMED, HeardPods
from runner.cli.mishaps import message_of, report_bug
from runner.cli.progress import Mode, showing
from runner.cli.reporting import Reports, write_after_run
from runner.cli.signals import Aftermath, ladder, restored
from runner.cli.staging import AS_ALWAYS, Staging
from runner.errors import LeakError, RunspecError
from runner.plan import Plan
from runner.results import Target

if TYPE_CHECKING:
    from runner.engine.run import Options
    from runner.providers.settings import Settings
    from runner.store.store import Store

INTERRUPTED = 130


class Launch:
    """One invocation: state directory, target, signals, progress, summary, document.

    `continued` is the id of a run that goes on; without one, a run of the same jobs that was killed goes on by itself.
    """

    def __init__(
        self,
        plan: Plan,
        options: Options,
        progress: Mode,
        state_dir: Path,
        *,
        continued: str | None = None,
        watchdog: bool = True,
        reports: Reports = (),
        staging: Staging = AS_ALWAYS,
    ) -> None:
        self._plan = plan
        self._staging = staging
        self._watchdog = watchdog
        self._reports = reports
        self._continued = continued
        self._options = options
        self._progress = progress
        self._state_dir = state_dir
        self._pods = HeardPods()

    def run(self, settings: Settings | None, document: Path | None, *, fresh: bool = True) -> int:
        """Run the plan, print the summary, update the document; returns the exit code.

        Raises:
            RunspecError: nothing was launched, as when the state directory cannot be used.
        """
        from runner.store.store import Store

        try:
            with restored(), Store.open(self._state_dir) as store:
                return self._run_in(store, settings, document, fresh=fresh)
        except RunspecError as exc:
            if not self._pods.was_any:
                raise
            return self._break_off(message_of(exc), is_leak=isinstance(exc, LeakError))
        except Exception:
            if not self._pods.open_names:
                raise
            return self._break_off(report_bug(), is_leak=False)

    def _break_off(self, why: str, *, is_leak: bool) -> int:
        """Say what a run that was launched, and got no further, has left; returns its exit code."""
        code, words = self._pods.conclude(self._state_dir)
        if is_leak and not self._pods.open_names:
            code, words = UNCONFIRMED, "what runs on has to be ended by hand, as with `kill`"
        click.echo(f"{why}\n{words}", err=True)
        return code

    def _run_in(self, store: Store, settings: Settings | None, document: Path | None, *, fresh: bool) -> int:
        from runner.cli.documents import update_document
        from runner.cli.resume import offer_to_continue
        from runner.cli.summary import print_run
        from runner.cli.system import new_run_id

        if self._continued is None and not fresh:
            self._continued = offer_to_continue(store, self._plan)
        run = self._continued or new_run_id()
        code = asyncio.run(self._run(store, run, settings))
        if document is not None:
            update_document(document, store, specs_root=self._plan.jobs[0].base_dir)
        write_after_run(store, run, self._reports)
        # The verdict is in the exit code too: a reader that went away must not change it.
        with suppress(BrokenPipeError):
            print_run(store, run)
            sys.stdout.flush()
        return code

    def _code_of_leaving(self) -> int:
        return UNCONFIRMED if self._pods.open_names else INTERRUPTED

    async def _run(self, store: Store, run: str, settings: Settings | None) -> int:
        from runner.cli.leftovers import end_or_announce
        from runner.cli.resume import begin_again
        from runner.cli.system import folder_of_keys
        from runner.cli.targets import open_world
        from runner.cli.watchdog import start_beside
        from runner.engine.interrupt import Interrupt
        from runner.engine.run import RunInfo, run_plan

        interrupt = Interrupt()
        with ladder(interrupt, self._state_dir, afterwards=Aftermath(code_of_leaving=self._code_of_leaving)):
            async with open_world(
                self._plan.target,
                store.journal(run),
                state_dir=self._state_dir,
                settings=settings,
                via=self._plan.via,
                staging=self._staging,
            ) as world:
                await end_or_announce(store, world, self._plan.target, run=run)
                if self._plan.target is Target.CLOUD and self._watchdog:
                    start_beside(self._state_dir, folder_of_keys(self._plan.jobs[0].base_dir))
                past = await begin_again(store, run) if self._continued is not None else ()
                self._pods.remember(past)
                with showing(self._progress, now=world.clock.now) as listener:
                    return await run_plan(
                        self._plan,
                        world,
                        info=RunInfo(run=run, command=_command_line(), version=__version__, commit=_commit()),
                        interrupt=interrupt,
                        options=self._options,
                        listeners=[listener, self._pods],
                        past=past,
                    )


def _command_line() -> str:
    return shlex.join(["runspec", *sys.argv[1:]])


def _commit() -> str | None:
    """The commit of the folder we run in; None outside a repository."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
