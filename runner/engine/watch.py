"""Watches all running jobs at once: one list call of pods, of jobs and of alerts for all of them.

Requests a minute do not grow with the number of jobs, except for metrics, which are fetched for a job only when
something of it moved. Logs are one stream a pod.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType

from runner.engine.attach import Seen
from runner.engine.doubles import end_doubles
from runner.engine.state import JobState
from runner.engine.vigil import Vigil
from runner.engine.world import World
from runner.errors import ProviderError
from runner.events import AlertsObserved, EvidenceMissing, LabJobObserved, MetricsObserved, PodMissing, PodObserved
from runner.ports import ProviderErrorKind
from runner.results import JobSnapshot, MetricPoint, Pod
from runner.spec.models import Method

MISSES_BEFORE_ASKING = 2
"""A listing may lag behind a create, so a pod is asked for by id only after this many listings without it."""
ALERTS_OVERLAP = timedelta(minutes=10)
"""How far behind the newest alert, by the lab's clock, every look begins: a busy account has thousands a day."""


@dataclass(slots=True)
class _Watched:
    """What the watch remembers of one job between two looks."""

    state: JobState
    pod: Pod | None = None
    snapshot: JobSnapshot | None = None
    points: dict[int, MetricPoint] = field(default_factory=dict)
    alerts: set[str] = field(default_factory=set)
    misses: int = 0
    is_missing: bool = False
    has_moved: bool = True
    has_metrics_trouble: bool = False
    metrics_at_s: float = float("-inf")
    log_cursor: str = ""
    log_task: asyncio.Task[None] | None = None


class Watch:
    """Looks after every job that was added, until it is removed."""

    def __init__(self, world: World, *, since: datetime) -> None:
        self._world = world
        self._since = since
        self._newest_alert_at: datetime | None = None
        self._watched: dict[str, _Watched] = {}
        self._group = asyncio.TaskGroup()
        self._loops: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Watch:
        await self._group.__aenter__()
        pace = self._world.pace
        for look, every_s in (
            (self._look_at_pods, pace.pods_s),
            (self._look_at_jobs, pace.jobs_s),
            (self._look_at_alerts, pace.alerts_s),
        ):
            self._loops.append(self._group.create_task(self._repeat(look, every_s)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._loops:
            task.cancel()
        for watched in self._watched.values():
            if watched.log_task is not None:
                watched.log_task.cancel()
        await self._group.__aexit__(kind, exc, trace)

    def add(self, state: JobState, seen: Seen | None = None) -> None:
        """Watch a job whose pod exists; `seen` is what an earlier life has recorded of it."""
        limits, pace = state.job.spec.limits, self._world.pace
        now_s = self._world.clock.monotonic()
        state.expect_looks()
        state.vigil = Vigil(
            since_s=now_s if state.pod_since_s is None else state.pod_since_s,
            provision_s=limits.provision.total_seconds(),
            stuck_s=pace.stuck_s,
        )
        watched = _Watched(state=state)
        if seen is not None:
            watched.log_cursor = seen.log_cursor
            watched.points, watched.alerts = dict(seen.points), set(seen.alerts)
            if state.evidence.pod_missing_since is None and not state.is_winding_down:
                watched.state.log_trouble = (
                    "the log was not read to its end: the pod was gone when the run was taken up again"
                )
        self._watched[state.key] = watched
        if not state.is_winding_down:
            watched.log_task = self._group.create_task(self._follow_logs(watched))

    async def stop_logs(self, state: JobState) -> None:
        """Read no more of the pod's log: what it says while we end it is no evidence of its health.

        What could not be read until now is said at once, so that a life that takes this one up knows it too.
        """
        watched = self._watched.get(state.key)
        if watched is None or watched.log_task is None:
            return
        task, watched.log_task = watched.log_task, None
        task.cancel()
        await asyncio.wait([task])
        if watched.state.log_trouble is not None:
            missing = EvidenceMissing(at=state.now(), job=state.key, source="logs", reason=watched.state.log_trouble)
            await state.record_if_possible(missing)

    def remove(self, state: JobState) -> None:
        """Watch this job no more."""
        watched = self._watched.pop(state.key, None)
        if watched is not None and watched.log_task is not None:
            watched.log_task.cancel()

    async def look_once_more(self, state: JobState) -> None:
        """Fetch what the lab knows of a job, insisting for a while; say which evidence could not be had."""
        watched = self._watched.get(state.key)
        if watched is None or state.lab_job_id is None:
            return
        for source, look in (
            ("job", self._fetch_snapshot),
            ("metrics", self._fetch_metrics),
            ("alerts", self._fetch_alerts),
        ):
            trouble = await self._insist(look, watched)
            if trouble is not None:
                await self._missing(watched, source, trouble)
        if state.job.spec.template.method is Method.RLHF and not watched.points:
            await self._missing(watched, "metrics", "this trainer posts no metrics for rlhf")
            # What would post them sends this alert too, and is given to no PPO trainer; that of the end does come.
            if not any(seen.what.type == "job_started" for seen in state.evidence.alerts.values()):
                await self._missing(watched, "start-alert", "this trainer sends no `job_started` for rlhf")

    async def _insist(self, look: Callable[[_Watched], Awaitable[None]], watched: _Watched) -> str | None:
        clock, pace = self._world.clock, self._world.pace
        deadline = clock.monotonic() + pace.settle_s
        pause_s = pace.retry_s
        while True:
            try:
                await look(watched)
            except ProviderError as exc:
                if not exc.retryable or clock.monotonic() + pause_s > deadline:
                    return str(exc)
            else:
                return None
            await clock.sleep(pause_s)
            pause_s = min(pause_s * 2, pace.retry_max_s)

    async def _missing(self, watched: _Watched, source: str, reason: str) -> None:
        state = watched.state
        await state.record(EvidenceMissing(at=state.now(), job=state.key, source=source, reason=reason))

    async def _repeat(self, look: Callable[[], Awaitable[None]], every_s: float) -> None:
        while True:
            for watched in list(self._watched.values()):
                await watched.state.notice_sleep()
            if self._watched:
                # One look that failed is no evidence of anything; the next one comes soon, and what is missing in the
                # end is said by `look_once_more`.
                with contextlib.suppress(ProviderError):
                    await look()
            await self._world.clock.sleep(every_s)

    # --- pods ---------------------------------------------------------------------------------------------------

    async def _look_at_pods(self) -> None:
        pods = await self._world.cloud.list_pods()
        by_id = {pod.id: pod for pod in pods}
        for watched in list(self._watched.values()):
            state = watched.state
            if state.pod_id is None or state.is_winding_down or self._is_removed(watched):
                continue
            pod = by_id.get(state.pod_id)
            if pod is None:
                if state.vigil is not None:
                    state.vigil.see(None, self._world.clock.monotonic())
                await self._ask_for_pod(watched, state.pod_id)
            else:
                await self._saw_pod(watched, pod)
            await end_doubles(state, self._world, pods)

    def _is_removed(self, watched: _Watched) -> bool:
        """Whether the job ended while others were looked at: nothing may be recorded of it after its end."""
        return self._watched.get(watched.state.key) is not watched

    async def _ask_for_pod(self, watched: _Watched, pod_id: str) -> None:
        watched.misses += 1
        if watched.misses < MISSES_BEFORE_ASKING:
            return
        try:
            await self._saw_pod(watched, await self._world.cloud.get_pod(pod_id))
        except ProviderError as exc:
            if exc.kind == ProviderErrorKind.GONE and not watched.is_missing:
                watched.is_missing = True
                watched.has_moved = True
                state = watched.state
                await state.record(PodMissing(at=state.now(), job=state.key, pod_id=pod_id))

    async def _saw_pod(self, watched: _Watched, pod: Pod) -> None:
        watched.misses, watched.is_missing = 0, False
        previous, watched.pod = watched.pod, pod
        state = watched.state
        state.cost_usd_h = _dearest(state.cost_usd_h, pod.cost_usd_h)
        if state.vigil is not None:
            state.vigil.see(pod, self._world.clock.monotonic())
        if previous is None or _shape(previous) != _shape(pod):
            await state.record(PodObserved(at=state.now(), job=state.key, pod=pod))

    # --- jobs and metrics ---------------------------------------------------------------------------------------

    async def _look_at_jobs(self) -> None:
        listed = {snapshot.lab_job_id: snapshot for snapshot in await self._world.lab.list_jobs()}
        for watched in list(self._watched.values()):
            if not watched.has_metrics_trouble:
                watched.state.has_answer()
            if watched.state.lab_job_id is None or watched.state.is_winding_down or self._is_removed(watched):
                continue
            # One job that cannot be asked about must not keep the others from being watched.
            with contextlib.suppress(ProviderError):
                await self._look_at_job(watched, listed.get(watched.state.lab_job_id))

    async def _look_at_job(self, watched: _Watched, snapshot: JobSnapshot | None) -> None:
        if snapshot is None:
            await self._fetch_snapshot(watched)
        else:
            await self._saw_snapshot(watched, snapshot)
        now_s = self._world.clock.monotonic()
        if watched.has_moved and now_s - watched.metrics_at_s >= self._world.pace.metrics_s:
            watched.metrics_at_s, watched.has_metrics_trouble = now_s, True
            await self._fetch_metrics(watched)
            watched.has_moved = watched.has_metrics_trouble = False
            watched.state.has_answer()

    async def _fetch_snapshot(self, watched: _Watched) -> None:
        job_id = watched.state.lab_job_id or ""
        await self._saw_snapshot(watched, await self._world.lab.job_status(job_id))

    async def _saw_snapshot(self, watched: _Watched, snapshot: JobSnapshot) -> None:
        if snapshot == watched.snapshot:
            return
        watched.snapshot, watched.has_moved = snapshot, True
        state = watched.state
        await state.record(LabJobObserved(at=state.now(), job=state.key, snapshot=snapshot))

    async def _fetch_metrics(self, watched: _Watched) -> None:
        state = watched.state
        points = await self._world.lab.metrics(state.lab_job_id or "")
        new = tuple(point for point in points if watched.points.get(point.step) != point)
        if new:
            watched.points.update((point.step, point) for point in new)
            await state.record(MetricsObserved(at=state.now(), job=state.key, points=new))

    # --- alerts -------------------------------------------------------------------------------------------------

    async def _look_at_alerts(self, *, once_more: bool = False) -> None:
        """Read what is new; `once_more` reads all of it, should something have been written down out of order."""
        newest = self._newest_alert_at
        since = self._since if once_more or newest is None else max(self._since, newest - ALERTS_OVERLAP)
        alerts = await self._world.lab.alerts(since=since)
        if alerts:
            self._newest_alert_at = max(alert.at for alert in alerts)
        for watched in list(self._watched.values()):
            state = watched.state
            if self._is_removed(watched):
                continue
            new = tuple(
                alert
                for alert in alerts
                if alert.lab_job_id == state.lab_job_id is not None and alert.id not in watched.alerts
            )
            if new:
                watched.alerts.update(alert.id for alert in new)
                watched.has_moved = True
                await state.record(AlertsObserved(at=state.now(), job=state.key, alerts=new))

    async def _fetch_alerts(self, _watched: _Watched) -> None:
        await self._look_at_alerts(once_more=True)

    # --- logs ---------------------------------------------------------------------------------------------------

    async def _follow_logs(self, watched: _Watched) -> None:
        """Read the pod's log until it is cancelled; a cut stream is resumed after the last line that was seen.

        One that gave lines and then ended is resumed at once: the pod may be gone soon, and its last lines with it.
        """
        clock, pace, state = self._world.clock, self._world.pace, watched.state
        pause_s = pace.retry_s
        while True:
            has_lines = False
            try:
                async for lines in self._world.cloud.stream_logs(state.pod_id or "", after=watched.log_cursor):
                    watched.state.log_trouble = None
                    if not lines:
                        continue
                    watched.log_cursor = lines[-1].cursor or watched.log_cursor
                    watched.has_moved = has_lines = True
                    pause_s = pace.retry_s
                    await state.record_logs(tuple(lines))
                if has_lines:
                    continue
            except ProviderError as exc:
                if exc.kind != ProviderErrorKind.GONE:
                    watched.state.log_trouble = f"the log stream broke: {exc}"
                elif not state.evidence.log.lines:
                    # It may be asked for before the cloud knows of the pod: then it is had later, and this forgotten.
                    watched.state.log_trouble = watched.state.log_trouble or f"not a line was had of the log: {exc}"
            await clock.sleep(pause_s)
            pause_s = min(pause_s * 2, pace.retry_max_s)


def _shape(pod: Pod) -> tuple[object, ...]:
    """What of a pod is worth an event: everything but the uptime, which always changes, unless it falls to zero."""
    return (pod.status, pod.gpu, pod.gpu_count, pod.cost_usd_h, bool(pod.uptime_s))


def _dearest(known: float | None, seen: float | None) -> float | None:
    """The higher of two prices: a stopped pod says 0, and a bill is never estimated too low."""
    prices = [price for price in (known, seen) if price is not None]
    return max(prices) if prices else None
