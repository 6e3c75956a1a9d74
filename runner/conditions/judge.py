"""Criteria to verdicts, and verdicts to the outcome of a job."""

from __future__ import annotations

from collections.abc import Sequence

from runner.conditions.evaluate import evaluate
from runner.conditions.evidence import Evidence
from runner.results import Outcome, Verdict
from runner.spec.models import Criterion

_OUTCOME = {True: Outcome.PASSED, False: Outcome.FAILED, None: Outcome.UNKNOWN}


def judge(criteria: Sequence[Criterion], evidence: Evidence) -> tuple[Verdict, ...]:
    """One verdict for every criterion, in order, on what the evidence says now.

    On evidence that is not closed a verdict is provisional unless its finding is decided.
    """
    return tuple(_verdict(criterion, evidence) for criterion in criteria)


def _verdict(criterion: Criterion, evidence: Evidence) -> Verdict:
    finding = evaluate(criterion.expect, evidence)
    return Verdict(
        id=criterion.id,
        title=criterion.title,
        outcome=_OUTCOME[finding.truth],
        finding=finding,
        optional=criterion.optional,
    )


def all_decided(criteria: Sequence[Criterion], evidence: Evidence) -> bool:
    """No further observation can change any verdict. False without criteria: then nothing was decided."""
    return bool(criteria) and all(evaluate(criterion.expect, evidence).decided for criterion in criteria)


def job_outcome(verdicts: Sequence[Verdict]) -> Outcome:
    """FAILED if a required criterion is false, else UNKNOWN if one has no verdict, else PASSED.

    No required criterion means no verdict: silence is never green.
    """
    outcomes = {verdict.outcome for verdict in verdicts if not verdict.optional}
    if Outcome.FAILED in outcomes:
        return Outcome.FAILED
    return Outcome.PASSED if outcomes == {Outcome.PASSED} else Outcome.UNKNOWN
