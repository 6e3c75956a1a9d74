"""Hover texts of the schemas that are made from msgspec models: what stands below a field in the source."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable
from itertools import pairwise
from typing import Any


def describe(definitions: dict[str, Any], models: Iterable[type]) -> None:
    """Put the text below each field of the models into the schema's definition of the same name."""
    for model in models:
        properties = definitions[model.__name__]["properties"]
        for name, text in field_texts(model).items():
            properties[name] = {**properties[name], "description": text}


def field_texts(model: type) -> dict[str, str]:
    """The strings that stand right below the fields of a class, by field."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(tree, ast.ClassDef)  # noqa: S101 - a class was given
    found: dict[str, str] = {}
    for field, below in pairwise(tree.body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            found[field.target.id] = " ".join(below.value.value.split())
    return found
