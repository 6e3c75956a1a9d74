"""What pods say and post in a simulation: trainings that go well, and some that do not."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import aiohttp

from runner.local.pods import ContainerSpec
from runner.local.scripted import Cue, Do, Exit, Say, Scenario

ENDS = (
    "completes", "completes", "completes", "goes on", "crashes", "crashes", "memory", "killed", "silent", "nan",
    "no alert", "never starts", "never starts",
)  # fmt: skip
AGENT = {"X-Agent-ID": "agent_elsewhere"}
Connect = Callable[[], aiohttp.BaseConnector]


class Trainings:
    """Chooses what a pod plays; remembers the secrets that pods were given, and prints them as trainers do."""

    def __init__(self, rng: random.Random, connector: Connect, *, is_healthy: bool) -> None:
        self._rng = rng
        self._connector = connector
        self._is_healthy = is_healthy
        self.secrets: set[str] = set()
        self.played: list[str] = []
        self.happened: Counter[str] = Counter()
        self.lab_key = ""

    def __call__(self, spec: ContainerSpec) -> Scenario:
        if "JOB_ID" not in spec.env:
            return []
        if spec.argv == ("false",):
            return [Exit(0, 1)]
        env, rng = spec.env, self._rng
        self.secrets |= {env[name] for name in ("JOB_TOKEN", "INTERNAL_API_KEY") if env.get(name)}
        end = "completes" if self._is_healthy else rng.choice(ENDS)
        self.played.append(end)
        begin_s, step_s = rng.uniform(3, 40), rng.choice([0.2, 0.5, 1.0])
        claims = [Do(0.1, self._claim)] if not self._is_healthy and rng.random() < 0.2 else []
        if end == "never starts":
            return [*claims, Say(1, "✓ Config created"), Say(1, "✓ standalone_trainer.py created (0 lines)")]
        cues: list[Cue] = [
            *claims,
            Say(0, f"INTERNAL_API_KEY={env.get('INTERNAL_API_KEY')} JOB_TOKEN={env.get('JOB_TOKEN')}"),
            Say(1, "✓ standalone_trainer.py downloaded (900 lines)"),
            Say(begin_s - 1, "[CPT] Packing enabled: 80 rows packed into 17 blocks"),
            Say(begin_s, "[MetricsCallback] Training started"),
        ]
        if end != "no alert":
            cues.append(Do(begin_s, self._alert("job_started")))
        last = 120 if end in ("completes", "goes on", "nan", "no alert") else rng.randint(5, 95)
        for step in range(1, last + 1, 8):
            cues.append(Say(begin_s + step * step_s, f"[Progress] Epoch 1/3 | Step {step}/{last}"))
            loss = None if end == "nan" and step > 40 else round(3 - step / 100, 3)
            cues.append(Do(begin_s + step * step_s, self._metric(step, loss)))
        return [*cues, *self._end(end, begin_s + (last + 1) * step_s)]

    def _end(self, end: str, at_s: float) -> list[Cue]:
        match end:
            case "completes" | "nan" | "no alert":
                # The last step is reported twice, the second time without a loss, as the trainer does after evaluating.
                last = Do(at_s - 0.1, self._metric(120, None))
                return [last, Do(at_s, self._alert("job_completed")), Do(at_s + 1, self._end_own_pod)]
            case "crashes":
                return [
                    Say(at_s, "[Main] Training failed with error: RuntimeError: boom"),
                    Do(at_s, self._alert("job_failed")),
                    Exit(at_s + 5, 1),
                ]
            case "memory":
                return [
                    Say(at_s, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."),
                    Do(at_s, self._alert("job_failed")),
                    Exit(at_s + 5, 1),
                ]
            case "killed":
                return [Say(at_s, "✗ Training failed with exit code: 137"), Exit(at_s + 1, 137)]
        return []

    async def _claim(self, spec: ContainerSpec) -> None:
        """A desktop agent of the same user asks for work, and is given the job of this pod (trap T-14)."""
        url = spec.env["ALERT_API_URL"].replace("alerts/trigger", f"training/agent/claim/{spec.env['JOB_ID']}")
        if await self._post(url, {}, {**AGENT, "X-API-Key": self.lab_key}) == 200:
            self.happened["agent claims"] += 1

    async def _end_own_pod(self, spec: ContainerSpec) -> None:
        """What our bootstrap does in a pod of its own once the training is over."""
        env = spec.env
        if "RUNSPEC_POD" not in env:
            return
        url = f"{env['RUNSPEC_RUNPOD_URL']}/pods/{spec.pod_id}/action"
        headers = {"Authorization": f"Bearer {env['RUNPOD_API_KEY']}", "User-Agent": "pod"}
        status = await self._post(url, {"action": "terminate"}, headers)
        if status in (204, 403):
            self.happened["own key allowed" if status == 204 else "own key refused"] += 1

    def _alert(self, kind: str) -> Any:
        async def post(spec: ContainerSpec) -> None:
            env = spec.env
            body = {"type": kind, "job_id": env["JOB_ID"], "user_id": env["USER_ID"], "model_name": "m"}
            await self._post(env["ALERT_API_URL"], body, {"X-API-Key": env["INTERNAL_API_KEY"]})

        return post

    def _metric(self, step: int, loss: float | None) -> Any:
        async def post(spec: ContainerSpec) -> None:
            env = spec.env
            body = {"job_id": env["JOB_ID"], "metrics": [{"step": step, "epoch": 0, "train_loss": loss}]}
            await self._post(env["METRICS_API_URL"], body, {"Authorization": f"Bearer {env['JOB_TOKEN']}"})

        return post

    async def _post(self, url: str, body: Any, headers: dict[str, str]) -> int | None:
        timeout = aiohttp.ClientTimeout(total=10)
        try:
            async with (
                aiohttp.ClientSession(connector=self._connector(), timeout=timeout) as http,
                http.post(url, json=body, headers=headers) as answer,
            ):
                await answer.read()
                return answer.status
        except (aiohttp.ClientError, TimeoutError, ConnectionError):
            return None  # a trainer goes on training when its telemetry fails
