"""Pods that the lab deployed, as the lab sees them: what becomes of them, and their end.

A run watches and ends its pods at RunPod, which knows more; this is the lab's own way.

Source: FineTune Lab contract §2.3 and §3.2, read from the public repository of 2026-07.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runner.providers.lab_access import Ask, LabAccess
from runner.providers.readers import mapping, maybe_mapping, needed_text, number

PATH = "/api/training/deploy/runpod"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentState:
    """A deployment as the lab sees it.

    Attributes:
        status: from what RunPod was asked for, so a pod whose program died still reads `running`.
        cost_usd: what it has cost so far; None where the lab does not say.
    """

    pod_id: str
    status: str
    cost_usd_h: float | None
    cost_usd: float | None


class LabDeployments:
    """Looks at deployments and stops them; every method raises `ProviderError` and nothing else."""

    def __init__(self, access: LabAccess) -> None:
        self._access = access

    async def state(self, pod_id: str) -> DeploymentState:
        """One deployment. The lab answers 500 (`transient`) to a pod that is gone, as it does to any trouble."""
        ask = Ask(method="GET", path=PATH, params={"deployment_id": pod_id}, to="read a deployment")
        return await self._access.by_session(ask, _state)

    async def stop(self, pod_id: str) -> None:
        """End the pod and nothing else: its job keeps the status that it has, and no alert is sent (T-11).

        Raises:
            ProviderError: also for a pod that is gone, which the lab does not tell from any other trouble.
        """
        ask = Ask(method="DELETE", path=PATH, params={"deployment_id": pod_id}, to="stop a deployment")
        await self._access.by_session(ask, lambda answer: mapping(answer, "the answer"))


def _state(answer: Any) -> DeploymentState:
    found = mapping(answer, "the answer")
    cost = maybe_mapping(found.get("cost"))
    return DeploymentState(
        pod_id=needed_text(found, "deployment_id", "the deployment"),
        status=needed_text(found, "status", "the deployment"),
        cost_usd_h=number(cost.get("cost_per_hour")),
        cost_usd=number(cost.get("actual_cost")),
    )
