"""The shipped bootstrap and agent in real process pods: a pod that nobody watches ends itself, by its own key."""

from __future__ import annotations

import asyncio
import json
import zipfile
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from runner.cli.pod_downloads import PodDownloads
from runner.cli.pod_kit import Kit, Trainer
from runner.engine.naming import deadline_of, marker
from runner.errors import ModelError, ProviderError
from runner.local.cloud import CloudOptions, EmbeddedCloud
from runner.local.faults import Rule
from runner.local.lifecycle import Delays
from runner.plan import PlannedJob, Selection, make_plan
from runner.ports import JobTicket
from runner.providers.connect import open_runpod
from runner.providers.runpod_wire import create_body
from runner.providers.settings import Settings
from runner.results import Target
from runner.spec.loader import find_phase, load_spec

SPECS = Path(__file__).parents[2] / "specs"
NAME = "runspec-test-1"


@pytest.fixture(scope="module")
def job() -> PlannedJob:
    plan = make_plan(
        [load_spec(SPECS / "sft.yaml")], find_phase=find_phase, selection=Selection(phases=["basic"]),
        target=Target.LOCAL,
    )  # fmt: skip
    return plan.jobs[0]


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[EmbeddedCloud]:
    trainer = tmp_path / "trainer.py"
    trainer.write_text(
        "import pathlib; model = pathlib.Path('fine_tuned_model'); model.mkdir()\n"
        "(model / 'weights').write_text('trained')\n"
    )
    delays = Delays(provision_s=0, start_s=0, terminate_s=0.05, restart_s=0.1, grace_s=0.2)
    async with EmbeddedCloud(tmp_path / "cloud", CloudOptions(delays=delays, trainer=trainer)) as cloud:
        yield cloud


class Account:
    """Requests with the key of the account."""

    def __init__(self, cloud: EmbeddedCloud, session: ClientSession) -> None:
        self._session = session
        self._base = cloud.endpoints.runpod_url
        self._headers = {"Authorization": f"Bearer {cloud.endpoints.runpod_api_key}"}

    async def __call__(self, method: str, path: str, **more: Any) -> Any:
        async with self._session.request(method, self._base + path, headers=self._headers, **more) as answer:
            return json.loads(await answer.read() or "null")


@pytest.fixture
async def account(cloud: EmbeddedCloud) -> AsyncIterator[Account]:
    async with ClientSession() as session:
        yield Account(cloud, session)


def body_of(cloud: EmbeddedCloud, job: PlannedJob, *, deadline: datetime, **env: str) -> dict[str, Any]:
    import hashlib

    trainer = cloud.endpoints.lab_url + "/downloads/standalone_trainer.py"
    digest = hashlib.sha256(cloud._options.trainer.read_bytes()).hexdigest()
    ticket = JobTicket(lab_job_id="job-1", token="t", env={"JOB_ID": "job-1", "JOB_TOKEN": "t"})
    request = Kit(Trainer(trainer, digest), b"key").request(
        job, ticket, name=NAME, gpu="NVIDIA RTX A4000", marker=marker(NAME, deadline), deadline=deadline
    )
    body = create_body(request, command_in="cmd")
    body["env"] |= {"RUNSPEC_AGENT_PAUSE_S": "0.1", **env}
    return body


async def until(truth: Callable[[], Any], *, within_s: float = 30) -> None:
    async with asyncio.timeout(within_s):
        while not truth():  # noqa: ASYNC110  it is another process that is waited for
            await asyncio.sleep(0.05)


def soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def log_of(cloud: EmbeddedCloud, pod_id: str) -> str:
    pod = cloud.pods.get(pod_id)
    return "" if pod is None else "\n".join(line.text for line in pod.log.after(0, ("container", "system")))


def said(cloud: EmbeddedCloud, pod_id: str) -> set[str]:
    """Which of the marks that these tests wait for the pod has printed."""
    log = log_of(cloud, pod_id)
    return {mark for mark in ("[agent] serving", "The agent serves the model") if mark in log}


async def test_a_request_for_a_pod_stays_below_what_runpod_takes(cloud, job):
    body = body_of(cloud, job, deadline=soon(60))
    assert len(json.dumps(body).encode()) < 102_400
    assert deadline_of(body["env"]["RUNSPEC_POD"]) is not None


async def test_a_pod_past_its_deadline_ends_itself_with_the_key_that_runpod_gave_it(cloud, account, job):
    pod = await account("POST", "/pods", json=body_of(cloud, job, deadline=soon(2)))
    await until(lambda: not cloud.pods.pods())
    assert [ended.id for ended in cloud.pods.ended] == [pod["id"]]


async def test_a_refused_key_makes_it_insist_and_it_never_exits(cloud, account, job):
    cloud.faults.add(Rule(where="runpod * /v2/pods/**", what="own-key-refused"))
    cloud.faults.add(Rule(where="runpod POST /graphql", what="own-key-refused"))
    pod = await account("POST", "/pods", json=body_of(cloud, job, deadline=soon(1)))
    await until(lambda: log_of(cloud, pod["id"]).count("nobody accepted it") >= 3)
    assert [one.id for one in cloud.pods.pods()] == [pod["id"]]
    assert not cloud.pods.pods()[0].exit_codes
    cloud.faults.clear()
    await until(lambda: not cloud.pods.pods())


async def test_the_job_trains_and_what_it_made_can_be_fetched_until_the_pod_ends_itself(cloud, account, job, tmp_path):
    pod = await account(
        "POST", "/pods", json=body_of(cloud, job, deadline=soon(600), RUNSPEC_LINGER_S="6")
    )  # fmt: skip
    await until(lambda: {"[agent] serving", "The agent serves the model"} <= said(cloud, pod["id"]))
    port = (await account("GET", f"/pods/{pod['id']}"))["runtime"]["ports"][0]["public"]
    token = {"Authorization": f"Bearer {Kit(Trainer('', ''), b'key').token_of(NAME)}"}
    async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}/health", headers=token) as answer:
        health = await answer.json()
    assert (health["phase"], health["exit_code"]) == ("ended", 0)
    settings = Settings.of_local(asdict(cloud.endpoints))
    async with open_runpod(settings) as runpod:
        downloads = PodDownloads(runpod, Kit(Trainer("", ""), b"key"))
        archive = await downloads.download_model("job-1", to=tmp_path / "model.zip", max_bytes=10**6)
        with pytest.raises(ModelError, match="more than the 10"):
            await downloads.download_model("job-1", to=tmp_path / "big.zip", max_bytes=10)
        with pytest.raises(ProviderError, match="is gone"):
            await downloads.download_model("job-2", to=tmp_path / "none.zip", max_bytes=10)
    assert archive.is_checked
    assert zipfile.ZipFile(tmp_path / "model.zip").read("weights") == b"trained"
    assert 0 < health["left_s"] <= 600
    await until(lambda: not cloud.pods.pods())


async def test_a_pod_whose_container_is_killed_and_restarted_ends_itself(cloud, account, job):
    pod = await account("POST", "/pods", json=body_of(cloud, job, deadline=soon(600)))
    await until(lambda: "The agent serves the model" in log_of(cloud, pod["id"]))
    await account("POST", f"/pods/{pod['id']}/action", json={"action": "restart"})
    await until(lambda: not cloud.pods.pods())
