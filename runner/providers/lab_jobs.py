"""Training jobs that the lab keeps the books of without having deployed them: `local/jobs`.

Source: FineTune Lab contract §2.4, §4.1 and T-08, read from the public repository of 2026-07.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from runner.errors import ProviderError
from runner.ports import Clock, JobTicket
from runner.ports import ProviderErrorKind as Kind
from runner.providers.faults import Call, json_body
from runner.providers.http import Host
from runner.providers.lab_wire import read_done
from runner.providers.readers import mapping, needed_text, text

STORED_AFTER_LOOKS = 15
LOOK_EVERY_S = 2.0
# Before there is a pod, time costs nothing: an answer that was lost for all of one attempt is asked for again.
SETUP_S = 150.0


async def open_job(
    host: Host, headers: Mapping[str, str], clock: Clock, *, model: str, config: Mapping[str, Any], internal_key: str
) -> JobTicket:
    """Register a training job for a pod that the lab did not create.

    The id is ours, so that a repeat changes the same job, and so is its token: a lab that is slow to store the job
    answers 202 without one (T-08), and is asked again until it knows the job.

    Args:
        internal_key: goes into the pod, since the lab takes alerts from nobody else; empty when there is none.
    Raises:
        ProviderError: also when the lab accepted the job and never stored it.
    """
    job_id, token = str(uuid.uuid4()), secrets.token_urlsafe(32)
    body = {"job_id": job_id, "job_token": token, "model_name": model, "status": "pending", "config": config}
    call = Call(
        method="POST",
        path="/api/training/local/jobs",
        headers=headers,
        body=json_body(body),
        metered=False,
        repeatable=True,
        attempts=3,
        total_s=60.0,
        retry_for_s=SETUP_S,
        secrets=frozenset((token,)),
    )
    user_id, given, is_stored = await host.fetch(call, _read_opened)
    if not is_stored:
        await _until_stored(host, headers, clock, job_id)
    token = given or token
    return JobTicket(lab_job_id=job_id, token=token, env=_reporting(host, job_id, token, user_id, internal_key))


async def close_job(host: Host, ticket: JobTicket, *, status: str) -> None:
    """Set the status of a registered job; fine when the lab has no such job any more."""
    call = Call(
        method="PATCH",
        path=f"{_job(ticket.lab_job_id)}/status",
        headers={"Authorization": f"Bearer {ticket.token}"},
        body=json_body({"status": status}),
        metered=False,
        repeatable=True,
        secrets=frozenset((ticket.token,)),
    )
    try:
        await host.fetch(call, read_done)
    except ProviderError as failed:
        if failed.kind != Kind.GONE:
            raise


def _read_opened(answer: Any) -> tuple[str, str | None, bool]:
    """Owner and token of a job that was registered, and whether the lab has stored it already."""
    source = mapping(answer, "the answer")
    owner = needed_text(source, "user_id", "the job")
    return owner, text(source.get("job_token")), source.get("persisted") is not False


async def _until_stored(host: Host, headers: Mapping[str, str], clock: Clock, job_id: str) -> None:
    for _ in range(STORED_AFTER_LOOKS):
        await clock.sleep(LOOK_EVERY_S)
        try:
            await host.send(Call(method="GET", path=f"{_job(job_id)}/status", headers=headers, metered=False))
        except ProviderError as failed:
            if failed.kind != Kind.GONE:
                raise
        else:
            return
    raise ProviderError("the lab accepted the job (202) and never stored it", kind=Kind.TRANSIENT, status=202)


def _reporting(host: Host, job_id: str, token: str, user_id: str, internal_key: str) -> dict[str, str]:
    """What a trainer needs to report to this lab."""
    return {
        "JOB_ID": job_id,
        "JOB_TOKEN": token,
        "USER_ID": user_id,
        "METRICS_API_URL": f"{host.base_url}/api/training/local/metrics",
        "ALERT_API_URL": f"{host.base_url}/api/alerts/trigger",
        "INTERNAL_API_KEY": internal_key,
        "RUNSPEC_LOG_URL": f"{host.base_url}{_job(job_id)}/logs",
    }


def _job(job_id: str) -> str:
    return f"/api/training/local/{quote(job_id, safe='').replace('.', '%2E')}"
