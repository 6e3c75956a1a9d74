"""What a row of each dataset format must have, and how to name what was found instead."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from runner.spec.models import FORMATS_OF_METHOD, DatasetFormat

ROLES = ("system", "user", "assistant", "tool")

# Fields by name: how many values there are, and their characters together.
Measured = Mapping[str, tuple[int, int]]


_ABSENT = msgspec.Raw()


class Turn(msgspec.Struct, gc=False):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str


class MessagesRow(msgspec.Struct, gc=False):
    """A chat to learn the assistant's turns from."""

    messages: list[Turn]


class PreferenceRow(msgspec.Struct, gc=False):
    """A prompt with a better and a worse answer."""

    prompt: str
    chosen: str
    rejected: str


class RewardRow(msgspec.Struct, gc=False):
    """A prompt, perhaps with an answer and what it is worth.

    `chosen` and `rejected` are not part of the format: preference rows also have a `prompt`, and the
    lab's trainer skips them without a word until no row is left.
    """

    prompt: str
    response: str | None = None
    reward: float | None = None
    chosen: msgspec.Raw = _ABSENT
    rejected: msgspec.Raw = _ABSENT


class TextRow(msgspec.Struct, gc=False):
    """A document."""

    text: str


@dataclass(frozen=True, slots=True)
class Shape:
    """How rows of one format are read.

    Attributes:
        row: the type whose decoder refuses missing keys and wrong types.
        required: keys a row cannot do without.
        keys: the keys as help texts show them.
        measure: sizes of the fields of some rows; None when any row has a problem that types cannot express.
    """

    row: type[msgspec.Struct]
    required: tuple[str, ...]
    keys: str
    measure: Callable[[Sequence[Any]], Measured | None]


def shape_of(row_format: DatasetFormat, *, needs_reward: bool = False) -> Shape:
    """How rows of this format are read; `needs_reward` makes `reward` a required key of reward rows."""
    if row_format is DatasetFormat.REWARD and needs_reward:
        return _REWARD_NEEDED
    return _SHAPES[row_format]


def help_for(row_format: DatasetFormat) -> str:
    """What trains on this format, and what its rows look like."""
    methods = [f"`{method}`" for method, needed in FORMATS_OF_METHOD.items() if needed is row_format]
    verb = "trains" if len(methods) == 1 else "train"
    return f"{' and '.join(methods)} {verb} on {row_format} rows {_SHAPES[row_format].keys}"


def detect_format(row: object) -> str:
    """What kind of row this is, in words: "`text` rows (key `text`)", "a list"; never longer than a line."""
    return known_format(row) or value_in_words(row)


def known_format(row: object) -> str | None:
    """The name of the dataset format that this row belongs to; None when it is nothing known."""
    if isinstance(row, list):
        chats = bool(row) and all(isinstance(turn, dict) and "role" in turn for turn in row)
        return "a bare list of chat turns (keys `role`, `content`)" if chats else None
    if not isinstance(row, dict):
        return None
    return next((_named(name, keys) for name, keys in _KNOWN if row.keys() >= set(keys)), None)


def value_in_words(value: object) -> str:
    """What a JSON value is: "a number", "text", "an empty list", "an object with the keys `a`, `b`"."""
    match value:
        case None | bool():
            return f"`{json.dumps(value)}`"
        case int():
            return "a number"
        case float():
            return "a number" if math.isfinite(value) else "a number beyond all floats"
        case str():
            return "text" if value.strip() else "empty text"
        case list():
            return "a list" if value else "an empty list"
    return _object_in_words(value) if isinstance(value, dict) else type(value).__name__


def and_keys(keys: Sequence[str], last: str) -> str:
    """Keys as a phrase: `a`, `b` or `c`."""
    quoted = [f"`{key}`" for key in keys]
    return f" {last} ".join(part for part in (", ".join(quoted[:-1]), quoted[-1]) if part)


def _object_in_words(value: Mapping[str, object]) -> str:
    if not value:
        return "an empty object"
    keys = [f"`{key[:30]}`" for key, _ in zip(value, range(6), strict=False)]
    more = ", …" if len(value) > len(keys) else ""
    return f"an object with the key{'s' if len(value) > 1 else ''} {', '.join(keys)}{more}"


def _named(name: str, keys: Sequence[str]) -> str:
    return f"{name} (key{'s' if len(keys) > 1 else ''} {', '.join(f'`{key}`' for key in keys)})"


# In the order in which the lab looks for them, so that both name a row alike; the last three are known
# to TRL or to this project only.
_KNOWN = (
    ("ShareGPT rows", ("conversations",)),
    ("`messages` rows", ("messages",)),
    ("`text` rows", ("text",)),
    ("`preference` rows", ("prompt", "chosen", "rejected")),
    ("`reward` rows", ("prompt", "response")),
    ("Alpaca rows", ("instruction", "output")),
    ("Dolly rows", ("instruction", "response")),
    ("OpenOrca rows", ("system_prompt", "question", "response")),
    ("Unnatural Instructions rows", ("instruction", "instances")),
    ("single chat turns", ("role", "content")),
    ("`reward` rows", ("prompt", "reward")),
    ("prompt-completion rows", ("prompt", "completion")),
    ("ShareGPT rows", ("examples",)),
)


def _measure_messages(rows: Sequence[MessagesRow]) -> Measured | None:
    counts = dict.fromkeys(ROLES, 0)
    chars = dict.fromkeys(ROLES, 0)
    for row in rows:
        answered = False
        for turn in row.messages:
            role, content = turn.role, turn.content
            counts[role] += 1
            chars[role] += len(content)
            if role == "assistant" and content.strip():
                answered = True
        if not answered:
            return None
    return {role: (counts[role], chars[role]) for role in ROLES if counts[role]}


def _measure_preference(rows: Sequence[PreferenceRow]) -> Measured | None:
    columns = {key: [getattr(row, key).strip() for row in rows] for key in ("chosen", "rejected")}
    if any(map(operator.eq, columns["chosen"], columns["rejected"])):
        return None
    return _measure_texts(rows, ("prompt", "chosen", "rejected"))


def _measure_reward(rows: Sequence[RewardRow]) -> Measured | None:
    unanswered = [row for row in rows if row.response is None]
    if any(row.chosen is not _ABSENT and row.rejected is not _ABSENT for row in unanswered):
        return None
    prompts = _measure_texts(rows, ("prompt",))
    responses = _measure_texts([row for row in rows if row.response is not None], ("response",))
    if prompts is None or responses is None:
        return None
    rewards = sum(row.reward is not None for row in rows)
    return {**prompts, **responses, **({"reward": (rewards, 0)} if rewards else {})}


def _measure_reward_needed(rows: Sequence[RewardRow]) -> Measured | None:
    return None if any(row.reward is None for row in rows) else _measure_reward(rows)


def _measure_text(rows: Sequence[TextRow]) -> Measured | None:
    return _measure_texts(rows, ("text",))


def _measure_texts(rows: Sequence[object], keys: Sequence[str]) -> Measured | None:
    measured: dict[str, tuple[int, int]] = {}
    for key in keys if rows else ():
        texts = list(map(operator.attrgetter(key), rows))
        if not all(map(str.strip, texts)):
            return None
        measured[key] = len(texts), sum(map(len, texts))
    return measured


_SHAPES = {
    DatasetFormat.MESSAGES: Shape(MessagesRow, ("messages",), "{messages: [{role, content}, …]}", _measure_messages),
    DatasetFormat.PREFERENCE: Shape(
        PreferenceRow, ("prompt", "chosen", "rejected"), "{prompt, chosen, rejected}", _measure_preference
    ),
    DatasetFormat.REWARD: Shape(RewardRow, ("prompt",), "{prompt, response, reward}", _measure_reward),
    DatasetFormat.TEXT: Shape(TextRow, ("text",), "{text}", _measure_text),
}
_REWARD_NEEDED = Shape(RewardRow, ("prompt", "reward"), "{prompt, response, reward}", _measure_reward_needed)
