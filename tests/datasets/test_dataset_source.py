"""A spec's rows: from its file or made up, the same bytes when checked as when uploaded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from runner.datasets import source
from runner.datasets.generate import generate_rows
from runner.datasets.source import check_dataset, open_dataset
from runner.datasets.validate import validate_dataset
from runner.errors import DatasetError
from runner.local.lab_api.normalise import normalise
from runner.spec.models import Dataset, DatasetFormat, Generate

DATA = Path(__file__).parents[2] / "specs" / "data"
SAMPLES = [
    ("chat", DatasetFormat.MESSAGES, 80),
    ("preference", DatasetFormat.PREFERENCE, 50),
    ("reward", DatasetFormat.REWARD, 80),
    ("text", DatasetFormat.TEXT, 100),
]


@pytest.mark.parametrize(("name", "row_format", "rows"), SAMPLES)
def test_sample_files_are_what_the_generator_yields(name: str, row_format: DatasetFormat, rows: int) -> None:
    path = DATA / f"{name}.jsonl"
    assert path.read_bytes() == generate_rows(row_format, rows=rows, seed=7)
    summary = validate_dataset(path, row_format, needs_reward=True)
    assert (summary.rows, summary.duplicates) == (rows, 0)


@pytest.mark.parametrize("row_format", DatasetFormat)
def test_checked_digest_is_that_of_the_uploaded_rows(row_format: DatasetFormat, tmp_path: Path) -> None:
    made_up = Dataset(format=row_format, generate=Generate(rows=30, seed=3))
    rows = open_dataset(made_up, base_dir=tmp_path)
    (tmp_path / "rows.jsonl").write_bytes(b"\xef\xbb\xbf" + rows)
    from_file = Dataset(format=row_format, file="rows.jsonl")
    assert open_dataset(from_file, base_dir=tmp_path) == rows
    for dataset in (made_up, from_file):
        summary = check_dataset(dataset, base_dir=tmp_path)
        assert summary.sha256 == hashlib.sha256(rows).hexdigest()
        assert summary.size_bytes == len(rows)


def test_reward_rows_without_an_answer_are_uploaded_with_their_prompt_as_one(tmp_path: Path) -> None:
    # The lab takes no row without a `response`, also where a function of the template gives the reward.
    written = '{"prompt": "é", "reward": 0.5}\n\n{"prompt": "b", "response": null}\n{"prompt": "c", "response": "d"}\n'
    (tmp_path / "rows.jsonl").write_text(written, "utf-8")
    dataset = Dataset(format=DatasetFormat.REWARD, file="rows.jsonl")
    rows = open_dataset(dataset, base_dir=tmp_path)
    assert [json.loads(line) for line in rows.splitlines()] == [
        {"prompt": "é", "response": "é", "reward": 0.5},
        {"prompt": "b", "response": "b"},
        {"prompt": "c", "response": "d"},
    ]
    taken = normalise(rows)
    assert (taken.detected, taken.converted, taken.errors) == ("rlhf", 3, ())
    summary = check_dataset(dataset, base_dir=tmp_path)
    assert (summary.rows, summary.sha256, summary.size_bytes) == (3, hashlib.sha256(rows).hexdigest(), len(rows))


def test_half_a_surrogate_pair_is_uploaded_as_it_was_written(tmp_path: Path) -> None:
    # Only `--no-dataset-check` lets such a row come this far.
    (tmp_path / "rows.jsonl").write_bytes(rb'{"prompt": "\ud800 half"}' + b"\n")
    rows = open_dataset(Dataset(format=DatasetFormat.REWARD, file="rows.jsonl"), base_dir=tmp_path)
    assert rows == rb'{"prompt": "\ud800 half", "response": "\ud800 half"}' + b"\n"


def test_seed_offset_gives_a_repeated_job_rows_of_its_own(tmp_path: Path) -> None:
    dataset = Dataset(format=DatasetFormat.TEXT, generate=Generate(rows=5, seed=3))
    assert open_dataset(dataset, base_dir=tmp_path, seed_offset=2) == generate_rows(DatasetFormat.TEXT, rows=5, seed=5)
    checked = [check_dataset(dataset, base_dir=tmp_path, seed_offset=offset).sha256 for offset in (0, 2)]
    assert checked[0] != checked[1]


def test_absolute_path_is_taken_as_it_is(tmp_path: Path) -> None:
    dataset = Dataset(format=DatasetFormat.TEXT, file=str(DATA / "text.jsonl"))
    assert check_dataset(dataset, base_dir=tmp_path).rows == 100


def test_one_made_up_row_is_too_few_and_no_file_is_blamed(tmp_path: Path) -> None:
    dataset = Dataset(format=DatasetFormat.TEXT, generate=Generate(rows=1))
    with pytest.raises(DatasetError) as caught:
        check_dataset(dataset, base_dir=tmp_path)
    (problem,) = caught.value.diagnostics
    assert problem.code == "dataset.too-few-rows"
    assert problem.span is None


def test_more_than_the_lab_takes_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_BYTES", 1_000)
    (tmp_path / "rows.jsonl").write_bytes(generate_rows(DatasetFormat.TEXT, rows=30, seed=1))
    datasets = [
        Dataset(format=DatasetFormat.TEXT, file="rows.jsonl"),
        Dataset(format=DatasetFormat.TEXT, generate=Generate(rows=30)),
    ]
    for dataset in datasets:
        for use in (check_dataset, open_dataset):
            with pytest.raises(DatasetError, match="and the lab takes at most") as caught:
                use(dataset, base_dir=tmp_path)
            assert caught.value.diagnostics[0].code == "dataset.too-large"


@pytest.mark.parametrize("use", [check_dataset, open_dataset])
def test_missing_file_of_a_spec_is_a_dataset_error(use: object, tmp_path: Path) -> None:
    dataset = Dataset(format=DatasetFormat.TEXT, file="nowhere/rows.jsonl")
    with pytest.raises(DatasetError, match="there is no file"):
        use(dataset, base_dir=tmp_path)  # type: ignore[operator]
