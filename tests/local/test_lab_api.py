"""The embedded FineTune Lab over HTTP: credentials, configs, deployments, jobs, metrics, alerts."""

from __future__ import annotations

import base64
import json

import pytest

from runner.local.scripted import Say

UNKNOWN = "00000000-0000-4000-8000-000000000000"
POINT = {"step": 1, "epoch": 0, "train_loss": 1.5, "eval_loss": None, "learning_rate": 2e-4}


@pytest.fixture
def key(cloud, lab):
    """The lab with the API key of scope `all`."""
    return lab.with_headers(X_API_Key=cloud.endpoints.lab_api_key)


@pytest.fixture
async def job(seeds, clock, stage, lab):
    """A deployed job: its reply, and the lab as its trainer."""
    reply = await seeds.deployment()
    await clock.advance(1)
    reply["env"] = stage.specs[-1].env
    reply["trainer"] = lab.with_headers(Authorization=f"Bearer {reply['env']['JOB_TOKEN']}")
    reply["alerts"] = lab.with_headers(X_API_Key=reply["env"]["INTERNAL_API_KEY"])
    return reply


def alert(job, kind, **more):
    return {"type": kind, "job_id": job["job_id"], "user_id": job["env"]["USER_ID"], "model_name": "m", **more}


# --- credentials


async def test_session_opens_configs_and_a_key_does_not(lab, key):
    assert (await lab("GET", "/api/training")).status == 200
    assert (await key("GET", "/api/training")).error == (401, "Unauthorized")
    assert (await lab.with_headers()("GET", "/api/training")).error == (401, "Unauthorized")


async def test_expired_and_forged_sessions_are_refused(lab, clock, cloud):
    header, claims, signature = cloud.endpoints.lab_jwt.split(".")
    forged = lab.with_headers(Authorization=f"Bearer {header}.{claims}x.{signature}")
    assert (await forged("GET", "/api/training")).status == 401
    await clock.advance(31 * 86400)
    assert (await lab("GET", "/api/training")).status == 401


@pytest.mark.parametrize("header", ["X-API-Key", "X-Workspace-API-Key", "Authorization"])
async def test_key_is_taken_from_three_headers(lab, cloud, header):
    value = cloud.endpoints.lab_api_key
    headers = {header: f"Bearer {value}" if header == "Authorization" else value}
    assert (await lab.with_headers()("GET", "/api/training/local/jobs", headers=headers)).status == 200


async def test_routes_of_the_training_group_tell_what_is_wrong_with_a_key(lab, cloud):
    path = "/api/training/local/jobs"

    async def told(**headers):
        return (await lab.with_headers(**headers)("GET", path)).error

    assert await told(X_API_Key="short") == (401, "Invalid API key format")
    assert await told(X_API_Key="wak_" + "x" * 32) == (401, "Invalid API key")
    assert await told(X_API_Key=cloud.endpoints.lab_api_key_testing) == (
        403, "API key does not have 'training' scope. Key scopes: testing",
    )  # fmt: skip
    assert await told() == (401, "Missing authorization header")
    assert await told(Authorization="Bearer a.b.c") == (401, "Authentication failed")


@pytest.mark.parametrize(
    ("path", "missing", "bad"),
    [
        ("/api/training/jobs", "Missing authorization", "Unauthorized"),
        (
            f"/api/training/local/{UNKNOWN}/metrics",
            "Unauthorized: Missing authentication",
            "Unauthorized: Invalid token",
        ),
        (f"/api/training/local/{UNKNOWN}/logs", "Unauthorized: Missing authentication", "Unauthorized: Invalid token"),
    ],
)
async def test_other_readers_hide_every_trouble_with_a_key(lab, cloud, path, missing, bad):
    for headers in ({}, {"X_API_Key": "wak_" + "x" * 32}, {"X_API_Key": cloud.endpoints.lab_api_key_testing}):
        assert (await lab.with_headers(**headers)("GET", path)).error == (401, missing)
    assert (await lab.with_headers(Authorization="Bearer a.b.c")("GET", path)).error == (401, bad)


async def test_key_is_limited_to_100_a_minute_and_a_session_is_not(lab, key, clock):
    for _ in range(100):
        assert (await key("GET", "/api/training/local/jobs")).status == 200
    answer = await key("GET", "/api/training/local/jobs")
    assert answer.error == (429, "Rate limit exceeded. Try again later.")
    assert "Retry-After" not in answer.headers
    assert (await key("GET", "/api/training/jobs")).error == (401, "Missing authorization")
    assert (await lab("GET", "/api/training/local/jobs")).status == 200
    await clock.advance(60)
    assert (await key("GET", "/api/training/local/jobs")).status == 200


async def test_internal_key_opens_the_alert_trigger_only(lab, cloud, key):
    body = {"type": "job_started", "job_id": UNKNOWN, "user_id": "u"}
    assert (await key("POST", "/api/alerts/trigger", json=body)).error == (401, "Unauthorized")
    internal = lab.with_headers(X_API_Key=cloud.endpoints.lab_internal_key)
    assert (await internal("POST", "/api/alerts/trigger", json=body)).body == {"success": True}
    assert (await internal("GET", "/api/training/local/jobs")).error == (401, "Invalid API key format")


# --- configs


async def test_config_lives_from_post_to_delete(lab, seeds):
    config_id = await seeds.config()
    row = (await lab("GET", f"/api/training/{config_id}")).body["config"]
    assert (row["is_validated"], row["validation_errors"]) == (True, None)
    changed = (await lab("PUT", f"/api/training/{config_id}", json={"name": "new", "id": "x"})).body["config"]
    assert (changed["name"], changed["id"]) == ("new", config_id)
    assert [row["id"] for row in (await lab("GET", "/api/training")).body["configs"]] == [config_id]
    for _ in range(2):
        assert (await lab("DELETE", f"/api/training/{config_id}")).body == {"success": True}
    assert (await lab("GET", f"/api/training/{config_id}")).status == 404
    assert (await lab("PUT", f"/api/training/{config_id}", json={})).status == 500


async def test_invalid_config_is_stored_with_its_errors(lab, seeds):
    config_id = await seeds.config(batch_size=0, num_epochs=None, method="")
    row = (await lab("GET", f"/api/training/{config_id}")).body["config"]
    assert row["is_validated"] is False
    assert {error["field"] for error in row["validation_errors"]} == {
        "training.batch_size", "training.num_epochs", "training.method",
    }  # fmt: skip


async def test_config_without_name_or_sections_is_refused(lab):
    assert (await lab("POST", "/api/training", json={"name": "x"})).error == (400, "Missing required fields")
    body = {"name": "x", "template_type": "t", "config_json": {"model": {}}}
    assert (await lab("POST", "/api/training", json=body)).error == (500, "Failed to create config")


# --- deploy


async def test_deploy_answers_with_job_pod_and_price(seeds, clock, runpod):
    reply = await seeds.deployment(gpu_type="A100_PCIE", budget_limit=5)
    assert set(reply) == {
        "job_id", "deployment_id", "pod_id", "pod_url", "status", "gpu_type", "gpu_count", "cost", "message",
    }  # fmt: skip
    assert reply["status"] == "creating"
    assert reply["deployment_id"] == reply["pod_id"]
    assert (reply["cost"]["cost_per_hour"], reply["cost"]["budget_limit"]) == (1.89, 5)
    (pod,) = (await runpod("GET", "/pods")).body["pods"]
    assert pod["id"] == reply["pod_id"]
    assert pod["gpu"]["id"] == "NVIDIA A100 80GB PCIe"
    assert pod["name"].startswith("training-")
    assert (pod["cloud"], pod["ports"]) == ("SECURE", ["8080/http"])


async def test_unknown_gpu_silently_becomes_an_a4000(seeds, runpod):
    await seeds.deployment(gpu_type="NVIDIA_RTX_4090")
    assert (await runpod("GET", "/pods")).body["pods"][0]["gpu"]["id"] == "NVIDIA RTX A4000"


async def test_deploy_checks_come_in_order(lab, cloud, seeds):
    path = "/api/training/deploy/runpod"
    body = {"training_config_id": UNKNOWN}
    assert (await lab.with_headers()("POST", path, json=body)).error == (401, "Missing authorization header")
    bad = lab.with_headers(Authorization="Bearer x.y.z")
    assert (await bad("POST", path, json=body)).error == (401, "Unauthorized")
    assert (await lab("POST", path, json={})).error == (400, "Missing required field: training_config_id")
    assert (await lab("POST", path, data=b"{")).error == (500, "Failed to create RunPod deployment")
    assert (await lab("POST", path, json=body)).error == (404, "Training configuration not found")
    config_id = await seeds.config()
    assert (await lab("POST", path, json={"training_config_id": config_id})).error == (
        400, "Please attach a dataset to this training configuration before deploying",
    )  # fmt: skip


async def test_pods_environment_holds_what_the_trainer_needs(job, cloud):
    env, base = job["env"], cloud.endpoints.lab_url
    assert env["METRICS_API_URL"] == f"{base}/api/training/local/metrics"
    assert env["ALERT_API_URL"] == f"{base}/api/alerts/trigger"
    assert env["RUNSPEC_TRAINER_URL"] == f"{base}/downloads/standalone_trainer.py"
    assert env["JOB_ID"] == job["job_id"]
    assert len(env["JOB_TOKEN"]) == 43
    assert b"RunPod Training Script Started" in base64.b64decode(env["TRAINING_SCRIPT_B64"])
    config = json.loads(base64.b64decode(env["TRAINING_CONFIG_B64"]))
    assert config["training"]["warmup_steps"] == 100, "a zero is replaced by the default"
    assert "beta" not in config["training"], "not on the whitelist"
    assert config["training"]["ppo_epochs"] == 2, "passed on here, unlike in the real service"
    assert config["seed"] == 42
    assert config["lora"] == {
        "r": 16, "alpha": 32, "dropout": 0.1, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"],
        "bias": "none", "task_type": "CAUSAL_LM",
    }  # fmt: skip
    assert config["dataset_path"] == "/workspace/dataset.jsonl"


async def test_users_variables_reach_the_pod_but_do_not_replace_the_labs(seeds, clock, stage):
    await seeds.deployment(environment_variables={"MINE": "1", "JOB_ID": "stolen"})
    await clock.advance(1)
    assert stage.specs[0].env["MINE"] == "1"
    assert stage.specs[0].env["JOB_ID"] != "stolen"


async def test_no_capacity_fails_the_job_and_says_which_gpu(lab, seeds):
    config_id = await seeds.attached()
    body = {"training_config_id": config_id, "gpu_type": "H100_PCIE"}
    answer = await lab("POST", "/api/training/deploy/runpod", json=body)
    assert answer.error == (500, "Failed to create RunPod deployment")
    assert answer.body["details"].startswith("No NVIDIA H100 PCIe GPUs currently available on RunPod. Try: (1)")
    (row,) = (await lab("GET", "/api/training/local/jobs")).body["jobs"]
    assert row["status"] == "failed"


async def test_nonsense_count_fails_the_deploy_and_not_the_server(lab, seeds):
    body = {"training_config_id": await seeds.attached(), "gpu_count": "many"}
    answer = await lab("POST", "/api/training/deploy/runpod", json=body)
    assert answer.error == (500, "Failed to create RunPod deployment")


@pytest.mark.parametrize("training", [5, {"batch_size": "four"}, {"num_epochs": "x"}])
async def test_config_that_makes_no_sense_fails_before_there_is_a_pod(lab, seeds, runpod, training):
    config_id = await seeds.attached()
    await lab("PUT", f"/api/training/{config_id}", json={"config_json": {"training": training}})
    answer = await lab("POST", "/api/training/deploy/runpod", json={"training_config_id": config_id})
    assert answer.error[0] == 500
    assert answer.error[1] in ("Failed to create training job", "Failed to create RunPod deployment")
    assert (await runpod("GET", "/pods")).body["pods"] == []


async def test_deployment_can_be_looked_at_and_ended(lab, job, runpod, clock):
    path = f"/api/training/deploy/runpod?deployment_id={job['pod_id']}"
    await clock.advance(3600)
    found = (await lab("GET", path)).body
    assert found["status"] == "running"
    assert found["cost"]["actual_cost"] == pytest.approx(0.25, rel=0.01)
    assert (await lab("DELETE", path)).body["status"] == "stopped"
    await clock.advance(3)
    assert (await runpod("GET", "/pods")).body["pods"] == []
    assert (await lab("GET", f"/api/training/local/{job['job_id']}/status")).body["status"] == "pending"
    gone = await lab("GET", path)
    assert gone.error == (500, "Failed to get deployment status")
    assert gone.body["details"] == "Cannot read properties of null (reading 'desiredStatus')"
    assert (await lab("DELETE", path)).error == (500, "Failed to stop deployment")
    assert (await lab("GET", "/api/training/deploy/runpod")).error == (400, "Missing deployment_id parameter")


async def test_trainer_and_dataset_can_be_downloaded_by_the_pod(job, session, trainer_file, clock):
    async with session.get(job["env"]["RUNSPEC_TRAINER_URL"]) as answer:
        assert await answer.read() == trainer_file.read_bytes()
    async with session.get(job["env"]["DATASET_URL"]) as answer:
        assert "Content-Encoding" not in answer.headers, "the bytes are gzip, not their transport"
        assert (await answer.read())[:2] == b"\x1f\x8b"
    async with session.get(job["env"]["DATASET_URL"] + "x") as answer:
        assert answer.status == 400
    await clock.advance(7201)
    async with session.get(job["env"]["DATASET_URL"]) as answer:
        assert answer.status == 400, "two hours are over"


# --- jobs


async def test_new_job_is_pending_with_the_expected_steps(lab, job):
    status = (await lab("GET", f"/api/training/local/{job['job_id']}/status")).body
    assert (status["status"], status["total_steps"], status["total_samples"]) == ("pending", 3, 10)
    assert (status["progress"], status["current_step"], status["error"]) == (0, 0, None)
    assert status["dataset_name"] == "rows"
    assert (await lab("GET", f"/api/training/local/{UNKNOWN}/status")).error == (404, "Training job not found")


async def test_patch_sets_states_with_the_job_token(lab, job):
    path, trainer = f"/api/training/local/{job['job_id']}/status", job["trainer"]
    assert (await trainer("PATCH", path, json={"status": "lost"})).error == (
        400, "Invalid status. Must be one of: running, completed, failed, cancelled, paused",
    )  # fmt: skip
    assert (await lab.with_headers()("PATCH", path, json={})).error == (401, "Unauthorized: Bearer token required")
    assert (await lab("PATCH", path, json={"status": "running"})).error == (401, "Unauthorized: Invalid token")
    assert (await trainer("PATCH", path, json={"status": "failed", "error": "boom"})).status == 200
    status = (await lab("GET", path)).body
    assert (status["status"], status["error"]) == ("failed", "boom")
    assert status["completed_at"]


async def test_silent_job_gets_a_warning_after_five_minutes(lab, job, clock):
    path = f"/api/training/local/{job['job_id']}/status"
    await clock.advance(298)
    assert (await lab("GET", path)).body["warning"] is None
    await clock.advance(62)
    assert (await lab("GET", path)).body["warning"].startswith("⚠️ No updates received in 6 minute(s).")


async def test_jobs_are_listed_newest_first_and_filtered_by_status(lab, seeds, job):
    second = await seeds.deployment()
    await job["trainer"]("PATCH", f"/api/training/local/{job['job_id']}/status", json={"status": "completed"})
    listed = (await lab("GET", "/api/training/local/jobs?limit=1")).body
    assert ([row["id"] for row in listed["jobs"]], listed["total"]) == ([second["job_id"]], 2)
    done = (await lab("GET", "/api/training/local/jobs?status=completed")).body
    assert [row["id"] for row in done["jobs"]] == [job["job_id"]]
    recent = (await lab("GET", "/api/training/jobs?limit=1")).body
    assert recent["count"] == 2, "the limit is ignored"
    assert [row.get("_stale", False) for row in recent["jobs"]] == [True, False]


async def test_cancel_ends_the_pod_and_sends_no_alert(lab, job, runpod, clock):
    path = f"/api/training/local/{job['job_id']}/control"
    answer = await lab.with_headers()("POST", path, json={"action": "explode"})
    assert answer.error == (400, "Invalid or missing action. Expected cancel, pause, or resume.")
    assert (await lab.with_headers()("POST", path, json={"action": "cancel"})).error == (401, "Unauthorized")
    assert (await lab("POST", path, json={"action": "cancel"})).body == {
        "success": True, "action": "cancel", "job_id": job["job_id"], "message": "RunPod pod terminated successfully",
    }  # fmt: skip
    await clock.advance(3)
    assert (await runpod("GET", "/pods")).body["pods"] == []
    assert (await lab("GET", f"/api/training/local/{job['job_id']}/status")).body["status"] == "cancelled"
    assert (await lab("GET", "/api/alerts/history")).body["alerts"] == []


async def test_pause_never_reaches_a_pod(lab, job):
    answer = await lab("POST", f"/api/training/local/{job['job_id']}/control", json={"action": "pause"})
    assert answer.error == (502, "Unable to pause job. Training server unavailable.")
    unknown = await lab("POST", f"/api/training/local/{UNKNOWN}/control", json={"action": "cancel"})
    assert unknown.error == (404, "Training job not found or access denied")


async def test_local_jobs_are_persisted_by_id(lab, key):
    path = "/api/training/local/jobs"
    answer = await key("POST", path, json={"job_id": "mine", "status": "running", "ignored": 1})
    assert answer.body["persisted"] is True
    again = await key("POST", path, json={"job_id": "mine", "loss": 0.5})
    assert again.body["job_token"] == answer.body["job_token"]
    assert (await lab("GET", "/api/training/local/mine/status")).body["loss"] == 0.5
    assert (await key("POST", path, json={})).error == (400, "job_id is required")
    assert (await key("POST", path)).error == (400, "Request body is required")
    assert (await key("POST", path, data="x=1")).error[0] == 400
    assert (await lab.with_headers()("POST", path, json={"job_id": "x"})).error[0] == 401
    open_door = await lab.with_headers()("POST", path, json={"job_id": "theirs", "user_id": "somebody"})
    assert open_door.status == 200
    assert (await lab("GET", "/api/training/local/theirs/status")).status == 404


async def test_logs_of_a_pod_job_are_nowhere_but_posted_lines_are_kept(lab, job):
    path = f"/api/training/local/{job['job_id']}/logs"
    assert (await lab("GET", path)).error == (503, "Failed to connect to local training server")
    assert (await job["trainer"]("POST", path, json={"logs": "x"})).error == (
        400, "Invalid request: logs must be an array",
    )  # fmt: skip
    posted = await job["trainer"]("POST", path, json={"logs": ["a", "b", "c"]})
    assert posted.body == {"success": True, "logs_appended": 3, "total_logs": 3}
    assert (await lab("GET", f"{path}?limit=2&offset=1")).body == {
        "logs": ["b", "c"], "total_lines": 3, "offset": 1, "limit": 2,
    }  # fmt: skip
    assert (await lab("GET", f"/api/training/local/{job['job_id']}/errors")).status == 503


async def test_cloud_check_knows_pod_jobs(lab, job):
    found = await lab("GET", f"/api/training/cloud-check/{job['job_id']}")
    assert found.body == {"isCloudJob": True, "platform": "runpod"}
    assert (await lab("GET", f"/api/training/cloud-check/{UNKNOWN}")).body == {"isCloudJob": False, "platform": None}


# --- metrics


async def test_first_point_starts_the_job_and_fills_its_summary(lab, job):
    body = {"job_id": job["job_id"], "metrics": [POINT, {**POINT, "step": 3, "train_loss": 1.0}]}
    answer = await job["trainer"]("POST", "/api/training/local/metrics", json=body)
    assert answer.body == {"success": True, "count": 2}
    status = (await lab("GET", f"/api/training/local/{job['job_id']}/status")).body
    assert (status["status"], status["loss"], status["current_step"]) == ("running", 1.0, 3)
    assert status["progress"] == 100


async def test_points_are_appended_and_the_last_one_overwrites_with_its_nulls(lab, job):
    for loss in (None, 2.0, None):
        body = {"job_id": job["job_id"], "metrics": [{**POINT, "step": 3, "train_loss": loss}]}
        await job["trainer"]("POST", "/api/training/local/metrics", json=body)
    points = (await lab("GET", f"/api/training/local/{job['job_id']}/metrics")).body["metrics"]
    assert [point["train_loss"] for point in points] == [None, 2.0, None]
    assert (await lab("GET", f"/api/training/local/{job['job_id']}/status")).body["loss"] is None


async def test_numbers_that_the_columns_do_not_know_come_back(lab, job, key):
    point = {**POINT, "reward_mean": 0.5, "kl": 0.01, "note": "dropped", "nested": {"x": 1}}
    await job["trainer"]("POST", "/api/training/local/metrics", json={"job_id": job["job_id"], "metrics": [point]})
    page = (await key("GET", f"/api/training/local/metrics?job_id={job['job_id']}")).body
    assert (page["total"], page["limit"]) == (1, 1000)
    (shown,) = page["metrics"]
    assert (shown["reward_mean"], shown["kl"]) == (0.5, 0.01)
    assert not {"note", "nested"} & set(shown)
    assert len(set(shown) - {"reward_mean", "kl"}) == 14
    (full,) = (await key("GET", f"/api/training/local/{job['job_id']}/metrics")).body["metrics"]
    assert {"job_id", "loss_trend", "best_step", "reward_mean"} <= set(full)


async def test_metrics_refusals_come_in_order(lab, job):
    path, trainer = "/api/training/local/metrics", job["trainer"]
    assert (await lab.with_headers()("POST", path, json={})).error == (401, "Unauthorized: Bearer token required")
    assert (await trainer("POST", path)).error == (400, "Request body is required")
    assert (await trainer("POST", path, data=b"  ")).error == (400, "Empty request body")
    assert (await trainer("POST", path, data=b"{")).error == (400, "Invalid JSON in request body")
    assert (await trainer("POST", path, json={"metrics": [POINT]})).error == (400, "job_id is required")
    assert (await trainer("POST", path, json={"job_id": job["job_id"], "metrics": []})).error == (
        400, "metrics array is required and must not be empty",
    )  # fmt: skip
    assert (await trainer("POST", path, json={"job_id": UNKNOWN, "metrics": [POINT]})).error == (
        500,
        "Job query failed",
    )
    good = {"job_id": job["job_id"], "metrics": [POINT]}
    assert (await lab("POST", path, json=good)).error == (401, "Unauthorized: Invalid token")
    broken = {"job_id": job["job_id"], "metrics": [{"epoch": 1}]}
    assert (await trainer("POST", path, json=broken)).error == (500, "Failed to persist metrics")


async def test_chunked_metrics_are_refused(job):
    async def body():
        yield json.dumps({"job_id": job["job_id"], "metrics": [POINT]}).encode()

    answer = await job["trainer"]("POST", "/api/training/local/metrics", data=body())
    assert answer.error == (400, "Request body is required")


async def test_single_points_go_in_by_put_and_by_the_jobs_route(lab, job):
    base, trainer = f"/api/training/local/{job['job_id']}/metrics", job["trainer"]
    assert (await trainer("POST", base, json=POINT)).status == 405
    assert (await trainer("PUT", base, json={**POINT, "step": 0})).error == (
        400, "Invalid metric: step and epoch are required",
    )  # fmt: skip
    assert (await trainer("PUT", base, json=POINT)).body == {"success": True}
    other = f"/api/training/jobs/{job['job_id']}/metrics"
    assert (await trainer("POST", other, json={"step": 2, "loss": 0.7, "elapsed_seconds": 9})).status == 200
    assert (await trainer("POST", other, json={})).error == (400, "Invalid metrics payload: step is required")
    assert (await lab("POST", other, json=POINT)).error == (401, "Invalid job token")
    assert (await lab.with_headers()("POST", other, json=POINT)).error == (
        401, "Missing or invalid authorization header",
    )  # fmt: skip
    points = (await lab("GET", base)).body["metrics"]
    assert [(point["step"], point["train_loss"]) for point in points] == [(1, 1.5), (2, 0.7)]
    status = (await lab("GET", f"/api/training/local/{job['job_id']}/status")).body
    assert status["elapsed_seconds"] == 9


@pytest.mark.parametrize(("last", "trend"), [(0.5, "improving"), (2.0, "degrading"), (1.0, "stable")])
async def test_trend_compares_the_halves_of_the_last_losses(lab, job, last, trend):
    losses = [1.0] * 5 + [last] * 5
    points = [{"step": step, "epoch": 0, "train_loss": loss} for step, loss in enumerate(losses)]
    await job["trainer"]("POST", "/api/training/local/metrics", json={"job_id": job["job_id"], "metrics": points})
    assert (await lab("GET", f"/api/training/local/{job['job_id']}/status")).body["loss_trend"] == trend


# --- alerts


async def test_completed_alert_ends_job_and_pod(lab, job, runpod, clock):
    answer = await job["alerts"]("POST", "/api/alerts/trigger", json=alert(job, "job_completed"))
    assert answer.body == {"success": True}
    assert (await lab("GET", f"/api/training/local/{job['job_id']}/status")).body["status"] == "completed"
    await clock.advance(3)
    assert (await runpod("GET", "/pods")).body["pods"] == []
    (row,) = (await lab("GET", "/api/alerts/history")).body["alerts"]
    assert (row["alert_type"], row["title"], row["job_id"]) == (
        "job_completed", "Training Complete: m", job["job_id"],
    )  # fmt: skip
    assert row["metadata"]["trainingMethod"] == "sft"


async def test_failed_alert_fails_the_job_but_its_text_is_not_in_the_status(lab, job):
    body = alert(job, "job_failed", error_message="boom\n\nTraceback:\n…")
    await job["alerts"]("POST", "/api/alerts/trigger", json=body)
    status = (await lab("GET", f"/api/training/local/{job['job_id']}/status")).body
    assert (status["status"], status["error"]) == ("failed", "Training failed")
    (row,) = (await lab("GET", "/api/alerts/history")).body["alerts"]
    assert row["message"].startswith("Your training job failed. boom")


async def test_other_alerts_change_nothing_but_the_history(lab, job, runpod):
    for kind in ("job_started", "job_cancelled", "gpu_oom", "disk_warning", "timeout_warning"):
        assert (await job["alerts"]("POST", "/api/alerts/trigger", json=alert(job, kind))).status == 200
    assert (await lab("GET", f"/api/training/local/{job['job_id']}/status")).body["status"] == "pending"
    assert len((await runpod("GET", "/pods")).body["pods"]) == 1
    history = (await lab("GET", "/api/alerts/history?limit=2&offset=1")).body
    assert [row["alert_type"] for row in history["alerts"]] == ["disk_warning", "gpu_oom"]
    assert history["total"] == 5


async def test_alert_refusals(job):
    post = job["alerts"]
    assert (await post("POST", "/api/alerts/trigger", json={"type": "party"})).error == (
        400, "Invalid alert type. Must be one of: job_started, job_completed, job_failed, job_cancelled, gpu_oom, "
        "disk_warning, timeout_warning",
    )  # fmt: skip
    assert (await post("POST", "/api/alerts/trigger", json={"type": "job_failed"})).error == (
        400, "job_id and user_id are required",
    )  # fmt: skip


async def test_alert_for_an_id_that_is_no_uuid_leaves_no_history(lab, cloud):
    internal = lab.with_headers(X_API_Key=cloud.endpoints.lab_internal_key)
    body = {"type": "job_failed", "job_id": "job_1", "user_id": "u"}
    assert (await internal("POST", "/api/alerts/trigger", json=body)).status == 200
    assert (await lab("GET", "/api/alerts/history")).body["total"] == 0


async def test_preferences_keep_known_keys_and_explain_missing_mail(lab, job):
    defaults = (await lab("GET", "/api/alerts/preferences")).body["preferences"]
    assert (defaults["alert_job_started"], defaults["alert_job_completed"]) == (False, True)
    changed = (await lab("PUT", "/api/alerts/preferences", json={"alert_job_started": True, "bogus": 1})).body
    assert changed["preferences"] == {**defaults, "alert_job_started": True}
    await job["alerts"]("POST", "/api/alerts/trigger", json=alert(job, "job_cancelled"))
    (row,) = (await lab("GET", "/api/alerts/history")).body["alerts"]
    assert row["email_error"] == "Alert type job_cancelled disabled"


# --- the rest


async def test_accident_in_a_handler_is_a_500_with_a_body(lab, key):
    nonsense = {"job_id": "j", "current_step": "many", "total_steps": 5}
    await key("POST", "/api/training/local/jobs", json=nonsense)
    assert (await lab("GET", "/api/training/local/j/status")).error == (500, "Internal server error")


async def test_unknown_paths_are_pages_and_wrong_methods_empty(lab):
    answer = await lab("GET", "/api/nothing/here/at/all")
    assert (answer.status, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    answer = await lab("PATCH", "/api/training/local/metrics")
    assert (answer.status, answer.text) == (405, "")


async def test_pod_output_of_the_deployed_command_is_the_pods_own(job, stage):
    spec = stage.specs[-1]
    assert spec.argv[:2] == ("bash", "-c")
    assert "$TRAINING_SCRIPT_B64" in spec.argv[2]
    assert isinstance(stage.casting(spec)[0], Say)
