"""Small events for the store's tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from runner import events as e
from runner import results as r

START = datetime(2026, 1, 4, 14, 2, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def planned(job: str = "cpt/basic/1") -> e.PlannedJobRecord:
    spec, phase, _ = job.split("/")
    return e.PlannedJobRecord(
        job=job, spec=spec, spec_file=f"specs/{spec}.yaml", title=spec.upper(), phase=phase,
        phase_title=phase.title(), template=spec, method="cpt", model="m/m", seed=7, spec_digest="s1",
        phase_digest="p1", dataset_format="text",
    )  # fmt: skip


def started(run: str, *jobs: str, target: r.Target = r.Target.LOCAL, seconds: float = 0) -> e.RunStarted:
    records = tuple(planned(job) for job in jobs or ("cpt/basic/1",))
    return e.RunStarted(at=at(seconds), run=run, target=target, via="lab", jobs=records, command="runspec x")


def finished(run: str, outcome: r.Outcome = r.Outcome.PASSED, seconds: float = 60) -> e.RunFinished:
    return e.RunFinished(at=at(seconds), run=run, outcome=outcome, exit_code=0)


def job_done(
    job: str = "cpt/basic/1", outcome: r.Outcome = r.Outcome.PASSED, cost: float = 0.25, seconds: float = 50
) -> e.JobFinished:
    return e.JobFinished(at=at(seconds), job=job, outcome=outcome, cost_usd=cost, elapsed_s=40.0)


def metrics(*steps: int, job: str = "cpt/basic/1", value: float | None = 1.5) -> e.MetricsObserved:
    points = tuple(r.MetricPoint(step=step, values={"train_loss": value}) for step in steps)
    return e.MetricsObserved(at=at(5), job=job, points=points)


def requested(name: str = "pod-1", job: str = "cpt/basic/1", seconds: float = 1) -> e.PodRequested:
    return e.PodRequested(
        at=at(seconds), job=job, name=name, via="lab", gpu="A4000", price_cap_usd_h=0.6, deadline=at(3600)
    )


def created(name: str = "pod-1", pod_id: str = "abc", price: float | None = 0.2) -> e.PodCreated:
    return e.PodCreated(at=at(2), job="cpt/basic/1", name=name, pod_id=pod_id, cost_usd_h=price)


def refused(name: str = "pod-1") -> e.PodRefused:
    return e.PodRefused(at=at(2), job="cpt/basic/1", name=name, kind="capacity", message="none left")


def gone(name: str = "pod-1", pod_id: str = "abc") -> e.PodGone:
    return e.PodGone(at=at(40), job="cpt/basic/1", name=name, pod_id=pod_id, alive_s=38.0, cost_usd=0.01)


def line(number: int, text: str = "hello") -> e.LogsObserved:
    return e.LogsObserved(
        at=at(number), job="cpt/basic/1", first=number,
        lines=(r.LogLine(at=at(number), source="container", text=text),),
    )  # fmt: skip
