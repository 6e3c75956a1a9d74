"""Which pods may have been left behind: the union of the journal and of what the cloud lists under our names."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from runner.engine.ending import end_pod
from runner.engine.naming import deadline_of, is_ours
from runner.engine.recover import INSIST_S
from runner.engine.world import World
from runner.history import Lease
from runner.results import Pod
from runner.spec.scalars import format_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A pod that somebody may pay for.

    Attributes:
        lease: what the journal says of it; None for one that only its name gives away.
        pod: how the cloud lists it; None when it does not.
        is_to_end: it is nobody's any more.
        line: it in words.
    """

    lease: Lease | None
    pod: Pod | None
    is_to_end: bool
    line: str


def find(
    leases: Sequence[Lease], pods: Sequence[Pod], *, now: datetime | None, everything: bool, is_paid: bool = True
) -> list[Found]:
    """Pods of the journal, then those of our names that the journal does not know.

    A pod of our name that is still within the deadline it carries may be another machine's, at work: it is shown, and
    counts only with `everything`.

    Args:
        now: None when the cloud could not be asked.
        is_paid: False on the embedded cloud, whose prices only rehearse the limits.
    """
    living = [pod for pod in pods if pod.is_alive]
    found = [_of_journal(lease, living, now=now, is_paid=is_paid) for lease in leases]
    known = {one.pod.id for one in found if one.pod is not None}
    strays = [pod for pod in living if pod.id not in known and is_ours(pod.name)]
    if now is not None:
        found += [_by_name(pod, now=now, everything=everything) for pod in strays]
    return found


def _of_journal(lease: Lease, living: Sequence[Pod], *, now: datetime | None, is_paid: bool) -> Found:
    pod = next((pod for pod in living if pod.id == lease.pod_id or pod.name == lease.name), None)
    price = pod.cost_usd_h if pod is not None and pod.cost_usd_h is not None else lease.cost_usd_h or 0.0
    words = [lease.pod_id or "(id unknown)", lease.name, f"{lease.job} of run {lease.run}"]
    if now is None:
        words.append(f"asked for {lease.requested_at:%Y-%m-%d %H:%M:%SZ}")
    else:
        age = now - lease.requested_at
        words.append("not listed; not proven gone" if pod is None else f"{pod.status} for {_text(age)}")
        words += [f"about {price * age.total_seconds() / 3600:.2f} USD"] if is_paid else []
    words.append(f"{price:.2f} USD/h" if is_paid else "costs nothing")
    return Found(lease=lease, pod=pod, is_to_end=True, line="  ".join(words))


def _by_name(pod: Pod, *, now: datetime, everything: bool) -> Found:
    deadline = deadline_of(pod.env_marker)
    is_overdue = deadline is None or deadline < now
    why = "says no deadline" if deadline is None else f"{'over' if is_overdue else 'due'} at {deadline:%m-%d %H:%M:%SZ}"
    whose = "not in this journal" if is_overdue else "of another runspec, at work"
    line = "  ".join([pod.id, pod.name, whose, f"{pod.status}, {why}", f"{pod.cost_usd_h or 0:.2f} USD/h"])
    return Found(lease=None, pod=pod, is_to_end=is_overdue or everything, line=line)


async def end_strays(world: World, strays: Sequence[Found]) -> list[str]:
    """End pods that no journal knows, all at once; the ids of those whose end nobody could prove."""
    pods = [one.pod for one in strays if one.pod is not None]
    async with asyncio.TaskGroup() as group:
        endings = [
            (pod, group.create_task(end_pod(world, name=pod.name, pod_id=pod.id, within_s=INSIST_S))) for pod in pods
        ]
    return [pod.id for pod, ending in endings if not ending.result().is_proven]


def _text(age: timedelta) -> str:
    return format_duration(timedelta(seconds=max(0, round(age.total_seconds()))))
