"""How fast a long log is explained: `python benchmarks/bench_explain.py [MEGABYTES]`."""

from __future__ import annotations

import sys
import time

from runner.issues.diagnose import diagnose
from runner.issues.logtext import LogText

STEP = "2026-03-01 10:00:00,001 INFO trainer: step {}/90000 loss={:.4f} grad_norm=1.779 lr=0.005\n"
WARNING = "x.py:1: UserWarning: something is not quite as it was in an earlier version of this library\n"
ERROR = "Traceback (most recent call last):\n  File \"/trainer.py\", line 88, in main\n    run()\nKeyError: 'chosen'\n"


def main() -> None:
    """Explain a log of steps and warnings that ends in a traceback, and print the time it took."""
    megabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 20
    lines = int(megabytes * 1e6 / (len(STEP) + len(WARNING)))
    text = "".join(STEP.format(number, 5 - number / lines) + WARNING for number in range(lines)) + ERROR
    begun = time.perf_counter()
    found = diagnose(LogText(text), exit_code=1)
    took = time.perf_counter() - begun
    print(f"{len(text) / 1e6:.1f} MB, {text.count(chr(10)):,} lines: {found.failure_class} in {took:.2f} s")


if __name__ == "__main__":
    main()
