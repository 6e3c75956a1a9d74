"""Both clients against the embedded cloud: real servers on loopback, pods that play a scenario or run a shell."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from pydantic import SecretStr

from runner.errors import ProviderError
from runner.local.clock import SystemClock
from runner.local.cloud import CloudOptions, EmbeddedCloud
from runner.local.faults import Rule, What, When
from runner.local.lifecycle import Delays
from runner.local.runpod_api import RunPodSettings
from runner.local.scripted import Do, Say, ScriptedPods
from runner.ports import DeployRequest, PodRequest
from runner.ports import ProviderErrorKind as Kind
from runner.providers.connect import open_lab, open_runpod
from runner.providers.settings import Settings
from runner.spec.models import DatasetFormat

ROWS = b"".join(b'{"text": "row %d of the data set"}\n' % n for n in range(20))
CONFIG = {
    "model": {"name": "meta-llama/Llama-3.2-1B"},
    "tokenizer": {"name": "meta-llama/Llama-3.2-1B"},
    "training": {"method": "cpt", "batch_size": 4, "num_epochs": 1, "learning_rate": 2e-4},
    "data": {"strategy": "standard", "train_split": 0.8},
}
QUICK = Delays(provision_s=0.01, start_s=0.01, terminate_s=0.05, restart_s=0.05)


async def train(spec):
    """What a trainer says to the lab, shortened."""
    env = spec.env
    points = [
        {"step": 0, "epoch": 0, "train_loss": None},
        {"step": 1, "epoch": 0, "train_loss": 2.5, "learning_rate": 2e-4},
        {"step": 1, "epoch": 0, "train_loss": None},
        {"step": 2, "epoch": 0, "train_loss": 2.25},
    ]
    async with aiohttp.ClientSession() as http:
        alert = {"type": "job_started", "job_id": env["JOB_ID"], "user_id": env["USER_ID"]}
        async with http.post(env["ALERT_API_URL"], json=alert, headers={"X-API-Key": env["INTERNAL_API_KEY"]}) as sent:
            assert sent.status == 200, await sent.text()
        bearer = {"Authorization": f"Bearer {env['JOB_TOKEN']}"}
        body = {"job_id": env["JOB_ID"], "metrics": points}
        async with http.post(env["METRICS_API_URL"], json=body, headers=bearer) as sent:
            assert sent.status == 200, await sent.text()


def scenario(spec):
    return [Say(0, "Training started"), Do(0, train), Say(0, "metrics posted")]


@pytest.fixture
def started(tmp_path, clock):
    @asynccontextmanager
    async def start(*, real_pods=False, **more):
        backend = None if real_pods else ScriptedPods(SystemClock(), scenario)
        options = CloudOptions(backend=backend, delays=QUICK, **more)
        async with AsyncExitStack() as stack:
            cloud = await stack.enter_async_context(EmbeddedCloud(tmp_path / "state", options))
            settings = Settings.of_local(asdict(cloud.endpoints))
            # The retries' waits are virtual; that the servers need real time is what `until` is for.
            runpod = await stack.enter_async_context(open_runpod(settings, clock=clock, log_idle_s=1.0))
            lab = await stack.enter_async_context(open_lab(settings, clock=clock))
            yield cloud, runpod, lab, settings

    return start


async def until(look, wanted):
    for _ in range(150):
        if wanted(found := await look()):
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"still {found}")


def pod_request(name="runspec-e2e-1", **more):
    given = {
        "name": name, "image": "img", "gpu": "NVIDIA RTX A4000", "gpu_count": 1, "cloud": "secure", "disk_gb": 20,
        "env": {"RUNSPEC_POD": name, "GREETING": "hello there"}, "command": ["sh", "-c", "echo ok; sleep 600"],
    }  # fmt: skip
    return PodRequest(**(given | more))


async def deployed(lab, **more):
    config_id = await lab.create_config(name="n", template="cpt_standard", config=CONFIG)
    dataset = await lab.upload_dataset(name="rows", row_format=DatasetFormat.TEXT, rows=ROWS)
    await lab.attach_dataset(config_id, dataset.id)
    await lab.attach_dataset(config_id, dataset.id)
    request = DeployRequest(config_id=config_id, gpu="NVIDIA RTX A4000", gpu_count=1, budget_usd=1, env={"A": "b c"})
    return config_id, dataset, request


async def test_a_training_goes_through_the_lab_from_config_to_cancel(started):
    async with started() as (_cloud, runpod, lab, _):
        begun = datetime.now(UTC) - timedelta(seconds=5)
        config_id, dataset, request = await deployed(lab)
        assert dataset.rows == 20
        job = await lab.deploy(request)
        points = await until(lambda: lab.metrics(job.lab_job_id), lambda found: len(found) == 3)
        assert [(point.step, point.values["train_loss"]) for point in points] == [(0, None), (1, 2.5), (2, 2.25)]
        snapshot = await lab.job_status(job.lab_job_id)
        assert (snapshot.status, snapshot.step) == ("running", 2)
        assert [(j.lab_job_id, j.status) for j in await lab.list_jobs()] == [(job.lab_job_id, "running")]
        (alert,) = await lab.alerts(since=begun)
        assert (alert.type, alert.lab_job_id) == ("job_started", job.lab_job_id)
        assert await lab.alerts(since=datetime.now(UTC) + timedelta(hours=1)) == []
        (pod,) = await runpod.list_pods()
        assert (pod.id, pod.name) == (job.pod_id, lab.pod_name(config_id))
        assert (pod.env_marker, pod.lab_job_id) == (config_id, job.lab_job_id)
        await lab.cancel_job(job.lab_job_id)
        await lab.cancel_job(job.lab_job_id)
        assert (await lab.job_status(job.lab_job_id)).status == "cancelled"
        await until(runpod.list_pods, lambda pods: not any(pod.is_alive for pod in pods))


async def test_a_pod_lives_from_create_to_terminate(started):
    async with started(real_pods=True) as (_, runpod, _lab, _settings):
        created = await runpod.create_pod(pod_request())
        pod = await until(lambda: runpod.get_pod(created.id), lambda pod: pod.uptime_s is not None)
        assert (pod.status, pod.gpu, pod.gpu_count, pod.env_marker) == (
            "RUNNING",
            "NVIDIA RTX A4000",
            1,
            "runspec-e2e-1",
        )
        assert pod.cost_usd_h is not None
        lines = []
        async with aclosing(runpod.stream_logs(created.id, after="")) as stream:
            async for batch in stream:
                lines += batch
                if any(line.text == "ok" for line in lines):
                    break
        assert {line.source for line in lines} <= {"container", "system"}
        await runpod.terminate_pod(created.id)
        await until(runpod.list_pods, lambda pods: not any(pod.is_alive for pod in pods))
        await runpod.terminate_pod(created.id)
        with pytest.raises(ProviderError) as caught:
            await runpod.get_pod("nosuchpod")
        assert caught.value.kind == Kind.GONE


async def test_logs_are_complete_although_the_stream_is_cut_again_and_again(started):
    said = [f"line {n}" for n in range(10)]
    lines_at_once = ScriptedPods(SystemClock(), lambda spec: [Say(0, text) for text in said])
    cut = Rule(where="runpod GET /v2/pods/{id}/logs", what="cut-stream", when=When(times=3))
    async with started(faults=[cut]) as (cloud, runpod, _, _settings):
        cloud.pods._backend = lines_at_once
        pod = await runpod.create_pod(pod_request())
        lines, cursor = [], ""
        async with asyncio.timeout(120):
            while said[-1] not in [line.text for line in lines]:
                async with aclosing(runpod.stream_logs(pod.id, after=cursor)) as stream:
                    async for batch in stream:
                        lines += batch
                        cursor = lines[-1].cursor if lines else ""
                        if said[-1] in [line.text for line in lines]:
                            break
        assert [line.text for line in lines if line.source == "container"] == said
        await runpod.terminate_pod(pod.id)


async def test_offers_and_balance_are_read(started):
    async with started() as (_, runpod, _lab, _settings):
        offers = {offer.id: offer for offer in await runpod.gpu_offers(cloud="secure", count=1)}
        assert offers["NVIDIA RTX A4000"].memory_gib == 16
        assert offers["NVIDIA RTX A4000"].price_usd_h > 0
        assert await runpod.balance() > 0


@pytest.mark.parametrize(
    ("fault", "kind", "ambiguous"),
    [
        ("capacity", Kind.CAPACITY, False),
        ("balance", Kind.BALANCE, False),
        ("forbidden", Kind.CAPACITY, False),
        ("cloudflare", Kind.BLOCKED, False),
        ("rate-limit", Kind.RATE_LIMITED, False),
        ("error-before", Kind.AMBIGUOUS, True),
        ("error-after", Kind.AMBIGUOUS, True),
        ("reset-before", Kind.AMBIGUOUS, True),
        ("reset-after", Kind.AMBIGUOUS, True),
        ("html", Kind.AMBIGUOUS, True),
    ],
)
async def test_a_create_that_fails_was_sent_once_and_says_whether_there_may_be_a_pod(started, fault, kind, ambiguous):
    async with started(faults=[Rule(where="runpod POST /v2/pods", what=fault)]) as (_, runpod, _lab, _settings):
        with pytest.raises(ProviderError) as caught:
            await runpod.create_pod(pod_request())
        assert (caught.value.kind, caught.value.ambiguous) == (kind, ambiguous)
        pods = await runpod.list_pods()
        assert [pod.name for pod in pods] == (["runspec-e2e-1"] if fault.endswith("after") else [])
        for pod in pods:
            await runpod.terminate_pod(pod.id)


@pytest.mark.parametrize(("fault", "pods"), [("orphan-pod", 1), ("error-after", 1), ("error-before", 0)])
async def test_a_deploy_that_fails_is_ambiguous_and_its_pod_is_found_by_name(started, fault, pods):
    async with started(faults=[Rule(where="lab POST /api/training/deploy/runpod", what=fault)]) as (_, runpod, lab, _s):
        config_id, _, request = await deployed(lab)
        with pytest.raises(ProviderError) as caught:
            await lab.deploy(request)
        assert (caught.value.kind, caught.value.ambiguous) == (Kind.AMBIGUOUS, True)
        names = [pod.name for pod in await runpod.list_pods()]
        assert names == [lab.pod_name(config_id)] * pods


async def test_a_pod_ends_although_deleting_it_keeps_failing(started):
    rule = Rule(where="runpod DELETE /v2/pods/{id}", what="error-before")
    async with started(faults=[rule]) as (_, runpod, _lab, _settings):
        pod = await runpod.create_pod(pod_request())
        await runpod.terminate_pod(pod.id)
        await until(runpod.list_pods, lambda pods: not any(pod.is_alive for pod in pods))


async def test_strange_pods_are_read(started):
    quirks = [Rule(where="runpod * /v2/**", what=name) for name in ("unknown-status", "empty-runtime")]
    async with started() as (cloud, runpod, _lab, _settings):
        pod = await runpod.create_pod(pod_request())
        for rule in quirks:
            cloud.faults.clear()
            cloud.faults.add(rule)
            found = await runpod.get_pod(pod.id)
            assert found.is_alive
            assert found.status
        cloud.faults.clear()
        await runpod.terminate_pod(pod.id)


async def test_requests_wait_for_the_limits_that_the_server_announces(started, clock):
    windows = (("minute", 3, 60),)
    async with started(runpod=RunPodSettings(windows=windows)) as (_, runpod, _lab, _settings):
        for _ in range(3):
            await runpod.list_pods()
        assert clock.sleeps == []
        # The server's minute is a real one, so it refuses what comes after the virtual wait.
        with pytest.raises(ProviderError):
            await runpod.list_pods()
        assert 55 <= clock.sleeps[0] <= 60


async def test_each_credential_opens_what_the_contract_says(started):
    async with started() as (cloud, _runpod, lab, settings):
        _, _, request = await deployed(lab)
        job = await lab.deploy(request)
        async with open_lab(replace(settings, lab_jwt=None)) as key_only:
            assert (await key_only.job_status(job.lab_job_id)).lab_job_id == job.lab_job_id
            await key_only.metrics(job.lab_job_id)
            await key_only.list_jobs()
        async with open_lab(replace(settings, lab_api_key=None)) as session_only:
            await session_only.list_jobs()
            await session_only.job_status(job.lab_job_id)
            await session_only.metrics(job.lab_job_id)
        wrong_scope = SecretStr(cloud.endpoints.lab_api_key_testing)
        async with open_lab(replace(settings, lab_api_key=wrong_scope)) as testing_key:
            for call in (testing_key.list_jobs(), testing_key.job_status(job.lab_job_id)):
                with pytest.raises(ProviderError) as caught:
                    await call
                assert caught.value.kind == Kind.AUTH
        await lab.cancel_job(job.lab_job_id)


async def test_a_full_key_budget_is_told_from_bad_credentials(started, clock):
    async with started(lab_rate_limit_per_minute=5) as (_, _runpod, lab, _settings):
        for _ in range(5):
            await lab.list_jobs()
        with pytest.raises(ProviderError) as caught:
            await lab.list_jobs()
        assert (caught.value.kind, caught.value.retryable) == (Kind.RATE_LIMITED, True)


async def test_a_slow_lab_does_not_make_a_client_repeat_its_deploy(started):
    slow = Rule(where="lab POST /api/training/deploy/runpod", what=What(delay_s=0.2), when=When(times=1))
    async with started(faults=[slow]) as (_, runpod, lab, _settings):
        _, _, request = await deployed(lab)
        job = await lab.deploy(request)
        assert [pod.id for pod in await runpod.list_pods()] == [job.pod_id]
        await lab.cancel_job(job.lab_job_id)
