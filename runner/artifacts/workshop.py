"""The `Models` port: downloads through the lab, unpacks below one folder, asks in a child process with torch."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from runner.artifacts.archive import BOUNDS, Bounds, unpack
from runner.errors import ModelError, ProviderError
from runner.ports import FetchedModel, ModelAnswer, ModelArchive, ProviderErrorKind

ASKING = Path(__file__).with_name("asking.py")
LIBRARIES = ("torch", "transformers", "peft")
MAX_OUTPUT = 4 << 20
CHILD_S = 900.0


class Downloads(Protocol):
    """What a workshop needs of a lab."""

    async def download_model(self, lab_job_id: str, *, to: Path, max_bytes: int) -> ModelArchive:
        """Write the zip of a job's model to a new file; `gone` where there is none."""


class _Answers(msgspec.Struct):
    answers: list[ModelAnswer] = []
    failed: str = ""


class Workshop:
    """Keeps each fetched model in a folder of its own below `root`, until it is discarded.

    `root` is emptied first: what is there belonged to a runner that was killed.
    """

    def __init__(self, lab: Downloads, root: Path, *, bounds: Bounds = BOUNDS, python: str = sys.executable) -> None:
        self._lab = lab
        self._root = root
        self._bounds = bounds
        self._python = python
        shutil.rmtree(root, ignore_errors=True)

    async def fetch(self, lab_job_id: str, *, max_bytes: int) -> FetchedModel:
        """Download and unpack; see the port."""
        await self.discard(lab_job_id)
        try:
            return await self._fetch(lab_job_id, self._folder(lab_job_id), max_bytes)
        except OSError as exc:
            await self.discard(lab_job_id)
            # About this machine's disk: neither the lab nor the model is to blame.
            detail = f"the model cannot be kept below `{self._root}`: {(exc.strerror or str(exc)).lower()}"
            raise ProviderError(detail, kind=ProviderErrorKind.PROTOCOL) from exc
        except BaseException:
            await self.discard(lab_job_id)
            raise

    async def _fetch(self, lab_job_id: str, folder: Path, max_bytes: int) -> FetchedModel:
        archive = folder / "model.zip"
        await asyncio.to_thread(folder.mkdir, parents=True, mode=0o700)
        sent = await self._lab.download_model(lab_job_id, to=archive, max_bytes=max_bytes)
        files = await asyncio.to_thread(unpack, archive, folder / "model", self._bounds)
        await asyncio.to_thread(archive.unlink)
        return FetchedModel(size=sent.size, sha256=sent.sha256, files=files)

    async def generate(self, lab_job_id: str, prompts: Sequence[str], *, max_tokens: int) -> Sequence[ModelAnswer]:
        """Ask the fetched model in a process that has torch; see the port."""
        missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
        if missing:
            raise ProviderError(
                f"the model cannot be loaded here: {', '.join(missing)} cannot be imported; "
                "`pip install 'finetune-runspec[train]'` brings them",
                kind=ProviderErrorKind.UNSUPPORTED,
            )
        request = {"prompts": list(prompts), "max_tokens": max_tokens, "timeout_s": CHILD_S}
        output, code = await self._ask(self._folder(lab_job_id) / "model", msgspec.json.encode(request))
        try:
            said = msgspec.json.decode(output, type=_Answers)
        except msgspec.MsgspecError:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            raise ModelError(f"the process that loads the model {how}") from None
        if said.failed or len(said.answers) != len(prompts):
            raise ModelError(f"the model cannot be loaded: {said.failed or 'not every prompt was answered'}")
        return said.answers

    async def discard(self, lab_job_id: str) -> None:
        """Forget a fetched model."""
        await asyncio.to_thread(shutil.rmtree, self._folder(lab_job_id), ignore_errors=True)

    def _folder(self, lab_job_id: str) -> Path:
        # The lab chooses the id; it must not choose a path.
        return self._root / hashlib.sha256(lab_job_id.encode()).hexdigest()[:24]

    async def _ask(self, model: Path, request: bytes) -> tuple[bytes, int]:
        process = await asyncio.create_subprocess_exec(
            self._python, "-I", str(ASKING), str(model),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env=_environment(), start_new_session=True, limit=MAX_OUTPUT,
        )  # fmt: skip
        try:
            output, _ = await process.communicate(request)
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        return output, process.returncode or 0


def _environment() -> dict[str, str]:
    """Nothing of ours but what finds programs and temporary files: a model is from outside, and keys are not for it."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
