"""What the models say about a place in a file: which model stands there, its keys, its allowed values."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from runner.spec.conditions import CONDITIONS, Bound, Written
from runner.spec.models import Criterion, KnownIssue, Phase, Spec
from runner.spec.steps import STEPS

Loc = Sequence[str | int]

TAGGED: Mapping[str, type[Written]] = {
    **{f"<{key}>": model for key, model in CONDITIONS.items()},
    **{f"<{key}>": model for key, model in STEPS.items()},
}
_NOUNS: Mapping[type[Written], str] = {
    Spec: "a spec",
    Phase: "a phase",
    Criterion: "a criterion",
    KnownIssue: "a known issue",
    Bound: "limits of a number",
    **{model: f"a `{key}` condition" for key, model in CONDITIONS.items()},
    **{model: f"a `{key}` step" for key, model in STEPS.items()},
}


def keys_of(model: type[Written]) -> dict[str, FieldInfo]:
    """The fields of a model by the key that people write."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def noun(model: type[Written] | None, path: Loc) -> str:
    """What a reader calls the thing at `path`: `a `wait` step`, or the key that holds it."""
    if model is not None and model in _NOUNS:
        return _NOUNS[model]
    names = [part for part in path if isinstance(part, str)]
    return f"`{names[-1]}`" if names else "this file"


def annotation_at(model: type[Written], loc: Loc) -> Any:
    """The annotation of the value at a pydantic error location, None where that cannot be told."""
    annotation: Any = model
    for part in loc:
        annotation = _below(annotation, part)
    return annotation


def model_at(model: type[Written], loc: Loc) -> type[Written] | None:
    """The model of the mapping at an error location."""
    return _as_model(annotation_at(model, loc))


def choices(annotation: Any) -> list[str]:
    """The values that an annotation allows, as written; empty when it is not a choice."""
    bare = _bare(annotation)
    if get_origin(bare) is Literal:
        return [str(value) for value in get_args(bare)]
    if isinstance(bare, type) and issubclass(bare, Enum):
        return [str(member.value) for member in bare]
    return []


def _bare(annotation: Any) -> Any:
    """Without `Annotated` and `| None`."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in {Union, types.UnionType}:
        others = [arg for arg in get_args(annotation) if arg is not type(None)]
        return _bare(others[0]) if len(others) == 1 else annotation
    return annotation


def _as_model(annotation: Any) -> type[Written] | None:
    bare = _bare(annotation)
    return bare if isinstance(bare, type) and issubclass(bare, Written) else None


def _below(annotation: Any, part: str | int) -> Any:
    if isinstance(part, str) and part in TAGGED:
        return TAGGED[part]
    if (model := _as_model(annotation)) is not None:
        field = keys_of(model).get(str(part))
        return field.annotation if field else None
    bare = _bare(annotation)
    origin, args = get_origin(bare), get_args(bare)
    if origin is tuple:
        return args[0]
    if origin is dict:
        return args[1]
    return None
