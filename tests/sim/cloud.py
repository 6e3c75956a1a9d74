"""A RunPod and a FineTune Lab that live in memory, on virtual time, and misbehave as told.

The world is the truth; `SimCloud` and `SimLab` are what one life of the runner sees of it through its ports.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from runner.errors import ProviderError
from runner.ports import Deployment, DeployRequest, JobTicket, PodRequest, ProviderErrorKind, UploadedDataset
from runner.results import Alert, GpuOffer, JobSnapshot, LogLine, MetricPoint, Pod
from runner.spec.models import DatasetFormat
from tests.sim.life import Life
from tests.sim.loop import SimClock, SimLoop

FAULTS = (
    "capacity", "create lost after", "create lost before", "create lost late", "create slow", "overpriced",
    "zero gpus", "list error", "list lags create", "list lags delete", "get error", "delete error",
    "delete swallowed", "outage", "pod stuck", "pod error", "pod dies", "unknown status", "log cut", "log broken",
    "lab error", "metrics refused", "nan loss", "alert lost", "trainer crashes", "trainer killed", "trainer stalls",
    "cancel refused", "config refused", "download error", "no download route", "hostile archive", "download hangs",
    "model broken", "no torch", "sdk missing", "sdk reads otherwise", "sold out", "rate limited", "bad request",
    "no credit", "uptime zero", "container loops", "locked", "out of memory",
)  # fmt: skip
OF_FINISHED_JOBS = FAULTS[FAULTS.index("download error") : FAULTS.index("sdk reads otherwise") + 1]
OF_OUR_PODS = FAULTS[FAULTS.index("sold out") : FAULTS.index("locked") + 1]
OF_TEMPLATES = {
    "metrics refused", "nan loss", "alert lost", "trainer crashes", "trainer killed", "trainer stalls",
    "hostile archive", "model broken", "sdk reads otherwise", "out of memory",
}  # fmt: skip
"""What a job may be called failed for; all else is the fault of somebody else."""
OF_SILENCE = {"suspended", "outage", "lab error"}
"""Why the lab may give no answer for a minute."""
PRICE_USD_H = 0.25
QUOTE_USD_H = 0.34
"""What the lab says that the pod costs."""
SMALL, BIG = "NVIDIA RTX A4000", "NVIDIA RTX A6000"


@dataclass(slots=True)
class SimPod:
    id: str
    name: str
    created_s: float
    running_s: float
    job: str | None
    price: float = PRICE_USD_H
    gpu_count: int = 1
    status: str | None = None
    gpu: str = SMALL
    has_zero_uptime: bool = False
    loops: bool = False
    locked_until_s: float = 0.0
    gone_s: float | None = None
    listed_from_s: float = 0.0
    listed_until_s: float | None = None

    def cost_usd(self, now_s: float) -> float:
        return self.price * ((self.gone_s if self.gone_s is not None else now_s) - self.created_s) / 3600


@dataclass(slots=True)
class SimJob:
    id: str
    config: str
    pod: str
    status: str = "pending"
    started_s: float | None = None
    step_s: float = 1.0
    total: int = 200
    stop_at: int | None = None
    nan_at: int | None = None
    refused: bool = False
    ended_s: float | None = None
    error: str | None = None
    logs: list[tuple[float, str]] = field(default_factory=list)

    def step(self, now_s: float) -> int:
        if self.started_s is None:
            return 0
        until_s = now_s if self.ended_s is None else min(now_s, self.ended_s)
        limit = self.total if self.stop_at is None else self.stop_at
        return max(0, min(limit, int((until_s - self.started_s) / self.step_s)))


class World:
    """The truth: pods, jobs, alerts, and what will happen to them when time passes."""

    def __init__(self, rng: random.Random, rates: Mapping[str, float]) -> None:
        self.rng = rng
        self.rates = rates
        self.now_s = 0.0
        self.pods: dict[str, SimPod] = {}
        self.jobs: dict[str, SimJob] = {}
        self.alerts: list[Alert] = []
        self.violations: list[str] = []
        self.happened: Counter[str] = Counter()
        self.creates: Counter[str] = Counter()
        self.outage: tuple[float, float] | None = None
        self.synced_names: Callable[[], Mapping[str, str]] = dict
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        # For good, unlike `capacity`: what no round of the ladder helps against.
        self.is_sold_out = self.strikes("sold out")
        self.is_broke = self.strikes("no credit")
        self._numbers = itertools.count(1)
        for name in ("training-deadbeef", "somebody-elses-pod"):
            self.pods[name] = SimPod(id=name, name=name, created_s=0, running_s=0, job=None)
        if rates.get("outage") and rng.random() < 0.5:
            self.happened["outage"] += 1
            begin = rng.uniform(0, 200)
            self.outage = (begin, begin + rng.uniform(10, 1500))

    def strikes(self, fault: str) -> bool:
        """Whether a fault happens now."""
        rate = self.rates.get(fault, 0.0)
        if rate and self.rng.random() < rate:
            self.happened[fault] += 1
            return True
        return False

    def at(self, when_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (when_s, next(self._numbers), act))

    def catch_up(self, now_s: float) -> None:
        """Let everything happen that was due by now."""
        while self._agenda and self._agenda[0][0] <= now_s:
            self.now_s, _, act = heapq.heappop(self._agenda)
            act()
        self.now_s = now_s

    def living(self, name: str | None = None) -> list[SimPod]:
        return [pod for pod in self.pods.values() if pod.gone_s is None and name in (None, pod.name)]

    # --- what happens ---------------------------------------------------------------------------------------

    def open_job(self, config: str) -> SimJob:
        """The lab registers a job, whose pod may come later."""
        rng, number = self.rng, next(self._numbers)
        job = SimJob(f"job{number}", config, "", step_s=rng.choice([0.2, 1.0, 4.0]), total=rng.choice([60, 200]))
        self.jobs[job.id] = job
        return job

    def start(self, name: str, job: SimJob, gpu: str) -> SimPod:
        """A create takes effect: a pod, and the whole life to come of it and its job."""
        rng, number = self.rng, next(self._numbers)
        self.creates[name] += 1
        planned = self.synced_names()
        twins = [pod for pod in self.living() if pod.name in planned and planned[pod.name] == planned.get(name)]
        if self.living(name) or twins:
            self.violations.append(f"I2: a second live pod for {name}")
        now_s = self.now_s
        pod = SimPod(f"pod{number}", name, now_s, now_s + rng.uniform(2, 90), job.id, gpu=gpu)
        self.pods[pod.id], job.pod = pod, pod.id
        pod.listed_from_s = now_s + (rng.uniform(0, 30) if self.strikes("list lags create") else 0)
        self._spoil(pod)
        self._live(pod, job)
        return pod

    def _spoil(self, pod: SimPod) -> None:
        """What is wrong with a pod from its first moment on."""
        if self.strikes("overpriced"):
            pod.price *= 4
        if self.strikes("zero gpus"):
            pod.gpu_count = 0
        if self.strikes("locked"):
            pod.locked_until_s = self.now_s + self.rng.uniform(0, 90)

    def _live(self, pod: SimPod, job: SimJob) -> None:
        """The life that a pod is going to have."""
        rng = self.rng
        if self.strikes("pod stuck"):
            pod.running_s = float("inf")
        elif self.strikes("uptime zero"):
            pod.has_zero_uptime = True
        elif self.strikes("container loops"):
            pod.loops = True
            for start in range(6):
                self._say(pod, job, pod.running_s + 10 * start, "start container for image: begin")
        elif self.strikes("pod error"):
            self.at(pod.running_s, lambda: self._pod_status(pod, "ERROR"))
        else:
            self._script(pod, job)
        if self.strikes("pod dies"):
            self.at(pod.running_s + rng.uniform(0, 200), lambda: self.end(pod))

    def _pod_status(self, pod: SimPod, status: str) -> None:
        if pod.gone_s is None:
            pod.status = status

    def _script(self, pod: SimPod, job: SimJob) -> None:
        rng = self.rng
        begin_s = pod.running_s + rng.uniform(5, 60)
        self._say(pod, job, begin_s - 3, "✓ standalone_trainer.py downloaded (900 lines)")
        self._say(pod, job, begin_s - 1, "[CPT] Packing enabled: 80 rows packed into 17 blocks")
        job.refused = self.strikes("metrics refused")
        job.nan_at = rng.randint(5, 150) if self.strikes("nan loss") else None
        end = "complete"
        if pod.gpu == SMALL and self.strikes("out of memory"):
            job.stop_at, end = rng.randint(1, job.total - 1), "oom"
        for fault, how in (
            ("trainer crashes", "crash"), ("trainer killed", "kill"), ("trainer stalls", "stall")
        ):  # fmt: skip
            if self.strikes(fault):
                job.stop_at, end = rng.randint(1, job.total - 1), how
        self.at(begin_s, lambda: self._begin(pod, job, begin_s))
        for step in range(10, (job.stop_at or job.total) + 1, 30):
            self._say(pod, job, begin_s + step * job.step_s, f"[Progress] Epoch 1/3 | Step {step}/{job.total}")
        end_s = begin_s + (job.stop_at or job.total) * job.step_s + 1
        self.at(end_s, lambda: self._conclude(pod, job, end))

    def _say(self, pod: SimPod, job: SimJob, when_s: float, text: str) -> None:
        def say() -> None:
            if pod.gone_s is None:
                job.logs.append((when_s, text))

        self.at(when_s, say)

    def _begin(self, pod: SimPod, job: SimJob, when_s: float) -> None:
        if pod.gone_s is not None or job.status != "pending":
            return
        job.started_s, job.status = when_s, "running"
        job.logs.append((when_s, "[MetricsCallback] Training started"))
        if job.refused:
            job.logs.append((when_s + 0.1, "[MetricsCallback] API POST failed: 405 - "))
        if not self.strikes("alert lost"):
            self.alert(job, "job_started")

    def _conclude(self, pod: SimPod, job: SimJob, how: str) -> None:
        if pod.gone_s is not None or job.status not in ("pending", "running") or how == "stall":
            return
        if how == "kill":
            job.logs.append((self.now_s, "✗ Training failed with exit code: 137"))
            return
        if how == "oom":
            job.logs.append((self.now_s, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."))
            how = "crash"
        if how == "crash":
            job.logs.append((self.now_s, "[Main] Training failed with error: RuntimeError: boom"))
        job.status = "failed" if how == "crash" else "completed"
        job.ended_s, job.error = self.now_s, "boom" if how == "crash" else None
        self.alert(job, "job_failed" if how == "crash" else "job_completed")
        # The lab ends the pod of a job that it deployed; of one that we created it knows nothing.
        if pod.name.startswith("training-"):
            self.end(pod)

    def alert(self, job: SimJob, kind: str) -> None:
        at = _stamp(self.now_s)
        self.alerts.append(Alert(id=f"alert{next(self._numbers)}", type=kind, lab_job_id=job.id, at=at))

    def end(self, pod: SimPod) -> None:
        """A pod is terminated."""
        if pod.gone_s is None:
            pod.gone_s = self.now_s
            if self.strikes("list lags delete"):
                pod.listed_until_s = self.now_s + self.rng.uniform(1, 30)


class _Port:
    """What `SimCloud` and `SimLab` share: latency, kill points, outages, transient errors."""

    def __init__(self, world: World, loop: SimLoop, life: Life) -> None:
        self._world = world
        self._loop = loop
        self._life = life

    async def _arrive(self, name: str) -> None:
        """The request reaches the server; the caller may die before."""
        await self._life.point(f"call< {name}")
        await self._travel(name)

    async def _answer(self, name: str) -> None:
        """The answer reaches the caller, who may have died meanwhile."""
        await self._travel(name)
        await self._life.point(f"call> {name}")

    async def _travel(self, name: str) -> None:
        await asyncio.sleep(self._world.rng.uniform(0.01, 0.5))
        await self._life_goes_on(name)
        self._world.catch_up(self._loop.world_s)

    async def _life_goes_on(self, name: str) -> None:
        if self._life.is_dead:
            await self._life.point(name)

    async def _create(self, call: str, name: str, gpu: str, make_job: Callable[[], SimJob]) -> SimPod:
        """A create that arrived: refused, lost, late or done; `make_job` gives the job that it trains."""
        world = self._world
        if name not in world.synced_names():
            world.violations.append("I2: a create without a synced intent before it")
        if world.strikes("create slow"):
            await asyncio.sleep(world.rng.uniform(10, 100))
            await self._life_goes_on(call)
            world.catch_up(self._loop.world_s)
        if world.is_sold_out or world.strikes("capacity"):
            raise ProviderError(f"No {gpu} GPUs currently available", kind=ProviderErrorKind.CAPACITY)
        if world.strikes("bad request"):
            raise ProviderError("400: the disk is too small", kind=ProviderErrorKind.VALIDATION, status=400)
        if world.strikes("rate limited"):
            raise ProviderError("429: too many", kind=ProviderErrorKind.RATE_LIMITED, status=429, retry_after_s=20)
        lost = ProviderError("no answer", kind=ProviderErrorKind.AMBIGUOUS, ambiguous=True)
        if world.strikes("create lost before"):
            raise lost
        if world.strikes("create lost late"):
            world.at(world.now_s + world.rng.uniform(1, 25), lambda: _ignore(world.start(name, make_job(), gpu)))
            raise lost
        pod = world.start(name, make_job(), gpu)
        if world.strikes("create lost after"):
            raise lost
        await self._answer(call)
        return pod

    def _may_fail(self, fault: str) -> None:
        """Fail before any effect, in a way that a caller may repeat."""
        world = self._world
        if world.outage and world.outage[0] <= world.now_s <= world.outage[1]:
            raise ProviderError("503: outage", kind=ProviderErrorKind.TRANSIENT, status=503, retryable=True)
        if world.strikes(fault):
            raise ProviderError(f"502: {fault}", kind=ProviderErrorKind.TRANSIENT, status=502, retryable=True)


class SimCloud(_Port):
    """The cloud as one life sees it."""

    async def create_pod(self, request: PodRequest) -> Pod:
        await self._arrive("create_pod")
        job = self._world.jobs[request.env["JOB_ID"]]
        pod = await self._create("create_pod", request.name, request.gpu, lambda: job)
        return self._described(pod)

    async def list_pods(self) -> Sequence[Pod]:
        await self._arrive("list_pods")
        self._may_fail("list error")
        world, now_s = self._world, self._world.now_s
        pods = [
            self._described(pod)
            for pod in world.pods.values()
            if pod.listed_from_s <= now_s and (pod.gone_s is None or (pod.listed_until_s or 0) > now_s)
        ]
        world.rng.shuffle(pods)
        await self._answer("list_pods")
        return pods

    def _described(self, pod: SimPod) -> Pod:
        now_s = self._world.now_s
        status = pod.status or ("RUNNING" if pod.running_s <= now_s else "PROVISIONING")
        if self._world.strikes("unknown status"):
            status = "HIBERNATING"
        return Pod(
            id=pod.id,
            name=pod.name,
            status=status,
            gpu=pod.gpu,
            gpu_count=pod.gpu_count,
            cost_usd_h=pod.price,
            uptime_s=_uptime_s(pod, now_s) if status == "RUNNING" else None,
            lab_job_id=pod.job,
        )

    async def get_pod(self, pod_id: str) -> Pod:
        await self._arrive("get_pod")
        self._may_fail("get error")
        pod = self._world.pods.get(pod_id)
        if pod is None or pod.gone_s is not None:
            raise ProviderError("pod not found", kind=ProviderErrorKind.GONE, status=404)
        found = self._described(pod)
        await self._answer("get_pod")
        return found

    async def terminate_pod(self, pod_id: str) -> None:
        await self._arrive("terminate_pod")
        self._may_fail("delete error")
        world = self._world
        pod = world.pods.get(pod_id)
        if pod is not None and pod.gone_s is None and world.now_s < pod.locked_until_s:
            raise ProviderError("the pod is locked", kind=ProviderErrorKind.CONFLICT, status=409)
        if pod is not None and pod.gone_s is None:
            if pod.job is None:
                world.violations.append(f"I8: the foreign pod {pod.name} was terminated")
            if not world.strikes("delete swallowed"):
                world.end(pod)
        await self._answer("terminate_pod")

    async def stream_logs(self, pod_id: str, *, after: str) -> AsyncIterator[Sequence[LogLine]]:
        seen, is_open = int(after or 0), False
        idle = 0
        while idle < 30:
            await self._arrive("logs")
            self._may_fail("log broken")
            pod = self._world.pods.get(pod_id)
            job = self._world.jobs.get(pod.job or "") if pod else None
            if pod is None or job is None or (pod.gone_s is not None and seen >= len(job.logs)):
                raise ProviderError("pod not found", kind=ProviderErrorKind.GONE, status=404)
            if not is_open:
                is_open = True
                yield []
            new = job.logs[seen:]
            if new:
                seen, idle = seen + len(new), 0
                yield [self._line(when_s, text, seen - len(new) + n) for n, (when_s, text) in enumerate(new, 1)]
                if self._world.strikes("log cut"):
                    return
            idle += 1
            await asyncio.sleep(2.0)

    def _line(self, when_s: float, text: str, number: int) -> LogLine:
        at = _stamp(when_s)
        source = "system" if text.startswith("start container") else "container"
        return LogLine(at=at, source=source, text=text, cursor=str(number))

    async def gpu_offers(self, *, cloud: str, count: int) -> Sequence[GpuOffer]:
        await self._arrive("gpu_offers")
        return [
            GpuOffer(id=SMALL, memory_gib=16, price_usd_h=PRICE_USD_H),
            GpuOffer(id=BIG, memory_gib=48, price_usd_h=2 * PRICE_USD_H),
        ]

    async def balance(self) -> float | None:
        return 0.01 if self._world.is_broke else None


class SimLab(_Port):
    """The lab as one life sees it."""

    def pod_name(self, config_id: str) -> str:
        return f"training-{config_id[:8]}"

    async def create_config(self, *, name: str, template: str, config: Mapping[str, Any]) -> str:
        await self._arrive("create_config")
        self._may_fail("config refused")
        config_id = f"{self._world.rng.getrandbits(32):08x}-{next(self._world._numbers)}"
        await self._answer("create_config")
        return config_id

    async def upload_dataset(self, *, name: str, row_format: DatasetFormat, rows: bytes) -> UploadedDataset:
        await self._arrive("upload_dataset")
        await self._answer("upload_dataset")
        return UploadedDataset(id="dataset", rows=2)

    async def attach_dataset(self, config_id: str, dataset_id: str) -> None:
        await self._arrive("attach_dataset")

    async def deploy(self, request: DeployRequest) -> Deployment:
        await self._arrive("deploy")
        name, config = self.pod_name(request.config_id), request.config_id
        pod = await self._create("deploy", name, request.gpu, lambda: self._world.open_job(config))
        job = self._world.jobs[pod.job or ""]
        return Deployment(lab_job_id=job.id, pod_id=pod.id, cost_usd_h=QUOTE_USD_H)

    async def open_job(self, *, model: str, config: Mapping[str, Any]) -> JobTicket:
        await self._arrive("open_job")
        self._may_fail("config refused")
        job = self._world.open_job("")
        await self._answer("open_job")
        return JobTicket(lab_job_id=job.id, token="token", env={"JOB_ID": job.id})

    async def close_job(self, ticket: JobTicket, *, status: str) -> None:
        await self._arrive("close_job")
        self._may_fail("cancel refused")
        job = self._world.jobs[ticket.lab_job_id]
        if job.status in ("pending", "running"):
            job.status, job.ended_s = status, self._world.now_s
        await self._answer("close_job")

    async def cancel_job(self, lab_job_id: str) -> None:
        await self._arrive("cancel_job")
        self._may_fail("cancel refused")
        world = self._world
        job = world.jobs[lab_job_id]
        if job.status in ("pending", "running"):
            job.status, job.ended_s = "cancelled", world.now_s
        world.end(world.pods[job.pod])
        await self._answer("cancel_job")

    async def list_jobs(self) -> Sequence[JobSnapshot]:
        await self._arrive("list_jobs")
        self._may_fail("lab error")
        found = [self._snapshot(job) for job in self._world.jobs.values()]
        await self._answer("list_jobs")
        return found

    async def job_status(self, lab_job_id: str) -> JobSnapshot:
        await self._arrive("job_status")
        self._may_fail("lab error")
        return self._snapshot(self._world.jobs[lab_job_id])

    def _snapshot(self, job: SimJob) -> JobSnapshot:
        step = 0 if job.refused else job.step(self._world.now_s)
        return JobSnapshot(lab_job_id=job.id, status=job.status, step=step, total_steps=job.total, error=job.error)

    async def metrics(self, lab_job_id: str) -> Sequence[MetricPoint]:
        await self._arrive("metrics")
        self._may_fail("lab error")
        job = self._world.jobs[lab_job_id]
        steps = 0 if job.refused else job.step(self._world.now_s)
        points = [
            MetricPoint(
                step=n,
                values={
                    "train_loss": float("nan") if n == job.nan_at else 4.0 / (1 + n / 20),
                    "grad_norm": 1.0,
                    "samples_per_second": 1 / job.step_s,
                },
                at=_stamp(job.started_s + n * job.step_s),
            )
            for n in range(steps + 1)
            if job.started_s is not None and not job.refused and n % 5 == 0
        ]
        await self._answer("metrics")
        return points

    async def alerts(self, *, since: datetime) -> Sequence[Alert]:
        await self._arrive("alerts")
        self._may_fail("lab error")
        found = [alert for alert in self._world.alerts if alert.at >= since - timedelta(seconds=5)]
        await self._answer("alerts")
        return found


def _stamp(when_s: float) -> datetime:
    return datetime.fromtimestamp(SimClock.EPOCH_S + when_s, UTC)


def _uptime_s(pod: SimPod, now_s: float) -> float:
    if pod.has_zero_uptime:
        return 0.0
    up_s = max(0.0, now_s - pod.running_s)
    return up_s % 10 if pod.loops else up_s


def _ignore(_: object) -> None:
    return None
