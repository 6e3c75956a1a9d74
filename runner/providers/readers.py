"""Tolerant readers: what an answer says, when it says it, in whichever form."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

# Go's default form of a time, seen from RunPod: `2025-12-16 17:44:56.726 +0000 UTC`.
_GO_TIME = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?) ([+-]\d\d):?(\d\d)(?: .*)?")


class ShapeError(ValueError):
    """An answer lacks what the call needs. The text names fields, and never quotes what was in them."""


def decode_json(body: bytes) -> Any:
    """The value in `body`; `NaN` and `Infinity` are tolerated because Python services write them.

    Raises:
        ShapeError: it is not JSON.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        pass
    # Raised outside the handlers: decoders keep the whole document in their exceptions.
    raise ShapeError("the answer is not JSON")


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    """`value` as an object, or a `ShapeError` about `what`."""
    if not isinstance(value, dict):
        raise ShapeError(f"{what} is not an object")
    return value


def maybe_mapping(value: Any) -> Mapping[str, Any]:
    """`value` as an object; anything else is an empty one."""
    return value if isinstance(value, dict) else {}


def items(answer: Any, key: str) -> Sequence[Any]:
    """The list under `key`; null counts as empty, which is how Go writes a list of nothing.

    Raises:
        ShapeError: the key is missing, so that a strange answer never reads as "there is nothing".
    """
    found = mapping(answer, "the answer")
    if key not in found:
        raise ShapeError(f"the answer has no `{key}`")
    value = found[key]
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ShapeError(f"`{key}` is not a list")
    return value


def text(value: Any) -> str | None:
    """A non-empty string, or a number written as one; None for the rest."""
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def needed_text(source: Mapping[str, Any], key: str, what: str) -> str:
    """The non-empty string under `key`, or a `ShapeError`."""
    found = text(source.get(key))
    if found is None:
        raise ShapeError(f"{what} has no `{key}`")
    return found


def number(value: Any) -> float | None:
    """A finite number, also when it was written as a string; None for the rest."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and len(value) > 64:
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def whole(value: Any) -> int | None:
    """A whole number, also written as `3.0` or `"3"`; None for the rest."""
    found = number(value)
    return int(found) if found is not None and found == int(found) else None


def moment(value: Any) -> datetime | None:
    """A time in UTC from RFC 3339 or Go's form; one without a zone is UTC; None for the rest."""
    if not isinstance(value, str) or len(value) > 80:
        return None
    go_form = _GO_TIME.fullmatch(value.strip())
    written = "{}T{}{}:{}".format(*go_form.groups()) if go_form else value.strip()
    try:
        found = datetime.fromisoformat(written)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
