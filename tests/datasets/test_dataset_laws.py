"""Laws that hold for every dataset, format, seed and way to cut a file into blocks."""

from __future__ import annotations

import json
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.datasets import validate
from runner.datasets.formats import shape_of
from runner.datasets.generate import generate_rows
from runner.datasets.validate import DatasetSummary, validate_chunks
from runner.errors import DatasetError
from runner.spec.models import DatasetFormat

FORMATS = st.sampled_from(list(DatasetFormat))
SEEDS = st.integers(0, 2**64)

# Lines of all kinds: right ones, wrong ones, and such as only look right to a decoder of streams.
LINES = st.sampled_from(
    [
        b'{"text": "a"}',
        b'{"text": "\xc3\xa9"}\r',
        b' {"text": "b"} ',
        b"",
        b" \t\r",
        b'{"text": ""}',
        b'{"text": 1}',
        b'{"txt": "a"}',
        b'{"text":',
        b'"b"}',
        b'{"text": "a"} {"text": "b"}',
        b'{"text": "a", "x": "\xff"}',
        b'{"text": "a", "x": "\\ud800"}',
        b'{"text": "a", "x": 1e999}',
        b'{"text": "a", "x": {"y": [{}]}}',
        b'{"text": 1, "text": "a"}',
        b'{"text": "a", "text": ""}',
        b"[]",
        b"null",
        b"\x00",
        b"\x0b",
        b'\xef\xbb\xbf{"text": "a"}',
    ]
)


def outcome(rows: bytes, row_format: DatasetFormat, size: int, *, needs_reward: bool = False) -> DatasetSummary | str:
    chunks = [rows[at : at + size] for at in range(0, len(rows), size)]
    try:
        return validate_chunks(chunks, row_format, name="rows.jsonl", needs_reward=needs_reward, max_problems=1_000)
    except DatasetError as exc:
        return str(exc)


@given(FORMATS, st.integers(2, 300), SEEDS)
@settings(max_examples=60, deadline=None)
def test_generated_rows_are_always_valid(row_format: DatasetFormat, rows: int, seed: int) -> None:
    summary = validate_chunks([generate_rows(row_format, rows=rows, seed=seed)], row_format, needs_reward=True)
    assert summary.rows == rows


@given(FORMATS, st.integers(1, 60), SEEDS, st.integers(0, 60))
@settings(max_examples=40, deadline=None)
def test_same_seed_gives_the_same_bytes_and_more_rows_only_append(
    row_format: DatasetFormat, rows: int, seed: int, more: int
) -> None:
    generated = generate_rows(row_format, rows=rows, seed=seed)
    assert generated == generate_rows(row_format, rows=rows, seed=seed)
    assert generate_rows(row_format, rows=rows + more, seed=seed).startswith(generated)


@given(FORMATS, SEEDS, st.integers(2, 60), st.data())
@settings(max_examples=100, deadline=None)
def test_removed_key_is_reported_at_its_own_line(
    row_format: DatasetFormat, seed: int, rows: int, data: st.DataObject
) -> None:
    lines = generate_rows(row_format, rows=rows, seed=seed).splitlines()
    at = data.draw(st.integers(0, rows - 1))
    row = json.loads(lines[at])
    key = data.draw(st.sampled_from(shape_of(row_format, needs_reward=True).required))
    del row[key]
    lines[at] = json.dumps(row).encode()
    with pytest.raises(DatasetError) as caught:
        validate_chunks([b"\n".join(lines)], row_format, name="rows.jsonl", needs_reward=True)
    (problem,) = caught.value.diagnostics
    assert problem.code in {"dataset.missing-key", "dataset.wrong-format"}
    assert problem.message.startswith(f"row {at + 1} has no `{key}`")
    assert problem.span is not None
    assert problem.span.line == at + 1


@given(FORMATS, SEEDS, st.integers(2, 30), st.integers(1, 5_000))
@settings(max_examples=60, deadline=None)
def test_right_rows_are_counted_alike_in_blocks_of_any_size_and_line_by_line(
    row_format: DatasetFormat, seed: int, rows: int, size: int
) -> None:
    generated = generate_rows(row_format, rows=rows, seed=seed)
    whole = outcome(generated, row_format, len(generated))
    assert isinstance(whole, DatasetSummary)
    assert outcome(generated, row_format, size) == whole
    with patch.object(validate._Scan, "_take_at_once", return_value=False):
        assert outcome(generated, row_format, size) == whole


@given(st.lists(LINES, max_size=12), st.sampled_from([b"", b"\n"]), st.integers(1, 200))
@settings(max_examples=300, deadline=None)
def test_block_path_and_line_path_agree_on_everything(lines: list[bytes], end: bytes, size: int) -> None:
    rows = b"\n".join(lines) + end
    by_blocks = outcome(rows, DatasetFormat.TEXT, size)
    with patch.object(validate._Scan, "_take_at_once", return_value=False):
        by_lines = outcome(rows, DatasetFormat.TEXT, len(rows) + 1)
    assert by_blocks == by_lines


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "messages",
                    "role",
                    "content",
                    "prompt",
                    "chosen",
                    "rejected",
                    "response",
                    "reward",
                    "text",
                    "from",
                    "value",
                ]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(FORMATS, st.lists(JSON_VALUES, min_size=2, max_size=4), st.booleans())
@settings(max_examples=300, deadline=None)
def test_rules_in_words_refuse_exactly_what_the_types_refuse(
    row_format: DatasetFormat, values: list[object], needs_reward: bool
) -> None:
    rows = "\n".join(json.dumps(value, ensure_ascii=False) for value in values).encode(errors="replace")
    told = outcome(rows, row_format, len(rows), needs_reward=needs_reward)
    # The fallback exists for repeated keys only, which `json.dumps` never writes.
    assert isinstance(told, DatasetSummary) or "not readable as" not in told
