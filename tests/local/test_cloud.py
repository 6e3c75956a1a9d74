"""The embedded cloud as a whole: starting, credentials, ending."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from runner.errors import StoreError
from runner.local.cloud import CloudOptions, EmbeddedCloud
from runner.local.credentials import load_or_create
from runner.local.lifecycle import Delays
from runner.local.pods import processes_of
from runner.local.scripted import ScriptedPods

REPO = Path(__file__).parents[2]
SERVE = """
import asyncio
from pathlib import Path
from runner.local.serve import serve
asyncio.run(serve(Path({state!r})))
"""
GPU = {"id": "NVIDIA RTX A4000", "count": 1}


def bearer(cloud):
    return {"Authorization": f"Bearer {cloud.endpoints.runpod_api_key}"}


async def until(check, *, seconds=30):
    async with asyncio.timeout(seconds):
        while not (result := await check()):  # noqa: ASYNC110  other processes set no event of ours
            await asyncio.sleep(0.02)
    return result


async def test_credentials_are_the_same_after_a_restart_and_private(tmp_path):
    seen = []
    for _ in range(2):
        async with EmbeddedCloud(tmp_path / "s") as cloud:
            seen.append(cloud.endpoints)
    keep = ("runpod_api_key", "lab_api_key", "lab_api_key_testing", "lab_internal_key", "predict_model")
    assert [getattr(seen[0], name) for name in keep] == [getattr(seen[1], name) for name in keep]
    assert (tmp_path / "s" / "credentials.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o700
    assert load_or_create(tmp_path / "s").runpod_api_key != load_or_create(tmp_path).runpod_api_key


def test_endpoints_do_not_show_their_secrets(cloud):
    text = repr(cloud.endpoints)
    assert cloud.endpoints.runpod_api_key not in text
    assert cloud.endpoints.lab_jwt not in text


async def test_what_the_lab_stored_is_there_after_a_restart(tmp_path):
    async with aiohttp.ClientSession() as session:
        for expected in (0, 1):
            async with EmbeddedCloud(tmp_path, CloudOptions()) as cloud:
                headers = {"Authorization": f"Bearer {cloud.endpoints.lab_jwt}"}
                url = f"{cloud.endpoints.lab_url}/api/training"
                async with session.get(url, headers=headers) as answer:
                    assert len((await answer.json())["configs"]) == expected
                config = {"model": {}, "tokenizer": {}, "training": {}, "data": {}}
                body = {"name": "n", "template_type": "t", "config_json": config}
                async with session.post(url, json=body, headers=headers) as answer:
                    assert answer.status == 201


@pytest.mark.parametrize("server", ["lab_url", "runpod_url"])
async def test_requests_for_other_hosts_are_refused(cloud, session, server):
    url = getattr(cloud.endpoints, server) + "/pods"
    async with session.get(url, headers={"Host": "evil.example"}) as answer:
        assert answer.status == 403
    port = url.split(":")[2].split("/")[0]
    async with session.get(url, headers={"Host": f"localhost:{port}"}) as answer:
        assert answer.status != 403


async def test_endpoints_before_the_start_are_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="has not been started"):
        _ = EmbeddedCloud(tmp_path).endpoints


async def test_state_directory_has_one_cloud_at_a_time(tmp_path):
    async with EmbeddedCloud(tmp_path):
        with pytest.raises(StoreError, match="another embedded cloud is running in"):
            await EmbeddedCloud(tmp_path).start()
    async with EmbeddedCloud(tmp_path):
        pass


async def test_disks_of_a_killed_cloud_are_cleared_away(tmp_path):
    left_over = tmp_path / "pods" / "old" / "workspace"
    left_over.mkdir(parents=True)
    async with EmbeddedCloud(tmp_path):
        assert not left_over.exists()


async def test_cancelled_end_still_ends_the_pods(tmp_path, session):
    cloud = EmbeddedCloud(tmp_path, CloudOptions(delays=Delays(0, 0, 0, 0, 0.3)))
    await cloud.start()
    body = {"name": "p", "image": "i", "gpu": GPU, "cmd": ["bash", "-c", "trap '' TERM; while true; do sleep 1; done"]}
    async with session.post(f"{cloud.endpoints.runpod_url}/pods", json=body, headers=bearer(cloud)) as answer:
        pod_id = (await answer.json())["id"]
    # Supervisor, shell and its `sleep`: by then the shell no longer listens.
    await until(lambda: asyncio.sleep(0, len(processes_of(pod_id)) >= 3))
    closing = asyncio.create_task(cloud.aclose())
    await asyncio.sleep(0.05)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert processes_of(pod_id) == []


async def test_taken_port_fails_and_leaves_nothing_open(tmp_path, cloud):
    port = int(cloud.endpoints.lab_url.rpartition(":")[2])
    second = EmbeddedCloud(tmp_path / "other", CloudOptions(lab_port=port))
    with pytest.raises(OSError, match="address already in use"):
        await second.start()
    await second.aclose()


async def test_end_kills_every_pod_whatever_it_does(tmp_path, session):
    stubborn = ["bash", "-c", "trap '' TERM; setsid sleep 300 & echo up; while true; do sleep 1; done"]
    async with EmbeddedCloud(tmp_path, CloudOptions(delays=Delays(0, 0, 0, 0, 0.3))) as cloud:
        url, ids = f"{cloud.endpoints.runpod_url}/pods", []
        for argv in (stubborn, ["sleep", "300"], ["false"]):
            body = {"name": "p", "image": "i", "gpu": GPU, "cmd": argv}
            async with session.post(url, json=body, headers=bearer(cloud)) as answer:
                ids.append((await answer.json())["id"])

        async def stubborn_pod_is_up():
            return any(line.text == "up" for line in cloud.pods.get(ids[0]).log.after(0, ("container",)))

        await until(stubborn_pod_is_up)
    assert [processes_of(pod_id) for pod_id in ids] == [[], [], []]
    assert not any((tmp_path / "pods").iterdir())
    await cloud.aclose()


async def test_end_does_not_wait_for_pods_that_are_ending(tmp_path, clock, session):
    options = CloudOptions(backend=ScriptedPods(clock), clock=clock)
    async with asyncio.timeout(120):
        async with EmbeddedCloud(tmp_path, options) as cloud:
            url = f"{cloud.endpoints.runpod_url}/pods"
            body = {"name": "p", "image": "i", "gpu": GPU}
            async with session.post(url, json=body, headers=bearer(cloud)) as answer:
                pod_id = (await answer.json())["id"]
            async with session.delete(f"{url}/{pod_id}", headers=bearer(cloud)) as answer:
                assert answer.status == 204
    assert cloud.pods.pods() == []


@pytest.mark.training  # the bootstrap looks for the libraries, although this trainer needs none
async def test_deployed_pod_really_runs_bootstrap_and_trainer(tmp_path, session, seeds_for, trainer_that_reports):
    options = CloudOptions(trainer=trainer_that_reports, delays=Delays(0, 0, 1.0, 0))
    async with EmbeddedCloud(tmp_path / "s", options) as cloud:
        seeds = seeds_for(cloud)
        reply = await seeds.deployment()
        status_path = f"/api/training/local/{reply['job_id']}/status"

        async def finished():
            status = (await seeds.lab("GET", status_path)).body
            return status if status["status"] in ("completed", "failed") else None

        pod = cloud.pods.get(reply["pod_id"])
        status = await until(finished)
        await until(lambda: asyncio.sleep(0, cloud.pods.get(reply["pod_id"]) is None))
        log = "\n".join(line.text for line in pod.log.after(0, ("container", "system")))
        assert status["status"] == "completed", log
        assert status["current_step"] == 3
        for marker in ("Dataset decompressed", "standalone_trainer.py downloaded", "config.json created", "rows: 10"):
            assert marker in log


@pytest.fixture
def trainer_that_reports(tmp_path: Path) -> Path:
    """Reads its data and config, posts a point and the final alert, with nothing but the standard library."""
    path = tmp_path / "reporting_trainer.py"
    path.write_text(
        """
import json, os, sys, urllib.request
config = json.load(open(sys.argv[2]))
print("rows:", len(open(config["dataset_path"]).read().splitlines()), flush=True)
def post(url, body, **headers):
    data = json.dumps(body).encode()
    urllib.request.urlopen(urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})).read()
job = os.environ["JOB_ID"]
point = {"step": 3, "epoch": 1, "train_loss": 0.5}
bearer = {"Authorization": "Bearer " + os.environ["JOB_TOKEN"]}
post(os.environ["METRICS_API_URL"], {"job_id": job, "metrics": [point]}, **bearer)
alert = {"type": "job_completed", "job_id": job, "user_id": os.environ["USER_ID"]}
post(os.environ["ALERT_API_URL"], alert, **{"X-API-Key": os.environ["INTERNAL_API_KEY"]})
"""
    )
    return path


async def test_served_cloud_announces_itself_in_one_line_and_ends_its_pods_on_sigterm(tmp_path, session):
    code = SERVE.format(state=str(tmp_path))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", code,
        cwd=REPO, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    told = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
    assert set(told) == {
        "lab_url", "runpod_url", "runpod_api_key", "lab_api_key", "lab_api_key_testing", "lab_jwt",
        "lab_internal_key", "predict_model",
    }  # fmt: skip
    headers = {"Authorization": f"Bearer {told['runpod_api_key']}"}
    body = {"name": "p", "image": "i", "gpu": GPU, "cmd": ["sleep", "300"]}
    async with session.post(f"{told['runpod_url']}/pods", json=body, headers=headers) as answer:
        pod_id = (await answer.json())["id"]
    await until(lambda: asyncio.sleep(0, processes_of(pod_id)))
    process.send_signal(signal.SIGTERM)
    output, errors = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, output, errors) == (0, b"", b"")
    assert processes_of(pod_id) == []


async def test_killed_cloud_leaves_no_pod(tmp_path, session):
    code = SERVE.format(state=str(tmp_path))
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=REPO, stdout=asyncio.subprocess.PIPE)
    told = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
    headers = {"Authorization": f"Bearer {told['runpod_api_key']}"}
    body = {"name": "p", "image": "i", "gpu": GPU, "cmd": ["bash", "-c", "setsid sleep 300 & sleep 300"]}
    async with session.post(f"{told['runpod_url']}/pods", json=body, headers=headers) as answer:
        pod_id = (await answer.json())["id"]
    await until(lambda: asyncio.sleep(0, len(processes_of(pod_id)) >= 3))
    os.kill(process.pid, signal.SIGKILL)
    await process.communicate()
    await until(lambda: asyncio.sleep(0, processes_of(pod_id) == []), seconds=5)


def test_session_token_is_a_signed_jwt(cloud, clock):
    parts = cloud.endpoints.lab_jwt.split(".")
    claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=="))
    assert len(parts) == 3
    assert claims["exp"] > clock.now().timestamp()
    assert claims["role"] == "authenticated"
