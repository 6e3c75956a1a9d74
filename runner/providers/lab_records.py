"""What the lab keeps of trainings: configurations, datasets, predictions, posted logs, errors, checkpoints.

Source: FineTune Lab contract §2.1, §2.2, §2.6 and §2.8, read from the public repository of 2026-07.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runner.errors import ProviderError
from runner.ports import ProviderErrorKind as Kind
from runner.providers.lab_access import Ask, LabAccess, segment
from runner.providers.lab_wire import read_done
from runner.providers.readers import items, mapping, maybe_mapping, moment, needed_text, number, text, whole

PAGE = 100
MAX_PAGES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredConfig:
    """A configuration as the lab keeps it; `problems` are its own complaints, which keep nobody from deploying it."""

    id: str
    name: str
    template: str
    config: Mapping[str, Any]
    problems: tuple[str, ...]
    created_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What the model under training said to one sample."""

    epoch: int
    step: int
    sample: int
    prompt: str
    answer: str
    truth: str | None
    exact_match: float | None
    char_error_rate: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochTrend:
    """Means of one epoch's predictions; None where no sample had a value."""

    epoch: int
    step: int
    samples: int
    exact_match: float | None
    char_error_rate: float | None
    validation_pass_rate: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureAnalysis:
    """The lab's own guess. It reads a column that alerts do not fill, so `no_error` is no evidence (T-27)."""

    error_type: str
    confidence: str | None
    description: str
    suggestions: tuple[Mapping[str, Any], ...]


class LabRecords:
    """Reads and tidies what trainings left behind."""

    def __init__(self, access: LabAccess) -> None:
        self._access = access

    async def configs(self) -> Sequence[StoredConfig]:
        """Every configuration of the user, newest first."""
        ask = Ask(method="GET", path="/api/training", to="list configurations")
        return await self._access.by_session(ask, lambda answer: [_config(row) for row in items(answer, "configs")])

    async def config(self, config_id: str) -> StoredConfig:
        ask = Ask(method="GET", path=f"/api/training/{segment(config_id)}", to="read a configuration")
        return await self._access.by_session(
            ask, lambda answer: _config(mapping(answer, "the answer").get("config"))
        )  # fmt: skip

    async def delete_config(self, config_id: str) -> None:
        """Forget a configuration; fine when there is none."""
        ask = Ask(method="DELETE", path=f"/api/training/{segment(config_id)}", to="delete a configuration")
        await self._access.by_session(ask, read_done)

    async def delete_dataset(self, dataset_id: str) -> None:
        """Forget a dataset and its bytes; fine when there is none."""
        ask = Ask(method="DELETE", path=f"/api/training/dataset/{segment(dataset_id)}", to="delete a dataset")
        try:
            await self._access.by_session(ask, read_done)
        except ProviderError as failed:
            if failed.kind != Kind.GONE:
                raise

    async def detach_dataset(self, config_id: str, dataset_id: str) -> None:
        """Let a configuration no longer train on a dataset: a DELETE with a body (T-06)."""
        path = f"/api/training/{segment(config_id)}/attach-dataset"
        ask = Ask(method="DELETE", path=path, body={"datasetId": dataset_id}, to="detach a dataset")
        await self._access.by_session(ask, read_done)

    async def predictions(self, job_id: str, *, epoch: int | None = None) -> Sequence[Prediction]:
        """All predictions of a job, of one epoch or of all; RunPod jobs make none (contract §2.8)."""
        found: list[Prediction] = []
        for page in range(MAX_PAGES):
            params = {"limit": str(PAGE), "offset": str(page * PAGE)} | ({} if epoch is None else {"epoch": str(epoch)})
            path = f"/api/training/predictions/{segment(job_id)}"
            ask = Ask(method="GET", path=path, params=params, to="read predictions")
            rows = await self._access.by_either(
                ask, lambda answer: [_prediction(r) for r in items(answer, "predictions")]
            )
            found += rows
            if len(rows) < PAGE:
                break
        return found

    async def trends(self, job_id: str) -> Sequence[EpochTrend]:
        """How predictions changed from epoch to epoch, the first one first."""
        path = f"/api/training/predictions/{segment(job_id)}/trends"
        ask = Ask(method="GET", path=path, to="read predictions")
        return await self._access.by_either(ask, lambda answer: [_trend(row) for row in items(answer, "trends")])

    async def logs(self, job_id: str) -> Sequence[str]:
        """Lines that a training agent posted, oldest first; the lab keeps 10,000.

        Pods post none: for their jobs the lab asks a training server that is not there and answers 503, which is
        `transient` here like every 503.
        """
        lines: list[str] = []
        for page in range(MAX_PAGES):
            params = {"limit": str(PAGE), "offset": str(page * PAGE)}
            path = f"/api/training/local/{segment(job_id)}/logs"
            ask = Ask(method="GET", path=path, params=params, to="read logs")
            fresh = await self._access.by_either(ask, lambda answer: [str(line) for line in items(answer, "logs")])
            lines += fresh
            if len(fresh) < PAGE:
                break
        return lines

    async def errors(self, job_id: str) -> Sequence[str]:
        """Messages that the lab's training server found in its own log file; 503 for cloud jobs."""
        ask = Ask(method="GET", path=f"/api/training/local/{segment(job_id)}/errors", to="read errors")
        return await self._access.by_either(
            ask, lambda answer: [text(maybe_mapping(row).get("message")) or "" for row in items(answer, "errors")]
        )  # fmt: skip

    async def analyze_failure(self, job_id: str) -> FailureAnalysis:
        """The lab's guess why a failed or cancelled job ended; `validation` for any other job."""
        path = f"/api/training/local/{segment(job_id)}/analyze-failure"
        return await self._access.by_session(Ask(method="GET", path=path, to="analyze a failure"), _analysis)

    async def runs_on_runpod(self, job_id: str) -> bool:
        """Whether the lab remembers that a job runs on RunPod; False also for a job that it does not know."""
        ask = Ask(method="GET", path=f"/api/training/cloud-check/{segment(job_id)}", to="look for the pod of a job")
        return await self._access.by_session(
            ask, lambda answer: mapping(answer, "the answer").get("isCloudJob") is True
        )


def _config(value: Any) -> StoredConfig:
    row = mapping(value, "a configuration")
    complaints = row.get("validation_errors") or ()
    return StoredConfig(
        id=needed_text(row, "id", "a configuration"),
        name=text(row.get("name")) or "",
        template=text(row.get("template_type")) or "",
        config=maybe_mapping(row.get("config_json")),
        problems=tuple(text(maybe_mapping(one).get("message")) or "unnamed problem" for one in complaints),
        created_at=moment(row.get("created_at")),
    )


def _prediction(value: Any) -> Prediction:
    row = mapping(value, "a prediction")
    return Prediction(
        epoch=whole(row.get("epoch")) or 0,
        step=whole(row.get("step")) or 0,
        sample=whole(row.get("sample_index")) or 0,
        prompt=text(row.get("prompt")) or "",
        answer=text(row.get("prediction")) or "",
        truth=text(row.get("ground_truth")),
        exact_match=number(row.get("exact_match")),
        char_error_rate=number(row.get("char_error_rate")),
    )


def _trend(value: Any) -> EpochTrend:
    row = mapping(value, "a trend")
    return EpochTrend(
        epoch=whole(row.get("epoch")) or 0,
        step=whole(row.get("step")) or 0,
        samples=whole(row.get("sample_count")) or 0,
        exact_match=number(row.get("avg_exact_match")),
        char_error_rate=number(row.get("avg_char_error_rate")),
        validation_pass_rate=number(row.get("validation_pass_rate")),
    )


def _analysis(answer: Any) -> FailureAnalysis:
    found = mapping(mapping(answer, "the answer").get("analysis"), "`analysis`")
    return FailureAnalysis(
        error_type=needed_text(found, "error_type", "`analysis`"),
        confidence=text(found.get("confidence")),
        description=text(found.get("description")) or "",
        suggestions=tuple(maybe_mapping(one) for one in found.get("suggestions") or ()),
    )
