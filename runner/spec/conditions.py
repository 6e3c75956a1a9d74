"""The one condition language of `wait`, `stop_if` and `success.expect`, as people write it.

A condition is a mapping whose first key says what it looks at: `{pod: running}`, `{log: "Training started"}`,
`{metric: train_loss, count: {gte: 1}}`. What a condition means is `runner.conditions`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from runner.spec.expressions import check_expression
from runner.spec.scalars import Duration, Fraction, Money, Size

Scalar = str | int | float | bool | None


class Written(BaseModel):
    """A part of a file that people write: a key it does not know is an error, and it never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,39}$"
ID_PATTERN = r"^[a-z][a-z0-9-]{0,59}$"
PATTERNS_IN_WORDS: Mapping[str, str] = {
    NAME_PATTERN: "a lower-case letter, then up to 39 lower-case letters, digits, `-` and `_`",
    ID_PATTERN: "a lower-case letter, then up to 59 lower-case letters, digits and `-`",
}


def _compiles(pattern: str) -> str:
    if len(pattern) > 1_000:
        raise ValueError("this pattern is longer than 1,000 characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what Python only warns of will mean something else one day
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError, Warning) as exc:
        raise ValueError(f"not a regular expression: {exc}") from exc
    return pattern


AlertType = Literal[
    "job_started", "job_completed", "job_failed", "job_cancelled", "gpu_oom", "disk_warning", "timeout_warning"
]
Pattern = Annotated[str, Field(min_length=1), AfterValidator(_compiles)]


class Bound(Written):
    """Limits of a number; every one that is given must hold."""

    eq: float | None = Field(None, description="Equal to.")
    gte: float | None = Field(None, description="At least.")
    gt: float | None = Field(None, description="More than.")
    lte: float | None = Field(None, description="At most.")
    lt: float | None = Field(None, description="Less than.")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if all(limit is None for limit in (self.eq, self.gte, self.gt, self.lte, self.lt)):
            raise ValueError("give at least one of `eq`, `gte`, `gt`, `lte`, `lt`")
        return self


class PodIs(Written):
    """The pod has reached a state. `started` stays true once the pod ran or its first log line came."""

    pod: Literal["created", "started", "running", "exited", "failed", "gone"] = Field(
        description="The state; `started` and `created` stay true afterwards."
    )


class JobIs(Written):
    """The training job has a status. `finished` is any end: completed, failed or cancelled."""

    job: Literal["pending", "running", "completed", "failed", "cancelled", "finished"] = Field(
        description="The status of the training job."
    )


class LogMatches(Written):
    """A log line of the pod matches a regular expression."""

    log: Pattern = Field(description="Regular expression, searched in every line.")
    source: Literal["container", "system"] | None = Field(None, description="Only lines of this source.")
    count: Bound | None = Field(None, description="How many lines must match; at least one by default.")


class AlertReceived(Written):
    """The lab recorded an alert for this job."""

    alert: AlertType = Field(description="Type of the alert.")
    count: Bound | None = Field(None, description="How many; at least one by default.")


class Falls(Written):
    """The end of a series lies below its start, by medians of two windows."""

    by: Fraction = Field(
        0.0,
        description="How much of the first window's median must be lost at least. Without it any size will do that "
        "chance alone reaches in fewer than one of a hundred runs; a smaller one is unknown.",
    )
    window: int = Field(10, ge=1, description="Points in the first and in the last window.")


class Spike(Written):
    """One value towers above those just before it."""

    factor: float = Field(5.0, gt=1, description="How many times the median before it a value must be at least.")
    window: int = Field(10, ge=3, description="Values before it that the median is of.")


class MetricIs(Written):
    """Something about one training metric. `step` is the newest optimizer step."""

    metric: str = Field(min_length=1, description="Name of the metric, such as `train_loss`, or `step`.")
    eq: float | None = Field(None, description="The newest value equals this.")
    gte: float | None = Field(None, description="The newest value is at least this.")
    gt: float | None = Field(None, description="The newest value is more than this.")
    lte: float | None = Field(None, description="The newest value is at most this.")
    lt: float | None = Field(None, description="The newest value is less than this.")
    is_: Literal["nan", "finite", "monotonic"] | None = Field(
        None,
        alias="is",
        description="`nan`: any point is NaN or infinite. `finite`: all points are finite. `monotonic`: no value is "
        "below an earlier one; for `step`: no step was reached before an earlier one.",
    )
    median: Bound | None = Field(None, description="Limits of the median of all values.")
    count: Bound | None = Field(None, description="How many points with a value there are.")
    stalled: Duration | None = Field(None, description="No new value for this long while the job runs.")
    falls: Falls | None = Field(None, description="The series goes down from its start to its end.")
    rises: Falls | None = Field(None, description="The series goes up from its start to its end.")
    spike: Spike | None = Field(None, description="Some value towers above those before it; for use in `never`.")

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        names = [name for name in type(self).model_fields if name != "metric"]
        asked = [name for name in names if getattr(self, name) is not None]
        if not asked:
            raise ValueError(
                f"say what `{self.metric}` must be: one of `gte`, `gt`, `lte`, `lt`, `eq`, `is`, `count`, `median`, "
                "`stalled`, `falls`, `rises`, `spike`"
            )
        limits = {"eq", "gte", "gt", "lte", "lt"}
        if len(set(asked) - limits) + bool(set(asked) & limits) > 1:
            raise ValueError("ask one thing of a metric at a time; join several with `all`")
        return self


class Accepted(Written):
    """One accepted value of a metric, as `baselines/accepted.yaml` has it."""

    device: str = Field(min_length=1, max_length=80, description="GPU of the pod, or `cpu (local)`.")
    dataset: str = Field(min_length=1, max_length=64, description="First characters of the dataset's SHA-256.")
    value: float = Field(description="Median of the last values.")
    run: str = Field("", max_length=40, description="The run that it was accepted from.")


class BaselineHolds(Written):
    """A metric ends where it ended when somebody accepted that; without an accepted value it is unknown."""

    baseline: str = Field(min_length=1, description="Name of the metric, such as `train_loss`.")
    relative: Fraction = Field(0.1, description="How far from the accepted value, as a share of it.")
    absolute: float = Field(0.0, ge=0, description="How far from it in the metric's own unit; the wider limit counts.")
    window: int = Field(10, ge=1, description="Last points whose median is compared.")
    accepted: tuple[Accepted, ...] = Field(
        (), description="Filled in from `baselines/accepted.yaml` when a run is planned; see `runspec baseline accept`."
    )


class IssueSeen(Written):
    """A known issue was recognised in logs, API errors or metrics."""

    issue: str = Field(min_length=1, description="`error`, `expected`, `infrastructure`, or the id of one known issue.")


class ArtifactIs(Written):
    """The trained model was downloaded and is whole."""

    artifact: Literal["model"] = Field(description="Which artifact.")
    min_size: Size | None = Field(None, description="Smallest plausible size.")


class SdkReads(Written):
    """The published SDK reads the same metrics as our own client."""

    sdk: Literal["metrics"] = Field(description="What the SDK reads.")
    count: Bound | None = Field(None, description="How many points it must read; at least one by default.")


class GenerationIs(Written):
    """The trained model answered."""

    generation: Literal["answers", "differs"] = Field(
        description="`answers`: not empty. `differs`: not what the base model answers."
    )


class CostIs(Written):
    """What the job's pods have cost so far, by observed time and their own price."""

    cost: Literal["total"] = Field(description="Which cost.")
    lte: Money = Field(description="At most.")


class DurationIs(Written):
    """How long a part of the job took."""

    duration: Literal["provision", "first_step", "run", "total"] = Field(
        description="`provision`: create to running. `first_step`: create to the first optimizer step."
    )
    lte: Duration = Field(description="At most.")


class Never(Written):
    """Something did not happen; with `until_step`, not before that optimizer step was reached."""

    never: Condition = Field(description="The condition that must not come true.")
    until_step: int | None = Field(None, ge=1, description="Only look at what happened up to this step.")


class AllOf(Written):
    """Every one of several conditions."""

    all: tuple[Condition, ...] = Field(min_length=1, description="Conditions that must all hold.")


class AnyOf(Written):
    """At least one of several conditions."""

    any: tuple[Condition, ...] = Field(min_length=1, description="Conditions of which one must hold.")


def _can_be_evaluated(expression: str) -> str:
    if problems := check_expression(expression):
        raise ValueError("; ".join(problems))
    return expression


class Expression(Written):
    """A Python-like expression over the same evidence, for what the other conditions cannot say."""

    expr: Annotated[str, AfterValidator(_can_be_evaluated)] = Field(
        min_length=1,
        max_length=2_000,
        description="Such as `last(train_loss) < 0.9 * first(train_loss)`.",
    )


CONDITIONS: Mapping[str, type[Written]] = {
    "pod": PodIs,
    "job": JobIs,
    "log": LogMatches,
    "alert": AlertReceived,
    "metric": MetricIs,
    "baseline": BaselineHolds,
    "issue": IssueSeen,
    "artifact": ArtifactIs,
    "generation": GenerationIs,
    "sdk": SdkReads,
    "cost": CostIs,
    "duration": DurationIs,
    "never": Never,
    "all": AllOf,
    "any": AnyOf,
    "expr": Expression,
}


def _tag(value: Any) -> str | None:
    """The union tag of a condition; in angle brackets so that it is never mistaken for a key of the file."""
    if isinstance(value, Written):
        return next(f"<{key}>" for key, model in CONDITIONS.items() if type(value) is model)
    keys = [key for key in CONDITIONS if isinstance(value, dict) and key in value]
    return f"<{keys[0]}>" if len(keys) == 1 else None


Condition = Annotated[
    Annotated[PodIs, Tag("<pod>")]
    | Annotated[JobIs, Tag("<job>")]
    | Annotated[LogMatches, Tag("<log>")]
    | Annotated[AlertReceived, Tag("<alert>")]
    | Annotated[MetricIs, Tag("<metric>")]
    | Annotated[BaselineHolds, Tag("<baseline>")]
    | Annotated[IssueSeen, Tag("<issue>")]
    | Annotated[ArtifactIs, Tag("<artifact>")]
    | Annotated[GenerationIs, Tag("<generation>")]
    | Annotated[SdkReads, Tag("<sdk>")]
    | Annotated[CostIs, Tag("<cost>")]
    | Annotated[DurationIs, Tag("<duration>")]
    | Annotated[Never, Tag("<never>")]
    | Annotated[AllOf, Tag("<all>")]
    | Annotated[AnyOf, Tag("<any>")]
    | Annotated[Expression, Tag("<expr>")],
    Discriminator(
        _tag,
        custom_error_type="condition_kind",
        custom_error_message="a condition needs exactly one of: " + ", ".join(f"`{key}`" for key in CONDITIONS),
    ),
]

for _model in (Never, AllOf, AnyOf):
    _model.model_rebuild()
