"""Answers of trained models: one child process with torch, started at the first question, ended when nobody asks."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from runner.errors import RunspecError
from runner.local.pods import BASE_ENV

WORKER = Path(__file__).with_name("model_worker.py")
NEEDED = ("torch", "transformers", "peft")
ANSWER_WITHIN_S = 120.0
MAKE_WITHIN_S = 600.0
IDLE_S = 60.0
MAX_ANSWER_BYTES = 1 << 20


class ServingError(RunspecError):
    """A model cannot answer; the text says why and is fit for whoever asked."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A folder of a trained model; without `adapter` its base answers, as if nothing had been trained."""

    folder: Path
    adapter: bool = True


class ModelAnswer(msgspec.Struct, frozen=True):
    """What a model said, with counts of tokens."""

    content: str
    prompt_tokens: int
    completion_tokens: int


class _Made(msgspec.Struct, frozen=True):
    made: str


class _Trouble(msgspec.Struct, frozen=True):
    error: str


_Reply = TypeVar("_Reply", ModelAnswer, _Made)


class ModelServer:
    """Asks one worker one question at a time.

    The worker ends with this process, however that ends: its input is a pipe of ours.
    """

    def __init__(self, log: Path, *, idle_s: float = IDLE_S, answer_within_s: float = ANSWER_WITHIN_S) -> None:
        self._log = log
        self._idle_s = idle_s
        self._answer_within_s = answer_within_s
        self._turn = asyncio.Lock()
        self._worker: asyncio.subprocess.Process | None = None
        self._leaving: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def answer(
        self, model: ServedModel, messages: Sequence[Mapping[str, str]], *, temperature: float, max_tokens: int
    ) -> ModelAnswer:
        """Let a model answer a chat.

        Raises:
            ServingError: the libraries are missing, the model cannot be loaded, or it takes too long.
        """
        question = {
            "folder": str(model.folder), "adapter": model.adapter, "messages": messages, "temperature": temperature,
            "max_tokens": max_tokens,
        }  # fmt: skip
        return await self._exchange(question, ModelAnswer, within_s=self._answer_within_s)

    async def make_seed_model(self, folder: Path) -> None:
        """Train the model that knows a few colours, in the process that will answer: its libraries are loaded once.

        Raises:
            ServingError: the libraries are missing, or the training failed.
        """
        await self._exchange({"make": str(folder)}, _Made, within_s=MAKE_WITHIN_S)

    async def _exchange(self, question: Mapping[str, object], reply: type[_Reply], *, within_s: float) -> _Reply:
        async with self._turn:
            self._stay()
            try:
                line = await asyncio.wait_for(self._ask(msgspec.json.encode(question)), within_s)
            except BaseException as exc:
                # What comes later would be taken for the answer to the next question.
                await self._end()
                if isinstance(exc, TimeoutError):
                    raise ServingError(f"the model did not answer within {within_s:.0f} s") from exc
                raise
            if not line:
                await self._end()
            self._leaving = asyncio.get_running_loop().call_later(self._idle_s, self._hang_up)
        try:
            return msgspec.json.decode(line, type=reply)
        except msgspec.ValidationError:
            raise ServingError(msgspec.json.decode(line, type=_Trouble).error) from None
        except msgspec.DecodeError:
            raise ServingError(f"the model's process ended without an answer; its output is in {self._log}") from None

    async def aclose(self) -> None:
        """End the worker at once; a question that it is thinking about gets no answer."""
        self._is_closed = True
        self._stay()
        await self._end()

    async def _ask(self, question: bytes) -> bytes:
        worker = self._worker
        if worker is None or worker.returncode is not None:
            worker = self._worker = await self._start()
            if self._is_closed:
                # Closed while it was coming up, when there was nothing to end yet.
                await self._end()
                raise ServingError("the server is shutting down")
        to_worker = cast("asyncio.StreamWriter", worker.stdin)
        with contextlib.suppress(ConnectionError):
            to_worker.write(question + b"\n")
            await to_worker.drain()
        return await cast("asyncio.StreamReader", worker.stdout).readline()

    async def _start(self) -> asyncio.subprocess.Process:
        if self._is_closed:
            raise ServingError("the server is shutting down")
        missing = missing_libraries()
        if missing:
            raise ServingError(f"no model can answer here: {', '.join(missing)} cannot be imported (extra `train`)")
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-I", str(WORKER),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
                limit=MAX_ANSWER_BYTES, env=worker_environment(),
            )  # fmt: skip

    def _hang_up(self) -> None:
        if self._worker is not None and self._worker.stdin is not None:
            self._worker.stdin.close()
        self._worker = None

    def _stay(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None

    async def _end(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None and worker.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                worker.kill()
            await worker.wait()


def missing_libraries() -> list[str]:
    """Which of the libraries that a model needs cannot be imported."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def worker_environment() -> dict[str, str]:
    """As for a pod: nothing of the caller's but the path and a home."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**BASE_ENV, **kept}
