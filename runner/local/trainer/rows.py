"""Rows of the dataset: read, split, handed to the trainers."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .log import log
from .recipe import Recipe

Row = Mapping[str, Any]


def read_rows(path: Path) -> list[Row]:
    """The rows of a JSONL file, gzip or not.

    Raises:
        ValueError: a line that is not JSON.
    """
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    rows = []
    for number, line in enumerate(data.decode("utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as exc:
            raise ValueError(f"[DataLoader] Invalid JSON at line {number}") from exc
        rows.append(row)
    return rows


def split_rows(recipe: Recipe) -> tuple[list[Row], list[Row]]:
    """Training and evaluation rows: cut to `max_samples`, then split in file order, as the product does."""
    rows = read_rows(recipe.dataset_path)
    log.info("[DataLoader] Loaded %d examples", len(rows))
    if recipe.method == "rlhf":
        return rows, []
    rows = rows[: recipe.max_samples or None]
    cut = int(len(rows) * (1 - recipe.eval_split))
    train, evaluation = rows[:cut], rows[cut:]
    log.info("[DataLoader] Train dataset: %d examples", len(train))
    log.info("[DataLoader] Eval dataset: %d examples", len(evaluation))
    return train, evaluation


def strings_in(value: Any) -> Iterator[str]:
    """Every string in a row, whatever its shape: a row of the wrong shape must reach the library's own error."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from strings_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings_in(item)


def as_dataset(rows: Iterable[Row]) -> Any:
    from datasets import Dataset

    # The lab's `metadata` differs from row to row and is not for training; Arrow wants one type a column.
    return Dataset.from_list([{key: value for key, value in row.items() if key != "metadata"} for row in rows])
