"""The FineTune Lab API on the wire: what its answers say, and what its refusals mean.

Source: FineTune Lab contract §1.3, §2.1-2.5, §2.9, §4.4 and §8, read from the public repository of 2026-07.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from runner.ports import Deployment, UploadedDataset
from runner.ports import ProviderErrorKind as Kind
from runner.providers.faults import Answer, Call, Refusal, refuse_by_status
from runner.providers.readers import (
    ShapeError,
    items,
    mapping,
    maybe_mapping,
    moment,
    needed_text,
    number,
    text,
    whole,
)
from runner.providers.runpod_wire import CAPACITY_WORDS
from runner.results import Alert, JobSnapshot, MetricPoint
from runner.spec.models import DatasetFormat

FORMATS = {
    DatasetFormat.MESSAGES: "chatml",
    DatasetFormat.PREFERENCE: "dpo",
    DatasetFormat.REWARD: "rlhf",
    DatasetFormat.TEXT: "raw_text",
}
"""Our dataset formats by the lab's names."""

LAB_GPU_IDS = {
    "NVIDIA RTX A4000": "NVIDIA RTX A4000",
    "NVIDIA RTX A5000": "NVIDIA RTX A5000",
    "NVIDIA RTX A6000": "NVIDIA RTX A6000",
    "NVIDIA A40": "NVIDIA A40",
    "NVIDIA A100 80GB PCIe": "A100_PCIE",
    "NVIDIA A100-SXM4-80GB": "A100_80GB",
    "NVIDIA H100 PCIe": "H100_PCIE",
}
"""RunPod's GPU ids by the ids of the lab that end on that GPU. Any other id silently becomes an RTX A4000 there."""

_NO_GPU = re.compile(r"No .{1,80} GPUs? currently available on RunPod")
_NO_CREDIT = re.compile(r"INSUFFICIENT_BALANCE|insufficient (?:balance|funds)|spend(?:ing)? limit", re.IGNORECASE)
_NOT_METRICS = frozenset(("id", "job_id", "user_id", "step", "timestamp", "created_at", "updated_at", "loss_trend"))


def refuse(call: Call, answer: Answer, now: datetime) -> Refusal:
    """The lab's answer that is not 2xx.

    The lab hides RunPod's refusals in a 500 to the deploy. Two of them are definitive, no pod came of them, and they
    decide what to try next: no capacity and no credit. Every other 5xx to a deploy is ambiguous, because the lab is
    known to answer 500 after it created a pod (T-01).
    """
    problem = answer.problem()
    detail = None if problem is None else _detail(problem)
    if call.creates and detail is not None and answer.status >= 500:
        if _NO_GPU.search(detail) or CAPACITY_WORDS.search(detail):
            return Refusal(kind=Kind.CAPACITY, detail=detail)
        if _NO_CREDIT.search(detail):
            return Refusal(kind=Kind.BALANCE, detail=detail)
    refusal = refuse_by_status(call, answer, detail, now)
    if refusal.kind is not Kind.AUTH:
        return refusal
    sent = "`FINETUNE_LAB_API_KEY` and its scope" if "X-API-Key" in call.headers else "`FINETUNE_LAB_JWT`"
    return Refusal(kind=Kind.AUTH, detail=f"{refusal.detail}; check {sent}")


def _detail(problem: Mapping[str, Any]) -> str | None:
    error = problem.get("error")
    if isinstance(error, dict):
        error = error.get("message")
    details = problem.get("details")
    listed = "; ".join(map(str, details[:10])) if isinstance(details, list) else details
    words = [word for word in (error, problem.get("message"), listed) if isinstance(word, str) and word]
    return ": ".join(words) or None


def multipart(fields: Mapping[str, str], *, file_name: str, content: bytes) -> tuple[str, bytes]:
    """A form with one file as (content type, body): whole bytes, because the lab needs a `Content-Length`."""
    boundary = f"runspec-{hashlib.sha256(content).hexdigest()[:32]}"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    opening = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{_quoted(file_name)}"\r\n'
        "Content-Type: application/x-ndjson\r\n\r\n"
    )
    body = "".join([*parts, opening]).encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return f"multipart/form-data; boundary={boundary}", body


def _quoted(name: str) -> str:
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def read_config_id(answer: Any) -> str:
    """The id in the answer to a created configuration."""
    config = mapping(mapping(answer, "the answer").get("config"), "`config`")
    return needed_text(config, "id", "`config`")


def read_dataset(answer: Any) -> UploadedDataset:
    """The dataset in the answer to an upload."""
    dataset = mapping(mapping(answer, "the answer").get("dataset"), "`dataset`")
    return UploadedDataset(id=needed_text(dataset, "id", "`dataset`"), rows=whole(dataset.get("total_examples")))


def read_deployment(answer: Any) -> Deployment:
    """The job and the pod in the answer to a deploy.

    Raises:
        ShapeError: one of them is missing, or the pod's id is the job's: one generation of the lab asks RunPod for
            the job's id, so that id names no pod (T-01).
    """
    source = mapping(answer, "the answer")
    job = needed_text(source, "job_id", "the deployment")
    pod = text(source.get("pod_id")) or needed_text(source, "deployment_id", "the deployment")
    if pod == job:
        raise ShapeError("the lab gave the job's id as the id of the pod")
    cost = number(maybe_mapping(source.get("cost")).get("cost_per_hour"))
    return Deployment(lab_job_id=job, pod_id=pod, cost_usd_h=cost)


def read_done(answer: Any) -> None:
    """Nothing, or a `ShapeError` when a success says that it was none."""
    if mapping(answer, "the answer").get("success") is False:
        raise ShapeError("the lab said that it did not work")


def read_jobs(answer: Any) -> list[JobSnapshot]:
    """The jobs of a listing, which says little about each."""
    return [
        JobSnapshot(
            lab_job_id=needed_text(job, "id", "a job"),
            status=text(job.get("status")) or "unknown",
            warning="the lab calls it stale" if job.get("_stale") is True else None,
        )
        for job in (mapping(item, "a job") for item in items(answer, "jobs"))
    ]


def read_job(answer: Any, lab_job_id: str) -> JobSnapshot:
    """One job's status object; everything but the status may be missing or null (T-12)."""
    source = mapping(answer, "the answer")
    return JobSnapshot(
        lab_job_id=text(source.get("job_id")) or lab_job_id,
        status=needed_text(source, "status", "the job"),
        step=whole(source.get("current_step")),
        total_steps=whole(source.get("total_steps")),
        loss=number(source.get("loss")),
        error=text(source.get("error")),
        warning=text(source.get("warning")),
    )


def read_metrics(answer: Any) -> list[MetricPoint]:
    """The points of one job, one a step, oldest first.

    The trainer posts a step several times and the newest row of the last step has a null loss, so the last value that
    is not null wins; but the mean over the whole training, which the last step also gets, is no loss of that step.
    `at` is the first time the step was reported.
    """
    values: dict[int, dict[str, float | None]] = {}
    times: dict[int, datetime] = {}
    for row in items(answer, "metrics"):
        step = whole(maybe_mapping(row).get("step"))
        if step is None:
            continue
        merged = values.setdefault(step, {})
        numbers = dict(_numbers(row))
        is_mean = numbers.get("learning_rate") is None and merged.get("learning_rate") is not None
        for name, value in numbers.items():
            if is_mean and name in _MEANS and merged.get(name) is not None:
                continue
            if value is not None or name not in merged:
                merged[name] = value
        at = moment(row.get("timestamp"))
        if at is not None:
            times[step] = min(times.get(step, at), at)
    return [MetricPoint(step=step, values=values[step], at=times.get(step)) for step in sorted(values)]


def _numbers(row: Mapping[str, Any]) -> Iterable[tuple[str, float | None]]:
    for name, value in row.items():
        if name in _NOT_METRICS or isinstance(value, bool | dict | list):
            continue
        found = number(value)
        # A word is no metric; a null, a NaN or an infinity is a metric without a value.
        if found is not None or not isinstance(value, str) or value.strip("+-").lower() in _NOT_FINITE:
            yield name, found


_MEANS = ("train_loss", "train_perplexity")
"""What the summary at the end of a training fills with means, in a row that has no learning rate."""
_NOT_FINITE = ("nan", "inf", "infinity")


def read_alerts(answer: Any) -> list[Alert]:
    """One page of the alert history, newest first; a row without an id, a type or a time is left out."""
    rows = (maybe_mapping(item) for item in items(answer, "alerts"))
    return [alert for alert in map(_alert, rows) if alert is not None]


def _alert(row: Mapping[str, Any]) -> Alert | None:
    alert_id, kind, at = text(row.get("id")), text(row.get("alert_type")), moment(row.get("created_at"))
    if alert_id is None or kind is None or at is None:
        return None
    return Alert(
        id=alert_id,
        type=kind,
        lab_job_id=text(row.get("job_id")),
        at=at,
        title=text(row.get("title")) or "",
        message=text(row.get("message")) or "",
    )
