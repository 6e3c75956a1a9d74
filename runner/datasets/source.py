"""The rows of a spec's dataset, from its file or made up: checked before anything is paid for, then uploaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from runner.datasets.generate import generate_blocks
from runner.datasets.validate import BOM, DatasetSummary, open_rows, validate_chunks, validate_dataset
from runner.errors import DatasetError, Diagnostic
from runner.spec.models import Dataset, DatasetFormat

# The lab refuses larger request bodies (contract: "Body size cap 250 MB").
MAX_BYTES = 250 * 10**6


def check_dataset(
    dataset: Dataset,
    *,
    base_dir: Path,
    needs_reward: bool = False,
    seed_offset: int = 0,
    max_problems: int = 20,
) -> DatasetSummary:
    """What the dataset of a spec holds, after every row was checked; its digest is that of `open_dataset`.

    Args:
        base_dir: folder of the spec; a relative `file` starts there.
        needs_reward: reward rows must have a `reward`, because the template has no other source of one.
        seed_offset: added to the seed of made-up rows, so that repeated jobs can have rows of their own.
    Raises:
        DatasetError: with every problem of the rows, or because they are missing or too many.
    """
    if dataset.file is not None:
        path = base_dir / dataset.file
        with open_rows(path) as file:
            size = file.seek(0, 2)
        if size > MAX_BYTES:
            raise _too_large(f"`{path}` has {size / 10**6:,.1f} MB")
        found = validate_dataset(path, dataset.format, needs_reward=needs_reward, max_problems=max_problems)
        return found if _is_answered(found) else _as_uploaded(found, open_dataset(dataset, base_dir=base_dir))
    return validate_chunks(
        _generated(dataset, seed_offset), dataset.format, needs_reward=needs_reward, max_problems=max_problems
    )


def open_dataset(dataset: Dataset, *, base_dir: Path, seed_offset: int = 0) -> bytes:
    """The rows as they are uploaded, without a byte order mark; not checked, see `check_dataset`.

    The lab takes no reward row without a `response` that says something, also where a function of the template rates
    what the model says: such a row gets its prompt as one.

    Raises:
        DatasetError: the file is missing, unreadable, or larger than the lab takes.
    """
    if dataset.file is None:
        return b"".join(_generated(dataset, seed_offset))
    path = base_dir / dataset.file
    try:
        with open_rows(path) as file:
            # One byte more than allowed shows a file that grew since it was checked.
            rows = file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise DatasetError([Diagnostic("dataset.unreadable", f"`{path}` cannot be read: {exc.strerror}")]) from exc
    if len(rows) > MAX_BYTES:
        raise _too_large(f"`{path}` has more than {MAX_BYTES / 10**6:,.0f} MB")
    rows = rows.removeprefix(BOM)
    return _answered(rows) if dataset.format is DatasetFormat.REWARD else rows


def _is_answered(found: DatasetSummary) -> bool:
    return found.format is not DatasetFormat.REWARD or found.values.get("response", 0) == found.rows


def _as_uploaded(found: DatasetSummary, rows: bytes) -> DatasetSummary:
    return replace(found, size_bytes=len(rows), sha256=hashlib.sha256(rows).hexdigest())


def _answered(rows: bytes) -> bytes:
    lines = rows.split(b"\n")
    answered = [_with_response(line) for line in lines]
    return rows if answered == lines else b"\n".join(line for line in answered if line.strip()) + b"\n"


def _with_response(line: bytes) -> bytes:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return line  # blank, or a row that is uploaded unchecked to see what the lab makes of it
    if not isinstance(row, dict) or "prompt" not in row or row.get("response") is not None or "chosen" in row:
        return line
    # Half a surrogate pair has no UTF-8, and goes on as the escape that it came as.
    return json.dumps({**row, "response": row["prompt"]}, ensure_ascii=False).encode(errors="backslashreplace")


def _generated(dataset: Dataset, seed_offset: int) -> Iterator[bytes]:
    generate = dataset.generate
    assert generate is not None  # noqa: S101  # the model has exactly one of `file` and `generate`
    blocks = generate_blocks(dataset.format, rows=generate.rows, seed=generate.seed + seed_offset)
    return _bounded(blocks, f"{generate.rows:,} made-up `{dataset.format}` rows have")


def _bounded(blocks: Iterable[bytes], what: str) -> Iterator[bytes]:
    size = 0
    for block in blocks:
        size += len(block)
        if size > MAX_BYTES:
            raise _too_large(f"{what} more than {MAX_BYTES / 10**6:,.0f} MB")
        yield block


def _too_large(what: str) -> DatasetError:
    fix = "use fewer rows: 100 to 500 show whether a template works"
    message = f"{what}, and the lab takes at most {MAX_BYTES / 10**6:,.0f} MB"
    return DatasetError([Diagnostic("dataset.too-large", message, fix=fix)])
