"""Telling the lab how a job goes: metrics and alerts."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from .lab_http import one_line, post_json
from .log import log

QUEUED_POSTS = 4_000
DRAIN_S = 30.0


@dataclass(frozen=True)
class Job:
    """Who this process is and whom it reports to; empty where the environment says nothing."""

    job_id: str
    token: str
    user_id: str
    metrics_url: str
    alert_url: str
    internal_key: str
    timeout_s: float

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Job:
        return cls(
            job_id=environment.get("JOB_ID", ""),
            token=environment.get("JOB_TOKEN", ""),
            user_id=environment.get("USER_ID", ""),
            metrics_url=environment.get("METRICS_API_URL", ""),
            alert_url=environment.get("ALERT_API_URL", ""),
            internal_key=environment.get("INTERNAL_API_KEY", ""),
            timeout_s=float(environment.get("HTTP_REQUEST_TIMEOUT") or 10),
        )


class Reporter:
    """Posts metrics and alerts in order from one thread, so that a slow lab does not slow the training.

    Nothing here raises: telemetry that fails is a line in the log and never the end of a run.
    """

    def __init__(self, job: Job, model_name: str) -> None:
        self.job = job
        self.model_name = model_name
        self.cloud_mode = bool(job.metrics_url and job.job_id and job.token)
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(QUEUED_POSTS)
        self._dropped = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="reporter", daemon=True)
        self._thread.start()

    def metric(self, point: Mapping[str, Any]) -> None:
        if self.cloud_mode:
            self._submit(lambda: self._post_metric(point))

    def started(self, total_steps: int) -> None:
        self._submit(lambda: self._post_alert("job_started", {"total_steps": total_steps}))

    def ended(self, kind: str, error_message: str | None = None) -> None:
        """Send `job_completed` or `job_failed` once every metric is out: the lab ends the pod when it hears this.

        A lab too slow for the metrics still gets the alert.
        """
        self.close(DRAIN_S)
        self._post_alert(kind, {"error_message": error_message})

    def close(self, timeout_s: float) -> None:
        """Wait until everything was posted, but no longer than `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        with suppress(queue.Full):
            self._queue.put(None, timeout=timeout_s)
        self._thread.join(max(0.0, deadline - time.monotonic()))
        self._closed.set()
        unsent = self._dropped + (self._queue.qsize() if self._thread.is_alive() else 0)
        if unsent:
            log.warning("[MetricsCallback] Failed to POST metrics to API: %d requests were not sent", unsent)

    def _submit(self, send: Callable[[], None]) -> None:
        try:
            self._queue.put_nowait(send)
        except queue.Full:
            self._dropped += 1

    def _work(self) -> None:
        while (send := self._queue.get()) is not None and not self._closed.is_set():
            send()

    def _post_metric(self, point: Mapping[str, Any]) -> None:
        body = {"job_id": self.job.job_id, "metrics": [point]}
        headers = {"Authorization": f"Bearer {self.job.token}"}
        try:
            answer = post_json(self.job.metrics_url, body, headers, self.job.timeout_s)
        except (OSError, ValueError) as exc:
            log.warning("[MetricsCallback] Failed to POST metrics to API: %s", exc)
            return
        if answer.status != 200:
            log.warning("[MetricsCallback] API POST failed: %d - %s", answer.status, one_line(answer.body))

    def _post_alert(self, kind: str, filled: Mapping[str, Any]) -> None:
        """Post one alert; its other keys are null. Nothing is sent, nor said, where the environment names no lab."""
        if not (self.job.alert_url and self.job.job_id and self.job.user_id):
            return
        body: dict[str, Any] = {
            "type": kind, "job_id": self.job.job_id, "user_id": self.job.user_id, "model_name": self.model_name,
            "status": kind.removeprefix("job_"), "error_message": None, "loss": None, "current_step": None,
            "total_steps": None, "progress": None, **filled,
        }  # fmt: skip
        headers = {"X-API-Key": self.job.internal_key} if self.job.internal_key else {}
        try:
            answer = post_json(self.job.alert_url, body, headers, self.job.timeout_s)
        except (OSError, ValueError) as exc:
            log.warning("[Alert] Failed to send alert: %s", exc)
            return
        if answer.status == 200:
            log.info("[Alert] Sent %s alert successfully", kind)
        else:
            log.warning("[Alert] Alert failed: %d - %s", answer.status, one_line(answer.body))
