"""What a condition comes to on recorded evidence: true, false, or unknown with its reason.

Pure: the same condition on the same evidence gives the same finding. A decided finding stays as it is whatever is
observed later (within one attempt of a job); closing the evidence decides everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from runner.conditions.curves import find_baseline
from runner.conditions.evidence import Evidence
from runner.conditions.expressions import find_expression
from runner.conditions.metrics import find_metric
from runner.conditions.products import find_artifact, find_cost, find_duration, find_generation, find_sdk
from runner.conditions.scope import Scope
from runner.conditions.sightings import find_alert, find_issue, find_log
from runner.conditions.states import find_job, find_pod
from runner.conditions.words import in_words
from runner.results import Finding
from runner.spec.conditions import (
    AlertReceived,
    AllOf,
    AnyOf,
    ArtifactIs,
    BaselineHolds,
    Condition,
    CostIs,
    DurationIs,
    Expression,
    GenerationIs,
    IssueSeen,
    JobIs,
    LogMatches,
    MetricIs,
    Never,
    PodIs,
    SdkReads,
)


def evaluate(condition: Condition, evidence: Evidence) -> Finding:
    """What the condition comes to now.

    - `truth` is None when the evidence could not be had and what is there does not decide.
    - `all` and `any` follow Kleene: one false part decides `all`, one true part decides `any`, whatever is unknown.
    - `never` asks of its condition whether it was the case at any time, not only now. It does not turn green on
      silence: without one observation of the kind it looks at, it is unknown.
    - `never` with `until_step` is decided True when that step was reached and the log has gone on beyond it; on
      closed evidence with fewer steps it is True if the job completed, because then everything that happened was
      seen, and unknown otherwise.
    """
    return _find(condition, Scope(evidence))


def _find(condition: Condition, scope: Scope) -> Finding:  # noqa: PLR0912, C901 - one for each kind
    match condition:
        case PodIs():
            return find_pod(condition, scope)
        case JobIs():
            return find_job(condition, scope)
        case LogMatches():
            return find_log(condition, scope)
        case AlertReceived():
            return find_alert(condition, scope)
        case MetricIs():
            return find_metric(condition, scope)
        case BaselineHolds():
            return find_baseline(condition, scope)
        case IssueSeen():
            return find_issue(condition, scope)
        case ArtifactIs():
            return find_artifact(condition, scope)
        case GenerationIs():
            return find_generation(condition, scope)
        case SdkReads():
            return find_sdk(condition, scope)
        case CostIs():
            return find_cost(condition, scope)
        case DurationIs():
            return find_duration(condition, scope)
        case Expression():
            return find_expression(condition, scope)
        case Never():
            return _never(condition, scope)
        case AllOf():
            return _all(condition, [_find(part, scope) for part in condition.all])
        case AnyOf():
            return _any(condition, [_find(part, scope) for part in condition.any])
        case _:
            assert_never(condition)


def _all(condition: AllOf, parts: Sequence[Finding]) -> Finding:
    return _joined(in_words(condition), parts, decisive=False)


def _any(condition: AnyOf, parts: Sequence[Finding]) -> Finding:
    return _joined(in_words(condition), parts, decisive=True)


def _joined(expected: str, parts: Sequence[Finding], *, decisive: bool) -> Finding:
    """Kleene's conjunction (`decisive` False) or disjunction (True)."""
    deciding = [part for part in parts if part.truth is decisive]
    unknown = [part for part in parts if part.truth is None]
    truth = decisive if deciding else None if unknown else not decisive
    telling = deciding or unknown or parts
    return Finding(
        truth=truth,
        decided=any(part.decided for part in deciding) or all(part.decided for part in parts),
        expected=expected,
        observed="; ".join(dict.fromkeys(part.observed for part in telling)),
        evidence=tuple(dict.fromkeys(pointer for part in telling for pointer in part.evidence)),
        parts=tuple(parts),
    )


def _never(condition: Never, scope: Scope) -> Finding:
    inner = _find(condition.never, scope.inside_never(condition.until_step))
    finding = Finding(
        truth=None if inner.truth is None else not inner.truth,
        decided=inner.decided,
        expected=in_words(condition),
        observed=inner.observed,
        evidence=inner.evidence,
        parts=(inner,),
    )
    if condition.until_step is None or finding.truth is not True:
        return finding
    return _watched_long_enough(finding, scope.evidence, condition.until_step)


def _watched_long_enough(finding: Finding, evidence: Evidence, until: int) -> Finding:
    """Unknown instead of true when the steps up to `until` were never watched."""
    step = evidence.step or 0
    missing = evidence.missing.get("metrics")
    if step >= until:
        return finding
    if not step and missing is not None:
        return _changed(finding, None, evidence, f"cannot be known: no step was seen: {missing.what} (metrics)")
    if evidence.closed and not evidence.completed:
        return _changed(finding, None, evidence, f"cannot be known: only {step:,} of {until:,} steps were seen")
    return _changed(finding, True, evidence, finding.observed)


def _changed(finding: Finding, truth: bool | None, evidence: Evidence, observed: str) -> Finding:
    return Finding(
        truth=truth,
        decided=evidence.closed,
        expected=finding.expected,
        observed=observed,
        evidence=finding.evidence,
        parts=finding.parts,
    )
