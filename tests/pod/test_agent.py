"""The agent in a process of its own, against a small server that plays RunPod and the lab."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import socket
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

AGENT = Path(__file__).parents[2] / "runner" / "pod" / "agent.py"
TOKEN = "agent-token-1"
AUTH = {"Authorization": f"Bearer {TOKEN}"}


@dataclass
class Outside:
    """What the agent may call, and what it called."""

    statuses: dict[str, int] = field(default_factory=dict)
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        name = request.path.rpartition("/")[2] if request.method == "POST" else request.method
        if name == "logs":
            self.logs += (await request.json())["logs"]
            return web.json_response({"success": True})
        self.calls.append((name, key, request.headers.get("User-Agent", "")))
        return web.json_response({}, status=self.statuses.get(f"{name} {key}", self.statuses.get(name, 403)))


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    outside = Outside()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", outside.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    outside.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield outside
    await runner.cleanup()


@dataclass
class Running:
    """One agent and how to ask it."""

    url: str
    session: ClientSession
    process: asyncio.subprocess.Process

    async def get(self, path: str, **headers: str) -> tuple[int, Any, bytes]:
        async with self.session.get(self.url + path, headers={**AUTH, **headers}) as answer:
            return answer.status, answer.headers, await answer.read()


def prepare(workspace: Path) -> int:
    """A folder for the agent, and a free port."""
    workspace.mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def agent(workspace: Path, outside: Outside, *argv: str, **env: str) -> AsyncIterator[Running]:
    port = prepare(workspace)
    variables = {
        "PATH": "/usr/bin:/bin", "RUNSPEC_WORKSPACE": str(workspace), "RUNSPEC_LOCAL_POD": "1",
        "RUNSPEC_PORT_8080": str(port), "RUNSPEC_AGENT_TOKEN": TOKEN, "RUNSPEC_DEADLINE": str(time.time() + 600),
        "RUNSPEC_AGENT_PAUSE_S": "0.05", "RUNPOD_POD_ID": "pod1", "RUNPOD_API_KEY": "pod-key",
        "RUNSPEC_RUNPOD_URL": f"{outside.url}/v2", "JOB_TOKEN": "job-token", **env,
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", str(AGENT), *argv, env=variables, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), 20)
    try:
        async with ClientSession() as session:
            yield Running(f"http://127.0.0.1:{port}", session, process)
    finally:
        process.kill()
        await process.communicate()


async def until(truth: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not truth():  # noqa: ASYNC110  it is another process that is waited for
            await asyncio.sleep(0.02)


def trained(workspace: Path, code: int = 0) -> None:
    folder = workspace / "fine_tuned_model"
    folder.mkdir(parents=True)
    (folder / "runspec_model.json").write_text("{}")
    (folder / "weights").write_bytes(bytes(range(256)) * 100)
    (workspace / ".training_ended").write_text(json.dumps({"at": time.time(), "code": code}))


async def test_every_route_wants_the_token(tmp_path, outside):
    async with agent(tmp_path / "w", outside) as one:
        for path in ("/health", "/logs", "/artifact", "/nothing"):
            for given in ("Bearer wrong", "", TOKEN):
                assert (await one.get(path, Authorization=given))[0] == 401
        async with one.session.post(f"{one.url}/generate", json={"prompts": ["x"]}) as answer:
            assert answer.status == 401


async def test_an_agent_without_a_token_admits_nobody(tmp_path, outside):
    async with agent(tmp_path / "w", outside, RUNSPEC_AGENT_TOKEN="") as one:
        assert (await one.get("/health", Authorization="Bearer "))[0] == 401


async def test_health_says_what_the_pod_is_doing(tmp_path, outside):
    workspace = tmp_path / "w"
    async with agent(workspace, outside) as one:
        assert json.loads((await one.get("/health"))[2])["phase"] == "starting"
        (workspace / ".training_started").touch()
        assert json.loads((await one.get("/health"))[2])["phase"] == "training"
        trained(workspace, code=1)
        health = json.loads((await one.get("/health"))[2])
        assert (health["phase"], health["exit_code"], health["pod"]) == ("ended", 1, "pod1")
        assert 0 < health["left_s"] <= 600


async def test_the_log_can_be_read_on_from_where_one_stopped(tmp_path, outside):
    workspace = tmp_path / "w"
    async with agent(workspace, outside) as one:
        (workspace / "pod.log").write_text("first\n")
        status, headers, body = await one.get("/logs")
        assert (status, body, headers["X-Next-Offset"]) == (200, b"first\n", "6")
        with (workspace / "pod.log").open("a") as log:
            log.write("second\n")
        assert (await one.get("/logs?offset=6"))[2] == b"second\n"
        assert (await one.get("/logs?offset=nonsense"))[2] == b"first\nsecond\n"


async def test_the_artifact_is_a_tar_that_matches_its_checksum_whole_and_in_parts(tmp_path, outside):
    workspace = tmp_path / "w"
    async with agent(workspace, outside) as one:
        assert (await one.get("/artifact"))[0] == 409
        trained(workspace)
        status, headers, whole = await one.get("/artifact")
        assert status == 200
        assert hashlib.sha256(whole).hexdigest() == headers["X-Content-SHA256"]
        with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
            assert tar.getnames() == ["runspec_model.json", "weights"]
        parts = [await one.get("/artifact", Range=f"bytes={n}-{n + 9999}") for n in range(0, len(whole), 10_000)]
        assert {part[0] for part in parts} == {206}
        assert b"".join(part[2] for part in parts) == whole
        assert (await one.get("/artifact", Range=f"bytes={len(whole)}-"))[0] == 416


async def test_a_failed_training_has_no_artifact(tmp_path, outside):
    trained(tmp_path / "w", code=1)
    async with agent(tmp_path / "w", outside) as one:
        assert (await one.get("/artifact"))[0] == 409


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"prompts": []}', b'{"prompts": [1]}', b'{"prompts": ["a"], "max_tokens": 0}']
)
async def test_a_wish_that_makes_no_sense_is_refused(tmp_path, outside, body):
    trained(tmp_path / "w")
    async with (
        agent(tmp_path / "w", outside) as one,
        one.session.post(f"{one.url}/generate", data=body, headers=AUTH) as answer,
    ):
        assert answer.status == 400


async def test_a_model_that_cannot_be_loaded_says_why(tmp_path, outside):
    trained(tmp_path / "w")
    async with (
        agent(tmp_path / "w", outside) as one,
        one.session.post(f"{one.url}/generate", json={"prompts": ["a"]}, headers=AUTH) as answer,
    ):
        assert answer.status == 500
        assert "error" in await answer.json()


async def test_the_log_is_shipped_line_by_line_once(tmp_path, outside):
    workspace = tmp_path / "w"
    async with agent(workspace, outside, RUNSPEC_LOG_URL=f"{outside.url}/logs"):
        (workspace / "pod.log").write_text("one\ntwo\nhal")
        await until(lambda: outside.logs == ["one", "two"])
        with (workspace / "pod.log").open("a") as log:
            log.write("f\n")
        await until(lambda: outside.logs == ["one", "two", "half"])


async def test_after_its_deadline_it_ends_its_pod_and_insists_for_ever(tmp_path, outside):
    outside.statuses = {"action": 204}
    async with agent(tmp_path / "w", outside, RUNSPEC_DEADLINE=str(time.time() + 0.3)) as one:
        await until(lambda: len(outside.calls) >= 3)
        assert {call[:2] for call in outside.calls} == {("action", "pod-key")}
        assert outside.calls[0][2] == "runspec-agent/1"
        assert one.process.returncode is None


async def test_a_refused_pod_key_leads_to_every_other_way_and_then_to_the_accounts_key(tmp_path, outside):
    outside.statuses = {"DELETE account-key": 204}
    env = {"RUNSPEC_DEADLINE": "1", "RUNSPEC_ACCOUNT_KEY": "account-key"}
    async with agent(tmp_path / "w", outside, **env):
        await until(lambda: len(outside.calls) >= 5)
    assert [call[:2] for call in outside.calls[:5]] == [
        ("action", "pod-key"), ("DELETE", "pod-key"), ("graphql", "pod-key"),
        ("action", "account-key"), ("DELETE", "account-key"),
    ]  # fmt: skip


async def test_a_restarted_container_goes_straight_to_the_end_of_its_pod(tmp_path, outside):
    outside.statuses = {"action": 204}
    async with agent(tmp_path / "w", outside, "--restarted"):
        await until(lambda: bool(outside.calls))


async def test_a_model_that_nobody_fetches_does_not_keep_the_pod_alive(tmp_path, outside):
    outside.statuses = {"action": 204}
    workspace = tmp_path / "w"
    async with agent(workspace, outside, RUNSPEC_LINGER_S="0.2"):
        assert not outside.calls
        trained(workspace)
        await until(lambda: bool(outside.calls))
