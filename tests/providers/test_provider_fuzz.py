"""Whatever a server answers: only `ProviderError` comes out, creates are sent once, and no secret is shown."""

from __future__ import annotations

import base64
import itertools
import json
import logging
import random
import traceback
from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime
from urllib.parse import quote

import pytest

from runner.errors import ProviderError
from runner.ports import DeployRequest, PodRequest
from runner.providers.connect import open_lab, open_runpod
from runner.spec.models import DatasetFormat

CREATES = ("create_pod", "deploy")
STATUSES = (200, 201, 204, 301, 400, 401, 402, 403, 404, 409, 410, 422, 429, 500, 503, 524)


async def calls_of(runpod, lab, secret):
    """Every call of both clients by its name; those that tell a host a secret come first."""
    pod = PodRequest(
        name="n",
        image="i",
        gpu="NVIDIA RTX A4000",
        gpu_count=1,
        cloud="secure",
        disk_gb=20,
        env={"S": secret},
        command=(),
    )
    deploy = DeployRequest(config_id="c", gpu="NVIDIA RTX A4000", gpu_count=1, budget_usd=1, env={"S": secret})

    async def logs():
        async with aclosing(runpod.stream_logs("p", after="")) as stream:
            async for _ in stream:
                pass

    return {
        "create_pod": lambda: runpod.create_pod(pod),
        "deploy": lambda: lab.deploy(deploy),
        "get_pod": lambda: runpod.get_pod("p"),
        "list_pods": runpod.list_pods,
        "terminate_pod": lambda: runpod.terminate_pod("p"),
        "stream_logs": logs,
        "gpu_offers": lambda: runpod.gpu_offers(cloud="secure", count=1),
        "balance": runpod.balance,
        "create_config": lambda: lab.create_config(name="n", template="t", config={}),
        "upload_dataset": lambda: lab.upload_dataset(name="n", row_format=DatasetFormat.TEXT, rows=b"{}"),
        "attach_dataset": lambda: lab.attach_dataset("c", "d"),
        "cancel_job": lambda: lab.cancel_job("j"),
        "list_jobs": lab.list_jobs,
        "job_status": lambda: lab.job_status("j"),
        "metrics": lambda: lab.metrics("j"),
        "alerts": lambda: lab.alerts(since=datetime(2026, 1, 1, tzinfo=UTC)),
    }


@pytest.fixture
async def calls(wire, clock, settings_at, env_secret):
    async with AsyncExitStack() as stack:
        settings = settings_at(wire.url)
        runpod = await stack.enter_async_context(
            open_runpod(settings, clock=clock, jitter=lambda: 0.5, log_idle_s=0.05)
        )
        # No budget in the way: how many requests are made is not what is tested here.
        lab = await stack.enter_async_context(open_lab(settings, clock=clock, jitter=lambda: 0.5, key_requests=10**6))
        yield await calls_of(runpod, lab, env_secret)


@pytest.fixture
def odd_bodies(canaries, env_secret):
    said = " ".join(
        [*canaries, json.dumps(env_secret), quote(env_secret), base64.b64encode(env_secret.encode()).decode()]
    )
    return [
        b"",
        b"null",
        b"7",
        b'"text"',
        b"[]",
        b"[null, 1, {}]",
        b"{}",
        b'{"a',
        b"\xff\xfe\x00",
        b"<!doctype html><html>",
        b"error code: 1010",
        b"[" * 3000,
        b'{"detail": 5, "error": {"message": []}, "details": {}, "errors": [1, null]}',
        json.dumps({"detail": said, "error": said, "details": [said], "errors": [said], "title": said}).encode(),
        b'{"id": 7, "pods": [1], "gpus": [[]], "jobs": [null], "metrics": [3], "alerts": ["x"], "status": {}}',
        b'{"pods": [{"id": "a", "env": 5, "gpu": [], "runtime": 3, "cost": {}}], "gpus": [{"id": "g", "price": 1}],'
        b' "jobs": [{"id": "j"}], "metrics": [{"step": 1e300, "x": 1e999}], "alerts": [{"created_at": "0001-01-01"}],'
        b' "config": {"id": []}, "dataset": 5, "job_id": [], "status": "s", "pagination": 5, "data": [1]}',
        b'{"pods": [], "pagination": {"hasNextPage": "yes", "nextCursor": {}}}',
    ]


def in_every_form(secret):
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
    escaped = json.dumps(secret)[1:-1]
    return {secret, escaped, json.dumps(escaped)[1:-1], quote(secret), quote(secret, safe=""), encoded}


def everything_shown(error):
    return "".join(traceback.format_exception(error)) + repr(error) + repr(error.__dict__)


def check(name, error, canaries):
    assert isinstance(error, ProviderError), (name, error)
    assert error.ambiguous is (error.kind == "ambiguous"), name
    assert not error.ambiguous or name in CREATES, name
    shown = everything_shown(error)
    for canary in canaries:
        for form in in_every_form(canary):
            assert form not in shown, (name, form)
    assert "\n" not in str(error)
    assert len(str(error)) < 700


async def outcome_of(call):
    try:
        await call()
    except BaseException as error:
        return error
    return None


async def test_no_foreign_exception_gets_through_whatever_is_answered(
    wire, calls, odd_bodies, replying, canaries, caplog
):
    caplog.set_level(logging.DEBUG)
    rng = random.Random(7)
    kinds = itertools.cycle(["application/json", "text/html", "text/event-stream", "nonsense"])
    for name, call in calls.items():
        combinations = list(itertools.product(STATUSES, odd_bodies))
        always = [(status, body) for status, body in combinations if status in (200, 404)]
        for status, body in always + rng.sample(combinations, 40):
            wire.will(replying(status, body, kind=next(kinds), headers={"Retry-After": "soon"}))
            error = await outcome_of(call)
            if error is not None:
                check(name, error, canaries)
            if name in CREATES:
                assert len(wire.seen) == 1 + (
                    status == 422 and name == "create_pod" and bool(wire.seen[0].json().get("cmd"))
                )
    logged = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("runspec"))
    for canary in canaries:
        assert canary not in logged


async def test_no_foreign_exception_gets_through_whatever_breaks(wire, calls, raw_reply, canaries):
    broken = [
        raw_reply(),
        raw_reply(reset=True),
        raw_reply(b"\x00\xff" * 100),
        raw_reply(b"HTTP/1.1 999999999999999999999 X\r\n\r\n"),
        raw_reply(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"),
        raw_reply(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nxxxxxx"),
        raw_reply(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: br\r\n\r\nxxxx"),
        raw_reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"),
        raw_reply(b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * 100_000 + b"\r\n\r\n"),
        raw_reply(
            b"HTTP/1.1 200 OK\r\nX-Echo: " + canaries[0].encode() + b"\r\nContent-Length: 90\r\n\r\n{", reset=True
        ),
        raw_reply(b"HTTP/1.1 200 OK\r\n" + canaries[0].encode() + b"\r\n\r\n"),
    ]
    for name, call in calls.items():
        for number, reply in enumerate(broken):
            wire.will(reply)
            error = await outcome_of(call)
            if error is not None:
                check(name, error, canaries)
            if name in CREATES:
                assert (len(wire.seen), error.kind) == (1, "ambiguous"), (name, number)


async def test_no_foreign_exception_gets_through_when_nobody_listens(clock, settings_at, env_secret, canaries):
    settings = settings_at("http://127.0.0.1:1")
    async with open_runpod(settings, clock=clock) as runpod, open_lab(settings, clock=clock) as lab:
        for name, call in (await calls_of(runpod, lab, env_secret)).items():
            error = await outcome_of(call)
            if name == "balance":
                assert error is None
            else:
                check(name, error, canaries)
                assert not error.ambiguous
