"""`${name}`: the only interpolation. It works on the tree, so that the models never see a reference.

A scalar that is exactly one `${name}` takes the value with its type; inside other text the value is written as
text. `$${` stands for `${`. Values may refer to other values; a circle is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from runner.errors import Diagnostic, Span, did_you_mean
from runner.spec.conditions import Scalar
from runner.spec.yaml_tree import Entry, MapNode, Node, Place, ScalarNode, SeqNode

MAX_TEXT = 20_000
"""Characters of one text after interpolation; a bound, because references can double a text again and again."""

MAX_TRAIL = 30
MAX_PROBLEMS = 100

_OPENING = re.compile(r"\$?\$\{")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*")
_SHOWN_NAMES = 8


def text_of(value: Scalar) -> str:
    """A value as YAML writes it, for use inside other text."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def flatten(node: Node, prefix: str) -> dict[str, ScalarNode]:
    """The scalars below `node` by their dotted names; what stands in lists has no name."""
    match node:
        case ScalarNode():
            return {prefix: node}
        case SeqNode():
            return {}
        case MapNode():
            found = {}
            for key, entry in node.entries.items():
                found.update(flatten(entry.value, f"{prefix}.{key}"))
            return found


@dataclass
class Interpolation:
    """Replaces references by the values of `names`, and keeps what went wrong in `problems`.

    Attributes:
        names: every name that may be referred to, such as `vars.steps`; values may hold references themselves.
        fixed: names whose values are taken as they are, such as those of the command line; they win.
        unknown_until_run: names that get a value only later, with all below them; a reference to one is no problem,
            and has the value `stand_in` until then.
    """

    names: Mapping[str, ScalarNode]
    fixed: Mapping[str, Scalar] = field(default_factory=dict)
    unknown_until_run: Sequence[str] = ()
    stand_in: Scalar = 1
    problems: list[Diagnostic] = field(default_factory=list)
    _done: dict[str, ScalarNode] = field(default_factory=dict)
    _trail: list[str] = field(default_factory=list)

    def node(self, node: Node) -> Node:
        """The same tree without references."""
        match node:
            case ScalarNode():
                return self.scalar(node)
            case SeqNode():
                return replace(node, items=tuple(self.node(item) for item in node.items))
            case MapNode():
                entries = {key: Entry(entry.key, self.node(entry.value)) for key, entry in node.entries.items()}
                return replace(node, entries=entries)

    def scalar(self, node: ScalarNode) -> ScalarNode:
        text = node.value
        if not isinstance(text, str) or "${" not in text:
            return node
        whole = text[2:-1] if text.startswith("${") and text.find("}") == len(text) - 1 else None
        if whole is not None and _NAME.fullmatch(whole):
            value = self.lookup(whole, node, 0)
            return replace(node, value=value.value, text=value.text, reference=text, broken=value.broken)
        return self._filled(node, text)

    def _filled(self, node: ScalarNode, text: str) -> ScalarNode:
        """Text with the values of its references written into it."""
        parts: list[str] = []
        at, broken, size = 0, node.broken, 0
        for index, opening in enumerate(_OPENING.finditer(text)):
            if opening.start() < at:  # inside what was taken for a name
                continue
            parts.append(text[at : opening.start()])
            at = opening.end()
            if opening.group() == "$${":
                parts.append("${")
                continue
            value, at = self._reference(node, index, text, at)
            parts.append(value.text)
            broken, size = broken or value.broken, size + len(value.text)
            if size > MAX_TEXT:
                broken = self._too_long(node)
                break
        result = "".join([*parts, text[at:]])
        return replace(node, value=result, text=result, reference=text, broken=broken)

    def _reference(self, node: ScalarNode, index: int, text: str, start: int) -> tuple[ScalarNode, int]:
        """The value of the reference whose name begins at `start`, and where the text goes on."""
        end = text.find("}", start)
        name = text[start:end] if end >= 0 else None
        if name is None or not _NAME.fullmatch(name):
            self._malformed(node, index, name)
            return replace(node, text="", broken=True), start
        return self.lookup(name, node, index), end + 1

    def lookup(self, name: str, node: ScalarNode, index: int) -> ScalarNode:
        """The value of `name`, which is the reference number `index` of `node`."""
        if name in self._done:
            return self._done[name]
        if name in self.fixed:
            value = self.fixed[name]
            result = replace(node, value=value, text=text_of(value), broken=False)
        elif name in self._trail:
            chain = " → ".join(f"`{n}`" for n in [*self._trail[self._trail.index(name) :], name])
            self._report("spec.circular-name", f"`{name}` refers to itself", node, index, f"{chain}")
            return replace(node, broken=True)
        elif len(self._trail) >= MAX_TRAIL:
            label = f"more than {MAX_TRAIL} names, one referring to the next"
            self._report("spec.too-deep", f"`{name}` is too far away", node, index, label)
            return replace(node, broken=True)
        elif name in self.names:
            self._trail.append(name)
            result = self.scalar(self.names[name])
            self._trail.pop()
        elif name in self.unknown_until_run or name.startswith(tuple(f"{n}." for n in self.unknown_until_run)):
            result = replace(node, value=self.stand_in, text=text_of(self.stand_in), broken=False)
        else:
            return self._unknown(name, node, index)
        self._done[name] = result
        return result

    def _unknown(self, name: str, node: ScalarNode, index: int) -> ScalarNode:
        if len(self.problems) >= MAX_PROBLEMS:
            return replace(node, broken=True)
        known = sorted({*self.names, *self.fixed})
        below = [other for other in known if other.startswith(f"{name}.")]
        if below:
            label, fix = "this is a mapping, not a value", f"name one value of it, such as `{below[0]}`"
        else:
            label, fix = "there is no such name", did_you_mean(name, known) or _listed(name, known)
        self._report("spec.unknown-name", f"unknown name `{name}`", node, index, label, fix)
        return replace(node, broken=True)

    def _malformed(self, node: ScalarNode, index: int, name: str | None) -> None:
        if name is None:
            message, label = "`${` without its `}`", "opened here"
        else:
            message, label = f"`${{{name[:40]}}}` is not a reference", "a name is words joined by dots"
        fix = "write `$${` for the characters `${`"
        self._report("spec.bad-reference", message, node, index, label, fix)

    def _too_long(self, node: ScalarNode) -> bool:
        message = f"this text has more than {MAX_TEXT:,} characters once its references are filled in"
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Diagnostic("spec.too-large", message, node.place.span))
        return True

    def _report(self, code: str, message: str, node: ScalarNode, index: int, label: str, fix: str = "") -> None:
        if len(self.problems) < MAX_PROBLEMS:
            span = _reference_span(node.place, node, index)
            self.problems.append(Diagnostic(code, message, span, label, fix))


def _listed(name: str, known: Sequence[str]) -> str:
    root = name.split(".", maxsplit=1)[0]
    near = [other for other in known if other.split(".")[0] == root]
    if root == "vars" and not near:
        return f"add `{name.removeprefix('vars.')}` to `vars`"
    near = near or list(known)
    more = ", …" if len(near) > _SHOWN_NAMES else ""
    return "known names: " + ", ".join(f"`{other}`" for other in near[:_SHOWN_NAMES]) + more


def _reference_span(place: Place, node: ScalarNode, index: int) -> Span:
    """Where reference number `index` stands in the file: the parser gives the extent, this the offset in it.

    An escape such as `\\x24` hides a reference from the source text; then the whole scalar is the place.
    """
    openings = []
    for number in range(place.line, place.end_line + 1):
        line = place.source.lines[number - 1] if number <= len(place.source.lines) else ""
        start = place.col - 1 if number == place.line else 0
        end = place.end_col - 1 if number == place.end_line else len(line)
        openings += [(number, match, line) for match in _OPENING.finditer(line, start, end)]
    written = node.reference or str(node.value)
    if len(openings) != len(_OPENING.findall(written)):
        return place.span
    number, match, line = openings[index]
    end = line.find("}", match.end())
    length = (end + 1 if end >= 0 else len(line)) - match.start()
    return place.source.span(number, match.start() + 1, length)
