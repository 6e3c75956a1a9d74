"""A file's bytes as text that is safe to parse and to show: bounded, UTF-8, without control characters."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from runner.errors import Diagnostic, Span, SpecError, did_you_mean

MAX_BYTES = 1 << 20
MAX_EXCERPT = 200
"""Columns of a line that a diagnostic can show; a place further right is named without its line."""

_LINE_END = re.compile(r"\r\n|\r|\n")
_REFUSED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]")
_MAX_REFUSED = 20


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One file that was read: what diagnostics call it, its text, and its bytes for the digest."""

    name: str
    text: str
    data: bytes = b""
    lines: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lines", tuple(_LINE_END.split(self.text)))

    def span(self, line: int, col: int, length: int = 1) -> Span:
        """A span that lies inside the file, whatever is asked for."""
        line = min(max(line, 1), len(self.lines))
        text = self.lines[line - 1]
        col = min(max(col, 1), len(text) + 1)
        shown = _REFUSED.sub("\N{REPLACEMENT CHARACTER}", text) if col <= MAX_EXCERPT else ""
        return Span(self.name, line, col, max(1, min(length, len(text) - col + 1)), shown)

    def problem(self, code: str, message: str, offset: int, *, label: str = "", fix: str = "") -> Diagnostic:
        """A diagnostic at a character offset of the text."""
        before = _LINE_END.split(self.text[:offset])
        return Diagnostic(code, message, self.span(len(before), len(before[-1]) + 1), label, fix)


def refused_character(text: str) -> str | None:
    """The first control or text-direction character of `text`, as `U+001B`; None when there is none."""
    match = _REFUSED.search(text)
    return f"U+{ord(match.group()):04X}" if match else None


def read_source(path: Path, *, asked_at: Span | None = None) -> Source:
    """The file as text.

    Args:
        asked_at: where another file names this one; problems of finding the file point there.
    Raises:
        SpecError: not there, not a file, too large, not UTF-8, or with characters that a spec never needs.
    """
    data = _read_bytes(path, asked_at)
    source = Source(str(path), _decode(str(path), data), data)
    problems = [
        source.problem(
            "spec.bad-character",
            f"the character U+{ord(match.group()):04X} cannot stand in a spec",
            match.start(),
            label="a control or text-direction character",
            fix="delete it; inside a regular expression write its escape, such as `\\x1b`",
        )
        for match, _ in zip(_REFUSED.finditer(source.text), range(_MAX_REFUSED), strict=False)
    ]
    if problems:
        raise SpecError(problems)
    return source


def _read_bytes(path: Path, asked_at: Span | None) -> bytes:
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise SpecError([Diagnostic("spec.not-a-file", f"`{path}` is not a file", asked_at)])
        with path.open("rb") as stream:  # never more than the bound, even of a file that grows meanwhile
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError as exc:
        raise SpecError([not_found(path, asked_at)]) from exc
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or str(exc)
        message = f"`{path}` cannot be read"
        raise SpecError([Diagnostic("spec.unreadable", message, asked_at, reason.lower())]) from exc
    if len(data) > MAX_BYTES:
        message = f"`{path}` is larger than 1 MiB"
        raise SpecError([Diagnostic("spec.too-large", message, asked_at, "a spec is a small file")])
    return data


def not_found(path: Path, asked_at: Span | None = None, *, fits: Callable[[Path], bool] | None = None) -> Diagnostic:
    """The diagnostic for a file that is not there, with the nearest neighbour's name."""
    if path.is_symlink():
        return Diagnostic("spec.not-found", f"`{path}` is a symbolic link that leads to no file", asked_at)
    try:
        names = [p.name for p in path.parent.iterdir() if (fits or _looks_like_yaml)(p)]
    except OSError:
        names = []
    near = did_you_mean(path.name, names)
    fix = near.replace("`", f"`{path.parent}/", 1) if near and str(path.parent) != "." else near
    return Diagnostic("spec.not-found", f"there is no file `{path}`", asked_at, "", fix)


def _looks_like_yaml(path: Path) -> bool:
    return path.suffix in {".yaml", ".yml"}


def _decode(name: str, data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")):
        raise SpecError([_encoding(name, data, 0, "the file is UTF-16 or UTF-32")])
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as exc:
        problem = _encoding(name, data, exc.start, f"the byte 0x{data[exc.start]:02X} is not UTF-8")
        raise SpecError([problem]) from exc


def _encoding(name: str, data: bytes, at: int, message: str) -> Diagnostic:
    readable = Source(name, data.decode("utf-8", "replace"))
    before = _LINE_END.split(data[:at].decode("utf-8", "replace"))
    span = readable.span(len(before), len(before[-1]) + 1)
    return Diagnostic("spec.encoding", message, span, fix="save the file as UTF-8")
