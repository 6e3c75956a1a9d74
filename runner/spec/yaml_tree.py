"""YAML 1.2 to a tree of values that know their place, in one pass over the parser's events.

Written for files from strangers: size, depth and expansion are bounded, and whatever is wrong becomes a
`Diagnostic`. Duplicate keys, tags, several documents and keys that are not text are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from runner.errors import Diagnostic, Span, SpecError, did_you_mean
from runner.spec.conditions import Scalar
from runner.spec.sources import Source, refused_character
from runner.spec.yaml_syntax import explain

MAX_NODES = 10_000
MAX_DEPTH = 60
MAX_DIGITS = 40
MAX_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in a file: one-based, the end exclusive."""

    source: Source
    line: int
    col: int
    end_line: int
    end_col: int

    @property
    def span(self) -> Span:
        """The place on its first line, for a diagnostic."""
        if self.end_line == self.line:
            return self.source.span(self.line, self.col, self.end_col - self.col)
        first = self.source.lines[min(self.line, len(self.source.lines)) - 1]
        return self.source.span(self.line, self.col, len(first.rstrip()) - self.col + 1)

    @property
    def is_empty(self) -> bool:
        """Nothing is written there, as after `key:`."""
        return (self.line, self.col) == (self.end_line, self.end_col)


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """One value. `text` is how it was written, without quotes; `reference` is the `${…}` that it came from."""

    value: Scalar
    place: Place
    text: str
    reference: str = ""
    broken: bool = False
    """Its value could not be found out, which has been reported already."""


@dataclass(frozen=True, slots=True)
class SeqNode:
    """A list."""

    items: tuple[Node, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping, where it stands, and its value."""

    key: Place
    value: Node


@dataclass(frozen=True, slots=True)
class MapNode:
    """A mapping in the order of the file."""

    entries: Mapping[str, Entry]
    place: Place

    def get(self, key: str) -> Node | None:
        """The value of `key`, or None."""
        entry = self.entries.get(key)
        return entry.value if entry else None


Node = ScalarNode | SeqNode | MapNode


def to_python(node: Node) -> Any:
    """The plain value of a tree: dict, list or scalar."""
    match node:
        case ScalarNode():
            return node.value
        case SeqNode():
            return [to_python(item) for item in node.items]
        case MapNode():
            return {key: to_python(entry.value) for key, entry in node.entries.items()}


def parse_yaml(source: Source, problems: list[Diagnostic], *, pure: bool = False) -> MapNode:
    """The tree of one YAML file whose top level is a mapping.

    Args:
        problems: problems that do not hide the rest of the file, such as a duplicate key, are added here.
        pure: use the parser written in Python although the faster one is there.
    Raises:
        SpecError: the file cannot be read to its end; carries the earlier problems as well.
    """
    builder = _Builder(source, problems)
    try:
        return builder.document(_events(source.text, pure))
    except YAMLError as exc:
        problems.append(explain(source, exc if isinstance(exc, MarkedYAMLError) else None, str(exc)))
    except _Stop as stop:
        problems.append(stop.diagnostic)
    raise SpecError(tuple(problems))


def parse_scalar(text: str) -> Scalar:
    """The value of an unquoted YAML 1.2 scalar: `yes` and `on` are text, `0o17` is 15, nothing is null.

    Raises:
        ValueError: a number that is too long or not finite.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        if len(text) > MAX_DIGITS:
            raise ValueError(f"a number of more than {MAX_DIGITS} digits")
        return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
    if _FLOAT.fullmatch(text):
        number = float(text.replace(".inf", "inf").replace(".nan", "nan")) if len(text) <= 400 else math.inf
        if not math.isfinite(number):
            raise ValueError("not a finite number")
        return number
    return text


_WORDS: Mapping[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


def _events(text: str, pure: bool) -> Iterator[Any]:
    if not pure:
        try:
            from ruamel.yaml.cyaml import CParser  # type: ignore[attr-defined]  # noqa: PLC0415 - not on every platform
        except ImportError:  # pragma: no cover - the C parser is a dependency; this is for odd platforms
            pass
        else:
            parser = CParser(text)
            while parser.check_event():
                yield parser.get_event()
            return
    from ruamel.yaml import YAML  # noqa: PLC0415 - slow to import, and rarely needed

    yield from YAML(typ="safe", pure=True).parse(text)


class _Stop(Exception):  # noqa: N818 - it ends the reading of one file
    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


@dataclass(frozen=True, slots=True)
class _Anchored:
    node: Node
    size: int
    height: int


@dataclass
class _Builder:
    source: Source
    problems: list[Diagnostic]
    count: int = 0
    deepest: int = 0
    anchors: dict[str, _Anchored | None] = field(default_factory=dict)
    """None while the anchored value is still being read: an alias to it would contain itself."""

    def document(self, events: Iterator[Any]) -> MapNode:
        self.events = events
        root: Node | None = None
        for event in events:
            match event:
                case StreamStartEvent() | StreamEndEvent() | DocumentEndEvent():
                    continue
                case DocumentStartEvent() if root is None:
                    root = self.node(next(events), 1)
                case _:
                    self.stop("spec.syntax", "a second document starts here", self.place(event),
                              "a spec is one document", "delete the `---`, or split the file")  # fmt: skip
        if root is None or (isinstance(root, ScalarNode) and root.value is None):
            raise _Stop(Diagnostic("spec.empty", "the file has no content", self.source.span(1, 1)))
        if not isinstance(root, MapNode):
            what = "a list" if isinstance(root, SeqNode) else "one value"
            self.stop("spec.wrong-type", f"the file is {what}, not a mapping of keys", root.place,
                      fix="write `key: value` lines")  # fmt: skip
        return root

    def node(self, event: Any, depth: int) -> Node:
        if isinstance(event, AliasEvent):
            return self.alias(event, depth)
        self.grow(1, depth, event)
        if event.tag is not None:
            tag = str(event.tag).replace("tag:yaml.org,2002:", "!!")[:60]
            self.report("spec.tag", f"the tag `{tag}` cannot stand in a spec", self.place(event),
                        "values have the types of YAML 1.2", "delete the tag; quotes make text")  # fmt: skip
        anchor = event.anchor
        if anchor is None:
            return self.bare(event, depth)
        size, outer = self.count, self.deepest
        self.anchors[anchor], self.deepest = None, depth
        node = self.bare(event, depth)
        self.anchors[anchor] = _Anchored(node, self.count - size + 1, self.deepest - depth)
        self.deepest = max(outer, self.deepest)
        return node

    def bare(self, event: Any, depth: int) -> Node:
        match event:
            case ScalarEvent():
                return self.scalar(event)
            case SequenceStartEvent():
                return self.sequence(event, depth)
            case _:
                return self.mapping(event, depth)

    def alias(self, event: Any, depth: int) -> Node:
        place = self.place(event)
        if event.anchor not in self.anchors:
            self.stop("spec.unknown-anchor", f"there is no anchor `&{event.anchor[:60]}` before this alias", place,
                      fix=did_you_mean(event.anchor, self.anchors))  # fmt: skip
        target = self.anchors[event.anchor]
        if target is None:
            self.stop("spec.unknown-anchor", f"the alias `*{event.anchor[:60]}` stands inside its own anchor", place)
        self.grow(target.size, depth + target.height, event)
        return target.node

    def grow(self, size: int, depth: int, event: Any) -> None:
        self.count += size
        self.deepest = max(self.deepest, depth)
        if self.count > MAX_NODES:
            self.stop("spec.too-large", f"the file has more than {MAX_NODES:,} values", self.place(event),
                      "counted after aliases are expanded")  # fmt: skip
        if depth > MAX_DEPTH:
            self.stop("spec.too-deep", f"values are nested deeper than {MAX_DEPTH} levels", self.place(event))

    def scalar(self, event: Any) -> ScalarNode:
        text: str = event.value
        place = self.place(event)
        if (refused := refused_character(text)) is not None:
            self.report("spec.bad-character", f"the character {refused} cannot stand in a spec", place,
                        "a control or text-direction character, written as an escape")  # fmt: skip
            return ScalarNode(text, place, text, broken=True)
        if not event.implicit[0]:  # quoted, or a block of text
            return ScalarNode(text, place, text)
        try:
            return ScalarNode(parse_scalar(text), place, text)
        except ValueError as exc:
            self.report("spec.bad-value", f"`{text[:40]}` is {exc}", place)
            return ScalarNode(0, place, text, broken=True)

    def sequence(self, start: Any, depth: int) -> SeqNode:
        items = []
        while not isinstance(event := next(self.events), SequenceEndEvent):
            items.append(self.node(event, depth + 1))
        return SeqNode(tuple(items), self.place(start, event))

    def mapping(self, start: Any, depth: int) -> MapNode:
        entries: dict[str, Entry] = {}
        merged: list[MapNode] = []
        while not isinstance(event := next(self.events), MappingEndEvent):
            place = self.place(event)
            is_merge = isinstance(event, ScalarEvent) and event.value == "<<" and event.implicit[0]
            key = self.node(event, depth + 1)
            value = self.node(next(self.events), depth + 1)
            if is_merge:
                merged += self.merges(value)
            elif not isinstance(key, ScalarNode) or not isinstance(key.value, str):
                self.report("spec.bad-key", "a key must be text", place, fix="put it in quotes")
            elif key.value in entries:
                first = entries[key.value].key.line
                self.report("spec.duplicate-key", f"duplicate key `{key.value[:60]}`", place,
                            f"already set in line {first}", "delete one of the two")  # fmt: skip
            elif not key.broken:
                entries[key.value] = Entry(place, value)
        for other in merged:  # what the mapping says itself wins, then the earlier of several
            for name, entry in other.entries.items():
                entries.setdefault(name, entry)
        return MapNode(entries, self.place(start, event))

    def merges(self, value: Node) -> list[MapNode]:
        nodes = value.items if isinstance(value, SeqNode) else (value,)
        mappings = [node for node in nodes if isinstance(node, MapNode)]
        if len(mappings) < len(nodes):
            self.report("spec.wrong-type", "`<<` merges mappings", value.place, "not a mapping or a list of them")
        return mappings

    def place(self, event: Any, end: Any = None) -> Place:
        start, stop = event.start_mark, (end or event).end_mark
        return Place(self.source, start.line + 1, start.column + 1, stop.line + 1, stop.column + 1)

    def report(self, code: str, message: str, place: Place, label: str = "", fix: str = "") -> None:
        diagnostic = Diagnostic(code, message, place.span, label, fix)
        if len(self.problems) >= MAX_PROBLEMS:
            raise _Stop(diagnostic)
        self.problems.append(diagnostic)

    def stop(self, code: str, message: str, place: Place, label: str = "", fix: str = "") -> NoReturn:
        raise _Stop(Diagnostic(code, message, place.span, label, fix))
