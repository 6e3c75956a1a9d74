"""What is wrong with one row, in words; slow and thorough, and called for wrong rows only."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice
from typing import Literal

import msgspec

from runner.datasets.formats import (
    ROLES,
    and_keys,
    detect_format,
    help_for,
    known_format,
    shape_of,
    value_in_words,
)
from runner.errors import did_you_mean
from runner.spec.models import DatasetFormat


@dataclass(frozen=True, slots=True)
class RowProblem:
    """One problem of one row, told so that it can be said of one row and of all rows.

    Attributes:
        verb: of the sentence "row 3 `verb` `what`".
        what: the rest of that sentence; says nothing that is true of this row only.
        path: keys and indexes to the offending value.
        at_key: point at the key and not at its value.
        place: start and end in the line (0-based) where that is known without a path.
        label: what is particular to this row.
    """

    code: str
    verb: Literal["has", "is"]
    what: str
    path: tuple[str | int, ...] = ()
    at_key: bool = False
    place: tuple[int, int] | None = None
    label: str = ""
    fix: str = ""


def problems_of_line(raw: bytes, row_format: DatasetFormat, *, needs_reward: bool) -> list[RowProblem]:
    """Everything wrong with one line; empty when nothing is."""
    try:
        line = raw.decode()
    except UnicodeDecodeError as exc:
        return [_bad_utf8(raw, exc)]
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as exc:
        try:
            value = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            return [_invalid_json(line, raw, exc)]
        # What is left is JSON by its grammar: half a surrogate pair, or a number beyond any float. The
        # number is its field's problem, if it is anyone's.
        if not isinstance(exc, msgspec.ValidationError):
            return [_half_a_character(line)]
    by_kind: dict[tuple[str, str], RowProblem] = {}
    for problem in _problems(value, row_format, needs_reward):
        by_kind.setdefault((problem.code, problem.what), problem)
    return list(by_kind.values())


def unreadable(row_format: DatasetFormat, why: str) -> RowProblem:
    """A row that its typed decoder refuses although no rule is broken, such as one with a key twice."""
    return RowProblem("dataset.wrong-type", "is", f"not readable as a `{row_format}` row", label=why)


def too_long(limit_bytes: int) -> RowProblem:
    """A line that is not looked at because it is longer than any row should be."""
    return RowProblem(
        "dataset.too-long-line",
        "is",
        f"longer than {limit_bytes // 2**20} MiB",
        fix="split it: a trainer cuts rows at some thousand tokens anyway",
    )


def _problems(value: object, row_format: DatasetFormat, needs_reward: bool) -> Iterator[RowProblem]:
    if not isinstance(value, dict):
        # Known formats are few; other values have to be told apart without quoting them.
        yield RowProblem(
            "dataset.wrong-format", "is", f"{detect_format(value)}, not an object", fix=help_for(row_format)
        )
        return
    if wrong := _lacks_keys(value, row_format, needs_reward):
        yield wrong
        if wrong.code == "dataset.wrong-format":
            return
    match row_format:
        case DatasetFormat.MESSAGES:
            yield from _messages_problems(value)
        case DatasetFormat.PREFERENCE:
            yield from _text_problems(value, "prompt", "chosen", "rejected")
            yield from _preference_problems(value)
        case DatasetFormat.REWARD:
            yield from _text_problems(value, "prompt")
            yield from _reward_problems(value, needs_reward)
        case DatasetFormat.TEXT:
            yield from _text_problems(value, "text")


def _lacks_keys(row: dict[str, object], row_format: DatasetFormat, needs_reward: bool) -> RowProblem | None:
    missing = [key for key in shape_of(row_format, needs_reward=needs_reward).required if key not in row]
    found = known_format(row)
    is_preference = row_format is DatasetFormat.REWARD and {"chosen", "rejected"} <= row.keys()
    if is_preference and row.get("response") is None:
        missing = missing or ["response"]
    elif not missing:
        return None
    elif found is None or found.startswith(f"`{row_format}` rows"):
        return _missing_key(row, missing, row_format)
    return RowProblem(
        "dataset.wrong-format",
        "has",
        f"no {and_keys(missing, 'or')}: this looks like {found}",
        fix=help_for(row_format),
    )


def _missing_key(row: dict[str, object], missing: list[str], row_format: DatasetFormat) -> RowProblem:
    what = f"no {and_keys(missing, 'or')}"
    required = shape_of(row_format).required
    others = tuple(key for key in islice(row, 20) if len(key) <= 40 and key not in required)
    if near := _nearest(missing[0], others):
        return RowProblem(
            "dataset.missing-key",
            "has",
            what,
            path=(near,),
            at_key=True,
            label=f"did you mean `{missing[0]}`?",
            fix=help_for(row_format),
        )
    fix = _REWARD_FIX if missing == ["reward"] else help_for(row_format)
    return RowProblem("dataset.missing-key", "has", what, label=f"this is {value_in_words(row)}", fix=fix)


@lru_cache(maxsize=64)  # difflib is slow, and the rows of one file have much the same keys
def _nearest(key: str, others: tuple[str, ...]) -> str | None:
    return next(iter(get_close_matches(key, others, n=1)), None)


def _text_problems(row: dict[str, object], *keys: str) -> Iterator[RowProblem]:
    for key in keys:
        if key not in row:
            continue
        value = row[key]
        if not isinstance(value, str):
            yield _not_text(key, value, (key,))
        elif not value.strip():
            yield RowProblem(
                "dataset.empty-value",
                "has",
                f"an empty `{key}`",
                (key,),
                label="there is nothing to learn here",
            )


def _not_text(key: str, value: object, path: tuple[str | int, ...]) -> RowProblem:
    fix = "give the text alone: this format has no turns or parts" if isinstance(value, list | dict) else ""
    label = f"this is {value_in_words(value)}"
    return RowProblem("dataset.wrong-type", "has", f"a `{key}` that is not text", path, label=label, fix=fix)


def _preference_problems(row: dict[str, object]) -> Iterator[RowProblem]:
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if isinstance(chosen, str) and isinstance(rejected, str) and chosen.strip() == rejected.strip() != "":
        yield RowProblem(
            "dataset.same-answers",
            "has",
            "the same text in `chosen` and `rejected`",
            ("rejected",),
            label="there is nothing to prefer",
        )


def _reward_problems(row: dict[str, object], needs_reward: bool) -> Iterator[RowProblem]:
    if row.get("response") is not None:
        yield from _text_problems(row, "response")
    reward = row.get("reward")
    if "reward" not in row or (reward is None and not needs_reward):
        return
    if not _is_finite_number(reward):
        yield RowProblem(
            "dataset.wrong-type",
            "has",
            "a `reward` that is not a finite number",
            ("reward",),
            label=f"this is {value_in_words(reward)}",
        )


def _is_finite_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


def _messages_problems(row: dict[str, object]) -> Iterator[RowProblem]:
    if "messages" not in row:
        return
    turns = row["messages"]
    if not isinstance(turns, list):
        yield RowProblem(
            "dataset.wrong-type",
            "has",
            "`messages` that are not a list",
            ("messages",),
            label=f"this is {value_in_words(turns)}",
        )
    elif not turns:
        yield RowProblem("dataset.empty-value", "has", "no turn in `messages`", ("messages",))
    else:
        wrong = [problem for at, turn in enumerate(turns) for problem in _turn_problems(turn, at)]
        yield from wrong or _answer_problems(turns)


def _turn_problems(turn: object, at: int) -> Iterator[RowProblem]:
    path = ("messages", at)
    if not isinstance(turn, dict):
        label = f"this is {value_in_words(turn)}"
        yield RowProblem("dataset.wrong-type", "has", "a turn that is not an object", path, label=label)
    elif "role" not in turn and {"from", "value"} <= turn.keys():
        yield RowProblem(
            "dataset.wrong-format",
            "has",
            "ShareGPT turns (keys `from`, `value`) in `messages`",
            path,
            fix=help_for(DatasetFormat.MESSAGES),
        )
    else:
        yield from _role_problems(turn, (*path, "role"))
        if "content" not in turn:
            yield RowProblem("dataset.missing-key", "has", "a turn without `content`", path)
        elif not isinstance(turn["content"], str):
            yield _not_text("content", turn["content"], (*path, "content"))


def _role_problems(turn: dict[str, object], path: tuple[str | int, ...]) -> Iterator[RowProblem]:
    role = turn.get("role")
    if "role" not in turn:
        yield RowProblem("dataset.missing-key", "has", "a turn without `role`", path)
    elif not isinstance(role, str):
        yield _not_text("role", role, path)
    elif role not in ROLES:
        meant = _ROLES_ELSEWHERE.get(role.lower())
        yield RowProblem(
            "dataset.unknown-role",
            "has",
            "a turn with an unknown role",
            path,
            label=f"not one of: {', '.join(ROLES)}",
            fix=f"did you mean `{meant}`?" if meant else did_you_mean(role[:40], ROLES),
        )


def _answer_problems(turns: list[dict[str, object]]) -> Iterator[RowProblem]:
    answers = [at for at, turn in enumerate(turns) if turn["role"] == "assistant"]
    if not answers:
        yield RowProblem(
            "dataset.no-assistant-turn",
            "has",
            "no assistant turn",
            ("messages",),
            label="the assistant's turns are what is learned",
        )
    elif not any(str(turns[at]["content"]).strip() for at in answers):
        path = ("messages", answers[0], "content")
        yield RowProblem("dataset.empty-value", "has", "only empty assistant turns", path)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"`{name}` is not JSON")


def _invalid_json(line: str, raw: bytes, exc: Exception) -> RowProblem:
    at, why = _malformed(line, raw, exc)
    word = _WORD.match(line, at)
    if word and (instead := _NOT_JSON.get(word.group())):
        end, why = word.end(), f"`{word.group()}` is not JSON"
        return RowProblem("dataset.invalid-json", "is", "not JSON", place=(at, end), label=why, fix=instead)
    fix = "" if line.lstrip().startswith("{") else "give one JSON object per line (JSON Lines)"
    return RowProblem("dataset.invalid-json", "is", "not JSON", place=(at, at + 1), label=why, fix=fix)


def _malformed(line: str, raw: bytes, exc: Exception) -> tuple[int, str]:
    """Where the line stops being JSON (0-based, in characters) and why."""
    if isinstance(exc, RecursionError):
        return 0, "it is nested too deeply"
    if isinstance(exc, msgspec.ValidationError):
        return 0, str(exc)
    said = _BYTE.search(str(exc))
    if said is None:
        return max(0, len(line.rstrip()) - 1), "the row ends in the middle"
    trailing = said["why"] == "trailing characters"  # told one byte late
    at = len(raw[: int(said["byte"]) - trailing].decode(errors="replace"))
    return at, "the row is complete before this" if trailing else said["why"]


def _bad_utf8(raw: bytes, exc: UnicodeDecodeError) -> RowProblem:
    at = len(raw[: exc.start].decode())
    return RowProblem(
        "dataset.encoding",
        "is",
        "not UTF-8",
        place=(at, at + 1),
        label=f"byte 0x{raw[exc.start]:02x} stands here",
        fix="save the file as UTF-8",
    )


def _half_a_character(line: str) -> RowProblem:
    found = _HALF.search(line)
    return RowProblem(
        "dataset.encoding",
        "has",
        "half a character",
        place=found.span() if found else None,
        label="an escape for one half of a pair, without its other half",
        fix="write the character itself in UTF-8",
    )


_REWARD_FIX = "give each row a number `reward`, or give the template one: `reward: {function: …}` or `{model: train}`"
_ROLES_ELSEWHERE = {
    "human": "user",
    "gpt": "assistant",
    "ai": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "developer": "system",
    "function": "tool",
}
_BYTE = re.compile(r"(?:JSON is malformed: )?(?P<why>.*?) \(byte (?P<byte>\d+)\)")
_WORD = re.compile(r"-?\w+|'")
_NOT_JSON = {
    "NaN": "leave the row out, or write a number",
    "nan": "leave the row out, or write a number",
    "Infinity": "leave the row out, or write a number",
    "-Infinity": "leave the row out, or write a number",
    "None": "write `null`; `json.dumps` does",
    "True": "write `true`; `json.dumps` does",
    "False": "write `false`; `json.dumps` does",
    "'": "use double quotes; `json.dumps` does, `str` does not",
}
_HALF = re.compile(r"\\u[dD][89abAB]\w\w(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]\w\w)\\u[dD][c-fC-F]\w\w", re.ASCII)
