"""The steps of a phase, as people write them: one key says what is done, the others how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from runner.spec.conditions import Condition, Written
from runner.spec.scalars import Duration, Size


class _Step(Written):
    title: str | None = Field(None, description="What a reader of the report sees; made from the step if absent.")
    timeout: Duration | None = Field(None, description="How long the step may take before it fails.")
    optional: bool = Field(False, description="A failure of this step does not end the phase.")


class ValidateStep(_Step):
    """Check the dataset row by row before anything is paid for."""

    validate_: Literal["dataset"] = Field(alias="validate", description="What is checked.")


class DeployStep(_Step):
    """Deploy the template; the pod is leased, and given back however the phase ends."""

    deploy: Literal["template"] = Field(description="What is deployed.")


class WaitStep(_Step):
    """Wait until a condition holds."""

    wait: Condition = Field(description="The condition waited for.")
    or_: Condition | None = Field(None, alias="or", description="A condition that also ends the wait.")


class CancelStep(_Step):
    """Cancel the training job; its pod is given back."""

    cancel: Literal["job"] = Field(description="What is cancelled.")


class CollectStep(_Step):
    """Fetch evidence once more, now."""

    collect: Literal["logs", "pod", "metrics", "alerts"] = Field(description="Which evidence.")
    via: Literal["client", "sdk"] = Field("client", description="Our own client, or the published SDK.")


class DownloadStep(_Step):
    """Download the trained model and check its size and checksum."""

    download: Literal["model"] = Field(description="What is downloaded.")
    max_size: Size | None = Field(None, description="Largest archive that is taken; 20 GB by default.")


class GenerateStep(_Step):
    """Load the downloaded model and let it answer."""

    generate: tuple[str, ...] = Field(min_length=1, max_length=20, description="Prompts to answer.")
    max_tokens: int = Field(32, ge=1, le=1024, description="Longest answer, in tokens.")


STEPS: Mapping[str, type[_Step]] = {
    "validate": ValidateStep,
    "deploy": DeployStep,
    "wait": WaitStep,
    "cancel": CancelStep,
    "collect": CollectStep,
    "download": DownloadStep,
    "generate": GenerateStep,
}


def _tag(value: Any) -> str | None:
    if isinstance(value, Written):
        return next(f"<{key}>" for key, model in STEPS.items() if type(value) is model)
    keys = [key for key in STEPS if isinstance(value, dict) and key in value]
    return f"<{keys[0]}>" if len(keys) == 1 else None


Step = Annotated[
    Annotated[ValidateStep, Tag("<validate>")]
    | Annotated[DeployStep, Tag("<deploy>")]
    | Annotated[WaitStep, Tag("<wait>")]
    | Annotated[CancelStep, Tag("<cancel>")]
    | Annotated[CollectStep, Tag("<collect>")]
    | Annotated[DownloadStep, Tag("<download>")]
    | Annotated[GenerateStep, Tag("<generate>")],
    Discriminator(
        _tag,
        custom_error_type="step_kind",
        custom_error_message="a step needs exactly one of: " + ", ".join(f"`{key}`" for key in STEPS),
    ),
]
