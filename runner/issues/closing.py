"""Known issues that only the whole evidence of a job shows: figures, and things that never came."""

from __future__ import annotations

import math
from collections.abc import Iterator

from runner.conditions.evidence import Evidence
from runner.issues.learning import Figure, judge_series
from runner.spec.models import Method

_LOSS, _GRADIENT, _RATE = "train_loss", "grad_norm", "learning_rate"
_CUT = 1_000
_INSTALLS = "Installing dependencies"
_LOOP = 3
_NO_UPDATES = "No updates received in"
_SETTLED_S = 20.0
"""An alert or a point may be this late; what ended sooner after its first step is not blamed for lacking them."""


def closing_issues(evidence: Evidence, method: Method) -> Iterator[str]:
    """The ids of the rules that a job's whole evidence fits, in no particular order."""
    yield from _telemetry(evidence, method)
    yield from _figures(evidence, method)
    yield from _lab(evidence)
    if len(evidence.log.matches(_INSTALLS)) >= _LOOP:
        yield "install-loop"


def _telemetry(evidence: Evidence, method: Method) -> Iterator[str]:
    if not _has_trained(evidence):
        return
    has_points = any(series.values for series in evidence.series.values())
    no_metrics = not has_points and "metrics" not in evidence.missing
    no_alerts = not evidence.alerts and "alerts" not in evidence.missing
    if method is Method.RLHF:
        if no_metrics or no_alerts:
            yield "rlhf-is-blind"
        return
    if no_metrics:
        yield "metrics-missing"
    if no_alerts:
        yield "alerts-missing"


def _has_trained(evidence: Evidence) -> bool:
    """It trained long enough for its first alert and its first point to have come."""
    if evidence.completed:
        return True
    since = evidence.first_step_at
    return since is not None and ((evidence.ended_at or evidence.now) - since).total_seconds() >= _SETTLED_S


def _figures(evidence: Evidence, method: Method) -> Iterator[str]:
    losses, gradients = _series(evidence, _LOSS), _series(evidence, _GRADIENT)
    found = judge_series(losses, gradients, may_rise=method is Method.RLHF)
    if found is not None:
        yield found.issue
    points = evidence.metric(_LOSS)
    newest = max(points.values, default=0)
    if len(points.values) == _CUT and evidence.step is not None and evidence.step > newest:
        yield "metrics-cut-at-1000"


def _series(evidence: Evidence, name: str) -> list[Figure]:
    series = evidence.metric(name)
    found = dict(series.values)
    # The lab gives NaN as null; a point of an evaluation has no learning rate, and no loss either.
    trained = evidence.metric(_RATE).values
    lost = {step for step in series.nulls if step in trained} | set(series.not_finite)
    found |= dict.fromkeys(lost, math.nan)
    return [Figure(value, step, name) for step, value in sorted(found.items())]


def _lab(evidence: Evidence) -> Iterator[str]:
    job = evidence.job
    if job is None:
        return
    if evidence.completed and not job.is_finished:
        yield "job-status-not-updated"
    if _NO_UPDATES in (job.warning or ""):
        yield "no-updates"
    failed = [seen.what for seen in evidence.alerts.values() if seen.what.type == "job_failed"]
    if failed and not any("Traceback" in alert.message for alert in failed):
        yield "alert-without-traceback"
