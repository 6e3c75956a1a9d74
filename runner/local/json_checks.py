"""Checks of decoded JSON that report every violation, in the words of the real RunPod API."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

Check = Callable[[str, object], list[str]]
"""From where a value stands and the value to what is wrong with it."""


def kind_of(value: object) -> str:
    """What JSON calls a value."""
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
    return "null" if value is None else kinds[type(value)]


def typed(want: str) -> Check:
    """A value of one kind."""

    def check(where: str, value: object) -> list[str]:
        return [] if kind_of(value) == want else [f"{where}: got {kind_of(value)}, want {want}"]

    return check


def string(*, min_length: int = 0, pattern: str | None = None, one_of: tuple[str, ...] = ()) -> Check:
    """A text."""

    def check(where: str, value: object) -> list[str]:
        if not isinstance(value, str):
            return [f"{where}: got {kind_of(value)}, want string"]
        if len(value) < min_length:
            return [f"{where}: minLength: got {len(value)}, want {min_length}"]
        if pattern and not re.fullmatch(pattern, value):
            return [f"{where}: '{value}' does not match pattern '^{pattern}$'"]
        if one_of and value not in one_of:
            return [f"{where}: value must be one of " + ", ".join(f"'{choice}'" for choice in one_of)]
        return []

    return check


def integer(minimum: int, maximum: int | None = None) -> Check:
    """A whole number."""

    def check(where: str, value: object) -> list[str]:
        if not isinstance(value, int) or isinstance(value, bool):
            return [f"{where}: got {kind_of(value)}, want integer"]
        if maximum is not None and value > maximum:
            return [f"{where}: maximum: got {value}, want {maximum}"]
        return [f"{where}: minimum: got {value}, want {minimum}"] if value < minimum else []

    return check


def array(item: Check, *, max_items: int | None = None) -> Check:
    """A list."""

    def check(where: str, value: object) -> list[str]:
        if not isinstance(value, list):
            return [f"{where}: got {kind_of(value)}, want array"]
        if max_items is not None and len(value) > max_items:
            return [f"{where}: maxItems: got {len(value)}, want {max_items}"]
        return [error for index, entry in enumerate(value) for error in item(f"{where}.{index}", entry)]

    return check


def mapping_of(item: Check) -> Check:
    """An object whose values are alike."""

    def check(where: str, value: object) -> list[str]:
        if not isinstance(value, dict):
            return [f"{where}: got {kind_of(value)}, want object"]
        return [error for key, entry in value.items() for error in item(f"{where}.{key}", entry)]

    return check


def object_of(fields: Mapping[str, Check], *, required: tuple[str, ...] = ()) -> Check:
    """An object with these fields and no others."""

    def check(where: str, value: object) -> list[str]:
        if not isinstance(value, dict):
            return [f"{where}: got {kind_of(value)}, want object"]
        errors = [f"{where}: missing property '{key}'" for key in required if key not in value]
        for key, entry in value.items():
            known = fields.get(key)
            if known is None:
                errors.append(f"{where}: additional properties '{key}' not allowed")
            else:
                errors += known(f"{where}.{key}", entry)
        return errors

    return check


def nullable(check: Check) -> Check:
    """Null, or what `check` takes."""
    return lambda where, value: [] if value is None else check(where, value)
