"""Predictions of models under training, as trainers post them and as pages, and as a stream."""

from __future__ import annotations

import asyncio
import json

import pytest


@pytest.fixture
async def job(lab, cloud):
    """A job that reports from outside: its owner, and the lab as its trainer."""
    key = lab.with_headers(X_API_Key=cloud.endpoints.lab_api_key)
    made = (await key("POST", "/api/training/local/jobs", json={"job_id": "job_1"})).body
    return made["user_id"], lab.with_headers(Authorization=f"Bearer {made['job_token']}")


def body(user, *indices, **more):
    record = {"job_id": "job_1", "user_id": user, "epoch": 1, "step": 5, "prompt": "p", "prediction": "a", **more}
    return {"job_id": "job_1", "predictions": [{**record, "sample_index": index} for index in indices]}


async def test_body_is_judged_before_the_token(lab, job):
    user, trainer = job
    path = "/api/training/local/predictions"
    nobody = lab.with_headers()
    assert (await nobody("POST", path, json={"predictions": [1]})).error == (400, "job_id is required")
    assert (await nobody("POST", path, json={"job_id": "job_1", "predictions": []})).error == (
        400, "predictions array is required and must not be empty",
    )  # fmt: skip
    assert (await nobody("POST", path, json=body(user, 0))).error == (401, "Unauthorized: Bearer token required")
    unknown = {**body(user, 0), "job_id": "nobody"}
    assert (await trainer("POST", path, json=unknown)).error == (404, "Job not found")


@pytest.mark.parametrize("missing", ["job_id", "user_id", "epoch", "step", "prompt", "prediction"])
async def test_every_record_repeats_its_ids(job, missing):
    user, trainer = job
    answer = await trainer("POST", "/api/training/local/predictions", json=body(user, 0, **{missing: None}))
    assert answer.error == (500, "Failed to persist predictions")
    assert f'"{missing}"' in answer.body["details"]


async def test_trend_without_values_has_none(lab, job):
    user, trainer = job
    await trainer("POST", "/api/training/local/predictions", json=body(user, 0, 1))
    found = (await lab("GET", "/api/training/predictions/job_1/trends")).body
    (trend,) = found["trends"]
    assert (trend["sample_count"], trend["avg_char_error_rate"], trend["min_char_error_rate"]) == (2, None, None)
    assert (trend["validation_pass_rate"], found["overall_improvement"]) == (None, None)


async def test_stream_sends_what_is_there_and_what_comes(lab, job, session):
    user, trainer = job
    await trainer("POST", "/api/training/local/predictions", json=body(user, 0))
    url = f"{lab.base}/api/training/predictions/job_1/stream"
    seen = []
    async with session.get(url, headers=lab.headers) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"

        async def read(count):
            while len(seen) < count:
                block = (await answer.content.readuntil(b"\n\n")).decode()
                name, data = block.strip().split("\n")
                seen.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))

        await asyncio.wait_for(read(2), 5)
        await trainer("POST", "/api/training/local/predictions", json=body(user, 1))
        await asyncio.wait_for(read(3), 5)
    assert [name for name, _ in seen] == ["connected", "prediction", "prediction"]
    assert [data["sample_index"] for _, data in seen[1:]] == [0, 1]
