"""What the validator says about wrong datasets, word by word, and what it counts in right ones."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.datasets import validate
from runner.datasets.formats import detect_format
from runner.datasets.generate import generate_rows
from runner.datasets.validate import validate_chunks, validate_dataset
from runner.errors import DatasetError
from runner.spec.models import DatasetFormat

MESSAGES, PREFERENCE, REWARD, TEXT = DatasetFormat
PAIR = b'{"prompt": "a", "chosen": "b", "rejected": "c"}\n'

Refused = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refused:
    monkeypatch.chdir(tmp_path)

    def errors(content: bytes | str, row_format: DatasetFormat, **options: object) -> str:
        rows = content if isinstance(content, bytes) else content.encode()
        Path("rows.jsonl").write_bytes(rows)
        with pytest.raises(DatasetError) as caught:
            validate_dataset(Path("rows.jsonl"), row_format, **options)  # type: ignore[arg-type]
        return str(caught.value)

    return errors


def chat(*turns: tuple[str, object]) -> str:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]}) + "\n"


def codes(text: str) -> list[str]:
    return [line.split("[")[1].split("]")[0] for line in text.splitlines() if line.startswith("error[")]


def test_text_rows_for_a_preference_template_are_named_once_for_the_whole_file(refused: Refused) -> None:
    assert refused('{"text": "hello"}\n' * 5, PREFERENCE) == (
        "error[dataset.wrong-format]: all 5 rows have no `prompt`, `chosen` or `rejected`: "
        "this looks like `text` rows (key `text`)\n"
        " --> rows.jsonl:1:1\n"
        "  |\n"
        '1 | {"text": "hello"}\n'
        "  | ^\n"
        "  |\n"
        "  = fix: `dpo` and `orpo` train on preference rows {prompt, chosen, rejected}"
    )


def test_misspelt_key_is_pointed_at_and_corrected(refused: Refused) -> None:
    wrong = b'{"prompt": "a", "choosen": "b", "rejected": "c"}\n'
    assert refused(PAIR + wrong + PAIR, PREFERENCE) == (
        "error[dataset.missing-key]: row 2 has no `chosen`\n"
        " --> rows.jsonl:2:17\n"
        "  |\n"
        '2 | {"prompt": "a", "choosen": "b", "rejected": "c"}\n'
        "  |                 ^^^^^^^^^ did you mean `chosen`?\n"
        "  |\n"
        "  = fix: `dpo` and `orpo` train on preference rows {prompt, chosen, rejected}"
    )


def test_every_problem_of_a_row_is_told_in_file_order(refused: Refused) -> None:
    told = refused(PAIR + b'{"prompt": 3, "chosen": ["x"], "rejected": " "}\n', PREFERENCE)
    assert codes(told) == ["dataset.wrong-type", "dataset.wrong-type", "dataset.empty-value"]
    assert "rows.jsonl:2:12" in told
    assert "^^^^^ this is a list" in told
    assert "row 2 has an empty `rejected`" in told


def test_equal_answers_leave_nothing_to_prefer(refused: Refused) -> None:
    told = refused(PAIR + b'{"prompt": "a", "chosen": "b", "rejected": "b "}\n', PREFERENCE)
    assert "error[dataset.same-answers]: row 2 has the same text in `chosen` and `rejected`" in told
    assert "rows.jsonl:2:44" in told


def test_preference_rows_for_rlhf_are_refused_although_they_have_a_prompt(refused: Refused) -> None:
    told = refused(PAIR * 3, REWARD)
    assert "all 3 rows have no `response`: this looks like `preference` rows" in told
    assert "`rlhf` trains on reward rows {prompt, response, reward}" in told


def test_reward_is_needed_only_when_nothing_else_gives_one(refused: Refused, tmp_path: Path) -> None:
    told = refused('{"prompt": "a"}\n' * 3, REWARD, needs_reward=True)
    assert "error[dataset.missing-key]: all 3 rows have no `reward`" in told
    assert "`reward: {function: …}` or `{model: train}`" in told
    assert validate_dataset(tmp_path / "rows.jsonl", REWARD).values == {"prompt": 3}


@pytest.mark.parametrize("reward", ["1e999", "true", '"1"', "[]", "-1e999", "9" * 400])
def test_reward_must_be_a_finite_number(refused: Refused, reward: str) -> None:
    told = refused(f'{{"prompt": "a", "reward": {reward}}}\n{{"prompt": "a"}}\n', REWARD)
    assert "row 1 has a `reward` that is not a finite number" in told
    assert "rows.jsonl:1:27" in told


def test_answered_prompts_may_carry_a_preference_too() -> None:
    row = b'{"prompt": "a", "response": "b", "chosen": "b", "rejected": null}\n'
    assert validate_chunks([row * 2], REWARD).values == {"prompt": 2, "response": 2}


@pytest.mark.parametrize("row_format", DatasetFormat)
def test_keys_beyond_the_format_are_left_alone(row_format: DatasetFormat) -> None:
    rows = generate_rows(row_format, rows=20, seed=1).replace(b'{"', b'{"id": 7, "meta": {"tags": [null]}, "')
    assert validate_chunks([rows], row_format).rows == 20


def test_optional_fields_may_be_null(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a", "response": null, "reward": null}\n{"prompt": "b", "reward": 1}\n')
    assert validate_dataset(path, REWARD).values == {"prompt": 2, "reward": 1}


def test_reward_that_is_null_is_no_reward_when_one_is_needed(refused: Refused) -> None:
    rows = '{"prompt": "a", "reward": null}\n{"prompt": "b", "reward": 1}\n'
    assert "this is `null`" in refused(rows, REWARD, needs_reward=True)


@pytest.mark.parametrize(
    ("row", "code", "place", "says"),
    [
        (chat(("human", "a"), ("gpt", "b")), "unknown-role", "1:24", "did you mean `user`?"),
        (chat(("user", "a"), ("asistant", "b")), "unknown-role", "1:58", "did you mean `assistant`?"),
        (chat(("user", "a")), "no-assistant-turn", "1:14", "no assistant turn"),
        (chat(("assistant", " ")), "empty-value", "1:48", "only empty assistant turns"),
        (chat(("assistant", None)), "wrong-type", "1:48", "this is `null`"),
        (chat(("assistant", [{"type": "text"}])), "wrong-type", "1:48", "this format has no turns or parts"),
        ('{"messages": []}\n', "empty-value", "1:14", "no turn in `messages`"),
        ('{"messages": "hi"}\n', "wrong-type", "1:14", "`messages` that are not a list"),
        ('{"messages": ["hi"]}\n', "wrong-type", "1:15", "a turn that is not an object"),
        ('{"messages": [{"role": "user"}]}\n', "missing-key", "1:15", "a turn without `content`"),
        ('{"messages": [{"content": "a"}]}\n', "missing-key", "1:15", "a turn without `role`"),
        ('{"messages": [{"role": 1, "content": "a"}]}\n', "wrong-type", "1:24", "a `role` that is not text"),
        ('{"messages": [{"from": "gpt", "value": "a"}]}\n', "wrong-format", "1:15", "ShareGPT turns"),
        ('{"conversations": []}\n', "wrong-format", "1:1", "ShareGPT rows (key `conversations`)"),
        ('[{"role": "user", "content": "a"}]\n', "wrong-format", "1:1", "a bare list of chat turns"),
        ('{"instruction": "a", "output": "b"}\n', "wrong-format", "1:1", "Alpaca rows"),
    ],
)
def test_chat_rows_are_told_apart(refused: Refused, row: str, code: str, place: str, says: str) -> None:
    told = refused(row + chat(("user", "a"), ("assistant", "b")), MESSAGES)
    assert codes(told) == [f"dataset.{code}"]
    assert f"rows.jsonl:{place}\n" in told
    assert says in told


@pytest.mark.parametrize(
    ("row", "place", "says"),
    [
        ('{"text": NaN}', "1:10", "^^^ `NaN` is not JSON"),
        ("{'text': 1}", "1:2", "use double quotes"),
        ('{"text": None}', "1:10", "write `null`"),
        ('{"text": "a"', "1:12", "the row ends in the middle"),
        ('{"text": "a"} {"text": "b"}', "1:15", "the row is complete before this"),
        ('{"text": "é" x}', "1:14", ""),
        ("prompt,chosen", "1:1", "give one JSON object per line"),
        ('{"text": "a", "x": %s}' % ("[" * 100_000 + "]" * 100_000), "1:1", "it is nested too deeply"),
        ('{"text": "a", "x": %s, "text": 1}' % ("9" * 5_000), "1:1", "out of range"),
    ],
)
def test_lines_that_are_not_json_say_where_and_why(refused: Refused, row: str, place: str, says: str) -> None:
    told = refused(row + '\n{"text": "b"}\n', TEXT)
    assert codes(told) == ["dataset.invalid-json"]
    assert f"rows.jsonl:{place}\n" in told
    assert says in told


def test_row_on_two_lines_is_refused_even_beside_two_rows_on_one(refused: Refused) -> None:
    told = refused('{"text": "a"}\n{"text":\n"b"}\n{"text": "c"} {"text": "d"}\n', TEXT)
    assert codes(told) == ["dataset.invalid-json"] * 3


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (json.dumps([{"text": "a"}, {"text": "b"}]), "a JSON array"),
        (json.dumps([{"text": "a"}, {"text": "b"}], indent=2), "a JSON array"),
        ('[{"text": "a"},\n{"text": "b"}]\n', "a JSON array"),
        (json.dumps([{"text": "a" * 1_000}] * 1_000), "a JSON array"),
        (json.dumps([{"text": "a" * 1_000}] * 1_000).replace("}, ", "},\n"), "a JSON array"),
        (json.dumps({"text": "a"}, indent=2), "pretty-printed JSON"),
        ('{"text": "a",\n "x": 1}\n{"text": "b"}\n', "pretty-printed JSON"),
        (b"\x1f\x8b\x08\x00", "compressed with gzip"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"PAR1\x15", "a Parquet file"),
        ('{"text": "a"}\n'.encode("utf-16"), "in UTF-16"),
    ],
)
def test_files_that_are_no_json_lines_are_named(refused: Refused, content: bytes | str, says: str) -> None:
    told = refused(content, TEXT)
    assert f"`rows.jsonl` is {says}, not JSON Lines" in told
    assert "= fix: " in told


@pytest.mark.parametrize("content", ["", "\n", " \r\n\n"])
def test_file_without_a_row_is_empty(refused: Refused, content: str) -> None:
    assert codes(refused(content, TEXT)) == ["dataset.empty-file"]


def test_one_row_is_too_few_because_the_split_leaves_none(refused: Refused) -> None:
    assert refused('{"text": "a"}\n', TEXT) == (
        "error[dataset.too-few-rows]: the dataset has 1 row, and at least 2 are needed\n"
        " --> rows.jsonl:1:1\n"
        "  = why: the first 80 % of the rows are trained on, rounded down: of one row that is none\n"
        "  = fix: add rows; about 100 show whether a template works"
    )


@pytest.mark.parametrize(
    ("row", "place"),
    [
        (b'{"text": "a\xff"}', "1:12"),
        (b'{"text": "a", "x": "\xff"}', "1:21"),
        ('{"text": "é", "é": "é'.encode() + b'\xed\xa0\x80"}', "1:22"),
        (b'{"text": "\\ud800"}', "1:11"),
        (b'{"text": "\\ud83d\\ude00", "x": "a\\ude00"}', "1:33"),
    ],
)
def test_wrong_encoding_is_found_also_in_keys_nobody_reads(refused: Refused, row: bytes, place: str) -> None:
    told = refused(row + b'\n{"text": "b"}\n', TEXT)
    assert codes(told) == ["dataset.encoding"]
    assert f"rows.jsonl:{place}\n" in told


def test_repeated_key_that_hides_a_wrong_value_is_refused(refused: Refused) -> None:
    assert "row 1 is not readable as a `text` row" in refused('{"text": 1, "text": "a"}\n{"text": "b"}\n', TEXT)


def test_byte_order_mark_blank_lines_and_crlf_are_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text":"a"}\r\n\r\n  {"text":"b\xc3\xa9"}\n\n')
    summary = validate_dataset(path, TEXT)
    assert summary.rows == 2
    assert summary.mean_chars == {"text": 1.5}
    assert summary.sha256 == hashlib.sha256(path.read_bytes()[3:]).hexdigest()


def test_row_numbers_leave_blank_lines_out_and_line_numbers_do_not(refused: Refused) -> None:
    told = refused('{"text": "a"}\n\n\n{"text": ""}\n', TEXT)
    assert "row 2 has an empty `text`" in told
    assert "rows.jsonl:4:10" in told


def test_line_too_long_to_be_a_row_is_skipped_and_the_next_one_read(refused: Refused) -> None:
    long = '{"text": "%s"}\n' % ("x" * (validate.MAX_LINE_BYTES + 1))
    told = refused('{"text": "a"}\n' + long + '{"text": ""}\n' + long.strip(), TEXT)
    assert codes(told) == ["dataset.too-long-line", "dataset.empty-value", "dataset.too-long-line"]
    assert "row 2 is longer than 8 MiB" in told
    assert "rows.jsonl:3:10" in told
    assert len(told) < 2_000


def test_problem_far_to_the_right_has_its_column_and_no_misleading_caret(refused: Refused) -> None:
    told = refused('{"x": "%s", "text": ""}\n{"text": "a"}\n' % ("y" * 500), TEXT)
    assert "rows.jsonl:1:519\n" in told
    assert "^" not in told


def test_problems_beyond_the_limit_are_counted_by_kind(refused: Refused) -> None:
    told = refused('{"text": "a"}\n' + '{"text": ""}\n{"txt": "x"}\n' * 30, TEXT, max_problems=4)
    assert len(codes(told)) == 5
    assert told.endswith(
        "error[dataset.more-problems]: 56 more problems of rows not shown\n"
        "  = why: 28 × an empty `text`, 28 × no `text`"
    )


def test_rare_problem_is_not_hidden_by_one_that_every_row_has(refused: Refused) -> None:
    rows = '{"prompt": "", "chosen": "b", "rejected": "c"}\n' * 500
    told = refused(rows + '{"prompt": "", "chosen": 1, "rejected": "c"}\n', PREFERENCE)
    assert codes(told) == ["dataset.empty-value", "dataset.wrong-type"]
    assert "all 501 rows have an empty `prompt`" in told
    assert "rows.jsonl:501:26" in told


def test_hopeless_file_is_given_up_after_many_wrong_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "_WRONG_ROWS_READ", 10)
    chunks = itertools.repeat(b'{"txt": "a"}\n{"text": ""}\n')
    with pytest.raises(DatasetError, match="at least 8 more problems"):
        validate_chunks(chunks, TEXT, max_problems=2)
    with pytest.raises(DatasetError, match="all of the first 10 rows have no `text`"):
        validate_chunks(itertools.repeat(b'{"txt": "a"}\n'), TEXT)


def test_missing_file_is_answered_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "preference.jsonl").touch()
    with pytest.raises(DatasetError, match=r"there is no file `.*preferences\.jsonl`") as caught:
        validate_dataset(tmp_path / "preferences.jsonl", PREFERENCE)
    assert caught.value.diagnostics[0].code == "dataset.not-found"
    assert caught.value.diagnostics[0].fix == "did you mean `preference.jsonl`?"


def test_file_in_a_missing_folder_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no file"):
        validate_dataset(tmp_path / "nowhere" / "rows.jsonl", TEXT)


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, what in (("", "a folder"), ("pipe", "not a regular file"), ("a\0b", "there is no file|cannot be")):
        with pytest.raises(DatasetError, match=what):
            validate_dataset(tmp_path / name, TEXT)


def test_unreadable_file_is_a_dataset_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "rows.jsonl").touch()
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DatasetError, match="cannot be read: Permission denied"):
        validate_dataset(tmp_path / "rows.jsonl", TEXT)


def test_control_characters_of_a_row_do_not_reach_the_terminal(refused: Refused) -> None:
    assert "\x1b" not in refused(b'{"text": "\x1b[31m"}\n{"\x1b": 1}\n', TEXT)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": "a"}, "`text` rows (key `text`)"),
        ({"prompt": "a", "response": "b"}, "`reward` rows (keys `prompt`, `response`)"),
        ({"system_prompt": "", "question": "", "response": ""},
         "OpenOrca rows (keys `system_prompt`, `question`, `response`)"),
        ({}, "an empty object"),
        ({"a": 1}, "an object with the key `a`"),
        ({str(n): n for n in range(9)}, "an object with the keys `0`, `1`, `2`, `3`, `4`, `5`, …"),
        ([], "an empty list"),
        ([1], "a list"),
        ("x", "text"),
        (3, "a number"),
        (None, "`null`"),
    ],
)  # fmt: skip
def test_formats_are_named_in_words(row: object, words: str) -> None:
    assert detect_format(row) == words


def test_summary_counts_turns_lengths_and_duplicates() -> None:
    rows = chat(("system", "abc"), ("user", "a"), ("assistant", "bb")) * 2 + chat(("user", "abc"), ("assistant", "d"))
    summary = validate_chunks([rows.encode()], MESSAGES)
    assert summary.rows == 3
    assert summary.values == {"system": 2, "user": 3, "assistant": 3}
    assert summary.mean_chars == {"system": 3, "user": 5 / 3, "assistant": 5 / 3}
    assert summary.duplicates == 1
    assert summary.size_bytes == len(rows)


def test_large_file_is_validated_in_bounded_memory() -> None:
    block = generate_rows(PREFERENCE, rows=2_000, seed=1)
    repeats = 20 * 10**6 // len(block) + 1

    def chunks() -> Iterator[bytes]:
        for _ in range(repeats):
            yield from (block[at : at + 200_000] for at in range(0, len(block), 200_000))

    tracemalloc.start()
    try:
        summary = validate_chunks(chunks(), PREFERENCE)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert summary.size_bytes > 20 * 10**6
    assert summary.rows == repeats * 2_000
    assert peak < 8 * 2**20
