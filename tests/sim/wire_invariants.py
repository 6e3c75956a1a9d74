"""What must be true once a simulation over the wire has come to rest; each answer is a list of violations."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import msgspec

from runner.events import AnyEvent, JobFinished, JobJudged, MetricsObserved, PodCreated, PodUnconfirmed
from runner.local.lifecycle import Pod
from runner.results import Outcome
from tests.sim.schedule import planned_jobs

PATIENCE_S = 300.0
"""How long an overpriced pod may live; calls whose answers never come take their timeouts on top of it."""


def left_alive(pods: Sequence[Pod], events: Sequence[AnyEvent], *, exit_code: int | None) -> list[str]:
    """I1: a pod that still runs is one that exit code 6 and the journal name."""
    unconfirmed = {event.name for event in events if isinstance(event, PodUnconfirmed)} if exit_code == 6 else set()
    return [
        f"I1: pod {pod.id} ({pod.request.name}) is left alive"
        for pod in pods
        if not pod.is_ended and pod.request.name not in unconfirmed
    ]


def false_greens(events: Sequence[AnyEvent], database: Path) -> list[str]:
    """I3: a green job has green criteria, and its training really told the lab what they are about."""
    with closing(sqlite3.connect(database)) as lab:
        alerts = [msgspec.json.decode(row[0]) for row in lab.execute("SELECT doc FROM documents WHERE kind='alerts'")]
        posted = {row[0] for row in lab.execute("SELECT DISTINCT job_id FROM metrics")}
    started = {alert["job_id"] for alert in alerts if alert["alert_type"] == "job_started"}
    found = []
    for job in events:
        if not isinstance(job, JobFinished) or job.outcome is not Outcome.PASSED:
            continue
        verdicts = [event.verdicts for event in events if isinstance(event, JobJudged) and event.job == job.job]
        required = [verdict for verdict in verdicts[-1] if not verdict.optional] if verdicts else []
        if not required or any(one.outcome is not Outcome.PASSED or not one.finding.truth for one in required):
            found.append(f"I3: {job.job} is green without green criteria")
        ids = {event.lab_job_id for event in events if isinstance(event, PodCreated) and event.job == job.job}
        if not ids & started & posted:
            found.append(f"I3: {job.job} is green, but its training never reported as it had to")
        if not any(isinstance(event, MetricsObserved) and event.job == job.job for event in events):
            found.append(f"I3: {job.job} is green without a metric on record")
    return found


def overstayed(pods: Sequence[Pod], *, patience_s: float = PATIENCE_S) -> list[str]:
    """I4 and I7: no pod was paid for longer than its limits, nor an overpriced one for longer than it takes to see."""
    job, found = planned_jobs(1)[0], []
    for pod in pods:
        paid_s = sum((period.end - period.start).total_seconds() for period in pod.paid if period.end is not None)
        if paid_s > job.worst_case_s + 120:
            found.append(f"I4: {pod.id} lived {paid_s:.0f} s, longer than all its limits")
        if pod.usd_h > job.spec.limits.price and paid_s > patience_s:
            found.append(f"I7: the overpriced {pod.id} lived {paid_s:.0f} s")
    return found


def shown_secrets(texts: Mapping[str, str], secrets: Sequence[str]) -> list[str]:
    """I11: nothing that opens a server is in a text that people or files get, in whatever form it is written."""
    return [
        f"I11: secret {number} is in {place}"
        for place, text in texts.items()
        for number, secret in enumerate(secrets)
        if any(form in text for form in _forms(secret))
    ]


def _forms(secret: str) -> set[str]:
    encoded = secret.encode()
    in_base64 = (base64.b64encode(encoded), base64.urlsafe_b64encode(encoded))
    return {
        secret, quote(secret, safe=""), json.dumps(secret)[1:-1], encoded.hex(),
        *(form.decode().rstrip("=") for form in in_base64),
    }  # fmt: skip


def marks(events: Sequence[AnyEvent]) -> set[str]:
    """What a schedule has reached, to know that schedules reach it at all."""
    finished = [event for event in events if isinstance(event, JobFinished)]
    found = {f"job {job.outcome}" for job in finished}
    found |= {f"class {job.failure_class}" for job in finished if job.failure_class}
    if any(isinstance(event, PodCreated) and event.adopted for event in events):
        found.add("adopted after an ambiguous create")
    if any(isinstance(event, PodUnconfirmed) for event in events):
        found.add("pod unconfirmed")
    return found
