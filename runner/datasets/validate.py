"""Checks every row of a dataset without holding the dataset: fast where rows are right, exact where not."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from runner.datasets.formats import Measured, shape_of
from runner.datasets.positions import locate
from runner.datasets.problems import RowProblem, problems_of_line, too_long, unreadable
from runner.errors import DatasetError, Diagnostic, Span, did_you_mean
from runner.spec.models import DatasetFormat

BLOCK_BYTES = 256 * 2**10
MAX_LINE_BYTES = 8 * 2**20
BOM = b"\xef\xbb\xbf"

_ROWS_COMPARED = 100_000
# Explaining a row costs ten times reading it, and after this many nobody learns anything from more.
_WRONG_ROWS_READ = 50_000
_EXCERPT_CHARS = 200
_MIN_ROWS = 2


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """What a valid dataset holds.

    Attributes:
        size_bytes: of the rows as they are uploaded: a file's byte order mark does not count.
        sha256: hexadecimal digest of the same bytes.
        values: how many values each field has; for messages, how many turns each role has.
        mean_chars: mean length of each text field; for messages, of each role's turns.
        duplicates: rows equal, byte for byte, to an earlier one, among the first 100,000.
    """

    format: DatasetFormat
    rows: int
    size_bytes: int
    sha256: str
    values: Mapping[str, int]
    mean_chars: Mapping[str, float]
    duplicates: int


def validate_dataset(
    path: Path,
    format: DatasetFormat,  # noqa: A002  # what the spec calls it
    *,
    needs_reward: bool = False,
    max_problems: int = 20,
) -> DatasetSummary:
    """Read a JSON Lines file to its end, in bounded memory, and say what it holds.

    Args:
        needs_reward: reward rows must have a `reward`, because the template has no other source of one.
        max_problems: how many problems are told in full; the others are counted.
    Raises:
        DatasetError: with every problem of the file, in file order.
    """
    with open_rows(path) as file:
        head = _read(file, path, BLOCK_BYTES)
        _check_head(head, path)
        rest = iter(lambda: _read(file, path, BLOCK_BYTES), b"")
        return validate_chunks(
            chain([head.removeprefix(BOM)], rest),
            format,
            name=str(path),
            needs_reward=needs_reward,
            max_problems=max_problems,
        )


def validate_chunks(
    chunks: Iterable[bytes],
    format: DatasetFormat,  # noqa: A002  # what the spec calls it
    *,
    name: str = "",
    needs_reward: bool = False,
    max_problems: int = 20,
) -> DatasetSummary:
    """As `validate_dataset`, for JSON Lines that come in pieces cut anywhere.

    Args:
        name: the file to show in errors; empty for rows that are in no file.
    """
    scan = _Scan(format, needs_reward=needs_reward, keep=max(1, max_problems))
    for block in _blocks(scan.digested(chunks)):
        scan.take(block)
        if scan.wrong_rows >= _WRONG_ROWS_READ:
            scan.gave_up = True
            break
    if problems := scan.diagnostics(name):
        raise DatasetError(problems)
    return scan.summary()


def open_rows(path: Path) -> BinaryIO:
    """The file, opened for reading.

    Raises:
        DatasetError: there is no such file, or it cannot be read.
    """
    try:
        if path.is_file():
            return path.open("rb")
        if path.exists():
            what = "a folder" if path.is_dir() else "not a regular file"
            raise DatasetError([Diagnostic("dataset.not-found", f"`{path}` is {what}, not a dataset")])
        near = did_you_mean(path.name, _siblings(path))
        raise DatasetError([Diagnostic("dataset.not-found", f"there is no file `{path}`", fix=near)])
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the name
        raise _unreadable_file(path, exc) from exc


def _siblings(path: Path) -> list[str]:
    folder = path.parent
    return [entry.name for entry, _ in zip(folder.iterdir(), range(1_000), strict=False)] if folder.is_dir() else []


def _read(file: BinaryIO, path: Path, size: int) -> bytes:
    try:
        return file.read(size)
    except OSError as exc:
        raise _unreadable_file(path, exc) from exc


def _unreadable_file(path: Path, exc: Exception) -> DatasetError:
    why = getattr(exc, "strerror", None) or str(exc)
    return DatasetError([Diagnostic("dataset.unreadable", f"`{path}` cannot be read: {why}")])


class _Block(NamedTuple):
    """Whole lines, or the beginning of one that is too long."""

    data: bytes
    too_long: bool = False


def _blocks(chunks: Iterable[bytes]) -> Iterator[_Block]:
    """Cut chunks into blocks that end where lines end; a line beyond the limit is dropped but for its head."""
    held: list[bytes] = []
    held_bytes = 0
    for chunk in chunks:
        end = chunk.find(b"\n") + 1
        held.append(chunk[:end] if end else chunk)
        held_bytes += len(held[-1])
        if held_bytes > MAX_LINE_BYTES:
            held = [b"".join(held)[:_EXCERPT_CHARS]]
        if not end:
            continue
        # A block is the line that was begun by earlier chunks together with all whole lines of this one.
        last = chunk.rfind(b"\n") + 1
        if held_bytes > MAX_LINE_BYTES:
            yield _Block(held[0], too_long=True)
            held = []
        block = b"".join([*held, chunk[end:last]]) if held or last > end else b""
        if block:
            yield _Block(block)
        held, held_bytes = [chunk[last:]], len(chunk) - last
    if held_bytes:
        yield _Block(b"".join(held), too_long=held_bytes > MAX_LINE_BYTES)


@dataclass(frozen=True, slots=True)
class _Found:
    """A problem with its place."""

    problem: RowProblem
    row: int
    span: Span


@dataclass
class _Scan:
    """One pass over a dataset: what was counted and what was found wrong."""

    format: DatasetFormat
    needs_reward: bool = field(kw_only=True)
    keep: int = field(kw_only=True)
    rows: int = 0
    line: int = 0
    size_bytes: int = 0

    def __post_init__(self) -> None:
        self.shape = shape_of(self.format, needs_reward=self.needs_reward)
        self.decoder = msgspec.json.Decoder(self.shape.row)
        self.hash = hashlib.sha256()
        self.values: Counter[str] = Counter()
        self.chars: Counter[str] = Counter()
        self.seen: set[int] = set()
        self.compared = 0
        self.wrong_rows = 0
        self.gave_up = False
        self.counts: Counter[tuple[str, str]] = Counter()
        self.found: defaultdict[tuple[str, str], list[_Found]] = defaultdict(list)

    def digested(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same chunks, counted and hashed as they pass."""
        for chunk in chunks:
            self.size_bytes += len(chunk)
            self.hash.update(chunk)
            yield chunk

    def take(self, block: _Block) -> None:
        if block.too_long:
            self.line += 1
            self.rows += 1
            self._keep([too_long(MAX_LINE_BYTES)], block.data)
        elif not self._take_at_once(block.data):
            # A block whose last line has an end gives an empty piece after it, which is no line.
            for raw in block.data.removesuffix(b"\n").split(b"\n"):
                self._take_line(raw)

    def _take_at_once(self, data: bytes) -> bool:
        """Count all rows of a block; False, and nothing counted, unless every row is right."""
        try:
            rows = self.decoder.decode_lines(data)
            if not data.isascii():
                data.decode()  # msgspec skips unknown keys without looking at their encoding
        except (ValueError, RecursionError):
            return False
        lines = data.count(b"\n") + (not data.endswith(b"\n"))
        # msgspec allows an object over several lines and several objects in one; the lab does not. Only
        # between two rows can `{` follow `}` directly, so this many line ends there means a row per line.
        ends = data.count(b"}\n{") + data.count(b"}\r\n{")
        if not len(rows) == lines == ends + 1:
            return False
        measured = self.shape.measure(rows)
        if measured is None:
            return False
        self._count(measured, lines)
        self.line += lines
        if self.compared < _ROWS_COMPARED:
            self._compare(data.removesuffix(b"\n").split(b"\n"))
        return True

    def _take_line(self, raw: bytes) -> None:
        self.line += 1
        if not raw.strip(b" \t\r"):
            return
        self._compare([raw])
        try:
            raw.decode()
            measured, why = self.shape.measure([self.decoder.decode(raw)]), ""
        except (ValueError, RecursionError) as exc:
            measured, why = None, str(exc)
        if measured is not None:
            self._count(measured, 1)
            return
        self.rows += 1
        problems = problems_of_line(raw, self.format, needs_reward=self.needs_reward)
        self._keep(problems or [unreadable(self.format, why)], raw)

    def _count(self, measured: Measured, rows: int) -> None:
        self.rows += rows
        for name, (values, chars) in measured.items():
            self.values[name] += values
            self.chars[name] += chars

    def _compare(self, lines: list[bytes]) -> None:
        lines = lines[: _ROWS_COMPARED - self.compared]
        self.seen.update(map(hash, lines))
        self.compared += len(lines)

    def _keep(self, problems: Iterable[RowProblem], raw: bytes) -> None:
        self.wrong_rows += 1
        for problem in problems:
            kind = problem.code, problem.what
            self.counts[kind] += 1
            if len(self.found[kind]) < self.keep:
                self.found[kind].append(_Found(problem, self.rows, _span(self.line, problem, raw)))

    def summary(self) -> DatasetSummary:
        means = {name: chars / self.values[name] for name, chars in self.chars.items() if chars}
        return DatasetSummary(
            format=self.format,
            rows=self.rows,
            size_bytes=self.size_bytes,
            sha256=self.hash.hexdigest(),
            values=dict(self.values),
            mean_chars=means,
            duplicates=self.compared - len(self.seen),
        )

    def diagnostics(self, name: str) -> list[Diagnostic]:
        """Every problem in file order; one that all rows have is told once."""
        if not self.rows:
            return [_empty(name)]
        shared = {kind for kind, count in self.counts.items() if count == self.rows > 1}
        all_of = f"of the first {self.rows:,}" if self.gave_up else f"{self.rows:,}"
        told = [_diagnostic(self.found[kind][0], all_of, name) for kind in self.counts if kind in shared]
        others = [found for kind, several in self.found.items() if kind not in shared for found in several]
        shown = sorted(others, key=lambda found: (found.row, found.span.col))[: max(0, self.keep - len(told))]
        told += [_diagnostic(found, "", name) for found in shown]
        hidden = Counter({kind: count for kind, count in self.counts.items() if kind not in shared})
        hidden.subtract((found.problem.code, found.problem.what) for found in shown)
        if hidden.total():
            told.append(_more(hidden, at_least=self.gave_up))
        if self.rows < _MIN_ROWS:
            told.append(_too_few(self.rows, name))
        return told


def _span(line: int, problem: RowProblem, raw: bytes) -> Span:
    text = raw.decode(errors="replace").rstrip("\r")
    start, end = problem.place or locate(text, problem.path, at_key=problem.at_key)
    whole_row = problem.place is None and not problem.path
    # A caret under a place that the excerpt does not reach would only mislead.
    excerpt = text[:_EXCERPT_CHARS] if start < _EXCERPT_CHARS - 20 else ""
    return Span("", line, start + 1, 1 if whole_row else max(1, end - start), excerpt)


def _diagnostic(found: _Found, all_of: str, name: str) -> Diagnostic:
    problem, span = found.problem, found.span
    plural = {"has": "have", "is": "are"}[problem.verb]
    who = f"all {all_of} rows {plural}" if all_of else f"row {found.row} {problem.verb}"
    where = Span(name, span.line, span.col, span.length, span.text) if name else None
    return Diagnostic(problem.code, f"{who} {problem.what}", where, problem.label, problem.fix)


def _more(hidden: Mapping[tuple[str, str], int], *, at_least: bool) -> Diagnostic:
    total = sum(hidden.values())
    kinds = [f"{count:,} × {what}" for (_, what), count in hidden.items() if count]
    return Diagnostic(
        "dataset.more-problems",
        f"{'at least ' if at_least else ''}{total:,} more problem{'s' if total > 1 else ''} of rows not shown",
        label=", ".join(kinds[:10]) + (", …" if len(kinds) > 10 else ""),
    )


def _empty(name: str) -> Diagnostic:
    return Diagnostic(
        "dataset.empty-file",
        f"there is no row in `{name}`" if name else "there is no row",
        fix="write one JSON object per line, at least two of them",
    )


def _too_few(rows: int, name: str) -> Diagnostic:
    return Diagnostic(
        "dataset.too-few-rows",
        f"the dataset has {rows} row, and at least {_MIN_ROWS} are needed",
        Span(name, 1, 1) if name else None,
        label="the first 80 % of the rows are trained on, rounded down: of one row that is none",
        fix="add rows; about 100 show whether a template works",
    )


def _check_head(head: bytes, path: Path) -> None:
    """Refuse a file that is no JSON Lines at all, by its first block."""
    for magic, what, fix in _OTHER_FILES:
        if head.startswith(magic):
            code = "dataset.encoding" if "UTF" in what else "dataset.not-json-lines"
            raise DatasetError([Diagnostic(code, f"`{path}` is {what}, not JSON Lines", fix=fix)])
    text = head.removeprefix(BOM).decode(errors="replace").lstrip()
    if kind := _pretty_or_array(text):
        span = Span(str(path), 1, 1, 1, text.split("\n", 1)[0][:_EXCERPT_CHARS])
        message = f"`{path}` is {kind}, not JSON Lines"
        label = "the lab reads every line by itself"
        fix = f"write one row per line: `jq -c '{_JQ[kind]}' FILE`"
        raise DatasetError([Diagnostic("dataset.not-json-lines", message, span, label, fix)])


def _pretty_or_array(text: str) -> str:
    """What the text is when its JSON goes on after the first line; empty for JSON Lines."""
    first, line_end, rest = text.partition("\n")
    if first[:1] not in ("{", "["):
        return ""
    kind = _ARRAY if first[0] == "[" else _PRETTY
    if line_end and first.rstrip() in ("{", "["):
        return kind
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        if kind == _ARRAY and (not line_end or first.rstrip().endswith(",")):
            return kind
        return kind if rest.strip() and _goes_on(text, len(first)) else ""
    # A chat alone on its line, as a bare list of turns, is a row; a list of rows is a file.
    rows = kind == _ARRAY and not rest.strip() and any(isinstance(row, dict) for row in value)
    return kind if rows and not all("role" in row for row in value if isinstance(row, dict)) else ""


def _goes_on(text: str, first_line: int) -> bool:
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as exc:
        # Wrong only where the block ends: the JSON is whole so far and longer than the block.
        return exc.pos > first_line and exc.pos >= len(text.rstrip()) - 1
    except (ValueError, RecursionError):  # Python's decoder has limits that JSON has not
        return False
    return end > first_line


_ARRAY = "a JSON array"
_PRETTY = "pretty-printed JSON"
_JQ = {_ARRAY: ".[]", _PRETTY: "."}
_OTHER_FILES = (
    (b"\x1f\x8b", "compressed with gzip", "unpack it first: `gunzip FILE`"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it first: `unzstd FILE`"),
    (b"BZh", "compressed with bzip2", "unpack it first: `bunzip2 FILE`"),
    (b"\xfd7zXZ\x00", "compressed with xz", "unpack it first: `unxz FILE`"),
    (b"PK\x03\x04", "a ZIP archive", "unpack it first"),
    (b"PAR1", "a Parquet file", "write it as JSON Lines: `load_dataset(…).to_json(…)` of `datasets` does"),
    (b"ARROW1", "an Arrow file", "write it as JSON Lines: `load_dataset(…).to_json(…)` of `datasets` does"),
    (b"SQLite format 3", "a SQLite database", "write its rows as JSON Lines"),
    (b"\xff\xfe\x00\x00", "in UTF-32", "save it as UTF-8"),
    (b"\xff\xfe", "in UTF-16", "save it as UTF-8"),
    (b"\xfe\xff", "in UTF-16", "save it as UTF-8"),
)
