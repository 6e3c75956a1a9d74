"""What the lab makes of an uploaded file: the detected format, and one JSON record a line that trainers read.

Source: FineTune Lab contract §5, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import msgspec

from runner.local.web_kit import JSON_ERRORS

ROLES = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant", "system": "system"}
SHOWN_ERRORS = 25
CHARS_PER_TOKEN = 4

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Normalised:
    """The outcome for one file; `jsonl` has no line end after its last line."""

    detected: str
    jsonl: bytes
    converted: int
    total: int
    errors: tuple[str, ...]
    avg_input_length: int
    avg_output_length: int

    @property
    def estimated_tokens(self) -> int:
        return self.converted * (self.avg_input_length + self.avg_output_length) // CHARS_PER_TOKEN


def normalise(content: bytes) -> Normalised:
    """Detect the format of a file and convert each record by what it looks like itself."""
    text = content.decode("utf-8-sig", "replace").strip()
    records, errors = _records(text)
    total = len(records) + len(errors)
    rows = []
    for number, record in records:
        row = _convert(record)
        if row is None:
            errors.append(f"Example {number}: Could not normalize")
        else:
            rows.append(row)
    inputs, outputs = _mean_lengths(rows)
    return Normalised(
        detected=_detect(text),
        jsonl=b"\n".join(msgspec.json.encode(row) for row in rows),
        converted=len(rows),
        total=total,
        errors=_shortened(errors),
        avg_input_length=inputs,
        avg_output_length=outputs,
    )


def _records(text: str) -> tuple[list[tuple[int, Any]], list[str]]:
    """Numbered records and the lines that are no JSON. A file with a line break is read as JSONL, whatever it is."""
    if "\n" not in text:
        whole = _parsed(text)
        records = whole if isinstance(whole, list) and not _is_chat(whole) else [whole]
        return ([], ["Line 1: Invalid JSON"]) if whole is None else (list(enumerate(records, start=1)), [])
    records, errors = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            record = _parsed(line)
            if record is None:
                errors.append(f"Line {number}: Invalid JSON")
            else:
                records.append((number, record))
    return records, errors


def _parsed(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except JSON_ERRORS:
        return None


def _detect(text: str) -> str:
    whole = _parsed(text)
    if whole is not None:
        first = whole[0] if isinstance(whole, list) and whole and not _is_chat(whole) else whole
        return _format_of(first) or "unknown"
    lines = text.split("\n", 1)
    return (_format_of(_parsed(lines[0])) or "jsonl") if len(lines) > 1 else "unknown"


def _format_of(record: object) -> str | None:
    if _is_chat(record):
        return "chatml"
    if not isinstance(record, dict):
        return None
    if "conversations" in record:
        return "sharegpt"
    if "examples" in record:
        return "sharegpt-examples"
    known: Sequence[tuple[str, tuple[str, ...]]] = (
        ("chatml-wrapped", ("messages",)),
        ("standard-text", ("text",)),
        ("dpo", ("prompt", "chosen", "rejected")),
        ("rlhf", ("prompt", "response")),
        ("alpaca", ("instruction", "output")),
        ("alpaca", ("instruction", "response")),
        ("openorca", ("system_prompt", "question", "response")),
        ("unnatural", ("instruction", "instances")),
        ("chatml", ("role", "content")),
    )
    return next((name for name, keys in known if all(key in record for key in keys)), None)


def _is_chat(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(turn, dict) and "role" in turn and "content" in turn for turn in value)
    )


def _convert(record: Any) -> dict[str, Any] | None:
    converter = _CONVERTERS.get(_format_of(record) or "")
    return converter(record) if converter else None


def _chatml(record: Any) -> dict[str, Any] | None:
    return _chat(record) if isinstance(record, list) else None


def _sharegpt(record: Record) -> dict[str, Any] | None:
    opening = [{"role": "system", "content": record["system"]}] if record.get("system") else []
    return _chat([*opening, *_turns(record["conversations"])])


def _alpaca(record: Record) -> dict[str, Any] | None:
    context = record.get("input", record.get("context"))
    question = "\n\n".join(filter(_is_text, (record["instruction"], context)))
    return _exchange(question, record.get("output", record.get("response")))


def _openorca(record: Record) -> dict[str, Any] | None:
    return _exchange(record["question"], record["response"], system=record["system_prompt"])


def _turns(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _chat(turns: Sequence[Any]) -> dict[str, Any] | None:
    """Turns with the lab's role names; turns of other roles are dropped, a chat without any is none."""
    messages = []
    for turn in turns:
        if isinstance(turn, dict):
            role = ROLES.get(str(turn.get("role", turn.get("from", ""))).lower())
            content = turn.get("content", turn.get("value"))
            if role and _is_text(content):
                messages.append({"role": role, "content": content})
    return {"messages": messages} if messages else None


def _strings(record: Record, *keys: str) -> dict[str, Any] | None:
    if not all(_is_text(record[key]) for key in keys):
        return None
    return {key: record[key] for key in (*keys, "reward", "metadata") if record.get(key) is not None}


def _exchange(question: object, answer: object, *, system: object = None) -> dict[str, Any] | None:
    if not (_is_text(question) and _is_text(answer)):
        return None
    opening = [{"role": "system", "content": system}] if _is_text(system) else []
    return {"messages": [*opening, {"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def _unnatural(record: Record) -> dict[str, Any] | None:
    first = next(iter(_turns(record["instances"])), None)
    if not isinstance(first, dict):
        return None
    return _exchange("\n\n".join(filter(_is_text, (record["instruction"], first.get("input")))), first.get("output"))


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value.strip())


def _mean_lengths(rows: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Mean characters of input and output; preference and rated rows count as 0, as in the real service."""
    inputs = outputs = 0
    for row in rows:
        for message in row.get("messages", ()):
            if message["role"] == "assistant":
                outputs += len(message["content"])
            else:
                inputs += len(message["content"])
        outputs += len(row.get("text", ""))
    return (round(inputs / len(rows)), round(outputs / len(rows))) if rows else (0, 0)


def _shortened(errors: Sequence[str]) -> tuple[str, ...]:
    more = len(errors) - SHOWN_ERRORS
    shown = tuple(errors[:SHOWN_ERRORS])
    return (*shown, f"...and {more} more normalization errors") if more > 0 else shown


_CONVERTERS: Mapping[str, Callable[[Any], dict[str, Any] | None]] = {
    "chatml": _chatml,
    "sharegpt": _sharegpt,
    "sharegpt-examples": lambda record: _chat(_turns(record["examples"])),
    "chatml-wrapped": lambda record: _chat(_turns(record["messages"])),
    "standard-text": lambda record: {"text": record["text"]} if _is_text(record["text"]) else None,
    "dpo": lambda record: _strings(record, "prompt", "chosen", "rejected"),
    "rlhf": lambda record: _strings(record, "prompt", "response"),
    "alpaca": _alpaca,
    "openorca": _openorca,
    "unnatural": _unnatural,
}
