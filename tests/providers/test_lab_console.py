"""The parts of the lab client that no run needs, against the embedded lab and against exact bytes."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, replace

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from runner.errors import ProviderError
from runner.local.clock import SystemClock
from runner.local.cloud import CloudOptions, EmbeddedCloud
from runner.local.scripted import ScriptedPods
from runner.ports import DeployRequest
from runner.ports import ProviderErrorKind as Kind
from runner.providers.connect import open_lab, open_lab_console
from runner.providers.lab_alerting import NewWebhook
from runner.providers.settings import Settings
from runner.spec.models import DatasetFormat

CONFIG = {
    "model": {"name": "m"}, "tokenizer": {"name": "m"}, "training": {"method": "cpt"}, "data": {"strategy": "standard"},
}  # fmt: skip
CHAT = [{"role": "user", "content": "hi"}]


@pytest.fixture
async def local(tmp_path, clock):
    async with AsyncExitStack() as stack:
        options = CloudOptions(backend=ScriptedPods(SystemClock()))
        cloud = await stack.enter_async_context(EmbeddedCloud(tmp_path / "state", options))
        settings = Settings.of_local(asdict(cloud.endpoints))
        lab = await stack.enter_async_context(open_lab(settings, clock=clock))
        console = await stack.enter_async_context(open_lab_console(settings, clock=clock))
        yield cloud, lab, console


@pytest.fixture
def open_it(wire, clock, settings_at):
    @asynccontextmanager
    async def opened(**without):
        settings = replace(settings_at(wire.url), **without)
        async with open_lab_console(settings, clock=clock, jitter=lambda: 0.5) as console:
            yield console

    return opened


async def failure_of(awaitable):
    with pytest.raises(ProviderError) as caught:
        await awaitable
    return caught.value


async def persisted_job(cloud, job_id="job_1"):
    """A job that reports from outside, with the headers of its trainer."""
    headers = {"X-API-Key": cloud.endpoints.lab_api_key}
    async with (
        aiohttp.ClientSession(cloud.endpoints.lab_url) as http,
        http.post("/api/training/local/jobs", json={"job_id": job_id}, headers=headers) as answer,
    ):
        body = await answer.json()
    return body["user_id"], {"Authorization": f"Bearer {body['job_token']}"}


async def test_stored_configs_are_listed_and_forgotten(local):
    _, lab, console = local
    config_id = await lab.create_config(name="n", template="cpt_standard", config=CONFIG)
    dataset = await lab.upload_dataset(name="d", row_format=DatasetFormat.TEXT, rows=b'{"text": "a"}\n{"text": "b"}\n')
    await lab.attach_dataset(config_id, dataset.id)
    (config,) = await console.records.configs()
    assert (config.id, config.name, config.template) == (config_id, "n", "cpt_standard")
    assert any("batch_size" in problem for problem in config.problems)
    assert (await console.records.config(config_id)).config == CONFIG
    await console.records.detach_dataset(config_id, dataset.id)
    for _ in range(2):
        await console.records.delete_dataset(dataset.id)
        await console.records.delete_config(config_id)
    assert await console.records.configs() == []
    assert (await failure_of(console.records.config(config_id))).kind == Kind.GONE


async def test_deployment_is_seen_and_stopped_and_its_job_does_not_notice(local):
    cloud, lab, console = local
    dataset = await lab.upload_dataset(name="d", row_format=DatasetFormat.TEXT, rows=b'{"text": "a"}\n{"text": "b"}\n')
    config_id = await lab.create_config(name="n", template="cpt_standard", config=CONFIG)
    await lab.attach_dataset(config_id, dataset.id)
    wanted = DeployRequest(config_id=config_id, gpu="NVIDIA A40", gpu_count=1, budget_usd=1, env={})
    deployed = await lab.deploy(wanted)
    seen = await console.deployments.state(deployed.pod_id)
    assert (seen.pod_id, seen.status, seen.cost_usd) == (deployed.pod_id, "creating", None)
    assert seen.cost_usd_h == cloud.pods.pods()[0].cost_usd_h > 0
    await console.deployments.stop(deployed.pod_id)
    assert [pod.is_ended for pod in cloud.pods.pods()] == [True]
    assert (await lab.job_status(deployed.lab_job_id)).status == "pending"
    assert await console.records.runs_on_runpod(deployed.lab_job_id)


async def test_deployment_that_the_lab_cannot_find_is_trouble_and_not_absence(local):
    _, _, console = local
    for failed in (failure_of(console.deployments.state("gone")), failure_of(console.deployments.stop("gone"))):
        assert ((error := await failed).status, error.kind) == (500, Kind.TRANSIENT)


async def test_predictions_are_read_to_the_last_page(local):
    cloud, _, console = local
    user, headers = await persisted_job(cloud)
    records = [
        {"job_id": "job_1", "user_id": user, "epoch": 1 + n // 100, "step": n, "sample_index": n % 100, "prompt": "p",
         "prediction": "a", "char_error_rate": 0.5 if n < 100 else 0.25}
        for n in range(130)
    ]  # fmt: skip
    async with aiohttp.ClientSession(cloud.endpoints.lab_url) as http:
        body = {"job_id": "job_1", "predictions": records}
        async with http.post("/api/training/local/predictions", json=body, headers=headers) as answer:
            assert answer.status == 200
    assert len(await console.records.predictions("job_1")) == 130
    assert {one.epoch for one in await console.records.predictions("job_1", epoch=2)} == {2}
    trends = await console.records.trends("job_1")
    assert [(one.epoch, one.samples, one.char_error_rate) for one in trends] == [(1, 100, 0.5), (2, 30, 0.25)]


async def test_posted_log_lines_are_read_to_the_last_page(local):
    cloud, _, console = local
    _, headers = await persisted_job(cloud)
    lines = [f"line {n}" for n in range(250)]
    async with (
        aiohttp.ClientSession(cloud.endpoints.lab_url) as http,
        http.post("/api/training/local/job_1/logs", json={"logs": lines}, headers=headers) as answer,
    ):
        assert answer.status == 200
    assert await console.records.logs("job_1") == lines
    assert (await failure_of(console.records.errors("job_1"))).status == 503


async def test_receiver_of_alerts_is_added_tested_and_removed(local):
    _, _, console = local
    got = []

    async def take(request):
        got.append(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", take)
    async with TestServer(app, host="127.0.0.1") as server:
        new = NewWebhook(
            name="ci", url=str(server.make_url("/hook")), secret="s", wants=frozenset({"job_started"}),
            refuses=frozenset({"gpu_oom"}),
        )  # fmt: skip
        added = await console.alerting.add_webhook(new)
        assert added.has_secret
        assert {"job_started", "job_completed"} <= added.wants
        assert "gpu_oom" not in added.wants
        assert "secret" not in repr(new)
        delivery = await console.alerting.test_webhook(added.id)
    assert (delivery.delivered, delivery.status, got[0]["type"]) == (True, 200, "job_completed")
    assert [hook.id for hook in await console.alerting.webhooks()] == [added.id]
    assert not (await console.alerting.enable_webhook(added.id, enabled=False)).enabled
    assert await console.alerting.webhooks() == []
    assert (await console.alerting.webhook(added.id)).name == "ci"
    for _ in range(2):
        await console.alerting.remove_webhook(added.id)


async def test_alert_preferences_are_changed_and_unknown_ones_dropped(local):
    _, _, console = local
    assert (await console.alerting.preferences())["alert_job_started"] is False
    changed = await console.alerting.set_preferences({"alert_job_started": True, "bogus": 1})
    assert changed["alert_job_started"] is True
    assert "bogus" not in changed


async def test_t20_cancelled_batch_run_is_waited_for_until_it_has_really_ended(local, clock):
    _, _, console = local
    suite = await console.testing.create_suite(name="s", prompts=["a", "b"], answers=["x", "y"])
    run = await console.testing.run_batch(model="no-such-model", suite_id=suite, delay_ms=1, name="mine")
    assert (run.total, run.status) == (2, "running")
    ended = await console.testing.wait_for_batch(run.id, timeout_s=600)
    # Every prompt failed, and the run is `completed`.
    assert (ended.status, ended.completed, ended.failed) == ("completed", 2, 2)
    assert (await failure_of(console.testing.cancel_batch(run.id))).kind == Kind.VALIDATION
    await console.testing.delete_suite(suite)


async def test_a_cancelled_run_that_goes_on_is_not_finished(open_it, wire, replying):
    body = {"id": "r", "status": "failed", "error": "Cancelled by user", "total_prompts": 3, "completed_prompts": 1}
    wire.will(replying(200, body))
    async with open_it() as console:
        run = await console.testing.batch("r")
    assert (run.status, run.is_finished) == ("failed", False)


async def test_t28_serving_a_job_on_runpod_is_refused_before_it_serves_the_base_model(open_it, wire):
    async with open_it() as console:
        for kind in ("runpod", "runpod-serverless"):
            failed = await failure_of(console.serving.serve(kind=kind, name="n", job_id="j"))
            assert (failed.kind, "base model" in str(failed)) == (Kind.UNSUPPORTED, True)
    assert wire.seen == []


async def test_model_is_served_listed_and_stopped(local):
    cloud, _, console = local
    served = await console.serving.serve(kind="runpod", name="tuned", model_path="me/finetune-1234", gpu="NVIDIA A40")
    assert [pod.id for pod in cloud.pods.pods()] == [served.server_id]
    assert served.row_id is not None
    assert await console.serving.endpoint_status(served.row_id) == "active"
    assert served.model_id in [model.id for model in await console.serving.models()]
    failed = await failure_of(console.testing.predict(served.model_id, CHAT))
    assert "the embedded lab calls no other host" in str(failed)
    await console.serving.stop_endpoint(served.row_id)
    assert all(pod.is_ended for pod in cloud.pods.pods())
    here = await console.serving.serve(kind="vllm", name="other", model_path="me/other")
    for server_id in (here.server_id, "unknown"):
        await console.serving.stop_server(server_id)
    endpoint = await console.serving.deploy_endpoint(
        name="e", base_model="b", model_type="lora-adapter", storage_url="me/e", budget_usd=1
    )  # fmt: skip
    # Contract §2.11: what deploy answers is not what status and stop want.
    assert (await failure_of(console.serving.endpoint_status(endpoint))).kind == Kind.GONE
    await console.serving.stop_endpoint(endpoint)


async def test_t27_the_labs_own_analysis_sees_no_error_in_a_job_that_failed(local):
    cloud, _, console = local
    user, _ = await persisted_job(cloud, "00000000-0000-4000-8000-000000000001")
    alert = {"type": "job_failed", "job_id": "00000000-0000-4000-8000-000000000001", "user_id": user,
             "error_message": "CUDA out of memory"}  # fmt: skip
    async with aiohttp.ClientSession(cloud.endpoints.lab_url) as http:
        internal = {"X-API-Key": cloud.endpoints.lab_internal_key}
        async with http.post("/api/alerts/trigger", json=alert, headers=internal) as answer:
            assert answer.status == 200
    found = await console.records.analyze_failure("00000000-0000-4000-8000-000000000001")
    assert (found.error_type, found.suggestions) == ("no_error", ())
    assert await console.records.runs_on_runpod("unknown") is False


@pytest.mark.parametrize(
    ("without", "ask", "wanted"),
    [
        ("lab_jwt", lambda console: console.records.configs(), "FINETUNE_LAB_JWT"),
        ("lab_api_key", lambda console: console.testing.predict("m", CHAT), "FINETUNE_LAB_API_KEY"),
    ],
)
async def test_a_missing_credential_is_named_with_what_it_is_for(open_it, wire, without, ask, wanted):
    async with open_it(**{without: None}) as console:
        failed = await failure_of(ask(console))
    assert failed.kind == Kind.AUTH
    assert wanted in str(failed)
    assert "not accepted there" in str(failed)
    assert wire.seen == []


async def test_t05_predict_over_its_limit_is_waited_out_although_the_lab_calls_the_key_bad(
    open_it, wire, clock, replying
):
    limited = {"error": {"message": "Rate limit exceeded. Try again later.", "type": "invalid_api_key", "code": 401}}
    fine = {"choices": [{"message": {"content": "hello"}}], "usage": {"prompt_tokens": 3}}
    wire.will(replying(401, limited), replying(200, fine))
    async with open_it() as console:
        assert (await console.testing.predict("m", CHAT)).content == "hello"
    assert sum(clock.sleeps) >= 15
    wire.will(replying(401, {"error": {"message": "Invalid API key", "type": "invalid_api_key", "code": 401}}))
    async with open_it() as console:
        assert (await failure_of(console.testing.predict("m", CHAT))).kind == Kind.AUTH
    assert len(wire.seen) == 1


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": [{"message": {"content": None}}]}])
async def test_an_answer_without_words_is_no_answer(open_it, wire, replying, body):
    wire.will(replying(200, body))
    async with open_it() as console:
        assert (await failure_of(console.testing.predict("m", CHAT))).kind == Kind.PROTOCOL


async def test_no_secret_is_in_a_failure(open_it, wire, replying, canaries):
    wire.will(replying(400, {"error": f"bad {canaries[1]} {canaries[2]}"}))
    async with open_it() as console:
        for ask in (console.records.configs(), console.testing.predict("m", CHAT), console.serving.models()):
            failed = await failure_of(ask)
            assert not any(canary in f"{failed!s} {failed!r}" for canary in canaries)
