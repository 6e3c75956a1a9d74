"""Steps in words, for progress lines and reports."""

from __future__ import annotations

from typing import assert_never

from runner.spec.conditions import Condition, Never
from runner.spec.steps import (
    CancelStep,
    CollectStep,
    DeployStep,
    DownloadStep,
    GenerateStep,
    Step,
    ValidateStep,
    WaitStep,
)


def step_title(step: Step) -> str:
    """The step's own title, or words made from what it does."""
    if step.title:
        return step.title
    match step:
        case ValidateStep():
            return "validate the dataset"
        case DeployStep():
            return "deploy the template"
        case WaitStep():
            return f"wait for {condition_title(step.wait)}"
        case CancelStep():
            return "cancel the job"
        case CollectStep():
            return f"collect {step.collect}"
        case DownloadStep():
            return "download the model"
        case GenerateStep():
            return "let the model answer"
        case _ as never:
            assert_never(never)


def condition_title(condition: Condition) -> str:
    """A condition as its author wrote it, on one line."""
    if isinstance(condition, Never):
        return f"never {condition_title(condition.never)}"
    written = condition.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return ", ".join(f"{key} {_flat(value)}" for key, value in written.items())


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key} {_flat(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return f"({'; '.join(_flat(part) for part in value)})"
    return f"`{value}`" if isinstance(value, str) and " " in value else str(value)
