"""Putting prompts to models of the lab: one chat, or a test suite in a batch run.

Source: FineTune Lab contract §2.10 and §2.11, read from the public repository of 2026-07.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.errors import ProviderError
from runner.ports import Clock
from runner.ports import ProviderErrorKind as Kind
from runner.providers.lab_access import Ask, LabAccess, segment
from runner.providers.lab_wire import read_done
from runner.providers.readers import ShapeError, items, mapping, maybe_mapping, needed_text, text, whole

PREDICT_S = 180.0
LOOK_EVERY_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a model said; token counts are the lab's."""

    content: str
    prompt_tokens: int | None
    completion_tokens: int | None
    latency_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchAnswer:
    """The answer to one prompt of a run, cut by the lab at 500 characters."""

    prompt: int
    response: str
    latency_ms: int | None
    output_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRun:
    """A run of prompts. `completed` counts failed ones too, and a run whose every prompt failed is `completed`."""

    id: str
    status: str
    total: int
    completed: int = 0
    failed: int = 0
    error: str | None = None
    answers: tuple[BatchAnswer, ...] = ()

    @property
    def is_finished(self) -> bool:
        """Nothing more will come. A cancelled run is not: the lab goes on, and may still say `completed` (T-20)."""
        return self.status in ("completed", "failed") and self.completed >= self.total


class LabTesting:
    """Asks models."""

    def __init__(self, access: LabAccess, clock: Clock) -> None:
        self._access = access
        self._clock = clock

    async def predict(
        self,
        model: str,
        messages: Sequence[Mapping[str, str]],
        *,
        temperature: float = 0.7,
        max_tokens: int = 1024,
    ) -> Completion:
        """Let a model answer a chat. Needs an API key with `production`.

        Args:
            model: a row's id for a model of one's own: names are looked up among the global models only.
        """
        body = {"model": model, "messages": list(messages), "temperature": temperature, "max_tokens": max_tokens}
        ask = Ask(
            method="POST", path="/api/v1/predict", body=body, to="ask a model", repeatable=True, total_s=PREDICT_S
        )  # fmt: skip
        return await self._access.by_key(ask, _completion)

    async def create_suite(self, *, name: str, prompts: Sequence[str], answers: Sequence[str] = ()) -> str:
        """Store prompts; the id of the suite. `answers` are expected ones, as many as there are prompts."""
        body: dict[str, Any] = {"name": name, "prompts": list(prompts)}
        if answers:
            body["expected_answers"] = list(answers)
        ask = Ask(method="POST", path="/api/test-suites", body=body, to="store a test suite", repeatable=True)
        return await self._access.by_either(
            ask, lambda answer: needed_text(maybe_mapping(answer.get("testSuite")), "id", "the test suite")
        )  # fmt: skip

    async def delete_suite(self, suite_id: str) -> None:
        """Forget a suite; fine when there is none."""
        ask = Ask(method="DELETE", path=f"/api/test-suites/{segment(suite_id)}", to="delete a test suite")
        await self._access.by_either(ask, read_done)

    async def run_batch(
        self, *, model: str, suite_id: str, limit: int = 25, delay_ms: int = 1000, name: str | None = None
    ) -> BatchRun:
        """Put the prompts of a suite to a model, in the lab's background. Not repeated on failure: it may cost money.

        Args:
            delay_ms: pause between prompts; the lab takes 0 for 1000. It asks one prompt at a time.
        """
        config = {
            "model_id": model, "test_suite_id": suite_id, "prompt_limit": limit, "delay_ms": max(1, delay_ms),
        } | ({"test_run_name": name} if name else {})  # fmt: skip
        ask = Ask(method="POST", path="/api/batch-testing/run", body={"config": config}, to="run a batch test")
        return await self._access.by_either(ask, _started)

    async def batch(self, run_id: str) -> BatchRun:
        """A run with the answers so far."""
        ask = Ask(method="GET", path=f"/api/batch-testing/status/{segment(run_id)}", to="read a batch test")
        return await self._access.by_either(ask, _batch)

    async def wait_for_batch(self, run_id: str, *, timeout_s: float) -> BatchRun:
        """A run once it has finished.

        Raises:
            ProviderError: `transient` when it has not within `timeout_s`.
        """
        until = self._clock.monotonic() + timeout_s
        while not (run := await self.batch(run_id)).is_finished:
            if self._clock.monotonic() >= until:
                detail = f"batch run {run_id} is `{run.status}` after {timeout_s:.0f} s ({run.completed}/{run.total})"
                raise ProviderError(detail, kind=Kind.TRANSIENT)
            await self._clock.sleep(LOOK_EVERY_S)
        return run

    async def cancel_batch(self, run_id: str) -> None:
        """Ask for the end of a run; the lab writes it down and goes on all the same (T-20)."""
        ask = Ask(
            method="POST", path="/api/batch-testing/cancel", body={"test_run_id": run_id}, to="cancel a batch test"
        )  # fmt: skip
        await self._access.by_either(ask, read_done)


def _completion(answer: Any) -> Completion:
    choices = items(answer, "choices")
    if not choices:
        raise ShapeError("the answer has no choice")
    message = maybe_mapping(maybe_mapping(choices[0]).get("message"))
    content = message.get("content")
    if not isinstance(content, str):
        raise ShapeError("the message has no `content`")
    usage, meta = maybe_mapping(answer.get("usage")), maybe_mapping(answer.get("_meta"))
    return Completion(
        content=content,
        prompt_tokens=whole(usage.get("prompt_tokens")),
        completion_tokens=whole(usage.get("completion_tokens")),
        latency_ms=whole(meta.get("latency_ms")),
    )


def _started(answer: Any) -> BatchRun:
    # Flat and `test_run_id`, whatever the SDK expects (T-21).
    found = mapping(answer, "the answer")
    return BatchRun(
        id=needed_text(found, "test_run_id", "the batch run"),
        status=text(found.get("status")) or "running",
        total=whole(found.get("total_prompts")) or 0,
    )


def _batch(answer: Any) -> BatchRun:
    found = mapping(answer, "the answer")
    rows = [maybe_mapping(row) for row in found.get("results") or ()]
    return BatchRun(
        id=needed_text(found, "id", "the batch run"),
        status=needed_text(found, "status", "the batch run"),
        total=whole(found.get("total_prompts")) or 0,
        completed=whole(found.get("completed_prompts")) or 0,
        failed=whole(found.get("failed_prompts")) or 0,
        error=text(found.get("error")),
        answers=tuple(
            BatchAnswer(
                prompt=whole(row.get("prompt_index")) or 0,
                response=text(row.get("response")) or "",
                latency_ms=whole(row.get("latency_ms")),
                output_tokens=whole(row.get("output_tokens")),
            )
            for row in rows
        ),
    )
