"""The FineTune Lab API as a `Lab`.

Source: FineTune Lab contract §1, §2.1-2.7, §2.9 and §8, read from the public repository of 2026-07.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from runner.errors import ProviderError
from runner.ports import Clock, Deployment, DeployRequest, JobTicket, Lab, ModelArchive, UploadedDataset
from runner.ports import ProviderErrorKind as Kind
from runner.providers.clock import SystemClock
from runner.providers.downloads import DOWNLOAD_IDLE_S, promised_sha256, write_stream
from runner.providers.faults import Call, Refusal, json_body
from runner.providers.http import Host
from runner.providers.lab_jobs import SETUP_S, close_job, open_job
from runner.providers.lab_limits import KeyLimit
from runner.providers.lab_wire import (
    FORMATS,
    LAB_GPU_IDS,
    multipart,
    read_alerts,
    read_config_id,
    read_dataset,
    read_deployment,
    read_done,
    read_job,
    read_jobs,
    read_metrics,
)
from runner.providers.session_token import FixedToken, SessionToken
from runner.results import Alert, JobSnapshot, MetricPoint
from runner.spec.models import DatasetFormat

DEPLOY_S = 180.0
UPLOAD_S = 330.0  # the lab itself gives up after 300
METRICS_BYTES = 128 << 20  # up to 100,000 rows of every column
ALERTS_A_PAGE = 100
MAX_ALERT_PAGES = 50
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class LabCredentials:
    """What the lab may be asked with; every part is optional, and a call that lacks its own says which.

    Attributes:
        jwt: session token (a string that nothing renews, or a source of fresh ones).
        api_key: `wak_…` with scope `training` or `all`.
        internal_key: for `POST /api/alerts/trigger`, which no call here makes; pods of our own get it to send alerts.
    """

    jwt: SessionToken | str | None = None
    api_key: str | None = None
    internal_key: str | None = None

    def __repr__(self) -> str:
        given = [name for name in ("jwt", "api_key", "internal_key") if getattr(self, name)]
        return f"LabCredentials({', '.join(given) or 'none'})"


class FineTuneLab:
    """The lab whose templates are tested; every method raises `ProviderError` and nothing else.

    Reads of jobs and metrics use the API key when there is one, since it does not expire; it is the key that the rate
    budget of the host counts. Everything that changes something, and the alert history, needs the session token.

    Args:
        host: opened on the base URL with `lab_wire.refuse`, and a budget of what the API key may ask in a minute.
    """

    def __init__(self, host: Host, credentials: LabCredentials, *, clock: Clock | None = None) -> None:
        self._host = host
        self._clock = clock or SystemClock()
        jwt = credentials.jwt
        self._session = FixedToken(jwt, self._clock) if isinstance(jwt, str) and jwt else jwt or None
        self._api_key = credentials.api_key
        self._internal_key = credentials.internal_key or ""
        self._limit = KeyLimit(host.budget, self._clock, wait_s=host.budget.window_s / 4)

    async def create_config(self, *, name: str, template: str, config: Mapping[str, Any]) -> str:
        """Store a training configuration; returns its id. Repeated on failure: a second one is unused, not billed."""
        body = {"name": name, "template_type": template, "config_json": config}
        return await self._change("/api/training", body, read_config_id, to="create configurations")

    async def upload_dataset(self, *, name: str, row_format: DatasetFormat, rows: bytes) -> UploadedDataset:
        """Store a dataset. Repeated on failure: a second one is unused, not billed.

        Args:
            row_format: which the lab knows by another name, see `lab_wire.FORMATS`.
            rows: JSON Lines in UTF-8.
        Returns:
            With the rows that the lab kept, which may be fewer: it drops those it cannot read.
        """
        file_name = f"{re.sub('[^0-9A-Za-z._-]', '-', name)[:80] or 'dataset'}.jsonl"
        fields = {"name": name, "format": FORMATS[row_format]}
        content_type, body = multipart(fields, file_name=file_name, content=rows)
        call = Call(
            method="POST",
            path="/api/training/dataset",
            headers=await self._session_headers("upload datasets"),
            body=body,
            content_type=content_type,
            metered=False,
            repeatable=True,
            attempts=3,
            total_s=UPLOAD_S,
            retry_for_s=UPLOAD_S + 60.0,
        )
        return await self._host.fetch(call, read_dataset)

    async def attach_dataset(self, config_id: str, dataset_id: str) -> None:
        """Let a configuration train on a dataset; attaching it again is fine."""
        path = f"/api/training/{_segment(config_id)}/attach-dataset"
        # The one field of the lab in camel case (T-06).
        await self._change(path, {"datasetId": dataset_id}, read_done, to="attach datasets")

    def pod_name(self, config_id: str) -> str:
        """`training-` and the first eight characters of the configuration's id."""
        return f"training-{config_id[:8]}"

    async def deploy(self, request: DeployRequest) -> Deployment:
        """Start training on a new pod, which is billed from now on. Sent once, whatever happens.

        Raises:
            ProviderError: `unsupported` without sending anything for a GPU that the lab would silently replace;
                `capacity` and `balance` when the lab passes on that refusal; `validation`; `ambiguous` after every
                other 5xx, a timeout, a broken connection or an unreadable success (T-01).
        """
        body = {
            "training_config_id": request.config_id,
            "gpu_type": _lab_gpu(request.gpu),
            "gpu_count": request.gpu_count,
            "budget_limit": request.budget_usd,
            "environment_variables": dict(request.env),
        }
        call = Call(
            method="POST",
            path="/api/training/deploy/runpod",
            headers=await self._session_headers("deploy"),
            body=json_body(body),
            metered=False,
            creates=True,
            total_s=DEPLOY_S,
            secrets=frozenset(request.env.values()),
        )
        return await self._host.fetch(call, read_deployment)

    async def open_job(self, *, model: str, config: Mapping[str, Any]) -> JobTicket:
        """Register a training job for a pod that the lab did not create, see `lab_jobs.open_job`."""
        headers = await self._session_headers("register jobs")
        return await open_job(
            self._host, headers, self._clock, model=model, config=config, internal_key=self._internal_key
        )

    async def close_job(self, ticket: JobTicket, *, status: str) -> None:
        """Set the status of a job that `open_job` registered; fine when the lab has no such job any more."""
        await close_job(self._host, ticket, status=status)

    async def cancel_job(self, lab_job_id: str) -> None:
        """Cancel a training job; the lab ends its pod and sends no alert about it (T-15).

        Fine when the lab has no such job, or when it cannot cancel because the job has already ended.
        """
        path = f"/api/training/local/{_segment(lab_job_id)}/control"
        try:
            await self._change(path, {"action": "cancel"}, read_done, to="cancel jobs", attempts=5, retry_for_s=60.0)
        except ProviderError as failed:
            if failed.kind == Kind.GONE:
                return
            if failed.kind not in (Kind.TRANSIENT, Kind.VALIDATION, Kind.CONFLICT):
                raise
            # A pod that is gone already makes the lab answer 500, also when the job ended as it should.
            if not await self._has_ended(lab_job_id):
                raise

    async def _has_ended(self, lab_job_id: str) -> bool:
        try:
            return (await self.job_status(lab_job_id)).is_finished
        except ProviderError as failed:
            return failed.kind == Kind.GONE

    async def list_jobs(self) -> Sequence[JobSnapshot]:
        """The newest training jobs (50 unless the lab is set otherwise), newest first, with id and status only."""
        return await self._look("/api/training/jobs", read_jobs)

    async def job_status(self, lab_job_id: str) -> JobSnapshot:
        """One training job; `loss` may be None even at the end (T-12), and a dead job stays `running` (§3.1)."""
        path = f"/api/training/local/{_segment(lab_job_id)}/status"
        return await self._look(path, lambda answer: read_job(answer, lab_job_id))

    async def metrics(self, lab_job_id: str) -> Sequence[MetricPoint]:
        """All metric points of one job, one a step, oldest first; empty until the first report.

        Every numeric column is kept under the lab's name. `samples_per_second` really counts optimizer steps (§4.4).
        """
        path = f"/api/training/local/{_segment(lab_job_id)}/metrics"
        return await self._look(path, read_metrics, max_bytes=METRICS_BYTES, total_s=60.0)

    async def alerts(self, *, since: datetime) -> Sequence[Alert]:
        """Alert history of the account since a time (inclusive, by the lab's clock), oldest first.

        At most the newest 5,000 rows. The lab writes one row for every webhook, so an alert may be there twice.
        """
        since = since if since.tzinfo else since.replace(tzinfo=UTC)
        found: dict[str, Alert] = {}
        for page in range(MAX_ALERT_PAGES):
            params = {"limit": str(ALERTS_A_PAGE), "offset": str(page * ALERTS_A_PAGE)}
            call = Call(
                method="GET",
                path="/api/alerts/history",
                params=params,
                headers=await self._session_headers("read alerts"),
                metered=False,
            )
            rows, is_full = await self._host.fetch(call, lambda answer: (read_alerts(answer), _is_full(answer)))
            found.update((alert.id, alert) for alert in rows if alert.at >= since)
            if not is_full or any(alert.at < since for alert in rows):
                break
        return sorted(found.values(), key=lambda alert: alert.at)

    async def download_model(self, lab_job_id: str, *, to: Path, max_bytes: int) -> ModelArchive:
        """Write the zip of a job's trained model to a new file.

        The real lab has this route for jobs of its local training server only; for a job on RunPod it answers 404
        (§2.12), which is `gone`.

        Raises:
            ProviderError: `transient` when the answer was cut or does not have the promised digest.
            ModelError: it is larger than `max_bytes`.
        """
        key = {"X-API-Key": self._api_key} if self._api_key else None
        call = Call(
            method="GET",
            path=f"/api/training/{_segment(lab_job_id)}/download/model",
            headers={"Accept": "application/zip", **(key or await self._session_headers("download", or_key=True))},
            metered=key is not None,
        )
        async with self._host.stream(call, content_type="application/zip", idle_s=DOWNLOAD_IDLE_S) as stream:
            size, sha256 = await write_stream(stream, to, max_bytes=max_bytes)
            promised, length = promised_sha256(stream.headers), stream.headers.get("Content-Length")
        if length is not None and length != str(size):
            detail = f"the download was cut after {size:,} of {length} bytes"
        elif promised is not None and promised != sha256:
            detail = f"sha256 is {sha256}, and the lab promised {promised}"
        else:
            return ModelArchive(size=size, sha256=sha256, is_checked=promised is not None)
        raise self._host.error(call, Refusal(kind=Kind.TRANSIENT, detail=detail, retryable=True))

    async def _change(
        self,
        path: str,
        body: Any,
        reader: Callable[[Any], _T],
        *,
        to: str,
        attempts: int = 3,
        retry_for_s: float = SETUP_S,
    ) -> _T:
        call = Call(
            method="POST",
            path=path,
            headers=await self._session_headers(to),
            body=json_body(body),
            metered=False,
            repeatable=True,
            attempts=attempts,  # few: the lab answers 500 also to what no repeat can mend
            total_s=60.0,
            retry_for_s=retry_for_s,
        )
        return await self._host.fetch(call, reader)

    async def _look(
        self, path: str, reader: Callable[[Any], _T], *, max_bytes: int = 16 << 20, total_s: float = 30.0
    ) -> _T:
        call = Call(method="GET", path=path, max_bytes=max_bytes, total_s=total_s)
        if not self._api_key:
            headers = await self._session_headers("read jobs and metrics", or_key=True)
            return await self._host.fetch(replace(call, headers=headers, metered=False), reader)
        # Longer than the window of the key's limit, so that a refusal for it is outlived.
        call = replace(call, headers={"X-API-Key": self._api_key}, retry_for_s=90.0, refuse=self._limit.refuse)
        found = await self._host.fetch(call, reader)
        self._limit.worked()
        return found

    async def _session_headers(self, steps: str, *, or_key: bool = False) -> dict[str, str]:
        if self._session is None:
            key = " or `FINETUNE_LAB_API_KEY`" if or_key else ""
            raise ProviderError(
                f"no credential for the lab to {steps}: set `FINETUNE_LAB_JWT`{key}"
                + ("" if or_key else " (an API key is not accepted there)"),
                kind=Kind.AUTH,
            )
        return {"Authorization": f"Bearer {await self._session.get()}"}


def _lab_gpu(gpu: str) -> str:
    if gpu in LAB_GPU_IDS:
        return LAB_GPU_IDS[gpu]
    raise ProviderError(
        f"the lab cannot deploy on `{gpu[:80]}` and would silently take an RTX A4000; it knows"
        f" {', '.join(f'`{name}`' for name in LAB_GPU_IDS)}",
        kind=Kind.UNSUPPORTED,
    )


def _segment(value: str) -> str:
    return quote(value, safe="", errors="replace").replace(".", "%2E")


def _is_full(answer: Any) -> bool:
    rows = answer.get("alerts")
    return isinstance(rows, list) and len(rows) >= ALERTS_A_PAGE


_FITS: type[Lab] = FineTuneLab  # for the type checker
