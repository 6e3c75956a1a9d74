"""Marks in a document somebody else writes: which bytes are ours to replace.

A region is everything between a line `<!-- runspec:begin ID -->` and a line `<!-- runspec:end ID sha256:… -->`; the
hash is that of what was rendered last, so that a hand edit shows, and reads `adopted:…` as long as the author's own
words stand there. A keyed checkbox is a list item with `<!-- runspec:check KEY -->`: ours are its tick and the words
after an arrow behind the mark. Marks in fenced code are somebody's example and mean nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from runner.errors import Diagnostic, Span

_BOM = b"\xef\xbb\xbf"
_MARK = re.compile(rb"^ {0,3}<!--[ \t]*runspec:(?P<verb>[a-z]*)(?P<rest>.*)$", re.DOTALL)
_BEGIN = re.compile(rb"^ {0,3}<!-- runspec:begin (?P<id>[a-z][a-z0-9:_-]*) -->[ \t]*$")
_END = re.compile(
    rb"^(?P<head> {0,3}<!-- runspec:end (?P<id>[a-z][a-z0-9:_-]*))"
    rb"(?: (?P<how>sha256|adopted):(?P<hash>[0-9a-f]+))?(?P<tail> -->[ \t]*)$"
)
_FENCE = re.compile(rb"^ {0,3}(?P<fence>`{3,}|~{3,})(?P<info>.*)$", re.DOTALL)
_CHECK = re.compile(
    rb"^(?P<head>[ \t>]*(?:[-*+]|\d{1,9}[.)])[ \t]+\[)(?P<tick>[ xX])"
    rb"(?P<label>\][ \t].*?<!-- runspec:check (?P<key>[a-z][a-z0-9._+@-]*) -->)"
    rb"(?P<words> \xe2\x86\x92 \*[^*]*\*)?(?P<after>.*)$",
    re.DOTALL,
)
BY_HAND = "ticked by hand"
_LOOSE_CHECK = re.compile(rb"(?<!`)<!--[ \t]*runspec:check\b")


@dataclass(frozen=True, slots=True)
class Text:
    """Lines of the author's, none of them marked."""

    lines: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Region:
    """A marked stretch. `line` is where its begin mark stands, from 1."""

    id: str
    line: int
    begin: bytes
    body: tuple[bytes, ...]
    end: bytes

    @property
    def lines(self) -> range:
        """The lines it stands on, its marks included, counted from 0."""
        return range(self.line - 1, self.line + len(self.body) + 1)

    @property
    def newline(self) -> bytes:
        """The line end that the author uses here."""
        return b"\r\n" if self.begin.endswith(b"\r\n") else b"\n"

    @property
    def current(self) -> str:
        """What is in it now, without the author's line ends and trailing blanks."""
        text = b"".join(self.body).decode("utf-8", "surrogateescape")
        return "".join(line.rstrip() + "\n" for line in text.split("\n")[:-1])

    @property
    def is_adopted(self) -> bool:
        """It holds what the author wrote before there were marks: nothing was rendered into it yet."""
        match = _END.match(_bare(self.end))
        return bool(match and match["how"] == b"adopted")

    @property
    def was_edited(self) -> bool:
        """It holds something that runspec did not write."""
        return self.differs_from_recorded(self.current)

    def differs_from_recorded(self, owned: str) -> bool:
        """The part of the current content that is ours is not what was rendered last."""
        match = _END.match(_bare(self.end))
        recorded = match["hash"].decode() if match and match["hash"] else None
        return bool(self.current.strip()) if recorded is None else recorded != digest(owned)

    def with_content(self, content: str, owned: str | None = None) -> bytes:
        """The region's bytes with new content, whose lines end in a line feed.

        Args:
            owned: the part of it that is ours, which the hash is of; all of it when None.
        """
        match = _END.match(_bare(self.end))
        assert match is not None  # noqa: S101 - it was parsed with the same pattern
        hash_ = digest(content if owned is None else owned).encode()
        end = match["head"] + b" sha256:" + hash_ + match["tail"] + _line_end(self.end)
        body = content.encode("utf-8", "surrogateescape").replace(b"\n", self.newline)
        return self.begin + body + end


@dataclass(frozen=True, slots=True)
class Check:
    """A keyed checkbox: one line of the author's with a tick of ours."""

    key: str
    line: int
    source: bytes

    @property
    def words(self) -> bytes:
        """The words of the evidence behind the mark; empty without any."""
        match = _CHECK.match(_bare(self.source))
        return (match["words"] or b"") if match else b""

    @property
    def is_ticked(self) -> bool:
        """It has a tick now, whoever made it."""
        match = _CHECK.match(_bare(self.source))
        return bool(match and match["tick"] != b" ")

    @property
    def text(self) -> str:
        """What stands between the box and the mark."""
        match = _CHECK.match(_bare(self.source))
        label = match["label"] if match else b""
        return label[1:].partition(b"<!-- runspec:check")[0].decode("utf-8", "replace").strip()

    @property
    def is_claimed(self) -> bool:
        """A person ticked it: every tick of ours has words behind it, and they say when it was a person's before."""
        return self.words.endswith(f"{BY_HAND}*".encode()) or (self.is_ticked and not self.words)

    def with_tick(self, *, is_ticked: bool, words: str) -> bytes:
        """The line with its tick set, and with the words of the evidence (Markdown) behind the mark.

        A tick made by hand that no evidence bears goes, and is kept in words until there is evidence.
        """
        match = _CHECK.match(_bare(self.source))
        assert match is not None  # noqa: S101 - it was parsed with the same pattern
        if self.is_claimed and not is_ticked:
            words = f"{words} · {BY_HAND}" if words else BY_HAND
        tick = (b"x" if match["tick"] == b" " else match["tick"]) if is_ticked else b" "
        # An asterisk would end the emphasis by which these words are known to be ours next time.
        shown = words.replace("\\*", "∗").replace("*", "∗")
        tail = f" → *{shown}*".encode() if words else b""
        return match["head"] + tick + match["label"] + tail + match["after"] + _line_end(self.source)


Part = Text | Region | Check


def part_bytes(part: Part) -> bytes:
    """A part as it stands in the document."""
    match part:
        case Text():
            return b"".join(part.lines)
        case Region():
            return part.begin + b"".join(part.body) + part.end
        case Check():
            return part.source


def digest(content: str) -> str:
    """Twelve hex digits that tell whether generated content is still as it was generated."""
    return sha256(content.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def parse(document: bytes, file: str) -> tuple[list[Part], list[Diagnostic]]:
    """The parts of a document, which joined give its bytes again, and what is wrong with its marks."""
    return _Parser(document, file).run()


class _Parser:
    def __init__(self, document: bytes, file: str) -> None:
        bom = document[: len(_BOM)] if document.startswith(_BOM) else b""
        *whole, last = document[len(bom) :].split(b"\n")
        self._lines = [line + b"\n" for line in whole] + ([last] if last else [])
        self._file = file
        self._parts: list[Part] = [Text((bom,))] if bom else []
        self._text: list[bytes] = []
        self._problems: list[Diagnostic] = []

    def run(self) -> tuple[list[Part], list[Diagnostic]]:
        if len(self._lines) == 1 and b"\r" in _bare(self._lines[0]):
            self._lone_returns()
            return [*self._parts, Text(tuple(self._lines))], self._problems
        fence = b""
        lines = iter(enumerate(self._lines, 1))
        for number, line in lines:
            was_fenced = bool(fence)
            fence = _fence_after(fence, _bare(line))
            if was_fenced or fence:
                self._text.append(line)
            elif _BEGIN.match(_bare(line)):
                self._region(number, line, lines)
            else:
                self._other(number, line)
        self._flush()
        self._twice()
        return self._parts, self._problems

    def _lone_returns(self) -> None:
        """A document for old Macs: every mark would be put on, or looked for in, its one line."""
        first = Span(self._file, 1, 1)
        fix = "end its lines in line feeds: `tr '\\r' '\\n' < OLD > NEW`"
        message = "this document ends its lines in carriage returns alone, which runspec does not read"
        self._problems.append(Diagnostic("report.lone-returns", message, first, fix=fix))

    def _twice(self) -> None:
        """A copied region would be rendered, and its claims made by hand changed, in two places."""
        first: dict[str, int] = {}
        for part in self._parts:
            if isinstance(part, Region) and first.setdefault(part.id, part.line) != part.line:
                self._problem(
                    part.line,
                    "report.copied-region",
                    f"region `{part.id}` stands here and in line {first[part.id]}",
                    "keep the marks of one of them",
                )

    def _region(self, number: int, begin: bytes, lines: Iterator[tuple[int, bytes]]) -> None:
        match = _BEGIN.match(_bare(begin))
        assert match is not None  # noqa: S101 - the caller looked
        id_ = match["id"].decode()
        body: list[bytes] = []
        for at, line in lines:
            end = _END.match(_bare(line))
            if end is not None and end["id"] == match["id"]:
                self._flush()
                self._parts.append(Region(id_, number, begin, tuple(body), line))
                return
            if end is not None or _BEGIN.match(_bare(line)):
                self._problem(
                    at,
                    "report.crossed-regions",
                    f"region `{id_}` has not ended before this mark",
                    f"put `<!-- runspec:end {id_} -->` before it",
                )
                self._text += [begin, *body, line]
                return
            body.append(line)
        self._problem(
            number,
            "report.open-region",
            f"region `{id_}` has no end",
            f"put a line `<!-- runspec:end {id_} -->` where it ends",
        )
        self._text += [begin, *body]

    def _other(self, number: int, line: bytes) -> None:
        bare = _bare(line)
        check = _CHECK.match(bare)
        mark = _MARK.match(bare)
        if check is not None:
            self._flush()
            self._parts.append(Check(check["key"].decode(), number, line))
            return
        self._text.append(line)
        if _END.match(bare):
            self._problem(number, "report.stray-end", "this region ends but never began", "remove the line")
        elif mark is not None and mark["verb"] != b"check":
            self._problem(
                number,
                "report.bad-mark",
                "this mark is not one that runspec knows",
                "write `<!-- runspec:begin ID -->` or `<!-- runspec:end ID -->`, alone on its line",
            )
        elif _LOOSE_CHECK.search(bare):
            self._problem(
                number,
                "report.bad-check",
                "this mark has no checkbox that it could tick",
                "write `- [ ] What is done <!-- runspec:check SPEC.PHASE -->` on one line",
            )

    def _flush(self) -> None:
        if self._text:
            self._parts.append(Text(tuple(self._text)))
            self._text = []

    def _problem(self, number: int, code: str, message: str, fix: str) -> None:
        self._problems.append(
            Diagnostic(code, message, line_span(self._file, number, self._lines), label="here", fix=fix)
        )


def line_span(file: str, number: int, lines: Sequence[bytes]) -> Span:
    """A whole line of a document as a place."""
    text = _bare(lines[number - 1]).decode("utf-8", "replace") if 0 < number <= len(lines) else ""
    return Span(file, number, 1, max(1, len(text)), text)


def _bare(line: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(b"\r")


def _line_end(line: bytes) -> bytes:
    return line[len(_bare(line)) :]


def _fence_after(fence: bytes, line: bytes) -> bytes:
    """The fence that is open after this line; empty when none is."""
    match = _FENCE.match(line)
    if match is None:
        return fence
    if not fence:
        opens = match["fence"][:1] == b"~" or b"`" not in match["info"]
        return match["fence"] if opens else b""
    closes = match["fence"].startswith(fence) and not match["info"].strip()
    return b"" if closes else fence
