"""`collect: …`: fetch evidence once more, now; metrics also through the published SDK."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from runner.engine.context import JobContext, StepResult
from runner.engine.steps.outside import insisting
from runner.engine.stop import stop_for_provider
from runner.errors import ProviderError
from runner.events import EvidenceMissing, MetricsCompared
from runner.ports import MetricsReader, ProviderErrorKind
from runner.results import MetricPoint, Outcome
from runner.spec.steps import CollectStep

READ_S = 120.0
TOLERANCE = 1e-9


async def collect_evidence(context: JobContext, step: CollectStep) -> StepResult:
    """Look at job, metrics and alerts again; logs and pod states arrive as they happen and need no call."""
    if context.state.lab_job_id is None:
        return StepResult(Outcome.SKIPPED, "no job was deployed")
    await context.watch.look_once_more(context.state)
    if step.via == "sdk":
        within_s = step.timeout.total_seconds() if step.timeout else READ_S
        return await _compare(context, context.state.lab_job_id, within_s)
    return StepResult(Outcome.PASSED)


async def _compare(context: JobContext, job_id: str, within_s: float) -> StepResult:
    """Read the metrics through the SDK; every point must be what our own client reads at the same moment."""
    state, world = context.state, context.world
    reader = world.sdk
    if reader is None:
        return await _gap(context, "this target has no SDK to read metrics with")
    sdk: MetricsReader = reader
    try:
        theirs = await insisting(context, lambda: sdk.metrics(job_id), what="the SDK", within_s=within_s)
        ours = await insisting(context, lambda: world.lab.metrics(job_id), what="the client", within_s=within_s)
    except ProviderError as exc:
        if exc.kind == ProviderErrorKind.UNSUPPORTED:
            return await _gap(context, str(exc))
        raise stop_for_provider("the metrics cannot be read through the SDK", exc) from exc
    difference = first_difference(ours, theirs)
    await state.record(
        MetricsCompared(at=state.now(), job=state.key, via=sdk.name, points=len(theirs), difference=difference)
    )
    if difference:
        return StepResult(Outcome.FAILED, f"{sdk.name} and our own client disagree: {difference}")
    return StepResult(Outcome.PASSED, f"{len(theirs)} points through {sdk.name}, all as our own client reads them")


async def _gap(context: JobContext, reason: str) -> StepResult:
    state = context.state
    await state.record(EvidenceMissing(at=state.now(), job=state.key, source="sdk", reason=reason))
    return StepResult(Outcome.UNKNOWN, reason)


def first_difference(ours: Sequence[MetricPoint], theirs: Sequence[MetricPoint]) -> str:
    """Where two readings of the same metrics differ first, in words; empty when they do not."""
    mine, other = {point.step: point.values for point in ours}, {point.step: point.values for point in theirs}
    for step in sorted(mine.keys() | other.keys()):
        if step not in other or step not in mine:
            return f"step {step:,} is only in {'our' if step in mine else 'their'} reading"
        if found := _difference(mine[step], other[step]):
            return f"step {step:,}: {found}"
    return ""


def _difference(mine: Mapping[str, float | None], other: Mapping[str, float | None]) -> str:
    for name in sorted(mine.keys() | other.keys()):
        one, two = mine.get(name), other.get(name)
        if one is None or two is None:
            if one is not two:
                return f"{name} is {one} and {two}"
        elif not math.isclose(one, two, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            return f"{name} is {one} and {two}"
    return ""
