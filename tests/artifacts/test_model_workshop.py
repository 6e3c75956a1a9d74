"""Fetching models and asking them; the process that loads a model is real, what it loads is not."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import sys
import zipfile
from pathlib import Path

import pytest

from runner.artifacts import archive
from runner.artifacts import workshop as module
from runner.artifacts.workshop import Workshop
from runner.errors import ModelError, ProviderError
from runner.ports import ModelArchive


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


class Downloads:
    """A lab that has one model."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    async def download_model(self, lab_job_id: str, *, to: Path, max_bytes: int) -> ModelArchive:
        to.write_bytes(self.content)  # noqa: ASYNC240 - a few bytes
        digest = hashlib.sha256(self.content).hexdigest()
        return ModelArchive(size=len(self.content), sha256=digest, is_checked=True)


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """`asked(program)` is what comes of a model when this program stands in for the one that loads it."""

    async def ask(program: str) -> object:
        script = tmp_path / "asking.py"
        script.write_text(program)
        monkeypatch.setattr(module, "ASKING", script)
        monkeypatch.setattr(module, "LIBRARIES", ("json",))
        shop = Workshop(Downloads(zipped(config=b"{}")), tmp_path / "models", python=sys.executable)
        await shop.fetch("job", max_bytes=10**6)
        return await shop.generate("job", ["a", "b"], max_tokens=8)

    return ask


async def test_a_model_is_kept_until_it_is_discarded_and_its_id_chooses_no_path(tmp_path):
    content = zipped(base_model__config=b"{}", weights=b"123")
    shop = Workshop(Downloads(content), tmp_path / "models")
    fetched = await shop.fetch("../../../etc", max_bytes=10**6)
    assert fetched.files == ("base_model/config", "weights")
    assert (fetched.size, fetched.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert list(tmp_path.rglob("weights"))
    await shop.discard("../../../etc")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


async def test_a_hostile_model_leaves_nothing(tmp_path):
    shop = Workshop(Downloads(zipped(**{"..__x": b"1"})), tmp_path / "models")
    with pytest.raises(ModelError, match="refused"):
        await shop.fetch("job", max_bytes=10**6)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_what_a_killed_runner_left_is_removed(tmp_path):
    (tmp_path / "models" / "old").mkdir(parents=True)
    (tmp_path / "models" / "old" / "weights").write_bytes(b"1")
    Workshop(Downloads(b""), tmp_path / "models")
    assert not (tmp_path / "models").exists()


async def test_answers_of_the_process_are_taken(asked):
    answers = [{"prompt": "a", "answer": "x", "base": None}, {"prompt": "b", "answer": "y", "base": "z"}]
    (one, two) = await asked(f"print({json.dumps(json.dumps({'answers': answers}))})")
    assert (one.answer, one.base, two.answer, two.base) == ("x", None, "y", "z")


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL"),
        ("raise SystemExit(1)", "ended with exit code 1"),
        ("print('[]')", "ended with exit code 0"),
        ('print(\'{"failed": "SafetensorError: header"}\')', "cannot be loaded: SafetensorError: header"),
        ("print('{\"answers\": []}')", "not every prompt was answered"),
    ],
)
async def test_a_process_that_fails_says_what_is_wrong_with_the_model(asked, program, message):
    with pytest.raises(ModelError, match=message):
        await asked(program)


async def test_the_process_gets_none_of_our_secrets(asked, monkeypatch):
    monkeypatch.setenv("RUNPOD_API_KEY", "rpa_secret")
    answers = await asked(
        "import json, os; print(json.dumps({'answers': [{'prompt': n, 'answer': str('RUNPOD_API_KEY' in os.environ)}"
        " for n in 'ab']}))"
    )
    assert [answer.answer for answer in answers] == ["False", "False"]


async def test_without_torch_it_says_which_extra_brings_it(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LIBRARIES", ("no_such_library",))
    with pytest.raises(ProviderError, match=r"finetune-runspec\[train\]") as caught:
        await Workshop(Downloads(b""), tmp_path / "models").generate("job", ["a"], max_tokens=1)
    assert caught.value.kind == "unsupported"


@pytest.mark.parametrize("part", ["model.zip", "weights"])
async def test_a_full_disk_is_no_verdict_on_the_model(tmp_path, monkeypatch, part):
    class FullDisk(Downloads):
        async def download_model(self, lab_job_id: str, *, to: Path, max_bytes: int) -> ModelArchive:
            if part == to.name:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return await super().download_model(lab_job_id, to=to, max_bytes=max_bytes)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(archive, "_write", full)
    shop = Workshop(FullDisk(zipped(weights=b"123")), tmp_path / "models")
    with pytest.raises(ProviderError, match="no space left on device") as caught:
        await shop.fetch("job", max_bytes=10**6)
    assert not caught.value.retryable
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
