"""The structure of somebody's Markdown: headings with their sections, lists of checkboxes, tables, fields.

Lines count from 0 and are those between line feeds. Structure comes from markdown-it-py, so that a heading in a code
block is no heading and a checkbox in a quote is where it is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.token import Token

_BOX = re.compile(r"^\[[ xX]\][ \t]+(?P<text>.*)$", re.DOTALL)
_FIELD = re.compile(r"^\s*\*\*(?P<name>[^*]+?):?\*\*:?[ \t]*(?P<value>.*)$")


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading and the section below it, to the next heading that is not deeper. `parents` from the outermost."""

    text: str
    level: int
    line: int
    end: int
    parents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Box:
    """A checkbox on one line. `owner` is the text of the list item that its list belongs to; empty without one."""

    text: str
    line: int
    owner: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table: the lines it stands on and the words of its header."""

    line: int
    end: int
    header: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Field:
    """A line such as `**Status:** Pending`."""

    name: str
    value: str
    line: int


@dataclass(frozen=True, slots=True)
class Outline:
    """What a document is made of, each kind in the order of the document."""

    headings: tuple[Heading, ...]
    boxes: tuple[Box, ...]
    tables: tuple[Table, ...]
    fields: tuple[Field, ...]
    lines: tuple[str, ...]

    def heading_of(self, line: int) -> Heading | None:
        """The innermost heading whose section holds a line."""
        return next((one for one in reversed(self.headings) if one.line <= line < one.end), None)

    def last_text_line(self, begin: int, end: int) -> int:
        """The last line of a stretch that is not blank."""
        return next((line for line in range(end - 1, begin, -1) if self.lines[line].strip()), begin)


def outline(text: str, *, ignoring: Collection[int] = ()) -> Outline:
    """The structure of a document given without its byte order mark.

    Args:
        ignoring: lines whose tables, fields and checkboxes are left out.
    """
    lines = text.split("\n")
    # A lone carriage return would be a line end to the parser and not to us.
    clean = "\n".join(line.removesuffix("\r").replace("\r", " ") for line in lines)
    tokens = MarkdownIt("commonmark").enable("table").parse(clean)
    inlines = [token for token in tokens if token.type == "inline" and token.map]
    return Outline(
        headings=tuple(_headings(tokens, len(lines))),
        boxes=tuple(box for box in _boxes(tokens) if box.line not in ignoring),
        tables=tuple(table for table in _tables(tokens) if table.line not in ignoring),
        fields=tuple(field for token in inlines for field in _fields(token) if field.line not in ignoring),
        lines=tuple(line.removesuffix("\r") for line in lines),
    )


def plain(token: Token) -> str:
    """The words of an inline token, without its markup."""
    return "".join(_words(child) for child in token.children or ()).strip()


def _words(child: Token) -> str:
    return " " if child.type in ("softbreak", "hardbreak") else child.content


def _headings(tokens: Sequence[Token], count: int) -> Iterator[Heading]:
    found = [
        (int(token.tag[1]), plain(tokens[index + 1]), token.map[0])
        for index, token in enumerate(tokens)
        if token.type == "heading_open" and token.map
    ]
    open_: list[tuple[int, str]] = []
    for index, (level, text, line) in enumerate(found):
        open_ = [one for one in open_ if one[0] < level]
        end = next((at for deeper, _, at in found[index + 1 :] if deeper <= level), count)
        yield Heading(text, level, line, end, tuple(name for _, name in open_))
        open_.append((level, text))


def _boxes(tokens: Sequence[Token]) -> Iterator[Box]:
    owners: list[str] = []
    for index, token in enumerate(tokens):
        if token.type == "list_item_open":
            owners.append("")
        elif token.type == "list_item_close":
            owners.pop()
        elif token.type == "inline" and token.map and owners and not owners[-1]:
            is_first = tokens[index - 2].type == "list_item_open"
            owners[-1] = plain(token) or " "
            match = _BOX.match(token.content)
            if is_first and match and token.map[1] - token.map[0] == 1:
                owner = next((one for one in reversed(owners[:-1]) if one.strip()), "")
                yield Box(plain(token)[3:].strip(), token.map[0], owner)


def _tables(tokens: Sequence[Token]) -> Iterator[Table]:
    for index, token in enumerate(tokens):
        if token.type == "table_open" and token.map:
            end = next(at for at in range(index, len(tokens)) if tokens[at].type == "thead_close")
            header = tuple(plain(one) for one in tokens[index:end] if one.type == "inline")
            yield Table(token.map[0], token.map[1], header)


def _fields(token: Token) -> Iterator[Field]:
    first = token.map[0] if token.map else 0
    for offset, line in enumerate(token.content.split("\n")):
        match = _FIELD.match(line)
        if match:
            yield Field(match["name"].strip().removesuffix(":"), match["value"].strip(), first + offset)
