"""Wrong files in, exactly these messages out."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import SpecError
from runner.spec.loader import load_phase, load_spec

BAD = Path(__file__).parent / "golden" / "bad"
FILES = sorted(path.name for path in BAD.glob("*.yaml"))

BYTES = {
    "nul-byte": b"runspec: 1\nname: de\0mo\n",
    "utf-16": "runspec: 1\nname: demo\n".encode("utf-16"),
    "latin-1": "runspec: 1\ntitle: Größe\n".encode("latin-1"),
    "terminal-escape": b"runspec: 1\ntitle: \x1b[31mred\n",
    "next-line-character": "runspec: 1\ntitle: a\x85b\n".encode(),
    "text-direction": "runspec: 1\ntitle: a\u202eb\n".encode(),
    "long-line": b"runspec: 1\ntitle: '" + b"x" * 5000 + b"' oops\n",
    "carriage-returns": b"runspec: 1\rname: demo\rtitel: Demo\r",
    "windows-line-ends": b"runspec: 1\r\nname: demo\r\ntitel: Demo\r\n",
    "byte-order-mark": b"\xef\xbb\xbfrunspeck: 1\nname: demo\n",
    "too-large": b"runspec: 1\n" + b"# x\n" * 300_000,
    "too-many-values": b"a: [" + b"x, " * 20_000 + b"]\n",
    "no-content": b"",
}


def messages(path: Path) -> str:
    load = load_phase if path.name.startswith("phase-") and "instead" not in path.name else load_spec
    with pytest.raises(SpecError) as caught:
        load(path)
    for diagnostic in caught.value.diagnostics:
        assert diagnostic.code.startswith("spec.")
        assert not diagnostic.message.endswith(".")
    return f"{caught.value}\n"


@pytest.mark.parametrize("name", FILES)
def test_every_problem_of_a_wrong_file_is_told_at_its_place(name, golden, monkeypatch):
    monkeypatch.chdir(BAD)
    golden(messages(Path(name)), BAD / f"{Path(name).stem}.err")


@pytest.mark.parametrize("name", sorted(BYTES))
def test_bytes_that_are_no_spec_are_refused_in_words(name, golden, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path(f"{name}.yaml").write_bytes(BYTES[name])
    golden(messages(Path(f"{name}.yaml")), BAD / f"bytes-{name}.err")


def test_no_golden_file_is_left_over():
    wanted = {Path(name).stem for name in FILES} | {f"bytes-{name}" for name in BYTES}
    assert {path.stem for path in BAD.glob("*.err")} == wanted
