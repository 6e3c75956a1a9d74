"""`reap` and `watchdog` against an embedded RunPod over HTTP, with a journal as a killed run leaves it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import ClientSession

from runner.cli import watchdog
from runner.cli.leftovers import end_or_announce
from runner.cli.main import run_cli
from runner.engine.naming import marker
from runner.engine.world import Pace, World
from runner.errors import StoreError
from runner.events import PodCreated, PodRequested, RunStarted
from runner.local.clock import SystemClock
from runner.local.cloud import CloudOptions, EmbeddedCloud
from runner.local.faults import Rule
from runner.local.lifecycle import Delays
from runner.local.scripted import ScriptedPods
from runner.results import Target
from runner.store import lock
from runner.store.store import Store

GONE = "every pod of the journal is proven gone"


@dataclass
class Account:
    """An account on an embedded RunPod, and a state directory whose runner died."""

    cloud: EmbeddedCloud
    session: ClientSession
    state: Path

    async def pod(self, name: str, **env: str) -> str:
        body = {"name": name, "image": "i", "gpu": {"id": "NVIDIA RTX A4000", "count": 1}, "env": env}
        key = {"Authorization": f"Bearer {self.cloud.endpoints.runpod_api_key}"}
        async with self.session.post(f"{self.cloud.endpoints.runpod_url}/pods", json=body, headers=key) as answer:
            found: dict[str, Any] = await answer.json()
            return str(found["id"])

    async def journal(
        self,
        name: str,
        pod_id: str | None,
        *,
        deadline_in: timedelta = timedelta(hours=1),
        target: Target = Target.CLOUD,
        run: str = "dead",
    ) -> None:
        now = datetime.now(UTC)
        events = [
            RunStarted(at=now, run=run, target=target, via="runpod", jobs=()),
            PodRequested(
                at=now, job="cpt/basic/1", name=name, via="runpod", gpu="NVIDIA RTX A4000", price_cap_usd_h=0.5,
                deadline=now + deadline_in,
            ),
        ]  # fmt: skip
        if pod_id is not None:
            events.append(PodCreated(at=now, job="cpt/basic/1", name=name, pod_id=pod_id, cost_usd_h=0.25))
        with closing(Store.open(self.state)) as store:
            await store.journal(run).append(*events, durable=True)

    async def run(self, *args: str) -> int:
        return await asyncio.to_thread(run_cli, [*args, "--state", str(self.state)])

    def alive(self) -> list[str]:
        return sorted(pod.request.name for pod in self.cloud.pods.pods() if pod.status != "TERMINATED")


@pytest.fixture
async def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Account]:
    options = CloudOptions(backend=ScriptedPods(SystemClock()), delays=Delays(terminate_s=0.05))
    monkeypatch.chdir(tmp_path)
    async with EmbeddedCloud(tmp_path / "cloud", options) as cloud, ClientSession() as session:
        monkeypatch.setenv("RUNPOD_API_KEY", cloud.endpoints.runpod_api_key)
        monkeypatch.setenv("RUNSPEC_RUNPOD_URL", cloud.endpoints.runpod_url)
        monkeypatch.setattr(Pace.__init__, "__kwdefaults__", QUICK)
        yield Account(cloud, session, tmp_path / "state")


QUICK = {
    "pods_s": 0.2, "jobs_s": 0.2, "alerts_s": 0.2, "metrics_s": 0.2, "tick_s": 0.1, "reconcile_s": 0.3,
    "reconcile_poll_s": 0.1, "proof_s": 0.05, "retry_s": 0.05, "retry_max_s": 0.2, "grace_s": 1.0, "settle_s": 2.0,
    "stuck_s": 300.0, "capacity_rounds": 3, "capacity_pause_s": 0.1, "rate_limit_s": 0.1,
}  # fmt: skip
"""Pauses for a server that answers at once."""


async def test_pods_of_the_journal_are_listed_and_only_ended_when_asked(account, capsys):
    pod_id = await account.pod("runspec-dead-1")
    await account.journal("runspec-dead-1", pod_id)
    assert await account.run("reap") == 6
    shown = capsys.readouterr().out
    assert pod_id in shown
    assert "cpt/basic/1 of run dead" in shown
    assert account.alive() == ["runspec-dead-1"]
    assert await account.run("reap", "--yes") == 0
    assert account.alive() == []
    assert await account.run("reap") == 0
    assert GONE in capsys.readouterr().out
    assert await account.run("reap", "--yes") == 0


async def test_a_pod_whose_id_was_never_recorded_is_found_by_its_name(account):
    await account.pod("training-deadbeef")
    await account.pod("training-0ther000")
    await account.journal("training-deadbeef", None)
    assert await account.run("reap", "--yes") == 0
    assert account.alive() == ["training-0ther000"]


async def test_a_pod_of_ours_past_its_deadline_is_ended_though_no_journal_knows_it(account, capsys):
    past, future = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(hours=1)
    await account.pod("runspec-aaa-1", RUNSPEC_POD=marker("runspec-aaa-1", past))
    await account.pod("runspec-bbb-1", RUNSPEC_POD=marker("runspec-bbb-1", future))
    await account.pod("runspec-ccc-1")
    await account.pod("somebody-elses")
    assert await account.run("reap") == 6
    assert await account.run("reap", "--yes") == 0
    assert account.alive() == ["runspec-bbb-1", "somebody-elses"]
    assert "of another runspec, at work" in capsys.readouterr().out
    assert await account.run("reap", "--all", "--yes") == 0
    assert account.alive() == ["somebody-elses"]


async def test_a_cloud_that_cannot_be_listed_is_no_proof_that_nothing_is_left(account, capsys):
    account.cloud.faults.add(Rule(where="runpod GET /v2/pods", what="forbidden"))
    assert await account.run("reap") == 6
    assert "cannot be listed" in capsys.readouterr().err


async def test_without_a_key_only_the_journal_is_read_and_that_is_said(account, monkeypatch, capsys):
    monkeypatch.delenv("RUNPOD_API_KEY")
    assert await account.run("reap") == 3
    assert "only the journal was read" in capsys.readouterr().err


async def test_what_a_local_run_left_is_ended_without_a_key_and_without_naming_its_cloud(account, monkeypatch, capsys):
    monkeypatch.delenv("RUNPOD_API_KEY")
    await account.journal("runspec-dead-1", "gone-with-its-runner", target=Target.LOCAL)
    assert await account.run("reap") == 6
    assert await account.run("reap", "--yes") == 0
    said = capsys.readouterr()
    assert "1 of 1 are gone" in said.out
    assert "costs nothing" in said.out
    assert "USD" not in said.out
    assert "RUNPOD_API_KEY" not in said.err


async def test_both_clouds_are_looked_at_when_both_may_have_something_left(account, capsys):
    pod_id = await account.pod("runspec-dead-1")
    await account.journal("runspec-dead-1", pod_id)
    await account.journal("runspec-lost-1", "gone-with-its-runner", target=Target.LOCAL, run="lost")
    assert await account.run("reap") == 6
    shown = capsys.readouterr().out
    assert "of run dead" in shown
    assert "of run lost" in shown
    assert await account.run("reap", "--yes") == 0
    assert account.alive() == []


async def test_a_run_that_goes_on_does_not_call_its_own_pod_a_leftover(account, capsys):
    await account.journal("runspec-dead-1", "own")
    await account.journal("runspec-lost-1", "strange", run="lost")
    with closing(Store.open(account.state)) as store:
        # What is only announced needs no cloud.
        await end_or_announce(store, cast("World", None), Target.CLOUD, run="dead")
    said = capsys.readouterr().err
    assert "strange" in said
    assert "own" not in said


async def test_the_watchdog_leaves_pods_alone_until_they_are_overdue(account):
    pod_id = await account.pod("runspec-dead-1")
    await account.journal("runspec-dead-1", pod_id, deadline_in=timedelta(minutes=1))
    assert await account.run("watchdog", "--once") == 0
    assert account.alive() == ["runspec-dead-1"]


async def test_the_watchdog_ends_what_is_overdue_and_records_it(account, capsys):
    pod_id = await account.pod("runspec-dead-1")
    await account.journal("runspec-dead-1", pod_id, deadline_in=timedelta(minutes=-5))
    assert await account.run("watchdog", "--once") == 0
    assert account.alive() == []
    assert await account.run("reap") == 0


async def test_the_watchdog_ends_an_overdue_pod_even_while_a_runner_holds_the_journal(account):
    pod_id = await account.pod("runspec-dead-1")
    await account.journal("runspec-dead-1", pod_id, deadline_in=timedelta(minutes=-5))
    with closing(Store.open(account.state)):
        assert await account.run("watchdog", "--once") == 0
    assert account.alive() == []


async def test_reap_and_watchdog_find_the_keys_of_a_run_beside_its_specs(account, monkeypatch, tmp_path):
    pod_id = await account.pod("runspec-dead-1")
    await account.journal("runspec-dead-1", pod_id, deadline_in=timedelta(minutes=-5))
    specs = tmp_path / "specs"
    specs.mkdir()
    written = [f"{name}={os.environ[name]}\n" for name in ("RUNPOD_API_KEY", "RUNSPEC_RUNPOD_URL")]
    (specs / ".env").write_text("".join(written), encoding="ascii")
    for name in ("RUNPOD_API_KEY", "RUNSPEC_RUNPOD_URL"):
        monkeypatch.delenv(name)
    assert await account.run("reap") == 6
    assert await account.run("watchdog", "--once") == 0
    assert account.alive() == []


def test_a_watchdog_is_started_where_the_keys_of_its_run_are(monkeypatch, tmp_path):
    started: list[tuple[list[str], Path]] = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, *, cwd, **_: started.append((command, cwd)))
    watchdog.start_beside(tmp_path / "state", tmp_path / "specs")
    command, folder = started[0]
    assert folder == tmp_path / "specs"
    assert command[-1] == str(tmp_path / "state")
    assert "-P" in command, "a module in the folder of the specs must not be imported"


async def test_a_journal_that_is_busy_for_a_moment_does_not_end_the_watchdog(account, monkeypatch):
    pod_id = await account.pod("runspec-dead-1")
    await account.journal("runspec-dead-1", pod_id, deadline_in=timedelta(minutes=-5))
    troubles, answers, look = [StoreError("locked")], iter([True, True]), watchdog._open_leases

    def sometimes(state: Path) -> Any:
        if troubles:
            raise troubles.pop()
        return look(state)

    monkeypatch.setattr(watchdog, "_open_leases", sometimes)
    monkeypatch.setattr(lock, "is_owned", lambda _: next(answers, False))
    assert await watchdog.watch_over(account.state, once=False, every_s=0.05) == 0
    assert account.alive() == []
