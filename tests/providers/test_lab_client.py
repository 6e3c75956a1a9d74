from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.parser import BytesParser
from email.policy import HTTP
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from runner.errors import ProviderError
from runner.ports import DeployRequest, Lab
from runner.ports import ProviderErrorKind as Kind
from runner.providers.connect import open_lab
from runner.providers.finetunelab import LabCredentials
from runner.providers.lab_wire import read_metrics
from runner.spec.models import DatasetFormat

DEPLOYED = {"job_id": "j-1", "deployment_id": "pod1", "pod_id": "pod1", "cost": {"cost_per_hour": 0.34}}


@pytest.fixture
def open_it(wire, clock, settings_at):
    @asynccontextmanager
    async def opened(**without):
        settings = replace(settings_at(wire.url), **without)
        async with open_lab(settings, clock=clock, jitter=lambda: 0.5) as lab:
            yield lab

    return opened


@pytest.fixture
def deploy_request(env_secret):
    def make(**more):
        given = {
            "config_id": "cfg", "gpu": "NVIDIA RTX A4000", "gpu_count": 1, "budget_usd": 1.5, "env": {"A": env_secret},
        }  # fmt: skip
        return DeployRequest(**(given | more))

    return make


async def failure_of(awaitable):
    with pytest.raises(ProviderError) as caught:
        await awaitable
    return caught.value


async def test_a_config_is_created_with_the_session_token(open_it, wire, replying, canaries):
    wire.will(replying(201, {"config": {"id": "cfg-12345678"}}))
    async with open_it() as client:
        lab: Lab = client
        assert await lab.create_config(name="n", template="sft_standard", config={"model": {}}) == "cfg-12345678"
        assert lab.pod_name("cfg-12345678") == "training-cfg-1234"
    assert wire.seen[0].headers["authorization"] == f"Bearer {canaries[2]}"
    assert wire.seen[0].json() == {"name": "n", "template_type": "sft_standard", "config_json": {"model": {}}}


async def test_a_config_that_json_cannot_say_is_refused_before_it_is_sent(open_it, wire):
    async with open_it() as lab:
        for strange in ({"x": float("nan")}, {"x": datetime.now(UTC)}, {"x": {1, 2}}):
            assert (await failure_of(lab.create_config(name="n", template="t", config=strange))).kind == Kind.VALIDATION
    assert wire.seen == []


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("messages", "chatml"), ("preference", "dpo"), ("reward", "rlhf"), ("text", "raw_text")],
)
async def test_a_dataset_is_uploaded_as_one_form_with_its_length(open_it, wire, replying, ours, theirs):
    rows = b'{"text": "a\\r\\nb"}\n' + bytes(range(256))
    wire.will(replying(200, {"dataset": {"id": "ds", "total_examples": "2"}}))
    async with open_it() as lab:
        stored = await lab.upload_dataset(name='my "set"/1', row_format=DatasetFormat(ours), rows=rows)
    assert (stored.id, stored.rows) == ("ds", 2)
    (seen,) = wire.seen
    assert int(seen.headers["content-length"]) == len(seen.body)
    form = BytesParser(policy=HTTP).parsebytes(
        f"Content-Type: {seen.headers['content-type']}\r\n\r\n".encode() + seen.body
    )
    parts = {part.get_param("name", header="content-disposition"): part for part in form.iter_parts()}
    assert parts["format"].get_payload() == theirs
    assert parts["name"].get_payload() == 'my "set"/1'
    assert parts["file"].get_filename() == "my--set--1.jsonl"
    assert rows in seen.body


async def test_attaching_uses_the_one_field_in_camel_case(open_it, wire, replying):
    wire.will(replying(200, {"success": True, "message": "Dataset already attached"}))
    async with open_it() as lab:
        await lab.attach_dataset("cfg", "ds")
    assert wire.seen[0].path == "/api/training/cfg/attach-dataset"
    assert wire.seen[0].json() == {"datasetId": "ds"}


async def test_a_dataset_of_the_wrong_format_is_a_validation_error_in_the_labs_words(open_it, wire, replying):
    wire.will(replying(400, {"error": "RLHF requires RLHF format. Current dataset is DPO format."}))
    async with open_it() as lab:
        error = await failure_of(lab.attach_dataset("cfg", "ds"))
    assert error.kind == Kind.VALIDATION
    assert "Current dataset is DPO format" in str(error)


async def test_deploy_says_what_to_train_and_yields_job_and_pod(open_it, wire, replying, deploy_request, env_secret):
    wire.will(replying(200, DEPLOYED))
    async with open_it() as lab:
        deployed = await lab.deploy(deploy_request(gpu="NVIDIA A100-SXM4-80GB"))
    assert (deployed.lab_job_id, deployed.pod_id, deployed.cost_usd_h) == ("j-1", "pod1", 0.34)
    assert wire.seen[0].json() == {
        "training_config_id": "cfg",
        "gpu_type": "A100_80GB",
        "gpu_count": 1,
        "budget_limit": 1.5,
        "environment_variables": {"A": env_secret},
    }


async def test_deploy_on_a_gpu_that_the_lab_would_replace_is_refused_unsent(open_it, wire, deploy_request):
    async with open_it() as lab:
        error = await failure_of(lab.deploy(deploy_request(gpu="NVIDIA GeForce RTX 4090")))
    assert (error.kind, error.ambiguous, wire.seen) == (Kind.UNSUPPORTED, False, [])


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, {"error": "Failed to create RunPod deployment", "details": "Cannot read properties of null"}),
        (500, {"error": "Failed to create RunPod deployment", "details": "RunPod API error: 500 - oops"}),
        (502, b"<html>Bad Gateway</html>"),
        (504, b""),
        (404, b"<html>404</html>"),
        (200, b"<html>"),
        (200, {"job_id": "j"}),
        (200, {"pod_id": "p"}),
        (200, {"job_id": "same", "pod_id": "same", "deployment_id": "same"}),
    ],
)
async def test_a_deploy_that_may_have_made_a_pod_is_ambiguous_and_sent_once(
    open_it, wire, replying, deploy_request, status, body
):
    wire.will(replying(status, body))
    async with open_it() as lab:
        error = await failure_of(lab.deploy(deploy_request()))
    assert (error.kind, error.ambiguous, len(wire.seen)) == (Kind.AMBIGUOUS, True, 1)


@pytest.mark.parametrize(
    ("status", "error", "details", "kind"),
    [
        (500, "Failed to create RunPod deployment",
         "No NVIDIA RTX A4000 GPUs currently available on RunPod. Try: (1)", Kind.CAPACITY),
        (500, "Failed to create RunPod deployment", "RunPod GraphQL error: INSUFFICIENT_BALANCE", Kind.BALANCE),
        (400, "RunPod API key not configured. Please add your RunPod credentials", None, Kind.VALIDATION),
        (404, "Training configuration not found", None, Kind.VALIDATION),
        (401, "Unauthorized", None, Kind.AUTH),
    ],
)  # fmt: skip
async def test_a_deploy_that_made_no_pod_is_not_ambiguous(
    open_it, wire, replying, deploy_request, status, error, details, kind
):
    wire.will(replying(status, {"error": error, "details": details}))
    async with open_it() as lab:
        failure = await failure_of(lab.deploy(deploy_request()))
    assert (failure.kind, failure.ambiguous, len(wire.seen)) == (kind, False, 1)


async def test_cancel_is_done_when_there_is_no_such_job(open_it, wire, replying):
    wire.will(replying(404, {"error": "Training job not found or access denied"}))
    async with open_it() as lab:
        await lab.cancel_job("j")
    assert wire.seen[0].json() == {"action": "cancel"}


@pytest.mark.parametrize(("status", "is_fine"), [("completed", True), ("cancelled", True), ("running", False)])
async def test_cancel_that_fails_is_fine_only_if_the_job_has_ended(open_it, wire, replying, status, is_fine):
    def reply(seen):
        if seen.method == "GET":
            return replying(200, {"job_id": "j", "status": status})
        return replying(500, {"success": False, "error": "Failed to terminate RunPod pod"})

    wire.will(reply)
    async with open_it() as lab:
        if is_fine:
            await lab.cancel_job("j")
        else:
            error = await failure_of(lab.cancel_job("j"))
            assert "Failed to terminate RunPod pod" in str(error)


async def test_cancel_is_not_fooled_by_a_success_that_is_none(open_it, wire, replying):
    wire.will(replying(200, {"success": False, "error": "no"}))
    async with open_it() as lab:
        assert (await failure_of(lab.cancel_job("j"))).kind == Kind.PROTOCOL


async def test_a_job_is_read_although_everything_optional_is_missing(open_it, wire, replying):
    wire.will(
        replying(200, {"status": "running"}),
        replying(200, {"job_id": "j", "status": "completed", "loss": None, "current_step": "7", "total_steps": 9.0,
                       "error": None, "warning": "stale", "other": {}}),
        replying(200, b'{"status": "failed", "loss": NaN, "error": "Training failed"}'),
        replying(200, {"error": "no status"}),
    )  # fmt: skip
    async with open_it() as lab:
        bare, full, failed = [await lab.job_status("j") for _ in range(3)]
        assert (await failure_of(lab.job_status("j"))).kind == Kind.PROTOCOL
    assert (bare.lab_job_id, bare.status, bare.step, bare.loss) == ("j", "running", None, None)
    assert (full.step, full.total_steps, full.warning, full.is_finished) == (7, 9, "stale", True)
    assert (failed.loss, failed.error) == (None, "Training failed")


async def test_jobs_are_listed(open_it, wire, replying, canaries):
    wire.will(replying(200, {"jobs": [{"id": "a", "status": "running", "_stale": True}, {"id": "b"}]}))
    async with open_it() as lab:
        jobs = await lab.list_jobs()
    assert [(job.lab_job_id, job.status, job.warning is not None) for job in jobs] == [
        ("a", "running", True),
        ("b", "unknown", False),
    ]
    assert wire.seen[0].headers["x-api-key"] == canaries[1]
    assert "authorization" not in wire.seen[0].headers


async def test_mean_over_the_training_is_not_the_loss_of_its_last_step():
    rows = [
        {"step": 200, "train_loss": 3.2, "learning_rate": 1e-4, "train_perplexity": 24.5},
        {"step": 200, "train_loss": 3.1, "learning_rate": 1e-6, "train_perplexity": 22.2},
        {"step": 200, "train_loss": 3.82, "learning_rate": None, "train_perplexity": 45.6},
        {"step": 200, "train_loss": None, "learning_rate": None, "eval_loss": 3.0},
    ]
    (point,) = read_metrics({"metrics": rows})
    assert point.values == {"train_loss": 3.1, "learning_rate": 1e-6, "train_perplexity": 22.2, "eval_loss": 3.0}


async def test_metrics_are_merged_by_step_and_keep_every_number(open_it, wire, replying):
    rows = b"""{"job_id": "j", "metrics": [
      {"id": 1, "job_id": "j", "step": 0, "epoch": 0, "train_loss": null, "timestamp": "2025-12-19T10:00:00Z"},
      {"step": 3, "train_loss": null, "samples_per_second": 0.4, "timestamp": "2025-12-19T10:03:00Z"},
      {"step": 3, "train_loss": 1.5, "loss_trend": "improving", "mask": true, "timestamp": "2025-12-19T10:03:01Z"},
      {"step": "3", "train_loss": null, "epoch": "1", "timestamp": "2025-12-19 10:03:09.5 +0000 UTC"},
      {"step": 2, "train_loss": NaN, "perplexity": "Infinity", "rewards/margins": 0.25},
      {"step": null, "train_loss": 9}, {"train_loss": 9}, null, 7
    ]}"""
    wire.will(replying(200, rows))
    async with open_it() as lab:
        points = await lab.metrics("j")
    assert [point.step for point in points] == [0, 2, 3]
    assert points[0].values == {"epoch": 0, "train_loss": None}
    assert points[1].values == {"train_loss": None, "perplexity": None, "rewards/margins": 0.25}
    assert points[1].at is None
    assert points[2].values == {"train_loss": 1.5, "samples_per_second": 0.4, "epoch": 1}
    assert points[2].at == datetime(2025, 12, 19, 10, 3, tzinfo=UTC)


def history(count, newest):
    return [
        {"id": f"a{n}", "alert_type": "job_started", "job_id": "j",
         "created_at": (newest - timedelta(minutes=n)).isoformat()}
        for n in range(count)
    ]  # fmt: skip


async def test_alert_history_is_paged_until_it_is_older_than_asked_for(open_it, wire, replying):
    newest = datetime(2026, 11, 1, 12, tzinfo=UTC)
    rows = history(1000, newest)

    def page(seen):
        offset = int(parse_qs(urlsplit(seen.target).query)["offset"][0])
        return replying(200, {"alerts": rows[offset : offset + 100], "total": 1000})

    wire.will(page)
    async with open_it() as lab:
        alerts = await lab.alerts(since=newest - timedelta(minutes=150))
    assert len(wire.seen) == 2
    assert [alert.id for alert in alerts] == [f"a{n}" for n in range(150, -1, -1)]


async def test_alert_history_is_bounded_and_without_duplicates(open_it, wire, replying):
    rows = history(100, datetime(2026, 11, 1, tzinfo=UTC))
    wire.will(replying(200, {"alerts": [*rows[:98], {"id": "no type"}, None], "total": 10**9}))
    async with open_it() as lab:
        alerts = await lab.alerts(since=datetime(2000, 1, 1))  # one without a zone is UTC
    assert (len(alerts), len(wire.seen)) == (98, 50)


async def test_a_missing_credential_is_named_together_with_what_needs_it(open_it, wire, replying, deploy_request):
    async with open_it(lab_jwt=None) as lab:
        for call, words in (
            (lab.deploy(deploy_request()), "to deploy"),
            (lab.cancel_job("j"), "to cancel jobs"),
            (lab.alerts(since=datetime.now(UTC)), "to read alerts"),
            (lab.upload_dataset(name="n", row_format=DatasetFormat.TEXT, rows=b""), "to upload datasets"),
        ):
            error = await failure_of(call)
            assert error.kind == Kind.AUTH
            assert "`FINETUNE_LAB_JWT`" in str(error)
            assert words in str(error)
        wire.will(replying(200, {"jobs": []}))
        assert await lab.list_jobs() == []
    async with open_it(lab_jwt=None, lab_api_key=None) as lab:
        error = await failure_of(lab.list_jobs())
        assert "`FINETUNE_LAB_JWT` or `FINETUNE_LAB_API_KEY`" in str(error)


async def test_the_session_token_reads_jobs_when_there_is_no_key(open_it, wire, replying, canaries):
    wire.will(replying(200, {"jobs": []}))
    async with open_it(lab_api_key=None) as lab:
        await lab.list_jobs()
    assert wire.seen[0].headers["authorization"] == f"Bearer {canaries[2]}"


async def test_requests_of_the_key_stay_within_its_limit(open_it, wire, clock, replying):
    wire.will(replying(200, {"jobs": []}))
    async with open_it() as lab:
        for _ in range(200):
            await lab.list_jobs()
    assert clock.elapsed == pytest.approx(120)


async def test_a_401_for_a_key_that_just_worked_is_the_rate_limit(open_it, wire, clock, replying):
    refused = replying(401, {"error": "Missing authorization"})
    wire.will(replying(200, {"jobs": []}), refused, refused, replying(200, {"jobs": []}))
    async with open_it() as lab:
        await lab.list_jobs()
        await lab.list_jobs()
    assert len(wire.seen) == 4
    assert clock.elapsed > 30


async def test_a_401_for_a_key_that_never_worked_is_bad_credentials(open_it, wire, replying):
    wire.will(replying(401, {"error": "Missing authorization"}))
    async with open_it() as lab:
        error = await failure_of(lab.list_jobs())
    assert (error.kind, len(wire.seen)) == (Kind.AUTH, 1)
    assert "FINETUNE_LAB_API_KEY" in str(error)


async def test_a_key_that_was_revoked_is_found_out_after_two_windows(open_it, wire, clock, replying):
    wire.will(replying(200, {"jobs": []}), replying(401, {"error": "Missing authorization"}))
    async with open_it() as lab:
        await lab.list_jobs()
        assert (await failure_of(lab.list_jobs())).kind == Kind.RATE_LIMITED
        clock.elapsed += 120
        assert (await failure_of(lab.list_jobs())).kind == Kind.AUTH


def jwt(expires):
    part = base64.urlsafe_b64encode(json.dumps({"exp": expires.timestamp()}).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJIUzI1NiJ9.{part}.c2ln"


async def test_an_expired_session_token_is_said_to_be_expired(open_it, wire, clock):
    old = SecretStr(jwt(clock.now() - timedelta(minutes=12)))
    async with open_it(lab_jwt=old) as lab:
        error = await failure_of(lab.attach_dataset("c", "d"))
    assert error.kind == Kind.AUTH
    assert "expired 12 min ago" in str(error)
    assert wire.seen == []


async def test_a_session_is_renewed_before_it_expires_and_the_next_refresh_token_is_handed_on(
    wire, clock, replying, settings_at
):
    def reply(seen):
        if seen.path != "/auth/v1/token":
            return replying(200, {"success": True})
        number = seen.json()["refresh_token"][-1]
        token = jwt(clock.now() + timedelta(hours=1))
        return replying(200, {"access_token": token, "refresh_token": f"refresh-token-{int(number) + 1}"})

    wire.will(reply)
    handed_on = []
    settings = replace(
        settings_at(wire.url),
        lab_jwt=None,
        refresh_token=SecretStr("refresh-token-1"),
        supabase_url=wire.url,
        supabase_anon_key=SecretStr("anon-key-canary"),
    )
    async with open_lab(settings, clock=clock, on_rotated=handed_on.append) as lab:
        await lab.attach_dataset("c", "d")
        await lab.attach_dataset("c", "d")
        clock.elapsed += 3400
        await lab.attach_dataset("c", "d")
    renewals = [seen for seen in wire.seen if seen.path == "/auth/v1/token"]
    assert [seen.json()["refresh_token"] for seen in renewals] == ["refresh-token-1", "refresh-token-2"]
    assert renewals[0].headers["apikey"] == "anon-key-canary"
    assert handed_on == ["refresh-token-2", "refresh-token-3"]


async def test_a_spent_refresh_token_is_bad_credentials(wire, clock, replying, settings_at):
    wire.will(replying(400, {"error_description": "Invalid Refresh Token: Already Used refresh-token-1"}))
    settings = replace(
        settings_at(wire.url),
        refresh_token=SecretStr("refresh-token-1"),
        supabase_url=wire.url,
        supabase_anon_key=SecretStr("anon-key-canary"),
    )
    async with open_lab(settings, clock=clock) as lab:
        error = await failure_of(lab.attach_dataset("c", "d"))
    assert error.kind == Kind.AUTH
    assert "FINETUNE_LAB_REFRESH_TOKEN" in str(error)
    assert "refresh-token-1" not in str(error)


def test_credentials_do_not_show_themselves():
    shown = repr(LabCredentials(jwt="aaaa.bbbb.cccc", api_key="wak_1"))
    assert "aaaa" not in shown
    assert "wak" not in shown
