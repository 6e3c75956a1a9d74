"""Recorded runs made up for the reports' tests: plain functions that build events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from runner import events as e
from runner import results as r
from runner.history import RecordedRun
from runner.reports.standing import PhaseSubject, Subject

START = datetime(2026, 1, 4, 14, 2, tzinfo=UTC)
CRITERIA = (
    ("pod-deploys", "Pod deploys without errors"),
    ("trains", "Training starts"),
    ("alert-started", "`job_started` alert received"),
    ("metrics-post", "Metrics POST successfully"),
    ("no-errors", "No errors in first 100 steps"),
)
PHASES = {"basic": "Basic Template Verification", "full": "Outside Dev Test", "batch": "Batch Test"}


def at(seconds: float, day: int = 0) -> datetime:
    return START + timedelta(days=day, seconds=seconds)


def subject(name: str = "cpt_standard", method: str = "cpt", **changes: str) -> Subject:
    phases = tuple(PhaseSubject(name=key, title=title, digest="p1", criteria=CRITERIA) for key, title in PHASES.items())
    values = {
        "title": "CPT Standard (Continued Pre-Training)", "key": name, "model": "meta-llama/Llama-3.2-1B",
        "notes": "Packing enabled", "file": f"specs/{method}.yaml", "digest": "s1", **changes,
    }  # fmt: skip
    return Subject(name=name, method=method, phases=phases, **values)


def record(job: str = "cpt_standard/basic/1", **changes: object) -> e.PlannedJobRecord:
    spec, phase, _ = job.split("/")
    values = {
        "job": job, "spec": spec, "spec_file": f"{spec}.yaml", "title": spec, "phase": phase,
        "phase_title": PHASES.get(phase, phase), "template": spec, "method": "cpt", "model": "meta-llama/Llama-3.2-1B",
        "seed": 42, "spec_digest": "s1", "phase_digest": "p1", "dataset_format": "text",
        "criteria": CRITERIA, **changes,
    }  # fmt: skip
    return e.PlannedJobRecord(**values)


def verdict(
    id_: str, outcome: r.Outcome = r.Outcome.PASSED, *, expected: str = "", observed: str = "", title: str = "",
    evidence: tuple[str, ...] = (), optional: bool = False,
) -> r.Verdict:  # fmt: skip
    truth = {r.Outcome.PASSED: True, r.Outcome.FAILED: False}.get(outcome)
    title = title or dict(CRITERIA).get(id_, id_)
    finding = r.Finding(truth=truth, decided=True, expected=expected or title, observed=observed, evidence=evidence)
    return r.Verdict(id=id_, title=title, outcome=outcome, finding=finding, optional=optional)


def verdicts(**changed: r.Verdict) -> tuple[r.Verdict, ...]:
    """All criteria passed but for the ones given, whose names have underscores for hyphens."""
    return tuple(changed.get(id_.replace("-", "_"), verdict(id_)) for id_, _ in CRITERIA)


FAILED_METRICS = verdict(
    "metrics-post", r.Outcome.FAILED, expected="at least one `train_loss` point, and no log line `API POST failed`",
    observed="0 points; log line 214 says `API POST failed: 405`", evidence=("log line 214", "train_loss, no points"),
)  # fmt: skip
UNKNOWN_METRICS = verdict("metrics-post", r.Outcome.UNKNOWN, observed="cannot be known: this trainer posts no metrics")


def losses(job: str, count: int = 100, first: float = 2.31, last: float = 0.412) -> e.MetricsObserved:
    step = (last - first) / max(1, count - 1)
    points = tuple(r.MetricPoint(step=number, values={"train_loss": first + step * number}) for number in range(count))
    return e.MetricsObserved(at=at(20), job=job, points=points)


def logs(job: str, *lines: str) -> e.LogsObserved:
    texts = lines or (
        "Training started",
        "[Local] Scaled batch_size: 4 -> 2 (2 CPU cores)",
        "[Local] Scaled model: meta-llama/Llama-3.2-1B -> tiny-llama (no GPU)",
    )
    return e.LogsObserved(
        at=at(12), job=job, first=1, lines=tuple(r.LogLine(at=at(12), source="container", text=text) for text in texts)
    )


def issue(job: str = "cpt_standard/basic/1", **changes: object) -> e.IssueObserved:
    values = {
        "issue": "cpt-no-response-template", "title": "Response template not found", "failure_class": "trainer-error",
        "verdict": "expected", "cause": "raw text has no chat template", "fix": "", **changes,
    }  # fmt: skip
    return e.IssueObserved(at=at(15), job=job, **values)


def job_events(
    job: str, outcome: r.Outcome | None = r.Outcome.PASSED, judged: Sequence[r.Verdict] | None = None, *,
    cost: float = 0.0, attempt: int = 1, reason: str = "", failure_class: r.FailureClass | None = None,
    extra: Sequence[e.AnyEvent] = (), released: bool = True,
) -> list[e.AnyEvent]:  # fmt: skip
    """One job from start to end; without an outcome it was interrupted."""
    pod = f"pod-{job.replace('/', '-')}"
    events: list[e.AnyEvent] = [
        e.JobStarted(at=at(1), job=job, attempt=attempt),
        e.DatasetChecked(at=at(2), job=job, rows=100, format="text", digest="d1"),
        e.PodRequested(
            at=at(3), job=job, name=pod, via="lab", gpu="NVIDIA RTX A4000", price_cap_usd_h=0.6, deadline=at(3600)
        ),
        e.PodCreated(
            at=at(4),
            job=job,
            name=pod,
            pod_id=f"id-{pod}",
            gpu="NVIDIA RTX A4000",
            lab_job_id=f"lab-{job.rsplit('/', maxsplit=1)[-1]}",
        ),
        *extra,
    ]
    if judged is not None:
        events.append(e.JobJudged(at=at(36), job=job, verdicts=tuple(judged)))
    if released:
        events.append(e.PodGone(at=at(38), job=job, name=pod, pod_id=f"id-{pod}", alive_s=34.0, cost_usd=cost))
    if outcome is not None:
        events.append(
            e.JobFinished(
                at=at(40),
                job=job,
                outcome=outcome,
                cost_usd=cost,
                elapsed_s=39.0,
                reason=reason,
                failure_class=failure_class,
            )
        )
    return events


def run(
    run_id: str, *jobs: list[e.AnyEvent], target: r.Target = r.Target.LOCAL, day: int = 0,
    outcome: r.Outcome | None = r.Outcome.PASSED, records: Sequence[e.PlannedJobRecord] = (),
    max_spend: float | None = None, notes: tuple[str, ...] = (), staged: tuple[str, ...] = (),
) -> RecordedRun:  # fmt: skip
    """A run of some jobs; without an outcome it was interrupted."""
    planned = tuple(records) or tuple(record(job[0].job) for job in jobs)
    events: list[e.AnyEvent] = [
        e.RunStarted(
            at=at(0), run=run_id, target=target, via="lab", jobs=planned, command="runspec specs/cpt.yaml",
            version="0.1.0", commit="1a2b3c4d5e6f7a8b", max_spend_usd=max_spend, staged=staged,
        )
    ]  # fmt: skip
    events += [event for job in jobs for event in job]
    if outcome is not None:
        events.append(e.RunFinished(at=at(41), run=run_id, outcome=outcome, exit_code=0))
    shift = timedelta(days=day)
    return RecordedRun(run_id, tuple(_later(event, shift) for event in events), notes)


def _later(event: e.AnyEvent, shift: timedelta) -> e.AnyEvent:
    import msgspec

    return msgspec.structs.replace(event, at=event.at + shift)


def passing(run_id: str = "7f3a", job: str = "cpt_standard/basic/1", **kwargs: object) -> RecordedRun:
    extra = [logs(job), losses(job)]
    return run(run_id, job_events(job, r.Outcome.PASSED, verdicts(), extra=extra), **kwargs)


def failing(run_id: str = "8c1d", job: str = "cpt_standard/basic/1", **kwargs: object) -> RecordedRun:
    events = job_events(
        job, r.Outcome.FAILED, verdicts(metrics_post=FAILED_METRICS), failure_class=r.FailureClass.CRITERION, cost=0.03
    )
    return run(run_id, events, outcome=r.Outcome.FAILED, **kwargs)


def unknown(run_id: str = "5e5e", job: str = "rlhf_standard/basic/1", **kwargs: object) -> RecordedRun:
    missing = e.EvidenceMissing(at=at(10), job=job, source="metrics", reason="PPO posts no metrics")
    events = job_events(job, r.Outcome.UNKNOWN, verdicts(metrics_post=UNKNOWN_METRICS), extra=[missing])
    return run(run_id, events, outcome=r.Outcome.UNKNOWN, **kwargs)


def errored(run_id: str = "e0e0", job: str = "dpo_standard/basic/1", **kwargs: object) -> RecordedRun:
    events = job_events(
        job, r.Outcome.ERRORED, reason="RunPod has no capacity for NVIDIA RTX A4000 or NVIDIA RTX A5000", attempt=3,
        failure_class=r.FailureClass.CAPACITY,
    )  # fmt: skip
    return run(run_id, events, outcome=r.Outcome.ERRORED, **kwargs)
