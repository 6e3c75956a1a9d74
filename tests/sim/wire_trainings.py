"""What pods say and post in a simulation: trainings that go well, and some that do not."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import aiohttp

from runner.local.pods import ContainerSpec
from runner.local.scripted import Cue, Do, Exit, Say, Scenario

ENDS = ("completes", "completes", "completes", "goes on", "crashes", "memory", "killed", "silent", "nan", "no alert")
Connect = Callable[[], aiohttp.BaseConnector]


class Trainings:
    """Chooses what a pod plays; remembers the secrets that pods were given, and prints them as trainers do."""

    def __init__(self, rng: random.Random, connector: Connect, *, is_healthy: bool) -> None:
        self._rng = rng
        self._connector = connector
        self._is_healthy = is_healthy
        self.secrets: set[str] = set()
        self.played: list[str] = []

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
        cues: list[Cue] = [
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
                return [Do(at_s, self._alert("job_completed"))]
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

    async def _post(self, url: str, body: Any, headers: dict[str, str]) -> None:
        timeout = aiohttp.ClientTimeout(total=10)
        try:
            async with (
                aiohttp.ClientSession(connector=self._connector(), timeout=timeout) as http,
                http.post(url, json=body, headers=headers) as answer,
            ):
                await answer.read()
        except (aiohttp.ClientError, TimeoutError, ConnectionError):
            pass  # a trainer goes on training when its telemetry fails
