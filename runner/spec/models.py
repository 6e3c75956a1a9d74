"""What people write in spec and phase files. Positions and merging are the loader's; meaning is the plan's."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from runner.spec.conditions import ID_PATTERN, NAME_PATTERN, Condition, LogMatches, Pattern, Scalar, Written
from runner.spec.scalars import Duration, Money, Price
from runner.spec.steps import Step

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
CriterionId = Annotated[str, Field(pattern=ID_PATTERN)]


class Method(StrEnum):
    """How a template trains."""

    SFT = "sft"
    DPO = "dpo"
    ORPO = "orpo"
    RLHF = "rlhf"
    CPT = "cpt"


class DatasetFormat(StrEnum):
    """The shape of one dataset row."""

    MESSAGES = "messages"
    PREFERENCE = "preference"
    REWARD = "reward"
    TEXT = "text"


FORMATS_OF_METHOD = {
    Method.SFT: DatasetFormat.MESSAGES,
    Method.DPO: DatasetFormat.PREFERENCE,
    Method.ORPO: DatasetFormat.PREFERENCE,
    Method.RLHF: DatasetFormat.REWARD,
    Method.CPT: DatasetFormat.TEXT,
}


class Lora(Written):
    """Low-rank adapters; a template without this section trains all weights."""

    r: int = Field(ge=1, le=1024, description="Rank.")
    alpha: int = Field(ge=1, description="Scaling numerator.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout on the adapter's input.")
    target_modules: tuple[str, ...] = Field(
        ("q_proj", "k_proj", "v_proj", "o_proj"), min_length=1, description="Modules that get an adapter."
    )


class Reward(Written):
    """Where PPO gets its reward from when the rows carry none."""

    function: Literal["lexical", "length", "keyword"] | None = Field(
        None, description="`lexical`: words shared with a rated answer; `length`; `keyword`: words of the answers."
    )
    model: Literal["train"] | None = Field(None, description="`train`: fit a reward model on preference pairs.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.function is None) == (self.model is None):
            raise ValueError("give exactly one of `function` and `model`")
        return self


class Data(Written):
    """How the lab treats the rows."""

    strategy: str = Field("standard", description="The lab's `data.strategy`.")
    generation_type: str = Field("real", description="The lab's `data.generation_type`.")
    train_split: float = Field(0.8, gt=0, le=1, description="Share of rows to train on.")
    eval_split: float | None = Field(None, ge=0, lt=1, description="Share of rows to evaluate on.")
    dataset_format: str | None = Field(None, description="The lab's `data.dataset_format`.")
    max_samples: int | None = Field(None, ge=1, description="Use only the first rows.")


class Template(Written):
    """The fine-tuning template under test."""

    key: str = Field(min_length=1, max_length=80, description="Key of the template at the lab.")
    method: Method = Field(description="How it trains: sft, dpo, orpo, rlhf or cpt.")
    model: str = Field(min_length=1, max_length=200, description="Base model, `organisation/name`.")
    tokenizer: dict[str, Scalar] = Field(
        default_factory=dict, description="Settings of the tokenizer beside its name, such as `padding_side`."
    )
    training: dict[str, Scalar] = Field(
        default_factory=dict, description="Hyper-parameters by the lab's names, such as `batch_size`."
    )
    lora: Lora | None = Field(None, description="Low-rank adapters.")
    quantization: Literal["nf4", "none"] = Field("none", description="4-bit NormalFloat weights, or none.")
    reward: Reward | None = Field(None, description="Reward of `rlhf` when the rows have no `reward`.")
    data: Data = Field(default_factory=Data, description="How the lab treats the rows.")
    evaluation: dict[str, Scalar | tuple[Scalar, ...]] = Field(
        default_factory=dict, description="The lab's `evaluation` section, passed through."
    )
    tensorboard: dict[str, Scalar] = Field(
        default_factory=dict, description="The lab's `tensorboard` section, passed through."
    )
    seed: int | None = Field(None, ge=0, description="Random seed of the training; chosen per job if absent.")


class Generate(Written):
    """Rows made up from a seed: the same seed gives the same bytes."""

    rows: int = Field(ge=1, le=1_000_000, description="How many rows.")
    seed: int = Field(7, ge=0, description="Random seed.")


class Dataset(Written):
    """The rows to train on."""

    format: DatasetFormat = Field(description="Shape of a row; must fit the method.")
    file: str | None = Field(None, min_length=1, description="JSON Lines file, relative to the spec.")
    generate: Generate | None = Field(None, description="Make rows up instead.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.file is None) == (self.generate is None):
            raise ValueError("give exactly one of `file` and `generate`")
        return self


class Gpu(Written):
    """Which machine to ask for."""

    prefer: tuple[str, ...] = Field(
        ("NVIDIA RTX A4000", "NVIDIA RTX A5000"), min_length=1, description="RunPod GPU ids, tried in this order."
    )
    count: int = Field(1, ge=1, le=8, description="GPUs in the pod.")
    cloud: Literal["secure", "community"] = Field("secure", description="Which of RunPod's clouds.")
    on_oom: Literal["stop", "escalate"] = Field("stop", description="What to do when a GPU's memory is too small.")


class Limits(Written):
    """What a job may cost and how long its parts may take. Each limit ends in giving the pod back."""

    price: Price = Field(0.60, description="Highest hourly price of the pod.")
    spend: Money = Field(1.0, description="Highest cost of one job.")
    provision: Duration = Field(timedelta(minutes=20), description="Create to running.")
    run: Duration = Field(timedelta(minutes=45), description="Running to the end of the last step.")
    teardown: Duration = Field(timedelta(minutes=10), description="Giving the pod back and proving it gone.")

    @field_validator("*", mode="after")
    @classmethod
    def _allows_something(cls, limit: float | timedelta, info: ValidationInfo) -> float | timedelta:
        if not limit:
            context = {"name": info.field_name, "label": "must be more than 0; leave it out for the default"}
            raise PydanticCustomError("misfit", "the limit `{name}` is 0", context)
        return limit


class Criterion(Written):
    """A named condition that must hold for the phase to pass."""

    id: CriterionId = Field(description="Stable id; history and checkboxes refer to it.")
    title: str = Field(min_length=1, max_length=200, description="The criterion in a reader's words (Markdown).")
    expect: Condition = Field(description="The condition.")
    optional: bool = Field(False, description="Reported, but does not decide the verdict.")


class KnownIssue(Written):
    """Something this template is known to say or do."""

    id: CriterionId = Field(description="Stable id.")
    log: Pattern = Field(description="Regular expression that recognises it in a log line.")
    verdict: Literal["error", "expected", "infrastructure"] = Field(description="What it means for the run.")
    because: str = Field(min_length=1, description="Why it happens.")
    fix: str | None = Field(None, description="What to do about it.")

    def condition(self) -> LogMatches:
        """The condition that recognises it."""
        return LogMatches(log=self.log)


Identified = TypeVar("Identified", Criterion, KnownIssue)


def _unique_ids(items: tuple[Identified, ...]) -> tuple[Identified, ...]:
    first: dict[str, int] = {}
    for index, item in enumerate(items):
        if first.setdefault(item.id, index) != index:
            context = {"id": item.id, "at": (index, "id"), "code": "spec.duplicate-id", "label": "used before"}
            raise PydanticCustomError("misfit", "duplicate id `{id}`", context)
    return items


Criteria = Annotated[tuple[Criterion, ...], AfterValidator(_unique_ids)]
KnownIssues = Annotated[tuple[KnownIssue, ...], AfterValidator(_unique_ids)]


MAX_VARIANTS = 1_000

Axis = Annotated[tuple[Scalar, ...], Field(min_length=1)]
Combination = dict[Name, Scalar]


class Matrix(Written):
    """Variants of the spec: the cross product of named axes, each value available as `${vars.NAME}`."""

    axes: dict[Name, Axis] = Field(min_length=1, description="Values by axis.")
    include: tuple[Combination, ...] = Field((), max_length=MAX_VARIANTS, description="Further combinations.")
    exclude: tuple[Combination, ...] = Field((), max_length=MAX_VARIANTS, description="Combinations to leave out.")

    @field_validator("axes", mode="after")
    @classmethod
    def _not_too_many(cls, axes: dict[str, Axis]) -> dict[str, Axis]:
        count = math.prod(map(len, axes.values()))
        if count > MAX_VARIANTS:
            context = {"count": f"{count:,}" if count < 10**12 else "very many", "label": f"at most {MAX_VARIANTS:,}"}
            raise PydanticCustomError("misfit", "the axes have {count} combinations", context)
        return axes

    @field_validator("axes", mode="after")
    @classmethod
    def _each_value_once(cls, axes: dict[str, Axis]) -> dict[str, Axis]:
        for name, values in axes.items():
            seen: set[tuple[type, Scalar]] = set()
            for index, value in enumerate(values):
                # With its type, because 1 and `true` are equal to Python, and different in a spec.
                if (type(value), value) in seen:
                    context = {"name": name, "at": (name, index), "label": "stands here before; it would run again"}
                    raise PydanticCustomError("misfit", "the axis `{name}` has a value twice", context)
                seen.add((type(value), value))
        return axes

    @field_validator("exclude", mode="after")
    @classmethod
    def _not_all(cls, rules: tuple[Combination, ...], info: ValidationInfo) -> tuple[Combination, ...]:
        axes, include = info.data.get("axes"), info.data.get("include")
        if axes and not include and next(combinations(axes, rules), None) is None:
            raise PydanticCustomError("misfit", "every combination is left out", {"label": "nothing is left to run"})
        return rules


def combinations(axes: Mapping[str, Axis], exclude: Sequence[Combination]) -> Iterator[Combination]:
    """The cross product of the axes, the last one moving fastest, without what the rules leave out."""
    for values in itertools.product(*axes.values()):
        one = dict(zip(axes, values, strict=True))
        if not any(rule.items() <= one.items() for rule in exclude if rule):
            yield one


class Spec(Written):
    """One template and how it is tested."""

    runspec: Literal[1] = Field(description="Version of the format.")
    name: Name = Field(description="Unique; the key in the document and in history.")
    title: str = Field(min_length=1, max_length=200, description="Heading of the template's section.")
    tags: tuple[Name, ...] = Field((), description="Words to select it by.")
    notes: str = Field("", max_length=300, description="One line for the inventory table.")
    extends: str | None = Field(None, description="Another spec file: mappings merge, everything else is replaced.")
    use: tuple[str, ...] = Field((), description="Files with parts of a spec, merged in this order.")
    vars: dict[Name, Scalar] = Field(default_factory=dict, description="Named values for `${vars.NAME}`.")
    template: Template = Field(description="The fine-tuning template under test.")
    dataset: Dataset = Field(description="The rows to train on.")
    gpu: Gpu = Field(default_factory=Gpu, description="Which machine to ask for.")
    limits: Limits = Field(default_factory=Limits, description="What a job may cost, and how long it may take.")
    phases: tuple[Name, ...] = Field(("basic",), min_length=1, description="Phases it is tested in.")
    matrix: Matrix | None = Field(None, description="Variants: the cross product of named axes.")
    repeat: int = Field(1, ge=1, le=100, description="Jobs per variant and phase.")
    success: dict[Name, Criteria] = Field(
        default_factory=dict, description="Criteria of this template beside those of the phase, by phase."
    )
    known_issues: KnownIssues = Field((), description="What this template is known to say.")

    @field_validator("phases", mode="after")
    @classmethod
    def _each_phase_once(cls, phases: tuple[str, ...]) -> tuple[str, ...]:
        for index, phase in enumerate(phases):
            if phase in phases[:index]:
                context = {"phase": phase, "at": (index,), "label": "named before; `repeat` runs a phase more often"}
                raise PydanticCustomError("misfit", "`phases` has `{phase}` twice", context)
        return phases

    @field_validator("dataset", mode="after")
    @classmethod
    def _format_fits_method(cls, dataset: Dataset, info: ValidationInfo) -> Dataset:
        template = info.data.get("template")
        if template is not None and dataset.format is not FORMATS_OF_METHOD[template.method]:
            raise PydanticCustomError(
                "misfit",
                "`{method}` does not train on `{format}` rows",
                {
                    "method": str(template.method),
                    "format": str(dataset.format),
                    "label": f"must be `{FORMATS_OF_METHOD[template.method]}`",
                    "at": ("format",),
                },
            )
        return dataset


class Phase(Written):
    """A kind of test: its steps, what stops it early and what makes it pass."""

    runspec_phase: Literal[1] = Field(alias="runspec-phase", description="Version of the format.")
    name: Name = Field(description="What `--phase` and a spec's `phases` call it.")
    title: str = Field(min_length=1, max_length=200, description="Heading in reports.")
    goal: str = Field("", max_length=300, description="What passing shows.")
    vars: dict[Name, Scalar] = Field(default_factory=dict, description="Named values; a spec's own win.")
    repeat: int = Field(1, ge=1, le=100, description="Jobs per spec, times the spec's own `repeat`.")
    dataset: Generate | None = Field(
        None, description="Made-up rows of the spec's format instead of its own, for a test that needs more of them."
    )
    steps: tuple[Step, ...] = Field(min_length=1, description="What is done, in this order.")
    stop_if: tuple[Condition, ...] = Field((), description="Ends the steps at once when one comes true.")
    on_failure: tuple[Step, ...] = Field((), description="Steps that run when the phase did not pass.")
    success: Criteria = Field(min_length=1, description="What must hold.")
