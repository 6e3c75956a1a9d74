"""Recorded runs as everything after the engine sees them: what the store hands out and what reports read.

Plain data, so that `runner.store` and `runner.reports` meet here and never import each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from runner.events import AnyEvent, PodCreated, PodGone, PodRefused, PodRequested
from runner.results import Outcome, Target


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """One run as it was recorded: all its events, in order.

    Attributes:
        notes: what a reader has to know about the record itself, such as events of a newer version that were left
            out; empty when the record is whole.
    """

    run: str
    events: tuple[AnyEvent, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One line of history.

    Attributes:
        finished_at: None when the run was interrupted or is still going.
        jobs: how many were planned; `finished` and `passed` count the ones that got so far.
    """

    run: str
    started_at: datetime
    finished_at: datetime | None
    target: Target
    via: str
    outcome: Outcome | None
    exit_code: int | None
    jobs: int
    finished: int
    passed: int
    cost_usd: float
    specs: tuple[str, ...]
    phases: tuple[str, ...]
    command: str
    version: str
    commit: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A pod that may be billed: asked for, and neither refused nor proven gone.

    Attributes:
        pod_id: None while only the intent is recorded; the pod then has to be looked for by its name.
        deadline: when it should have ended; None when the record holds no request for it.
        cost_usd_h: the pod's own price, else the cap of the request.
        lab_job_id: the training job on it; None while nobody knows.
    """

    run: str
    job: str
    name: str
    pod_id: str | None
    requested_at: datetime
    deadline: datetime | None
    cost_usd_h: float | None
    via: str
    lab_job_id: str | None = None
    gpu: str = ""


def open_leases(run: str, events: Iterable[AnyEvent]) -> list[Lease]:
    """The pods of one run that nobody has proven gone, in the order they were asked for.

    One name can have several pods (a create whose answer was lost, then repeated): each is a lease of its own and
    ends only by its own `PodGone`. A refusal ends the request, never a pod that was seen.
    """
    wanted: dict[str, Lease] = {}
    pods: dict[tuple[str, str], Lease] = {}
    for event in events:
        match event:
            case PodRequested():
                wanted[event.name] = _requested(run, event)
            case PodRefused():
                wanted.pop(event.name, None)
            case PodCreated():
                pods[event.name, event.pod_id] = _created(run, event, pods, wanted.pop(event.name, None))
            case PodGone():
                if pods.pop((event.name, event.pod_id), None) is None:
                    wanted.pop(event.name, None)
    return sorted([*wanted.values(), *pods.values()], key=lambda lease: (lease.requested_at, lease.name))


def _requested(run: str, event: PodRequested) -> Lease:
    return Lease(
        run=run,
        job=event.job,
        name=event.name,
        pod_id=None,
        requested_at=event.at,
        deadline=event.deadline,
        cost_usd_h=event.price_cap_usd_h,
        via=event.via,
        gpu=event.gpu,
    )


def _created(run: str, event: PodCreated, pods: dict[tuple[str, str], Lease], wanted: Lease | None) -> Lease:
    twin = next((lease for (name, _), lease in pods.items() if name == event.name), None)
    base = wanted or twin
    if base is None:
        return Lease(
            run=run,
            job=event.job,
            name=event.name,
            pod_id=event.pod_id,
            requested_at=event.at,
            deadline=None,
            cost_usd_h=event.cost_usd_h,
            via="",
            lab_job_id=event.lab_job_id,
        )
    price = event.cost_usd_h if event.cost_usd_h is not None else base.cost_usd_h
    return replace(base, pod_id=event.pod_id, cost_usd_h=price, lab_job_id=event.lab_job_id)
