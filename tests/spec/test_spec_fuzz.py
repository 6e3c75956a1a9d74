"""Mutated specs: whatever somebody does to a file, the answer is a spec or a diagnostic inside the file."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from runner.errors import Diagnostic, SpecError
from runner.spec.loader import load_phase, load_spec

WHOLE = Path(__file__).parent / "golden" / "whole"
TOKENS = [
    "{", "}", "[", "]", ":", ": ", "- ", ",", "'", '"', "|", ">", "&a ", "*a", "<<: ", "!!str ", "!x ", "#", "%", "@",
    "`", "${", "}", "${vars.x}", "${vars.rate}", "$${", "${limits}", "null", "~", "true", "no", "0o17", "1e999",
    ".nan", "9" * 50, "\t", "\n", "\r", "\0", "\x1b[31m", "\u2028", "\u202e", "\ufeff", "é", "𝒳", "---\n", "...\n",
    "? ", "key", "a: b: c", "[" * 70, "{a: " * 70, " " * 300, "extends: x.yaml\n", "use: [spec.yaml]\n", "runspec: 1\n",
    "((((", "(?P<", "\\",
]  # fmt: skip


def mutated(text: str, rng: random.Random) -> str:
    for _ in range(rng.randint(1, 4)):
        at, lines = rng.randrange(len(text) + 1), text.split("\n")
        line = rng.randrange(len(lines))
        match rng.randrange(7):
            case 0:
                text = text[:at] + rng.choice(TOKENS) + text[at:]
            case 1:
                text = text[:at] + text[at + rng.randint(1, 8) :]
            case 2:
                lines.insert(rng.randrange(len(lines)), lines[line])
                text = "\n".join(lines)
            case 3:
                del lines[line]
                text = "\n".join(lines)
            case 4:
                lines[line] = " " * rng.randint(0, 6) + lines[line].strip()
                text = "\n".join(lines)
            case 5:
                key, colon, _ = lines[line].partition(":")
                lines[line] = f"{key}{colon} {rng.choice(TOKENS)}"
                text = "\n".join(lines)
            case _:
                other = rng.randrange(len(text) + 1)
                text = text[:at] + text[other : other + 40] + text[at:]
    return text


def problems(path: Path) -> Sequence[Diagnostic]:
    try:
        (load_spec if path.name == "spec.yaml" else load_phase)(path)
    except SpecError as error:
        return error.diagnostics or pytest.fail("a SpecError without a diagnostic")
    return ()


def survives(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    begun = time.process_time()
    found = problems(path)
    assert time.process_time() - begun < 1
    lines = re.split("\r\n|\r|\n", data.decode("utf-8", "replace").removeprefix("\ufeff"))
    for diagnostic in found:
        assert diagnostic.span is not None
        assert diagnostic.render().startswith("error[spec.")
        if diagnostic.span.file == str(path):
            assert 1 <= diagnostic.span.line <= len(lines)
            assert 1 <= diagnostic.span.col <= len(lines[diagnostic.span.line - 1]) + 1


def run(count: int, seed: int, folder: Path) -> None:
    rng = random.Random(seed)
    for name in ("spec.yaml", "phase.yaml"):
        original = (WHOLE / name).read_text(encoding="utf-8")
        for number in range(count // 2):
            text = mutated(original, rng).encode("utf-8")
            if number % 10 == 0:  # broken bytes now and then
                at = rng.randrange(len(text) + 1)
                text = text[:at] + bytes([rng.randrange(256)]) + text[at:]
            survives(folder / name, text)


def test_a_mutated_spec_loads_or_is_explained(tmp_path):
    run(2_000, 7, tmp_path)


@pytest.mark.sweep
@pytest.mark.timeout(1200)
def test_fifty_thousand_mutated_specs_load_or_are_explained(tmp_path):
    run(50_000, 11, tmp_path)
