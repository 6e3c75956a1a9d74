"""Traps of the contract (§8) that one call can fall into, sprung in the embedded lab; whole runs are in
`test_traps_in_runs`, T-20 and T-28 beside the client in `tests/providers/test_lab_console.py`, T-21 and T-22 beside the
SDK in `test_sdk_conformance`, T-23 also in `test_lab_alerts`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime

import pytest
from aiohttp import ClientSession

from runner.errors import ProviderError
from runner.local.clock import SystemClock
from runner.local.cloud import CloudOptions, EmbeddedCloud
from runner.local.faults import Rule, What, When, parse_rules
from runner.local.lifecycle import Delays
from runner.local.scripted import ScriptedPods
from runner.providers.connect import open_lab, open_lab_console
from runner.providers.settings import Settings

POINT = {"step": 1, "epoch": 0, "train_loss": 1.5}
UNKNOWN = "00000000-0000-4000-8000-000000000000"


class Waiting:
    """The clients' time and the lab's at once: it passes when a client waits."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(1_767_225_600 + self.elapsed_s, UTC)

    def monotonic(self) -> float:
        return self.elapsed_s

    async def sleep(self, seconds: float) -> None:
        self.elapsed_s += max(0.0, seconds)


@pytest.fixture
def clients(tmp_path):
    """Our own client against a lab of the test's choice, on a clock that its waits move."""

    @asynccontextmanager
    async def opened(*rules: Rule, key_only: bool = False, **options):
        clock = Waiting()
        made = CloudOptions(backend=ScriptedPods(SystemClock()), clock=clock, faults=rules, **options)
        async with EmbeddedCloud(tmp_path / "clients", made) as cloud:
            settings = Settings.of_local(asdict(cloud.endpoints))
            settings = replace(settings, lab_jwt=None) if key_only else settings
            async with open_lab(settings, clock=clock, key_requests=1000) as client:
                yield cloud, client, clock

    return opened


@pytest.fixture
async def job(seeds, clock, stage, lab):
    """A deployed job: its reply, and the lab as its trainer and as its pod's alerts."""
    reply = await seeds.deployment(budget_limit=0.01)
    await clock.advance(1)
    env = stage.specs[-1].env
    reply["trainer"] = lab.with_headers(Authorization=f"Bearer {env['JOB_TOKEN']}")
    reply["alerts"] = lab.with_headers(X_API_Key=env["INTERNAL_API_KEY"])
    reply["user"] = env["USER_ID"]
    return reply


async def test_t04_one_header_holds_two_kinds_of_key_and_neither_opens_the_others_door(lab, cloud):
    body = {"type": "job_started", "job_id": UNKNOWN, "user_id": "u"}
    user = lab.with_headers(X_API_Key=cloud.endpoints.lab_api_key)
    internal = lab.with_headers(X_API_Key=cloud.endpoints.lab_internal_key)
    assert (await user("POST", "/api/alerts/trigger", json=body)).error == (401, "Unauthorized")
    assert (await internal("POST", "/api/alerts/trigger", json=body)).status == 200
    assert (await internal("GET", "/api/training/local/jobs")).error == (401, "Invalid API key format")


async def test_t05_client_waits_out_a_limit_that_looks_like_a_bad_key(clients):
    async with clients(key_only=True, lab_rate_limit_per_minute=5) as (_, client, clock):
        for _ in range(12):
            assert list(await client.list_jobs()) == []
    assert clock.elapsed_s >= 60


async def test_t05_console_waits_out_the_limit_on_routes_that_hide_it_and_on_those_that_do_not(tmp_path):
    clock = Waiting()
    made = CloudOptions(backend=ScriptedPods(SystemClock()), clock=clock, lab_rate_limit_per_minute=3)
    async with EmbeddedCloud(tmp_path / "console", made) as cloud:
        settings = replace(Settings.of_local(asdict(cloud.endpoints)), lab_jwt=None)
        async with open_lab_console(settings, clock=clock, key_requests=1000) as console:
            headers = {"X-API-Key": cloud.endpoints.lab_api_key}
            async with (
                ClientSession(cloud.endpoints.lab_url, headers=headers) as http,
                http.post("/api/training/local/jobs", json={"job_id": "j"}) as answer,
            ):
                assert answer.status == 200
            for _ in range(4):
                assert list(await console.records.predictions("j")) == []
            hidden_s = clock.elapsed_s
            for _ in range(4):
                with pytest.raises(ProviderError, match="Model 'm' not found"):
                    await console.testing.predict("m", [{"role": "user", "content": "hi"}])
    assert hidden_s >= 60
    assert clock.elapsed_s - hidden_s >= 60


async def test_t06_dataset_id_is_camel_case_and_detaching_has_a_body(lab, seeds):
    config_id, dataset = await seeds.config(), await seeds.dataset()
    path = f"/api/training/{config_id}/attach-dataset"
    assert (await lab("POST", path, json={"dataset_id": dataset["id"]})).error == (400, "datasetId required")
    assert (await lab("POST", path, json={"datasetId": dataset["id"]})).body["message"] == "Dataset attached"
    assert (await lab("DELETE", path)).error == (400, "datasetId required")
    assert (await lab("DELETE", path, json={"datasetId": dataset["id"]})).body["message"] == "Dataset detached"


async def test_t07_creating_answers_201_or_200_and_the_client_takes_both(lab, seeds, upload_form, clients):
    model = {"name": "m", "provider": "p", "base_url": "http://x/", "model_id": "x", "auth_type": "none"}
    hook = {"name": "h", "url": "http://127.0.0.1:1/"}
    row = [{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}]
    assert await seeds.config()  # asserts 201
    assert (await lab("POST", "/api/training/dataset", data=upload_form(row))).status == 200
    assert (await lab("POST", "/api/test-suites", json={"name": "s", "prompts": ["p"]})).status == 200
    assert (await lab("POST", "/api/alerts/webhooks", json=hook)).status == 201
    assert (await lab("POST", "/api/models", json=model)).status == 201
    accepted = Rule(where="lab POST /api/training", what=What(status=200, at="after", body={"config": {"id": "c"}}))
    async with clients(accepted) as (_, client, _):
        assert await client.create_config(name="n", template="t", config={}) == "c"


async def test_t08_job_that_was_only_accepted_is_waited_for_and_keeps_its_own_token(clients):
    async with clients(Rule(where="lab POST /api/training/local/jobs", what="accepted-late")) as (_, client, _):
        ticket = await client.open_job(model="m", config={})
        assert ticket.token
        assert (await client.job_status(ticket.lab_job_id)).status == "pending"
        await client.close_job(ticket, status="cancelled")
        assert (await client.job_status(ticket.lab_job_id)).status == "cancelled"


async def test_t08_job_that_was_accepted_and_never_stored_is_no_job(clients):
    async with clients(Rule(where="lab POST /api/training/local/jobs", what="accepted-never")) as (_, client, clock):
        with pytest.raises(ProviderError, match=r"accepted the job \(202\) and never stored it"):
            await client.open_job(model="m", config={})
        assert 25 <= clock.elapsed_s <= 120
        assert list(await client.list_jobs()) == []


async def test_t08_answer_that_only_accepts_has_no_token(lab, cloud):
    path = "/api/training/local/jobs"
    for what, status in (("accepted-late", 200), ("accepted-never", 404)):
        cloud.faults.add(Rule(where=f"lab POST {path}", what=what, when=When(times=1)))
        answer = await lab("POST", path, json={"job_id": what})
        assert (answer.status, answer.body["accepted"], answer.body["persisted"]) == (202, True, False)
        assert "job_token" not in answer.body
        assert (await lab("GET", f"/api/training/local/{what}/status")).status == status
        cloud.faults.clear()


async def test_t10_model_outlives_the_pod_that_the_completed_alert_ends(lab, job, runpod, clock):
    upload = f"/api/training/{job['job_id']}/upload/model"
    assert (await job["trainer"]("PUT", upload, data=b"PK-model")).status == 200
    done = {"type": "job_completed", "job_id": job["job_id"], "user_id": job["user"]}
    await job["alerts"]("POST", "/api/alerts/trigger", json=done)
    await clock.advance(3)
    assert (await runpod("GET", "/pods")).body["pods"] == []
    assert (await lab("GET", f"/api/training/{job['job_id']}/download/model")).text == "PK-model"


async def test_t11_stopping_by_pod_leaves_the_job_and_stopping_the_job_ends_the_pod(lab, job, seeds, runpod, clock):
    path = f"/api/training/deploy/runpod?deployment_id={job['pod_id']}"
    assert (await lab("DELETE", path)).body["status"] == "stopped"
    assert (await lab("GET", f"/api/training/local/{job['job_id']}/status")).body["status"] == "pending"
    other = await seeds.deployment()
    await lab("POST", f"/api/training/local/{other['job_id']}/control", json={"action": "cancel"})
    assert (await lab("GET", f"/api/training/local/{other['job_id']}/status")).body["status"] == "cancelled"
    await clock.advance(5)
    assert (await runpod("GET", "/pods")).body["pods"] == []


async def test_t12_repeated_steps_are_merged_by_the_client_and_the_job_may_have_no_loss(lab, job, cloud):
    rows = [POINT, {**POINT, "step": 2}, {**POINT, "step": 2, "train_loss": None, "eval_loss": 1.25}]
    body = {"job_id": job["job_id"], "metrics": rows}
    await job["trainer"]("POST", "/api/training/local/metrics", json=body)
    assert (await lab("GET", f"/api/training/local/{job['job_id']}/status")).body["loss"] is None
    async with open_lab(Settings.of_local(asdict(cloud.endpoints))) as client:
        assert (await client.job_status(job["job_id"])).loss is None
        points = await client.metrics(job["job_id"])
    assert [(one.step, one.values["train_loss"], one.values["eval_loss"]) for one in points] == [
        (1, 1.5, None), (2, 1.5, 1.25),
    ]  # fmt: skip


async def test_t13_progress_counts_rows_that_are_kept_for_evaluation(lab, seeds, clock, stage):
    reply = await seeds.deployment()
    await clock.advance(1)
    trainer = lab.with_headers(Authorization=f"Bearer {stage.specs[-1].env['JOB_TOKEN']}")
    status = f"/api/training/local/{reply['job_id']}/status"
    total = (await lab("GET", status)).body["total_steps"]
    assert total == 3  # 10 rows in batches of 32, three epochs: on all rows, as the lab counts
    body = {"job_id": reply["job_id"], "metrics": [{**POINT, "step": 2}]}
    await trainer("POST", "/api/training/local/metrics", json=body)
    await trainer("PATCH", status, json={"status": "completed"})
    assert (await lab("GET", status)).body["progress"] == 67


async def test_t14_job_of_a_pod_is_offered_to_agents_until_it_reports(lab, job):
    agent = {"headers": {"X-Agent-ID": "agent_1234"}}
    offered = (await lab("GET", "/api/training/agent/poll", **agent)).body
    assert (offered["job"]["id"], "job_token" in offered["job"]) == (job["job_id"], False)
    body = {"job_id": job["job_id"], "metrics": [POINT]}
    await job["trainer"]("POST", "/api/training/local/metrics", json=body)
    assert (await lab("GET", "/api/training/agent/poll", **agent)).body["job"] is None
    claim = f"/api/training/agent/claim/{job['job_id']}"
    answer = await lab("POST", claim, **agent)
    assert (answer.status, answer.body["code"]) == (409, "INVALID_STATUS")


async def test_t14_claimed_job_is_given_to_one_agent_only(lab, job):
    claim = f"/api/training/agent/claim/{job['job_id']}"
    first = await lab("POST", claim, headers={"X-Agent-ID": "agent_first"})
    assert first.body["job_token"]
    second = await lab("POST", claim, headers={"X-Agent-ID": "agent_second"})
    assert (second.status, second.body["code"]) == (409, "ALREADY_CLAIMED")


async def test_t15_cancelling_sends_no_alert(lab, job):
    await lab("POST", f"/api/training/local/{job['job_id']}/control", json={"action": "cancel"})
    assert (await lab("GET", "/api/alerts/history")).body["total"] == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/training/local/jobs", b'{"job_id": "j", "user_id": "u"}'),
        ("/api/training/local/metrics", b'{"job_id": "j", "metrics": [{}]}'),
        ("/api/training/local/predictions", b'{"job_id": "j", "predictions": [{}]}'),
    ],
)
async def test_t17_body_without_a_length_is_refused(lab, path, body):
    async def chunks() -> AsyncIterator[bytes]:
        yield body

    sender = lab.with_headers(Authorization="Bearer x", Content_Type="application/json")
    assert (await sender("POST", path, data=chunks())).error == (400, "Request body is required")
    assert (await sender("POST", path, data=body)).error[1] != "Request body is required"


async def test_t18_step_0_is_good_to_post_and_bad_to_put(lab, job):
    first = {**POINT, "step": 0}
    body = {"job_id": job["job_id"], "metrics": [first]}
    assert (await job["trainer"]("POST", "/api/training/local/metrics", json=body)).status == 200
    answer = await job["trainer"]("PUT", f"/api/training/local/{job['job_id']}/metrics", json=first)
    assert answer.error == (400, "Invalid metric: step and epoch are required")


async def test_t19_refreshing_a_session_renews_nothing(lab, cloud):
    answer = (await lab("POST", "/api/training/refresh-token")).body
    assert (answer["refreshed"], answer["access_token"]) == (False, cloud.endpoints.lab_jwt)
    assert (answer["expires_at"], answer["expires_in"]) == (None, None)


async def test_t23_alerts_of_one_job_are_found_among_those_of_all(cloud, lab, job, clock):
    for _ in range(130):
        other = {"type": "job_started", "job_id": UNKNOWN, "user_id": job["user"]}
        await job["alerts"]("POST", "/api/alerts/trigger", json=other)
    ours = {"type": "gpu_oom", "job_id": job["job_id"], "user_id": job["user"]}
    await job["alerts"]("POST", "/api/alerts/trigger", json=ours)
    async with open_lab(Settings.of_local(asdict(cloud.endpoints)), clock=Waiting()) as client:
        alerts = await client.alerts(since=datetime(2025, 1, 1, tzinfo=UTC))
    assert len(alerts) == 131
    assert [one.type for one in alerts if one.lab_job_id == job["job_id"]] == ["gpu_oom"]


async def test_t24_estimate_of_the_lab_is_of_another_world_than_the_pods_price(job, runpod):
    pod = (await runpod("GET", f"/pods/{job['pod_id']}")).body
    assert job["cost"]["cost_per_hour"] == 0.34
    assert pod["cost"] != job["cost"]["cost_per_hour"]


async def test_t26_budget_ends_no_pod(job, runpod, clock):
    await clock.advance(24 * 3600)
    (pod,) = (await runpod("GET", "/pods")).body["pods"]
    # Deployed with a budget of one cent.
    assert (pod["id"], pod["status"]) == (job["pod_id"], "RUNNING")


async def test_t27_status_and_analysis_know_nothing_of_the_error_in_the_alert(lab, job):
    body = {"type": "job_failed", "job_id": job["job_id"], "user_id": job["user"]}
    await job["alerts"]("POST", "/api/alerts/trigger", json={**body, "error_message": "CUDA out of memory"})
    path = f"/api/training/local/{job['job_id']}"
    assert (await lab("GET", f"{path}/status")).body["error"] == "Training failed"
    assert (await lab("GET", f"{path}/analyze-failure")).body["analysis"]["error_type"] == "no_error"
    (row,) = (await lab("GET", "/api/alerts/history")).body["alerts"]
    assert "CUDA out of memory" in row["message"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("CUDA out of memory", "oom_training"), ("CUDA out of memory in eval", "oom_eval"), ("no progress", "timeout"),
        ("CUDA error: device-side assert", "cuda_error"), ("KeyError", "unknown"),
    ],
)  # fmt: skip
async def test_t27_analysis_reads_the_column_that_only_agents_fill(lab, cloud, text, kind):
    key = lab.with_headers(X_API_Key=cloud.endpoints.lab_api_key)
    job = {"job_id": "j", "status": "failed", "error_message": text, "config": {"per_device_train_batch_size": 8}}
    await key("POST", "/api/training/local/jobs", json=job)
    analysis = (await lab("GET", "/api/training/local/j/analyze-failure")).body["analysis"]
    assert analysis["error_type"] == kind
    if kind == "oom_training":
        assert (analysis["suggestions"][0]["current_value"], analysis["suggestions"][0]["suggested_value"]) == (8, 4)


async def test_t01_deploy_that_fails_after_the_pod_leaves_a_pod_that_the_lab_forgot(lab, seeds, cloud, runpod):
    cloud.faults.add(
        Rule(where="lab POST /api/training/deploy/runpod", what="orphan-pod", when=When(times=1))
    )  # fmt: skip
    config_id = await seeds.attached()
    answer = await lab("POST", "/api/training/deploy/runpod", json={"training_config_id": config_id})
    assert (answer.status, answer.body["error"]) == (500, "Failed to create RunPod deployment")
    (pod,) = (await runpod("GET", "/pods")).body["pods"]
    assert pod["name"] == f"training-{config_id[:8]}"
    job_id = (await lab("GET", "/api/training/jobs")).body["jobs"][0]["id"]
    assert (await lab("GET", f"/api/training/cloud-check/{job_id}")).body == {"isCloudJob": False, "platform": None}


async def test_t02_bootstrap_with_open_placeholders_ticks_and_starts_no_trainer(tmp_path, session, seeds_for):
    rules = [Rule(where="lab POST /api/training/deploy/runpod", what="broken-bootstrap")]
    async with EmbeddedCloud(tmp_path / "real", CloudOptions(delays=Delays(0, 0, 0, 0), faults=rules)) as cloud:
        reply = await seeds_for(cloud).deployment()
        bearer = {"Authorization": f"Bearer {cloud.endpoints.runpod_api_key}"}
        log = ""
        async with (
            asyncio.timeout(120),
            session.get(f"{cloud.endpoints.runpod_url}/pods/{reply['pod_id']}/logs", headers=bearer) as answer,
        ):
            while "Training failed" not in log:
                log += (await answer.content.readline()).decode()
    assert "configBase64: unbound variable" in log
    assert "✓ config.json created" in log
    assert "✗ Training failed with exit code: 1" in log


async def test_t03_lab_of_another_account_sees_and_ends_no_pod(lab, job, cloud, runpod, clock):
    pod, path = job["pod_id"], f"/api/training/deploy/runpod?deployment_id={job['pod_id']}"
    cloud.faults.add(Rule(where="lab * /api/**", what="other-account"))
    assert (await lab("GET", path)).error == (500, "Failed to get deployment status")
    assert (await lab("DELETE", path)).error == (500, "Failed to stop deployment")
    cancel = await lab("POST", f"/api/training/local/{job['job_id']}/control", json={"action": "cancel"})
    assert cancel.error == (500, "Failed to terminate RunPod pod")
    completed = {"type": "job_completed", "job_id": job["job_id"], "user_id": job["user"]}
    assert (await job["alerts"]("POST", "/api/alerts/trigger", json=completed)).status == 200
    await clock.advance(60)
    assert (await runpod("GET", f"/pods/{pod}")).body["status"] == "RUNNING"


# What the lab does wrong, by the fault that makes it; every other trap is how the embedded lab always is.
FAULTS = {
    "T-01": "orphan-pod", "T-02": "broken-bootstrap", "T-03": "other-account", "T-05": "key-hidden",
    "T-08": "accepted-never", "T-09": "alert-without-effect", "F-01": "metrics-405", "F-06": "metrics-lost",
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS.values())
def test_what_only_some_labs_do_wrong_can_be_had_by_name(fault):
    assert parse_rules([{"where": "lab * /api/**", "what": fault}])
