"""Traps of the contract (§8) that a whole run has to survive: the unmodified engine and clients, the embedded services,
pods that play what a trainer would say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from runner.cli.loading import plan_of
from runner.cli.system import SystemClock
from runner.cli.targets import Datasets
from runner.engine.interrupt import Interrupt
from runner.engine.run import RunInfo, run_plan
from runner.engine.world import LOCAL_PACE, World
from runner.events import AnyEvent, EvidenceMissing, JobFinished, JobJudged
from runner.local.clock import SystemClock as CloudClock
from runner.local.cloud import CloudOptions, EmbeddedCloud
from runner.local.faults import Rule, When
from runner.local.lifecycle import Delays
from runner.local.pods import ContainerSpec
from runner.local.scripted import Cue, Do, Say, ScriptedPods
from runner.plan import PlannedJob
from runner.providers.connect import open_lab, open_runpod
from runner.providers.settings import Settings
from runner.results import FailureClass, Outcome, Target, Verdict
from runner.spec.conditions import AlertReceived

SPECS = Path(__file__).resolve().parents[2] / "specs"
QUICK = Delays(provision_s=0.01, start_s=0.01, terminate_s=0.05, restart_s=0.05)
PACE = replace(
    LOCAL_PACE, pods_s=0.1, jobs_s=0.05, alerts_s=0.05, metrics_s=0.05, tick_s=0.05, reconcile_s=1.0,
    reconcile_poll_s=0.05, proof_s=0.02, retry_s=0.02, retry_max_s=0.1, grace_s=0.5, settle_s=1.0,
)  # fmt: skip
UP = (Say(0, "✓ standalone_trainer.py downloaded (10 lines)"), Say(0, "[MetricsCallback] Training started"))


@dataclass
class Rehearsal:
    """What became of one job, and of its pods."""

    events: Sequence[AnyEvent]
    pods_left: list[str]
    finished: JobFinished = field(init=False)
    verdicts: dict[str, Verdict] = field(init=False)

    def __post_init__(self) -> None:
        self.finished = next(event for event in self.events if isinstance(event, JobFinished))
        judged = next(event for event in self.events if isinstance(event, JobJudged))
        self.verdicts = {verdict.id: verdict for verdict in judged.verdicts}


class Record:
    """A journal in memory."""

    def __init__(self) -> None:
        self.events: list[AnyEvent] = []

    async def append(self, *events: AnyEvent, durable: bool = False) -> None:
        self.events += events


class Hasty(SystemClock):
    """A clock on which waiting takes a fiftieth of its time."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 50)


class WithoutEnv:
    """A RunPod whose answers do not show the environment of pods, and so not their job."""

    def __init__(self, runpod: Any) -> None:
        self._runpod = runpod

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runpod, name)

    async def get_pod(self, pod_id: str) -> Any:
        return msgspec.structs.replace(await self._runpod.get_pod(pod_id), lab_job_id=None)

    async def list_pods(self) -> Any:
        return [msgspec.structs.replace(pod, lab_job_id=None) for pod in await self._runpod.list_pods()]


@pytest.fixture
def rehearse(tmp_path):
    """Runs phase basic of one template on pods that play `cues`."""

    async def run(
        *cues: Cue,
        spec: str = "sft",
        rules: Sequence[Rule] = (),
        steps: int = 2,
        hide_env: bool = False,
        patience_s: float | None = None,
    ) -> Rehearsal:
        record = Record()
        plan = plan_of(
            [SPECS / f"{spec}.yaml"], phases=["basic"], keyword="", tags=(), repeat=None,
            vars_={"watch_steps": steps}, target=Target.LOCAL, max_spend_usd=None,
        )  # fmt: skip
        if patience_s is not None:
            plan = replace(plan, jobs=tuple(_impatient(job, timedelta(seconds=patience_s)) for job in plan.jobs))
        options = CloudOptions(backend=ScriptedPods(CloudClock(), lambda _: list(cues)), delays=QUICK, faults=rules)
        async with EmbeddedCloud(tmp_path / "cloud", options) as cloud:
            settings = replace(Settings.of_local(asdict(cloud.endpoints)), lab_api_key=None)
            # What the clients wait before they try again is shortened; the engine's own time is real.
            async with open_runpod(settings, clock=Hasty()) as runpod, open_lab(settings, clock=Hasty()) as lab:
                world = World(
                    cloud=WithoutEnv(runpod) if hide_env else runpod,
                    lab=lab,
                    journal=record,
                    clock=SystemClock(),
                    datasets=Datasets(),
                    pace=PACE,
                )
                await run_plan(plan, world, info=RunInfo(run="r1"), interrupt=Interrupt())
            left = [pod.id for pod in cloud.pods.pods() if not pod.is_ended]
        return Rehearsal(record.events, left)

    return run


def _impatient(job: PlannedJob, patience: timedelta) -> PlannedJob:
    """The same job, which waits less for an alert that may never come."""
    steps = tuple(
        step.model_copy(update={"timeout": patience})
        if isinstance(getattr(step, "wait", None), AlertReceived)
        else step
        for step in job.phase.steps
    )
    return replace(job, phase=job.phase.model_copy(update={"steps": steps}))


def alert(kind: str, at_s: float = 0.05, **more: Any) -> Cue:
    return Do(at_s, _posting("ALERT_API_URL", lambda env: {
        "type": kind, "job_id": env["JOB_ID"], "user_id": env["USER_ID"], "model_name": "m", **more,
    }, lambda env: {"X-API-Key": env["INTERNAL_API_KEY"]}))  # fmt: skip


def metrics(*points: dict[str, Any], at_s: float = 0.1) -> Cue:
    return Do(at_s, _posting("METRICS_API_URL", lambda env: {"job_id": env["JOB_ID"], "metrics": list(points)},
                             lambda env: {"Authorization": f"Bearer {env['JOB_TOKEN']}"}))  # fmt: skip


def _posting(
    url: str, body: Callable[[Any], dict[str, Any]], headers: Callable[[Any], dict[str, str]]
) -> Callable[[ContainerSpec], Awaitable[None]]:
    async def post(spec: ContainerSpec) -> None:
        async with (
            aiohttp.ClientSession() as http,
            http.post(spec.env[url], json=body(spec.env), headers=headers(spec.env)),
        ):
            pass

    return post


def point(step: int, loss: float | None = 1.0, **more: Any) -> dict[str, Any]:
    return {"step": step, "epoch": 0, "train_loss": loss, **more}


async def test_healthy_training_passes_the_same_rehearsal(rehearse):
    run = await rehearse(*UP, alert("job_started"), metrics(point(1), point(2), point(3)))
    assert (run.finished.outcome, run.pods_left) == (Outcome.PASSED, [])


async def test_t01_pod_of_a_deploy_that_answered_500_is_adopted_and_given_back(rehearse):
    rules = [Rule(where="lab POST /api/training/deploy/runpod", what="orphan-pod")]
    run = await rehearse(*UP, alert("job_started"), metrics(point(1), point(2)), rules=rules)
    assert run.pods_left == []
    # The lab calls its job failed, and the pod's environment says which job that is.
    assert (run.finished.outcome, run.finished.failure_class) == (Outcome.FAILED, FailureClass.CRITERION)
    assert "job failed by status" in run.finished.reason
    outcomes = {name: verdict.outcome for name, verdict in run.verdicts.items()}
    assert (outcomes["pod-deploys"], outcomes["trains"]) == (Outcome.PASSED, Outcome.PASSED)


async def test_t01_pod_whose_job_nobody_can_name_is_given_back_without_a_verdict(rehearse):
    rules = [Rule(where="lab POST /api/training/deploy/runpod", what="orphan-pod")]
    run = await rehearse(*UP, alert("job_started"), metrics(point(1), point(2)), rules=rules, hide_env=True)
    assert run.pods_left == []
    assert (run.finished.outcome, run.finished.failure_class) == (Outcome.ERRORED, FailureClass.PROVIDER)
    assert "not the training job it belongs to" in run.finished.reason


async def test_t02_ticks_of_a_bootstrap_that_cannot_start_the_trainer_are_not_believed(rehearse):
    run = await rehearse(
        Say(0, "✓ standalone_trainer.py created"), Say(0, "bash: line 90: configBase64: unbound variable"),
        Say(0, "✓ config.json created"), Say(0, "✗ Training failed with exit code: 1"),
    )  # fmt: skip
    assert run.finished.outcome is Outcome.FAILED or run.finished.outcome is Outcome.ERRORED
    assert run.verdicts["trains"].outcome is not Outcome.PASSED
    assert run.pods_left == []


async def test_t03_pod_that_the_lab_cannot_end_is_ended_at_runpod(rehearse):
    rules = [Rule(where="lab POST /api/training/local/*/control", what="cancel-refused")]
    run = await rehearse(*UP, alert("job_started"), metrics(point(1), point(2)), rules=rules)
    assert run.pods_left == []
    assert run.finished.failure_class is not FailureClass.LEAK


async def test_t09_failure_that_never_reaches_the_status_is_seen_in_the_alerts(rehearse):
    rules = [Rule(where="lab POST /api/alerts/trigger", what="alert-without-effect")]
    run = await rehearse(
        *UP, alert("job_started"), metrics(point(1)), alert("job_failed", 0.2, error_message="boom"), rules=rules
    )  # fmt: skip
    assert run.finished.outcome is Outcome.FAILED
    assert run.pods_left == []


async def test_t10_pod_that_is_gone_with_the_completed_alert_is_no_failure(rehearse):
    run = await rehearse(*UP, alert("job_started"), metrics(point(1), point(2)), alert("job_completed", 0.15), steps=9)
    assert (run.finished.outcome, run.pods_left) == (Outcome.PASSED, [])


async def test_t12_null_loss_of_the_last_row_does_not_hide_the_loss(rehearse):
    rows = (point(1, 2.0), point(2, 1.5), point(2, None), point(3, None))
    run = await rehearse(*UP, alert("job_started"), metrics(*rows), alert("job_completed", 0.2), steps=9)
    assert run.verdicts["metrics-post"].outcome is Outcome.PASSED
    seen = [event for event in run.events if type(event).__name__ == "MetricsObserved"]
    values = {one.step: one.values["train_loss"] for event in seen for one in event.points}
    assert (values[1], values[2]) == (2.0, 1.5)


async def test_t13_training_that_ends_at_80_percent_has_ended(rehearse):
    # 80 of 100 rows are trained on, so the step count never reaches the total that the lab expects.
    run = await rehearse(*UP, alert("job_started"), metrics(point(4)), alert("job_completed", 0.2), steps=50)
    assert run.finished.outcome is Outcome.PASSED


async def test_t15_cancelled_job_waits_for_no_alert(rehearse):
    run = await rehearse(*UP, alert("job_started"), metrics(point(1), point(2)))
    assert run.finished.outcome is Outcome.PASSED
    kinds = [one.type for event in run.events if type(event).__name__ == "AlertsObserved" for one in event.alerts]
    assert set(kinds) <= {"job_started"}
    assert run.finished.elapsed_s < 20


async def test_t16_start_alert_is_seen_although_its_delivery_is_off(rehearse):
    run = await rehearse(*UP, alert("job_started"), metrics(point(1), point(2)))
    assert run.verdicts["alert-started"].outcome is Outcome.PASSED


async def test_t24_price_is_read_from_the_pod_and_not_from_the_labs_estimate(rehearse):
    rules = [Rule(where="runpod POST /v2/pods", what="dear")]
    run = await rehearse(*UP, alert("job_started"), metrics(point(1), point(2)), rules=rules)
    assert run.finished.failure_class is FailureClass.LIMIT
    assert "price" in run.finished.reason.lower() or "USD" in run.finished.reason
    assert run.pods_left == []


async def test_t25_keys_that_a_pod_prints_reach_no_journal(rehearse):
    held: dict[str, str] = {}

    async def peek(spec: ContainerSpec) -> None:
        held.update({name: spec.env[name] for name in ("INTERNAL_API_KEY", "JOB_TOKEN")})

    dump = "INTERNAL_API_KEY=0123456789abcdefSECRET JOB_TOKEN=abcdefghijklmnopSECRET"
    run = await rehearse(
        Do(0, peek), Say(0, dump), *UP, alert("job_started"), metrics(point(1), point(2)),
    )  # fmt: skip
    journal = msgspec.json.encode(list(run.events)).decode()
    assert held
    for secret in (*held.values(), "0123456789abcdefSECRET", "abcdefghijklmnopSECRET"):
        assert secret not in journal


async def test_f06_rlhf_without_metrics_is_unknown_with_its_reason(rehearse):
    run = await rehearse(
        UP[0], Say(0, "[RLHF] Starting PPO training"), alert("job_started"), alert("job_completed", 0.2), spec="rlhf"
    )  # fmt: skip
    assert run.finished.outcome is Outcome.UNKNOWN
    assert run.verdicts["alert-started"].outcome is Outcome.PASSED
    assert run.verdicts["metrics-post"].outcome is Outcome.UNKNOWN
    missing = [event for event in run.events if isinstance(event, EvidenceMissing)]
    assert any("posts no metrics for rlhf" in event.reason for event in missing)
    assert run.pods_left == []


async def test_f06_rlhf_that_sends_no_start_alert_either_is_unknown_and_not_failed(rehearse):
    run = await rehearse(
        UP[0], Say(0, "[RLHF] Starting PPO training"), alert("job_started"), metrics(point(1)),
        alert("job_completed", 0.3), spec="rlhf", patience_s=1,
        rules=[
            Rule(where="lab POST /api/training/local/metrics", what="metrics-lost"),
            Rule(where="lab POST /api/alerts/trigger", what="alert-lost", when=When(contains="job_started")),
        ],
    )  # fmt: skip
    assert (run.finished.outcome, run.pods_left) == (Outcome.UNKNOWN, [])
    assert run.verdicts["alert-started"].outcome is Outcome.UNKNOWN
    assert "sends no `job_started` for rlhf" in run.verdicts["alert-started"].finding.observed


async def test_f06_other_methods_are_failed_by_a_start_alert_that_never_came(rehearse):
    rules = [Rule(where="lab POST /api/alerts/trigger", what="alert-lost", when=When(contains="job_started"))]
    run = await rehearse(
        *UP, alert("job_started"), metrics(point(1)), alert("job_completed", 0.3), rules=rules, patience_s=1
    )
    assert run.verdicts["alert-started"].outcome is Outcome.FAILED
