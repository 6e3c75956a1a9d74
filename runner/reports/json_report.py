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
from runner.spec.described import describe

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
    """Its id in the phase or spec."""
    title: str
    """What it asks for, in the author's words."""
    outcome: Outcome
    """What became of it."""
    optional: bool
    """It decides nothing."""
    expected: str
    """What had to be seen, in words."""
    observed: str
    """What was seen, in words."""
    evidence: tuple[str, ...]
    """Where it was seen: log lines, metrics with their steps, alerts."""


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric that was collected: steps with a number, steps without, first and last number."""

    name: str
    """Name of the metric."""
    points: int
    """Steps at which it had a number."""
    missing: int
    """Steps that were reported without a number."""
    first: float | None
    """Its first number; null without any."""
    last: float | None
    """Its last number; null without any."""


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """A known issue that was recognised."""

    id: str
    """Its id in the catalogue or the spec."""
    title: str
    """What it is, in a few words."""
    verdict: Literal["error", "expected", "infrastructure"]
    """Whether the thing under test is wrong, something else broke, or it is harmless."""
    cause: str
    """Why it happens."""
    fix: str
    """What to do about it."""


class ScaledSetting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting that the local trainer made smaller than the template has it."""

    field: str
    """The setting."""
    before: str
    """As the template has it."""
    after: str
    """As it was run."""
    reason: str
    """Why it was changed."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One planned job. `outcome` is null when it was interrupted or never began; durations are seconds."""

    job: str
    """Its key in the run: spec, phase and number."""
    spec: str
    """Name of the spec."""
    phase: str
    """Name of the phase."""
    template: str
    """Key of the template."""
    method: str
    """How the template trains."""
    model: str
    """The template's base model."""
    seed: int
    """Seed of the training and of made-up rows."""
    outcome: Outcome | None
    """What became of it; null when it was interrupted or never began."""
    flaky: bool
    """It passed only after a retry."""
    attempt: int
    """The attempt that was judged, counted from 1."""
    reason: str
    """Why it did not pass, when something broke; else empty."""
    failure_class: FailureClass | None
    """What kind of failure it was; null when none."""
    criteria: tuple[Criterion, ...]
    """Its criteria, in the order of phase and spec."""
    gpu: str | None
    """The GPU that was used; null without a pod."""
    lab_job_id: str | None
    """Id of the training job in the lab; null when none was created."""
    elapsed_s: float
    """From its start to its end, in seconds."""
    cost_usd: float
    """What its pods cost, in US dollars."""
    metrics: tuple[Metric, ...]
    """The metrics that were collected."""
    issues: tuple[Issue, ...]
    """The known issues that were recognised."""
    scaled: tuple[ScaledSetting, ...]
    """Settings that the local trainer made smaller."""
    evidence_missing: dict[str, str]
    """Why a kind of evidence could not be had, by kind."""


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Counts over all jobs, each job in exactly one of them; `flaky` are among the passed."""

    jobs: int
    """All planned jobs."""
    passed: int
    """Jobs whose criteria hold."""
    failed: int
    """Jobs with a false criterion."""
    errored: int
    """Jobs without a verdict because something else broke."""
    unknown: int
    """Jobs without a verdict because evidence could not be had."""
    skipped: int
    """Jobs that were left out."""
    cancelled: int
    """Jobs that a limit or a person ended."""
    interrupted: int
    """Jobs without an end."""
    flaky: int
    """Passed jobs that needed a retry."""
    criteria: int
    """Criteria of all jobs that were judged."""
    criteria_passed: int
    """Those of them that hold."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    version: Literal[1]
    """Version of this format."""
    run: str
    """Id of the run."""
    target: Target
    """Where it ran."""
    via: str
    """Who created the pods: the lab or runspec itself."""
    evidence: Literal["rehearsed", "verified", "none"]
    """`verified` on the real cloud, `rehearsed` on the embedded one; `none` for a script."""
    outcome: Outcome | None
    """What became of the run; null when it was interrupted."""
    exit_code: int | None
    """The exit code of the run; null when it was interrupted."""
    started_at: datetime
    """When it began, in UTC."""
    finished_at: datetime | None
    """When it ended, in UTC; null when it was interrupted."""
    elapsed_s: float
    """From its start to its end, in seconds."""
    cost_usd: float
    """What all pods cost, in US dollars."""
    max_spend_usd: float | None
    """The limit of the whole invocation; null without one."""
    commit: str | None
    """Commit that the specs were at; null outside a repository."""
    runspec: str
    """Version of runspec that ran it."""
    totals: Totals
    """Counts over all jobs."""
    jobs: tuple[Job, ...]
    """Every planned job, in the order of the plan."""
    open_pods: tuple[str, ...]
    """Names of pods that are not proven gone and may still be billed."""
    notes: tuple[str, ...]
    """What else a reader has to know, such as events of a newer version."""


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
    describe(schema["$defs"], (Report, Totals, Job, Criterion, Metric, Issue, ScaledSetting))
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:runspec:schema:report:1",
        "title": "runspec report",
        "description": "One recorded run, as `runspec report RUN --report json=PATH` writes it.",
        **schema,
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
