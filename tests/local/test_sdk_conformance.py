"""The published SDK, unmodified, against the embedded lab: every call it has, its own bugs included (T-21, T-22).

What it is told by models that answer is in `test_serving`.
"""

from __future__ import annotations

import asyncio
import gzip
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

finetune_lab = pytest.importorskip("finetune_lab")

from finetune_lab import FinetuneLabClient, FinetuneLabError  # noqa: E402
from finetune_lab.client import AnalyticsClient, BatchTestClient, TrainingClient  # noqa: E402
from finetune_lab.loader import TrainingLoader  # noqa: E402
from finetune_lab.training_predictions import TrainingPredictionsClient  # noqa: E402

POINTS = [{"step": step, "epoch": 0, "train_loss": 2.0 - step / 10} for step in range(3)]
CHAT = [{"role": "user", "content": "What colour is the sky?"}]


class Sdk:
    """The SDK's client, whose calls block, from a coroutine."""

    def __init__(self, url: str, key: str) -> None:
        self.client = FinetuneLabClient(api_key=key, base_url=url)

    async def __call__(self, name: str, /, *args: Any, **values: Any) -> Any:
        target: Any = self.client
        for part in name.split("."):
            target = getattr(target, part)
        return await asyncio.to_thread(target, *args, **values)

    async def refused(self, name: str, /, *args: Any, **values: Any) -> tuple[int, str]:
        """Status and text of the SDK's own error."""
        with pytest.raises(FinetuneLabError) as refusal:
            await self(name, *args, **values)
        return refusal.value.status_code, refusal.value.message


@pytest.fixture
def sdk(cloud):
    sdk = Sdk(cloud.endpoints.lab_url, cloud.endpoints.lab_api_key)
    yield sdk
    sdk.client._session.close()


@pytest.fixture
def testing_sdk(cloud):
    sdk = Sdk(cloud.endpoints.lab_url, cloud.endpoints.lab_api_key_testing)
    yield sdk
    sdk.client._session.close()


def prediction(job: dict[str, Any], epoch: int, index: int, error: float) -> dict[str, Any]:
    return {
        "job_id": job["job_id"], "user_id": job["user_id"], "epoch": epoch, "step": 10 * epoch, "sample_index": index,
        "prompt": "What is 2+2?", "prediction": "4", "ground_truth": "4", "exact_match": 1.0, "char_error_rate": error,
        "validation_pass": True,
    }  # fmt: skip


def test_every_call_of_the_sdk_is_in_this_file():
    clients = (FinetuneLabClient, BatchTestClient, AnalyticsClient, TrainingClient, TrainingPredictionsClient)
    names = {
        f"{client.__name__}.{name}"
        for client in (*clients, TrainingLoader)
        for name, _ in inspect.getmembers(client, inspect.isfunction)
        if not name.startswith("_")
    }
    assert names == {
        "FinetuneLabClient.predict", "BatchTestClient.run", "BatchTestClient.status", "BatchTestClient.cancel",
        "AnalyticsClient.traces", "AnalyticsClient.create_trace", "AnalyticsClient.data", "TrainingClient.create_job",
        "TrainingClient.list_jobs", "TrainingClient.get_metrics", "TrainingClient.get_logs",
        "TrainingClient.get_errors", "TrainingPredictionsClient.get", "TrainingPredictionsClient.epochs",
        "TrainingPredictionsClient.trends", "TrainingPredictionsClient.create", "TrainingLoader.fetch_config",
        "TrainingLoader.fetch_datasets", "TrainingLoader.load_training_package",
    }, "the SDK has changed: test what is new"  # fmt: skip
    # These load a package, as below, and train with a TRL that still has a PPOTrainer: no other call of the lab.
    ours = {name for name, _ in inspect.getmembers(finetune_lab, inspect.isfunction) if not name.startswith("_")}
    assert ours == {"train_sft", "train_dpo", "train_rlhf"}


def test_sdk_finds_a_served_lab_by_its_own_variables(tmp_path, monkeypatch):
    """As a user would: `runspec local serve` in one terminal, the SDK in another."""
    command = (sys.executable, "-m", "runner.cli.main", "local", "serve", "--pods", "scripted")
    with subprocess.Popen(
        (*command, "--state", str(tmp_path / "state")), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as served:
        try:
            ready = json.loads(served.stdout.readline())
            monkeypatch.setenv("FINETUNE_LAB_API_URL", ready["lab_url"])
            monkeypatch.setenv("FINETUNE_LAB_API_KEY", ready["lab_api_key"])
            client = FinetuneLabClient()
            assert client.training.create_job("job_1")["persisted"] is True
            assert client.training.list_jobs()["count"] == 1
            client._session.close()
        finally:
            served.terminate()
        assert served.wait(20) == 0


async def test_sdk_follows_a_job_from_its_record_to_its_metrics_and_logs(sdk, lab):
    job = await sdk(
        "training.create_job", "job_1", model_name="m", dataset_path="d", config={"training": {"method": "sft"}}
    )  # fmt: skip
    assert (job["success"], job["persisted"], job["job_id"]) == (True, True, "job_1")
    trainer = lab.with_headers(Authorization=f"Bearer {job['job_token']}")
    await trainer("POST", "/api/training/local/metrics", json={"job_id": "job_1", "metrics": POINTS})
    await trainer("POST", "/api/training/local/job_1/logs", json={"logs": ["one", "two", "three"]})

    jobs = await sdk("training.list_jobs", limit=1)
    assert [(row["id"], row["status"]) for row in jobs["jobs"]] == [("job_1", "running")]
    metrics = await sdk("training.get_metrics", "job_1")
    assert [(point["step"], point["train_loss"]) for point in metrics["metrics"]] == [(0, 2.0), (1, 1.9), (2, 1.8)]
    logs = await sdk("training.get_logs", "job_1", limit=2, offset=1)
    assert logs == {"logs": ["two", "three"], "total_lines": 3, "offset": 1, "limit": 2}
    assert await sdk.refused("training.get_errors", "job_1") == (503, "Failed to connect to local training server")


async def test_sdk_cannot_page_jobs_because_the_lab_ignores_its_limit(sdk):
    for number in range(3):
        await sdk("training.create_job", f"job_{number}")
    assert (await sdk("training.list_jobs", limit=1, offset=2))["count"] == 3


async def test_sdk_names_what_the_lab_refuses(sdk, testing_sdk):
    assert await sdk.refused("training.get_metrics", "nobody") == (404, "Job not found or unauthorized")
    assert await testing_sdk.refused("training.create_job", "j") == (
        403, "API key does not have 'training' scope. Key scopes: testing",
    )  # fmt: skip
    # Trap T-05: for a reader the same key is no key.
    assert await testing_sdk.refused("training.list_jobs") == (401, "Missing authorization")
    assert await testing_sdk.refused("training_predictions.get", "j") == (401, "Unauthorized")
    assert await testing_sdk.refused("predict", "m", CHAT) == (
        403, "API key does not have 'production' scope. Key scopes: testing",
    )  # fmt: skip


async def test_sdk_writes_and_reads_predictions(sdk):
    job = await sdk("training.create_job", "job_1")
    records = [prediction(job, epoch, index, 0.8 / epoch) for epoch in (1, 2) for index in (0, 1)]
    sent = await sdk("training_predictions.create", "job_1", job["job_token"], records)
    assert sent == {"success": True, "count": 4}

    page = await sdk("training_predictions.get", "job_1", epoch=2, limit=1, offset=1)
    assert (page.total_count, page.epoch_count) == (2, 2)
    assert [(one.epoch, one.sample_index, one.prediction) for one in page.predictions] == [(2, 1, "4")]
    epochs = await sdk("training_predictions.epochs", "job_1")
    assert [(one.epoch, one.prediction_count, one.latest_step) for one in epochs.epochs] == [(1, 2, 10), (2, 2, 20)]
    trends = await sdk("training_predictions.trends", "job_1")
    assert [one.avg_char_error_rate for one in trends.trends] == [0.8, 0.4]
    assert [one.validation_pass_rate for one in trends.trends] == [1.0, 1.0]
    assert trends.overall_improvement == pytest.approx(50.0)


async def test_t22_sdk_raises_a_type_error_where_predictions_are_refused(sdk):
    job = await sdk("training.create_job", "job_1")
    with pytest.raises(TypeError, match="details"):
        await sdk("training_predictions.create", "job_1", "wrong", [prediction(job, 1, 0, 0.1)])


async def test_sdk_traces_calls_and_reads_them_back(sdk):
    created = await sdk(
        "analytics.create_trace", "llm.completion", "llm_call", model_name="m", duration_ms=120, trace_id="t1",
        conversation_id="c1", input_data={"prompt": "hi"}, metadata={"total": 3},
    )  # fmt: skip
    assert (created["success"], created["data"]["status"]) == (True, "pending")
    await sdk("analytics.create_trace", "embed", "embedding", duration_ms=80)

    assert len((await sdk("analytics.traces"))["data"]) == 2
    (root,) = (await sdk("analytics.traces", trace_id="t1"))["data"]
    assert (root["span_name"], root["children"]) == ("llm.completion", [])
    (only,) = (await sdk("analytics.traces", conversation_id="c1", limit=10))["data"]
    assert only["trace_id"] == "t1"
    found = await sdk("analytics.data", start_date="2025-12-31T00:00:00Z", end_date="2026-01-02T00:00:00Z")
    assert found["data"]["aggregations"]["totals"]["messages"] == 2
    assert found["data"]["aggregations"]["averages"]["latencyMs"] == 100
    # The SDK lets the dates be left out; the lab does not.
    assert await sdk.refused("analytics.data") == (400, "startDate and endDate are required")


async def test_t21_sdk_reads_other_names_than_the_lab_writes_for_a_batch_run(testing_sdk, lab, cloud, clock):
    suite = await lab("POST", "/api/test-suites", json={"name": "s", "prompts": ["a", "b"]})
    run = await testing_sdk(
        "batch_test.run", "no-such-model", test_suite_id=suite.body["testSuite"]["id"], name="mine", delay_ms=10
    )  # fmt: skip
    # The lab's answer is flat and calls the id `test_run_id`; `name` is not `test_run_name`.
    assert (run.test_id, run.total_prompts) == ("", 0)
    assert run.raw["total_prompts"] == 2
    run_id = run.raw["test_run_id"]
    for _ in range(4):
        await clock.advance(1)
    status = await testing_sdk("batch_test.status", run_id)
    assert (status.status, status.total_prompts, status.completed, status.failed) == ("completed", 2, 2, 2)
    # It cancels with `test_id`, which the lab does not know.
    assert await testing_sdk.refused("batch_test.cancel", run_id) == (400, "Missing test_run_id")
    with pytest.raises(ValueError, match="required"):
        await testing_sdk("batch_test.run", "m")


async def test_sdk_loads_a_published_package_but_leaves_its_rows_packed(cloud, lab, seeds, tmp_path):
    config_id = await seeds.attached()
    public_id = (await lab("POST", f"/api/training/{config_id}/generate-package")).body["public_id"]
    loader = TrainingLoader(base_url=cloud.endpoints.lab_url)
    package = await asyncio.to_thread(loader.load_training_package, public_id, str(tmp_path / "data"))
    assert package["config"]["config_json"]["training"]["method"] == "sft"
    (file,) = package["dataset_files"]
    packed = await asyncio.to_thread(Path(file).read_bytes)
    # Stored as gzip, saved as `.jsonl`: the SDK's own trainers cannot read what its loader wrote.
    assert len(gzip.decompress(packed).splitlines()) == 10
    assert await asyncio.to_thread(loader.fetch_config, public_id)
    assert len(await asyncio.to_thread(loader.fetch_datasets, public_id, str(tmp_path))) == 1
    with pytest.raises(RuntimeError, match="404"):
        await asyncio.to_thread(loader.fetch_config, "train_unknown")


async def test_sdk_is_told_why_a_model_cannot_answer(sdk, lab):
    assert await sdk.refused("predict", "gpt-9", CHAT) == (404, "Model 'gpt-9' not found or not accessible")
    assert (await sdk.refused("predict", "", CHAT))[1] == "model is required"
    assert (await sdk.refused("predict", "m", []))[1] == "messages array is required and must not be empty"
    other = {"name": "o", "provider": "openai", "base_url": "https://api.example.com/v1", "model_id": "x",
             "auth_type": "bearer"}  # fmt: skip
    model_id = (await lab("POST", "/api/models", json=other)).body["model"]["id"]
    status, text = await sdk.refused("predict", model_id, CHAT)
    assert (status, "the embedded lab calls no other host" in text) == (500, True)
    # A user's own model cannot be addressed by its name.
    assert (await sdk.refused("predict", "o", CHAT))[0] == 404
