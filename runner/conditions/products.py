"""Conditions over what a job yields and takes: the model, its answers, money, time."""

from __future__ import annotations

from datetime import datetime, timedelta

from runner.conditions.scope import AT_LEAST_ONE, Scope, cut, holds, quote
from runner.conditions.words import in_words
from runner.results import Finding
from runner.spec.conditions import ArtifactIs, CostIs, DurationIs, GenerationIs, SdkReads
from runner.spec.scalars import format_duration


def find_artifact(condition: ArtifactIs, scope: Scope) -> Finding:
    """A model that was fetched with the right checksum, and is not implausibly small."""
    expected = in_words(condition)
    downloads = scope.evidence.downloads
    whole = next((model for model in downloads if model.size >= (condition.min_size or 0)), None)
    if whole is not None:
        observed = f"{whole.size:,} bytes, sha256 {cut(whole.sha256, 80)}"
        return scope.fixed(True, expected, observed, f"model sha256 {cut(whole.sha256, 80)}")
    observed = f"only {downloads[-1].size:,} bytes" if downloads else "no model was downloaded"
    if (rejection := scope.evidence.rejection) is not None and not downloads:
        observed = f"the model was refused: {cut(rejection.reason)}"
    return scope.settle(False, "artifact", expected, observed)


def find_generation(condition: GenerationIs, scope: Scope) -> Finding:
    """Every prompt has an answer; or at least one answer is not what the base model says."""
    expected = in_words(condition)
    answers = tuple(scope.evidence.generations.values())
    if not answers:
        rejection = scope.evidence.rejection
        observed = "the model was not asked" if rejection is None else f"it cannot be asked: {cut(rejection.reason)}"
        return scope.settle(False, "generation", expected, observed)
    if condition.generation == "answers":
        empty = [answer for answer in answers if not answer.answer.strip()]
        observed = f"{len(answers) - len(empty)} of {len(answers)} prompts answered; {quote(answers[0].answer)}"
        if empty:
            observed = f"no answer to {quote(empty[0].prompt)}"
        return scope.settle(not empty, "generation", expected, observed)
    compared = [answer for answer in answers if answer.base is not None]
    if not compared:
        return scope.unknown(expected, "the base model was not asked")
    other = next((answer for answer in compared if answer.answer != answer.base), None)
    if other is None:
        return scope.settle(False, "generation", expected, f"{len(compared)} answers, all as the base model's")
    observed = f"{quote(other.answer)} instead of {quote(other.base or '')}"
    return scope.settle(bool(other.answer.strip()), "generation", expected, observed)


def find_sdk(condition: SdkReads, scope: Scope) -> Finding:
    """What was read through the SDK, held against our own reading; the newest comparison counts."""
    expected = in_words(condition)
    read = next(reversed(scope.evidence.comparisons.values()), None)
    if read is None:
        return scope.settle(False, "sdk", expected, "nothing was read through the SDK")
    if read.difference:
        return scope.settle(False, "sdk", expected, f"{cut(read.via)} reads something else: {cut(read.difference)}")
    enough = holds(condition.count or AT_LEAST_ONE, read.points)
    return scope.settle(enough, "sdk", expected, f"{read.points:,} points through {cut(read.via)}, all the same")


def find_cost(condition: CostIs, scope: Scope) -> Finding:
    """Proven cost of ended pods, observed time and price of the others; a pod that may still bill has no total."""
    expected, evidence = in_words(condition), scope.evidence
    pods = evidence.all_pods
    if not pods:
        return scope.unknown(expected, "no pod was created")
    observed = f"{evidence.cost_usd:.4f} USD for {len(pods)} pod{'s' if len(pods) > 1 else ''}"
    pointers = tuple(f"pod {cut(pod.pod_id, 80)}" for pod in pods[:5])
    truth = evidence.cost_usd <= condition.lte
    if truth and any(pod.cost_usd(evidence.now) is None for pod in pods):
        return scope.unknown(expected, "nobody said what the pod costs", *pointers)
    unconfirmed = next((pod.unconfirmed for pod in pods if pod.unconfirmed and pod.gone_cost_usd is None), None)
    if truth and unconfirmed is not None:
        return scope.unknown(expected, f"a pod may still bill: {cut(unconfirmed)}", *pointers)
    return scope.settle(truth, "cost", expected, observed, *pointers)


def find_duration(condition: DurationIs, scope: Scope) -> Finding:
    """Time between two observations; while the second has not come, time so far."""
    expected, evidence = in_words(condition), scope.evidence
    start, end, reason = _ends(condition, scope)
    if start is None:
        return scope.unknown(expected, reason)
    length = max(timedelta(0), (end or evidence.now) - start)
    observed = f"{format_duration(timedelta(seconds=round(length.total_seconds(), 1)))}"
    if length > condition.lte:
        return scope.fixed(False, expected, observed if end else f"{observed} and not over")
    if end is None:
        return scope.unknown(expected, reason if evidence.closed else f"{observed} so far: {reason}")
    # A job can run again on a further pod, so only the first steps of its life are over before the end.
    decided = evidence.closed or condition.duration in ("provision", "first_step")
    return Finding(truth=True, decided=decided, expected=expected, observed=observed)


def _ends(condition: DurationIs, scope: Scope) -> tuple[datetime | None, datetime | None, str]:
    """Start, end, and what is missing if one of them is."""
    evidence = scope.evidence
    pods = list(evidence.pods.values())
    created = pods[0].created_at if pods else None
    states = (seen for pod in pods for seen in pod.states if seen.what == "running")
    ran = next((seen.stamp for seen in states), None)
    finish = evidence.now if evidence.closed else None
    match condition.duration:
        case "provision":
            reason = scope.gap("pod") or "the pod was not seen running"
            return created, ran, reason if created else "no pod was created"
        case "first_step":
            reason = scope.gap("metrics") or "no optimizer step was seen"
            return created, evidence.first_step_at, reason if created else "no pod was created"
        case "run":
            return ran, evidence.ended_at or finish, "the pod was not seen running"
        case "total":
            return evidence.started_at or created, finish, "the job did not start"
