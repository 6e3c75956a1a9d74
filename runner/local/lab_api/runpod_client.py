"""The lab's own calls to RunPod, made with the user's key, over HTTP like anybody's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import ClientError, ClientTimeout, web

from runner.local.faults import quirks_of
from runner.local.lab_api.context import LAB, Lab
from runner.local.web_kit import JSON_ERRORS

TIMEOUT = ClientTimeout(total=60)
GONE = 404
STRANGERS_KEY = "rpa_OF_ANOTHER_ACCOUNT"


class RunPodRefusal(Exception):  # noqa: N818  # passed on to the lab's caller
    """RunPod said no, or nothing; `status` is None when no answer came."""

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


def user_key(lab: Lab, user_id: str) -> str | None:
    """The RunPod key in the user's vault."""
    key = lab.store.setting(user_id, "secrets").get("runpod")
    return str(key) if key else None


def key_for(request: web.Request, user_id: str) -> str | None:
    """The RunPod key for what happens to a pod after its creation; a lab of two accounts takes the wrong one."""
    key = user_key(request.app[LAB], user_id)
    return STRANGERS_KEY if key and quirks_of(request).other_account else key


async def create_pod(lab: Lab, key: str, body: Mapping[str, Any]) -> dict[str, Any]:
    return _pod(await _call(lab, key, "POST", "/pods", body))


async def get_pod(lab: Lab, key: str, pod_id: str) -> dict[str, Any]:
    return _pod(await _call(lab, key, "GET", f"/pods/{pod_id}"))


async def terminate_pod(lab: Lab, key: str, pod_id: str) -> None:
    await _call(lab, key, "DELETE", f"/pods/{pod_id}")


def _pod(content: bytes) -> dict[str, Any]:
    """The pod in an answer, which may as well be the page of some proxy."""
    try:
        found = msgspec.json.decode(content)
    except JSON_ERRORS as exc:
        raise RunPodRefusal(f"RunPod's answer is not JSON: {_reason(content)}") from exc
    if not isinstance(found, dict) or not {"id", "status"} <= found.keys():
        raise RunPodRefusal("RunPod's answer is not a pod")
    return found


async def _call(lab: Lab, key: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    data = None if body is None else msgspec.json.encode(body)
    try:
        async with lab.http.request(
            method, lab.runpod_url + path, headers=headers, data=data, timeout=TIMEOUT
        ) as answer:
            content = await answer.read()
            if answer.status >= 400:
                raise RunPodRefusal(_reason(content), answer.status)
    except (ClientError, TimeoutError) as exc:
        raise RunPodRefusal(f"{type(exc).__name__}: {exc}") from exc
    return content


def _reason(content: bytes) -> str:
    try:
        problem = msgspec.json.decode(content)
        return str(problem["detail"])
    except (*JSON_ERRORS, KeyError, TypeError):
        return content.decode("utf-8", "replace")[:500]
