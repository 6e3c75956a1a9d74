"""A job told as a story: every call is one event, a second after the one before it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter

from runner.conditions.evaluate import evaluate
from runner.conditions.evidence import Evidence
from runner.events import (
    AlertsObserved,
    AnyEvent,
    DatasetChecked,
    EvidenceMissing,
    Generated,
    IssueObserved,
    JobStarted,
    LabJobObserved,
    LogsObserved,
    MetricsCompared,
    MetricsObserved,
    ModelDownloaded,
    ModelRejected,
    PodCreated,
    PodGone,
    PodMissing,
    PodObserved,
)
from runner.results import Alert, Finding, JobSnapshot, LogLine, MetricPoint, Pod
from runner.spec.conditions import Condition, Expression

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
_CONDITIONS: TypeAdapter[Condition] = TypeAdapter(Condition)


class Story:
    """Events of one job with a clock of its own."""

    def __init__(self) -> None:
        self.events: list[AnyEvent] = []
        self.now = START
        self._lines = 0
        self._alerts = 0

    def wait(self, seconds: float) -> Story:
        self.now += timedelta(seconds=seconds)
        return self

    def _add(self, kind: Callable[..., AnyEvent], **fields: Any) -> Story:
        self.now += timedelta(seconds=1)
        self.events.append(kind(at=self.now, job="t/basic/1", **fields))
        return self

    def starts(self, attempt: int = 1) -> Story:
        return self._add(JobStarted, attempt=attempt)

    def creates(self, pod_id: str = "p1", price: float | None = 0.36) -> Story:
        return self._add(PodCreated, name=pod_id, pod_id=pod_id, cost_usd_h=price)

    def sees_pod(self, status: str, pod_id: str = "p1") -> Story:
        return self._add(PodObserved, pod=Pod(id=pod_id, name=pod_id, status=status))

    def loses_pod(self, pod_id: str = "p1") -> Story:
        return self._add(PodMissing, pod_id=pod_id)

    def ends_pod(self, pod_id: str = "p1", cost: float = 0.01) -> Story:
        return self._add(PodGone, name=pod_id, pod_id=pod_id, alive_s=100.0, cost_usd=cost)

    def job(self, status: str, step: int | None = None) -> Story:
        return self._add(LabJobObserved, snapshot=JobSnapshot(lab_job_id="l1", status=status, step=step))

    def log(self, *texts: str, source: str = "container", written_s_ago: float = 0) -> Story:
        stamp = self.now + timedelta(seconds=1 - written_s_ago)
        first, self._lines = self._lines + 1, self._lines + len(texts)
        lines = tuple(LogLine(at=stamp, source=source, text=text) for text in texts)
        return self._add(LogsObserved, first=first, lines=lines)

    def issue(self, name: str = "oom-cuda", verdict: str = "error", line: int | None = None) -> Story:
        return self._add(
            IssueObserved, issue=name, title=name, failure_class="oom", verdict=verdict, cause="c", fix="f",
            log_line=line,
        )  # fmt: skip

    def metrics(self, points: dict[int, float | None], name: str = "train_loss") -> Story:
        return self._add(
            MetricsObserved,
            points=tuple(MetricPoint(step=step, values={name: value}) for step, value in points.items()),
        )

    def alert(self, kind: str, alert_id: str | None = None) -> Story:
        self._alerts += 1
        alert = Alert(id=alert_id or f"a{self._alerts}", type=kind, lab_job_id="l1", at=self.now)
        return self._add(AlertsObserved, alerts=(alert,))

    def misses(self, source: str, reason: str = "nobody offers it") -> Story:
        return self._add(EvidenceMissing, source=source, reason=reason)

    def downloads(self, size: int) -> Story:
        return self._add(ModelDownloaded, size=size, sha256="ab" * 32)

    def checks(self, digest: str) -> Story:
        return self._add(DatasetChecked, rows=100, format="messages", digest=digest)

    def rejects(self, reason: str, stage: str = "download") -> Story:
        return self._add(ModelRejected, stage=stage, reason=reason)

    def compares(self, points: int, difference: str = "") -> Story:
        return self._add(MetricsCompared, via="finetune-lab 0.6.0", points=points, difference=difference)

    def answers(self, answer: str, base: str | None = None, prompt: str = "hello") -> Story:
        return self._add(Generated, prompt=prompt, answer=answer, base=base)

    def evidence(self, *, closed: bool = False) -> Evidence:
        evidence = Evidence()
        evidence.apply_all(self.events)
        evidence.advance(self.now)
        if closed:
            evidence.close()
        return evidence

    def find(self, condition: dict[str, Any], *, closed: bool = False) -> Finding:
        return evaluate(condition_of(condition), self.evidence(closed=closed))


def condition_of(written: dict[str, Any]) -> Condition:
    if written.keys() == {"expr"}:
        # Past the loader, which refuses what cannot be evaluated: the evaluator is the second line of defence.
        return Expression.model_construct(**written)
    return _CONDITIONS.validate_python(written)


@pytest.fixture(scope="session")
def story() -> type[Story]:
    return Story


@pytest.fixture(scope="session")
def condition() -> Callable[[dict[str, Any]], Condition]:
    return condition_of
