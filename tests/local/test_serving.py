"""Models that really answer: the seeded one and those of jobs, through predict, batch runs and serving."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from runner.local import model_server
from runner.local.cloud import CloudOptions, EmbeddedCloud
from runner.local.lab_api.serving import unpack
from runner.local.model_server import ModelServer, ServedModel, ServingError
from runner.local.scripted import ScriptedPods

ASKED = "What colour is the lemon?"
CHAT = [{"role": "user", "content": ASKED}]
FAST = {"temperature": 0, "max_tokens": 24}


def zipped(folder: Path) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder).as_posix())
    return packed.getvalue()


async def said_by(key, model: str) -> str:
    answer = await key("POST", "/api/v1/predict", json={"model": model, "messages": CHAT, **FAST})
    assert answer.status == 200, answer.text
    return str(answer.body["choices"][0]["message"]["content"])


async def asked_through_the_sdk(cloud, learnt: str, *, suite_id: str) -> None:
    """The published SDK gets the same answer, one by one and in a batch run; it streams none."""
    sdk = pytest.importorskip("finetune_lab").FinetuneLabClient(
        api_key=cloud.endpoints.lab_api_key, base_url=cloud.endpoints.lab_url
    )
    model = cloud.endpoints.predict_model
    told = await asyncio.to_thread(sdk.predict, model, CHAT, **FAST)
    assert (told.content, told.finish_reason, told.model) == (learnt, "stop", model)
    assert told.usage["total_tokens"] == told.usage["prompt_tokens"] + told.usage["completion_tokens"] > 0
    with pytest.raises(NotImplementedError, match="Streaming"):
        sdk.predict(model, CHAT, stream=True)
    run = await asyncio.to_thread(sdk.batch_test.run, model, test_suite_id=suite_id, delay_ms=1)
    status = run
    while status.status == "running":
        await asyncio.sleep(0.05)
        status = await asyncio.to_thread(sdk.batch_test.status, run.raw["test_run_id"])
    assert (status.status, status.completed, status.failed) == ("completed", 2, 0)
    assert status.raw["results"][0]["response"] == learnt
    sdk._session.close()


async def trained_job(cloud, lab, seeds, state: Path) -> str:
    """A completed job that handed over the seeded model as its own."""
    reply = await seeds.deployment()
    pod = next(pod for pod in cloud.pods.pods() if pod.id == reply["pod_id"])
    trainer = lab.with_headers(Authorization=f"Bearer {pod.env['JOB_TOKEN']}", Content_Type="application/zip")
    body = await asyncio.to_thread(zipped, state / "served" / "seed")
    assert (await trainer("PUT", f"/api/training/{reply['job_id']}/upload/model", data=io.BytesIO(body))).status == 200
    status = {"status": "completed"}
    await trainer("PATCH", f"/api/training/local/{reply['job_id']}/status", data=json.dumps(status))
    return str(reply["job_id"])


@pytest.mark.training
async def test_models_answer_through_predict_batch_runs_and_serving(tmp_path, session, api_for, seeds_for, clock):
    """One seeded model, trained once: every way to it and to a job's own, and what T-28 serves instead."""
    options = CloudOptions(backend=ScriptedPods(clock))
    async with EmbeddedCloud(tmp_path, options) as cloud:
        lab, key = api_for(cloud), api_for(cloud, X_API_Key=cloud.endpoints.lab_api_key)
        model = cloud.endpoints.predict_model
        learnt = await said_by(key, model)
        assert learnt == "The lemon is yellow."
        assert await said_by(key, "runspec-tiny") == learnt

        answer = await key("POST", "/api/v1/predict", json={"model": model, "messages": CHAT, "stream": True, **FAST})
        frames = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
        pieces = [json.loads(frame)["choices"][0] for frame in frames[:-1]]
        assert (frames[-1], pieces[-1]["finish_reason"]) == ("[DONE]", "stop")
        assert "".join(piece["delta"].get("content", "") for piece in pieces) == learnt

        suite = await key("POST", "/api/test-suites", json={"name": "s", "prompts": [ASKED, "Hi"]})
        await asked_through_the_sdk(cloud, learnt, suite_id=suite.body["testSuite"]["id"])
        source = {"test_suite_id": suite.body["testSuite"]["id"], "delay_ms": 1}
        run = await key("POST", "/api/batch-testing/run", json={"config": {"model_id": model, **source}})
        status = run
        while status.body["status"] == "running":
            await asyncio.sleep(0.05)
            status = await key("GET", f"/api/batch-testing/status/{run.body['test_run_id']}")
        assert (status.body["completed_prompts"], status.body["failed_prompts"]) == (2, 0)
        assert [result["prompt_index"] for result in status.body["results"]] == [0, 1]
        assert all(result["success"] and result["output_tokens"] > 0 for result in status.body["results"])
        history = (await lab("GET", "/api/alerts/history")).body["alerts"]
        assert history[0]["alert_type"] == "batch_test_completed"

        job_id = await trained_job(cloud, lab, seeds_for(cloud), tmp_path)
        path = "/api/training/deploy"
        own = (await lab("POST", path, json={"server_type": "vllm", "job_id": job_id, "name": "mine"})).body
        assert await said_by(key, own["model_id"]) == learnt
        # T-28: on RunPod a job id serves the base model; the trained one needs its path.
        base = (await lab("POST", path, json={"server_type": "runpod", "job_id": job_id, "name": "base"})).body
        assert await said_by(key, base["model_id"]) != learnt
        trained = {"server_type": "runpod", "config": {"model_path": f"trained:{job_id}"}, "name": "tuned"}
        assert await said_by(key, (await lab("POST", path, json=trained)).body["model_id"]) == learnt


@pytest.mark.training
async def test_seeded_model_is_trained_by_the_process_that_then_answers(tmp_path):
    server = ModelServer(tmp_path / "log")
    await server.make_seed_model(tmp_path / "seed")
    maker = server._worker
    learnt = await server.answer(ServedModel(tmp_path / "seed"), CHAT, temperature=0, max_tokens=24)
    base = await server.answer(ServedModel(tmp_path / "seed", adapter=False), CHAT, temperature=0, max_tokens=24)
    assert server._worker is maker
    await server.aclose()
    assert learnt.content == "The lemon is yellow."
    assert base.content != learnt.content
    manifest = json.loads((tmp_path / "seed" / "runspec_model.json").read_text())
    assert manifest["last_loss"] < manifest["first_loss"] / 10


@pytest.mark.training
def test_training_of_the_seeded_model_ends_with_the_server_that_asked_for_it(tmp_path):
    asked = json.dumps({"make": str(tmp_path / "seed")}) + "\n"
    # Its input ends right after the question, as when the server was killed.
    done = subprocess.run(
        [sys.executable, "-I", str(model_server.WORKER)], input=asked, capture_output=True, text=True,
        env=model_server.worker_environment(), timeout=600,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert not (tmp_path / "seed").exists()


async def test_model_that_cannot_be_loaded_says_why_and_the_next_question_is_answered(tmp_path, monkeypatch):
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    asked = json.loads(line)\n"
        "    if asked['max_tokens'] == 13: sys.exit(3)\n"
        "    ok = {'content': 'hi', 'prompt_tokens': 1, 'completion_tokens': 1}\n"
        "    print(json.dumps({'error': 'broken'} if asked['max_tokens'] == 7 else ok), flush=True)\n"
    )
    monkeypatch.setattr("runner.local.model_server.WORKER", worker)
    server, model = ModelServer(tmp_path / "log"), ServedModel(tmp_path)
    with pytest.raises(ServingError, match="broken"):
        await server.answer(model, CHAT, temperature=0, max_tokens=7)
    with pytest.raises(ServingError, match="ended without an answer"):
        await server.answer(model, CHAT, temperature=0, max_tokens=13)
    assert (await server.answer(model, CHAT, temperature=0, max_tokens=5)).content == "hi"
    await server.aclose()


async def test_worker_that_hangs_is_ended(tmp_path, monkeypatch):
    worker = tmp_path / "worker.py"
    worker.write_text("import sys, time\nsys.stdin.readline()\ntime.sleep(60)\n")
    monkeypatch.setattr("runner.local.model_server.WORKER", worker)
    server = ModelServer(tmp_path / "log", answer_within_s=0.2)
    with pytest.raises(ServingError, match="did not answer within"):
        await server.answer(ServedModel(tmp_path), CHAT, temperature=0, max_tokens=5)
    await server.aclose()


async def test_closing_does_not_wait_for_an_answer(tmp_path, monkeypatch):
    worker = tmp_path / "worker.py"
    worker.write_text("import sys, time\nsys.stdin.readline()\ntime.sleep(60)\n")
    monkeypatch.setattr("runner.local.model_server.WORKER", worker)
    server = ModelServer(tmp_path / "log")
    asking = asyncio.create_task(server.answer(ServedModel(tmp_path), CHAT, temperature=0, max_tokens=5))
    while server._worker is None:  # noqa: ASYNC110  it has no event, and needs none but for this test
        await asyncio.sleep(0.01)
    await asyncio.wait_for(server.aclose(), 5)
    with pytest.raises(ServingError, match="ended without an answer"):
        await asking
    with pytest.raises(ServingError, match="shutting down"):
        await server.answer(ServedModel(tmp_path), CHAT, temperature=0, max_tokens=5)


@pytest.mark.parametrize(
    ("members", "words"),
    [({"x": b""}, "has no runspec_model.json"), ({f"{n}": b"" for n in range(2001)}, "larger than a tiny model")],
)
def test_archive_that_is_no_model_is_refused(tmp_path, members, words):
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ServingError, match=words):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_archive_member_stays_inside_its_folder(tmp_path):
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("runspec_model.json", b"{}")
        archive.writestr("../../outside", b"x")
    unpack(path, tmp_path / "deep" / "out")
    assert not (tmp_path / "outside").exists()
    assert (tmp_path / "deep" / "out" / "outside").is_file()


def test_file_that_is_no_zip_is_refused(tmp_path):
    (tmp_path / "model.zip").write_bytes(b"not a zip")
    with pytest.raises(ServingError, match="cannot be unpacked"):
        unpack(tmp_path / "model.zip", tmp_path / "out")
