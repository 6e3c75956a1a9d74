"""The trained model's way from the pod to its owner."""

from __future__ import annotations

import hashlib

import pytest
from pydantic import SecretStr

from runner.errors import ModelError, ProviderError
from runner.providers.connect import open_lab
from runner.providers.settings import Settings

MODEL = b"PK\x03\x04" + bytes(range(256)) * 300


@pytest.fixture
async def job(seeds, clock, stage, lab):
    reply = await seeds.deployment()
    await clock.advance(1)
    reply["env"] = stage.specs[-1].env
    reply["trainer"] = lab.with_headers(Authorization=f"Bearer {reply['env']['JOB_TOKEN']}")
    return reply


@pytest.fixture
async def client(cloud):
    """Our own client, against the embedded lab."""
    endpoints = cloud.endpoints
    settings = Settings(lab_url=endpoints.lab_url, lab_api_key=SecretStr(endpoints.lab_api_key), runpod_url="")
    async with open_lab(settings) as client:
        yield client


def path_of(job, direction):
    return f"/api/training/{job['job_id']}/{direction}/model"


async def hand_over(job, content=MODEL):
    return await job["trainer"]("PUT", path_of(job, "upload"), data=content)


async def test_a_pod_learns_where_to_hand_its_model_over(job, cloud):
    assert job["env"]["RUNSPEC_MODEL_UPLOAD_URL"] == cloud.endpoints.lab_url + path_of(job, "upload")


async def test_the_owner_downloads_what_the_pod_handed_over_with_its_digest(job, client, tmp_path):
    assert (await hand_over(job)).body["sha256"] == hashlib.sha256(MODEL).hexdigest()
    sent = await client.download_model(job["job_id"], to=tmp_path / "m.zip", max_bytes=10**6)
    assert (tmp_path / "m.zip").read_bytes() == MODEL
    assert (sent.size, sent.sha256, sent.is_checked) == (len(MODEL), hashlib.sha256(MODEL).hexdigest(), True)


async def test_without_a_model_the_answer_is_that_of_the_real_lab_to_a_job_on_runpod(job, client, tmp_path):
    with pytest.raises(ProviderError) as caught:
        await client.download_model(job["job_id"], to=tmp_path / "m.zip", max_bytes=10**6)
    assert (caught.value.kind, caught.value.status) == ("gone", 404)
    assert not (tmp_path / "m.zip").exists()


async def test_only_the_pod_uploads_and_only_the_owner_downloads(job, lab):
    stranger = lab.with_headers(Authorization="Bearer wrong")
    assert (await stranger("PUT", path_of(job, "upload"), data=MODEL)).status == 401
    assert (await lab.with_headers()("PUT", path_of(job, "upload"), data=MODEL)).status == 401
    await hand_over(job)
    assert (await lab.with_headers()("GET", path_of(job, "download"))).status == 401
    assert (await job["trainer"]("GET", path_of(job, "download"))).status == 401


async def test_uploads_without_a_length_and_checkpoints_are_refused(job, lab):
    async def chunks():
        yield MODEL

    assert (await hand_over(job, chunks())).status == 411
    await hand_over(job)
    answer = await lab("GET", f"{path_of(job, 'download')}?checkpoint=checkpoint-50")
    assert answer.error == (404, "Checkpoint checkpoint-50 not found: only the final model is kept")


async def test_a_model_larger_than_wanted_is_not_kept(job, client, tmp_path):
    await hand_over(job)
    with pytest.raises(ModelError, match="larger than 1,000 bytes"):
        await client.download_model(job["job_id"], to=tmp_path / "m.zip", max_bytes=1_000)
    assert not (tmp_path / "m.zip").exists()


async def test_a_digest_that_does_not_fit_may_be_tried_again(job, client, tmp_path):
    await hand_over(job)
    (stored,) = (tmp_path / "state" / "models").glob("*.zip")
    stored.write_bytes(MODEL[:-1] + b"x")
    with pytest.raises(ProviderError, match="the lab promised") as caught:
        await client.download_model(job["job_id"], to=tmp_path / "m.zip", max_bytes=10**6)
    assert caught.value.retryable
