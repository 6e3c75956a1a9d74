"""`download: model` and `generate: […]`: fetch what was trained, and let it answer."""

from __future__ import annotations

from typing import Literal

from runner.engine.context import JobContext, StepResult
from runner.engine.steps.outside import insisting
from runner.engine.stop import stop_for_provider
from runner.errors import ModelError, ProviderError
from runner.events import EvidenceMissing, Generated, ModelDownloaded, ModelRejected
from runner.ports import ProviderErrorKind
from runner.results import Outcome
from runner.spec.steps import DownloadStep, GenerateStep

MAX_BYTES = 20 * 10**9
FETCH_S = 900.0
ASK_S = 600.0
NO_ROUTE = {ProviderErrorKind.GONE, ProviderErrorKind.UNSUPPORTED}
"""Refusals that are facts about the product, not troubles: there is no such model, or no such route."""


async def download_model(context: JobContext, step: DownloadStep) -> StepResult:
    """Fetch and unpack the trained model. Where the product offers no way to it, the verdict is a gap."""
    state, models = context.state, context.world.models
    if state.lab_job_id is None:
        return StepResult(Outcome.SKIPPED, "no job was deployed")
    if models is None:
        return await _gap(context, "artifact", "this target has nowhere to put a model")
    job_id, max_bytes = state.lab_job_id, step.max_size or MAX_BYTES
    within_s = step.timeout.total_seconds() if step.timeout else FETCH_S
    try:
        model = await insisting(
            context, lambda: models.fetch(job_id, max_bytes=max_bytes), what="the download", within_s=within_s
        )
    except ProviderError as exc:
        if exc.kind in NO_ROUTE:
            return await _gap(context, "artifact", f"the lab has no route to a model trained on a pod ({exc})")
        raise stop_for_provider("the trained model cannot be fetched", exc) from exc
    except ModelError as exc:
        return await _rejected(context, "download", exc)
    await state.record(
        ModelDownloaded(at=state.now(), job=state.key, size=model.size, sha256=model.sha256, files=model.files)
    )
    return StepResult(Outcome.PASSED, f"{model.size:,} bytes, {len(model.files)} files, sha256 {model.sha256[:12]}…")


async def ask_model(context: JobContext, step: GenerateStep) -> StepResult:
    """Let the downloaded model and its base answer every prompt."""
    state, models = context.state, context.world.models
    if models is None or state.lab_job_id is None or not state.evidence.downloads:
        missing = state.evidence.missing.get("artifact")
        why = f": {missing.what}" if missing is not None else ""
        return await _gap(context, "generation", f"no model was downloaded{why}")
    job_id = state.lab_job_id
    within_s = step.timeout.total_seconds() if step.timeout else ASK_S
    try:
        answers = await insisting(
            context,
            lambda: models.generate(job_id, step.generate, max_tokens=step.max_tokens),
            what="generating",
            within_s=within_s,
        )
    except ProviderError as exc:
        if exc.kind in NO_ROUTE:
            return await _gap(context, "generation", str(exc))
        raise stop_for_provider("the trained model cannot be asked", exc) from exc
    except ModelError as exc:
        return await _rejected(context, "load", exc)
    await state.record(
        *(
            Generated(at=state.now(), job=state.key, prompt=one.prompt, answer=one.answer, base=one.base)
            for one in answers
        )
    )
    return StepResult(Outcome.PASSED, f"{len(answers)} prompts answered")


async def _gap(context: JobContext, source: str, reason: str) -> StepResult:
    state = context.state
    await state.record(EvidenceMissing(at=state.now(), job=state.key, source=source, reason=reason))
    return StepResult(Outcome.UNKNOWN, reason)


async def _rejected(context: JobContext, stage: Literal["download", "load"], exc: ModelError) -> StepResult:
    state = context.state
    await state.record(ModelRejected(at=state.now(), job=state.key, stage=stage, reason=str(exc)))
    return StepResult(Outcome.FAILED, str(exc))
