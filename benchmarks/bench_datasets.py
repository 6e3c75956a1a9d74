"""How the dataset validator compares with the loop everybody writes first; prints ratios, asserts nothing.

    python benchmarks/bench_datasets.py [MEGABYTES]

`plain` reads lines with `json.loads` and looks for the keys: no types, positions, digest or bounds. A ratio
above 1 means that the validator is that many times faster.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from runner.datasets.formats import shape_of
from runner.datasets.generate import generate_rows
from runner.datasets.validate import validate_dataset
from runner.errors import DatasetError
from runner.spec.models import DatasetFormat


def plain(path: Path, row_format: DatasetFormat) -> None:
    required = shape_of(row_format).required
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            for key in required:
                if key not in row:
                    raise KeyError(key)


def best_s(call: Callable[[], object], rounds: int = 3) -> float:
    """Seconds of processor time; the machine may be shared."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def refused(path: Path, row_format: DatasetFormat) -> None:
    with suppress(DatasetError):
        validate_dataset(path, row_format)


def main() -> None:
    wanted = int(sys.argv[1]) * 10**6 if len(sys.argv) > 1 else 20 * 10**6
    print(f"{'format':<11} {'MB':>5} {'plain':>10} {'validator':>10} {'ratio':>6}   {'one bad row':>11} {'all bad':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for row_format in DatasetFormat:
            sample = generate_rows(row_format, rows=2_000, seed=1)
            rows = sample * max(1, wanted // len(sample))
            path = Path(folder, f"{row_format}.jsonl")
            path.write_bytes(rows)
            slow = best_s(lambda path=path, f=row_format: plain(path, f))  # type: ignore[misc]
            fast = best_s(lambda path=path, f=row_format: validate_dataset(path, f))  # type: ignore[misc]
            path.write_bytes(rows + b'{"nothing": 1}\n')
            one_bad = best_s(lambda path=path, f=row_format: refused(path, f))  # type: ignore[misc]
            path.write_bytes(b'{"nothing": "%s"}\n' % (b"x" * 100) * (len(rows) // 1_160))
            all_bad = best_s(lambda path=path, f=row_format: refused(path, f)) * 10  # type: ignore[misc]
            print(
                f"{row_format:<11} {len(rows) / 10**6:>5.0f} {slow:>8.2f} s {fast:>8.2f} s {slow / fast:>5.1f}x"
                f"   {slow / one_bad:>10.1f}x {slow / all_bad:>7.2f}x"
            )


if __name__ == "__main__":
    main()
