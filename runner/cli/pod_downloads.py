"""Models of `--via runpod`: fetched from the agent in the pod, since the lab has no route to what it did not deploy."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from runner.cli.pod_kit import AGENT_PORT, Kit
from runner.errors import ModelError, ProviderError
from runner.ports import ModelArchive
from runner.ports import ProviderErrorKind as Kind

if TYPE_CHECKING:
    from runner.providers.runpod import RunPod

PART = 32 << 20
"""Bytes a request: RunPod's proxy ends what takes longer than 100 s."""
PART_S = 95.0


class PodDownloads:
    """What a workshop needs of a lab, served by the pods themselves."""

    def __init__(self, cloud: RunPod, kit: Kit) -> None:
        self._cloud = cloud
        self._kit = kit

    async def download_model(self, lab_job_id: str, *, to: Path, max_bytes: int) -> ModelArchive:
        """Write the zip of a job's model to a new file, part by part.

        Raises:
            ProviderError: `gone` when the pod is; `transient` while it has no model yet, or when a part got lost.
            ModelError: it is larger than `max_bytes`.
        """
        pods = await self._cloud.list_pods()
        pod = next((pod for pod in pods if pod.is_alive and pod.lab_job_id == lab_job_id), None)
        if pod is None:
            raise ProviderError(f"the pod of job {lab_job_id} is gone, and its model with it", kind=Kind.GONE)
        url = f"{await self._cloud.address_of(pod.id, AGENT_PORT)}/artifact?format=zip"
        headers = {"Authorization": f"Bearer {self._kit.token_of(pod.name)}"}
        timeout = aiohttp.ClientTimeout(total=PART_S)
        try:
            async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
                return await _download(session, url, to=to, max_bytes=max_bytes)
        except (aiohttp.ClientError, TimeoutError, ValueError) as exc:  # a length that is no number, too
            detail = f"the agent of pod {pod.id} does not give out its model: {_reason(exc)}"
            raise ProviderError(detail, kind=Kind.TRANSIENT, retryable=True) from None


async def _download(session: aiohttp.ClientSession, url: str, *, to: Path, max_bytes: int) -> ModelArchive:
    digest, size, total, promised = hashlib.sha256(), 0, 1, ""
    file = await asyncio.to_thread(to.open, "wb")
    try:
        while size < total:
            wanted = {"Range": f"bytes={size}-{size + PART - 1}"}
            async with session.get(url, headers=wanted) as answer:
                answer.raise_for_status()
                total = int(answer.headers.get("Content-Range", "").rpartition("/")[2] or answer.content_length or 0)
                promised = answer.headers.get("X-Content-SHA256", "")
                if total > max_bytes:
                    raise ModelError(f"the model has {total:,} bytes, more than the {max_bytes:,} that are taken")
                part = await answer.read()
            if not part:
                break
            digest.update(part)
            size += len(part)
            await asyncio.to_thread(file.write, part)
    finally:
        await asyncio.to_thread(file.close)
    if digest.hexdigest() != promised:
        raise ProviderError(
            "the model that arrived is not the one that was promised", kind=Kind.TRANSIENT, retryable=True
        )
    return ModelArchive(size=size, sha256=promised, is_checked=True)


def _reason(exc: Exception) -> str:
    return f"it answered {exc.status}" if isinstance(exc, aiohttp.ClientResponseError) else type(exc).__name__
