"""A run as JSON for programs: `schemas/report.schema.json` describes it.

Fields are added in the same version; one is renamed, removed or changed in meaning only with a new one.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Literal

import msgspec

from runner.reports.evidence import JobReport, RunReport
from runner.results import FailureClass, Outcome, Target

VERSION: Literal[1] = 1
SCHEMA_FILE = "report.schema.json"
_LEVELS: dict[Target, Literal["rehearsed", "verified", "none"]] = {
    Target.LOCAL: "rehearsed",
    Target.CLOUD: "verified",
    Target.SCRIPTED: "none",
}


class Criterion(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one criterion. Without evidence it is `unknown`, never `passed`."""

    id: str
    title: str
    outcome: Outcome
    optional: bool
    expected: str
    observed: str
    evidence: tuple[str, ...]


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric that was collected: steps with a number, steps without, first and last number."""

    name: str
    points: int
    missing: int
    first: float | None
    last: float | None


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """A known issue that was recognised."""

    id: str
    title: str
    verdict: Literal["error", "expected", "infrastructure"]
    cause: str
    fix: str


class ScaledSetting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting that the local trainer made smaller than the template has it."""

    field: str
    before: str
    after: str
    reason: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One planned job. `outcome` is null when it was interrupted or never began; durations are seconds."""

    job: str
    spec: str
    phase: str
    template: str
    method: str
    model: str
    seed: int
    outcome: Outcome | None
    flaky: bool
    attempt: int
    reason: str
    failure_class: FailureClass | None
    criteria: tuple[Criterion, ...]
    gpu: str | None
    lab_job_id: str | None
    elapsed_s: float
    cost_usd: float
    metrics: tuple[Metric, ...]
    issues: tuple[Issue, ...]
    scaled: tuple[ScaledSetting, ...]
    evidence_missing: dict[str, str]


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Counts over all jobs, each job in exactly one of them; `flaky` are among the passed."""

    jobs: int
    passed: int
    failed: int
    errored: int
    unknown: int
    skipped: int
    cancelled: int
    interrupted: int
    flaky: int
    criteria: int
    criteria_passed: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run.

    Attributes:
        evidence: `verified` on the real cloud, `rehearsed` on the embedded one; `none` for a script.
        outcome: null when the run was interrupted.
        open_pods: names of pods that are not proven gone and may still be billed.
    """

    version: Literal[1]
    run: str
    target: Target
    via: str
    evidence: Literal["rehearsed", "verified", "none"]
    outcome: Outcome | None
    exit_code: int | None
    started_at: datetime
    finished_at: datetime | None
    elapsed_s: float
    cost_usd: float
    max_spend_usd: float | None
    commit: str | None
    runspec: str
    totals: Totals
    jobs: tuple[Job, ...]
    open_pods: tuple[str, ...]
    notes: tuple[str, ...]


def json_report(report: RunReport) -> Report:
    """A run as the published structure."""
    return Report(
        version=VERSION,
        run=report.run,
        target=report.target,
        via=report.via,
        evidence="none" if report.is_staged else _LEVELS[report.target],
        outcome=report.outcome,
        exit_code=report.exit_code,
        started_at=report.started_at,
        finished_at=report.finished_at,
        elapsed_s=round(report.elapsed_s, 3),
        cost_usd=round(report.cost_usd, 6),
        max_spend_usd=report.max_spend_usd,
        commit=report.commit,
        runspec=report.version,
        totals=_totals(report),
        jobs=tuple(_job(job) for job in report.jobs),
        open_pods=tuple(lease.name for lease in report.open_pods),
        notes=report.notes,
    )


def _totals(report: RunReport) -> Totals:
    counts = {outcome.value: sum(job.outcome is outcome for job in report.jobs) for outcome in Outcome}
    return Totals(
        jobs=len(report.jobs),
        interrupted=sum(job.outcome is None for job in report.jobs),
        flaky=sum(job.is_flaky for job in report.jobs),
        criteria=sum(len(job.verdicts) for job in report.jobs),
        criteria_passed=sum(job.passed_criteria for job in report.jobs),
        **counts,
    )


def _job(job: JobReport) -> Job:
    record = job.record
    return Job(
        job=job.key,
        spec=record.spec,
        phase=record.phase,
        template=record.template,
        method=record.method,
        model=record.model,
        seed=record.seed,
        outcome=job.outcome,
        flaky=job.is_flaky,
        attempt=job.attempt,
        reason=job.reason,
        failure_class=job.failure_class,
        criteria=tuple(
            Criterion(
                id=one.id,
                title=one.title,
                outcome=one.outcome,
                optional=one.optional,
                expected=one.finding.expected,
                observed=one.finding.observed,
                evidence=one.finding.evidence,
            )
            for one in job.verdicts
        ),
        gpu=job.gpu,
        lab_job_id=job.lab_job_id,
        elapsed_s=round(job.elapsed_s, 3),
        cost_usd=round(job.cost_usd, 6),
        metrics=tuple(
            Metric(name=one.name, points=one.points, missing=one.missing, first=one.first, last=one.last)
            for one in job.series
        ),
        issues=tuple(
            Issue(id=one.issue, title=one.title, verdict=one.verdict, cause=one.cause, fix=one.fix)
            for one in job.issues
        ),
        scaled=tuple(
            ScaledSetting(field=one.field, before=one.before, after=one.after, reason=one.reason) for one in job.scaled
        ),
        evidence_missing={one.source: one.reason for one in job.missing},
    )


def render_json(report: RunReport) -> bytes:
    """A run as indented JSON in UTF-8; halves of surrogate pairs become question marks."""
    plain = msgspec.to_builtins(json_report(report))
    text = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace") + b"\n"


def report_schema() -> str:
    """The JSON Schema of the report, as a file's text."""
    schema: dict[str, Any] = msgspec.json.schema(Report)
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:runspec:schema:report:1",
        "title": "runspec report",
        "description": "One recorded run, as `runspec report RUN --report json=PATH` writes it.",
        **schema,
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
