"""What pydantic finds wrong with a tree, as diagnostics: each at its place in the file, in the author's words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails, to_json

from runner.errors import Diagnostic, did_you_mean
from runner.spec import shape
from runner.spec.conditions import CONDITIONS, PATTERNS_IN_WORDS, Written
from runner.spec.sources import Source
from runner.spec.steps import STEPS
from runner.spec.yaml_tree import MapNode, Node, Place, ScalarNode, SeqNode, to_python

M = TypeVar("M", bound=Written)

MAX_PROBLEMS = 100
"""Nobody reads more of them, and a hostile file can have 50,000."""


def validated(model: type[M], tree: MapNode, problems: list[Diagnostic], *, is_whole: bool = True) -> M | None:
    """The model of a tree without references; None, with `problems` extended, when it does not fit.

    Args:
        is_whole: False when a part of the tree could not be read, so that missing keys mean nothing.
    """
    try:
        # JSON mode, because only there lists become tuples and text becomes enums while nothing else is converted.
        return model.model_validate_json(to_json(to_python(tree)), strict=True, by_alias=True, by_name=False)
    except ValidationError as exc:
        problems += _diagnostics(model, tree, exc.errors(include_url=False), is_whole)
        return None


def in_file_order(problems: Iterable[Diagnostic], sources: Sequence[Source]) -> list[Diagnostic]:
    """Each problem once: by file in the order in which the files were read, then from top to bottom."""
    rank = {source.name: number for number, source in reversed(list(enumerate(sources)))}

    def key(problem: Diagnostic) -> tuple[int, int, int]:
        span = problem.span
        return (rank.get(span.file, -1), span.line, span.col) if span else (-1, 0, 0)

    return sorted(dict.fromkeys(problems), key=key)[:MAX_PROBLEMS]


@dataclass(frozen=True)
class _Found:
    """One pydantic error at its place in the tree.

    Attributes:
        path: the parts of `loc` that are in the file.
        below: the parts of `loc` after the last one that is in the file.
    """

    error: ErrorDetails
    path: tuple[str | int, ...]
    below: tuple[str | int, ...]
    key: Place | None
    node: Node
    model: type[Written]

    @property
    def place(self) -> Place:
        """The value, or its key where no value is written."""
        if self.key is not None and self.node.place.is_empty:
            return self.key
        return self.node.place

    @property
    def parent(self) -> Place:
        """Where to point when something is missing: the key that holds the mapping, or its first key."""
        if self.key is not None:
            return self.key
        if isinstance(self.node, MapNode) and self.node.entries:
            return next(iter(self.node.entries.values())).key
        return self.node.place

    @property
    def ctx(self) -> Mapping[str, Any]:
        return self.error.get("ctx", {})

    @property
    def name(self) -> str:
        """What to call the value: its key, or the key of the list that it is in."""
        names = [part for part in self.path if isinstance(part, str)]
        if not names:
            return "this file"
        return f"`{names[-1]}`" if self.path[-1] == names[-1] else f"an item of `{names[-1]}`"


def _diagnostics(
    model: type[Written], tree: MapNode, errors: Sequence[ErrorDetails], is_whole: bool
) -> list[Diagnostic]:
    found = [_located(model, tree, error) for error in errors]
    found = [f for f in found if not _is_consequence(f)]
    found.sort(key=lambda f: (f.place.line, f.place.col))
    del found[MAX_PROBLEMS:]
    meant = {_meant(f) for f in found if f.error["type"] == "extra_forbidden"}
    result = []
    for f in found:
        kind = f.error["type"]
        if kind == "missing":
            if is_whole and (f.path, f.error["loc"][-1]) not in meant:
                result.append(_missing(f))
        elif kind == "extra_forbidden":
            result.append(_unknown_key(f))
        elif kind in _TYPES:
            if not any(len(g.path) > len(f.path) and g.path[: len(f.path)] == f.path for g in found):
                result.append(_wrong_type(f, found))
        else:
            result.append(_REPORTS.get(kind, _bad_value)(f))
    return result


def _is_consequence(f: _Found) -> bool:
    """Whether the error only follows from one that is reported anyway."""
    if isinstance(f.node, ScalarNode):
        return f.node.broken
    # pydantic counts only the items of a list that are right
    return isinstance(f.node, SeqNode) and f.error["type"] == "too_short" and len(f.node.items) >= f.ctx["min_length"]


def _located(model: type[Written], tree: MapNode, error: ErrorDetails) -> _Found:
    """Follows `loc` into the tree; union tags, and keys that are missing, are not in it and are skipped."""
    node: Node = tree
    key: Place | None = None
    path: list[str | int] = []
    below: list[str | int] = []
    extra = tuple(error.get("ctx", {}).get("at", ()))
    for part in (*error["loc"], *extra):
        if isinstance(node, MapNode) and part in node.entries:
            entry = node.entries[str(part)]
            key, node = entry.key, entry.value
        elif isinstance(node, SeqNode) and isinstance(part, int) and part < len(node.items):
            key, node = None, node.items[part]
        else:
            below.append(part)
            continue
        path.append(part)
        below.clear()
    return _Found(error, tuple(path), tuple(below), key, node, model)


def _keys_beside(f: _Found) -> tuple[type[Written] | None, list[str]]:
    """The model that an unknown key was written in, and the keys that it knows."""
    owner = shape.model_at(f.model, f.error["loc"][:-1])
    return owner, list(shape.keys_of(owner)) if owner else []


def _nearest(wrong: str, known: Iterable[str]) -> str:
    """The known word that somebody meant who wrote `wrong`, or nothing."""
    by_lower = {word.lower().replace("-", "_"): word for word in known}
    same = by_lower.get(wrong.lower().replace("-", "_"))
    if same is not None:
        return same
    near = did_you_mean(wrong.lower(), by_lower)
    return by_lower[near.split("`")[1]] if near else ""


def _suggestion(wrong: str, known: Iterable[str]) -> str:
    near = _nearest(wrong, known)
    return f"did you mean `{near}`?" if near else ""


def _meant(f: _Found) -> tuple[tuple[str | int, ...], str]:
    """The missing key that an unknown one stands for, so that one slip is reported once."""
    _, known = _keys_beside(f)
    return f.path[:-1], _nearest(str(f.path[-1]), known)


def _unknown_key(f: _Found) -> Diagnostic:
    owner, known = _keys_beside(f)
    wrong = str(f.path[-1])
    message = f"unknown key {_quoted(wrong)} in {shape.noun(owner, f.path[:-1])}"
    span = (f.key or f.place).span
    return Diagnostic("spec.unknown-key", message, span, f"not one of: {', '.join(known)}", _suggestion(wrong, known))


def _missing(f: _Found) -> Diagnostic:
    wanted = str(f.error["loc"][-1])
    owner = shape.model_at(f.model, f.error["loc"][:-1])
    field = shape.keys_of(owner).get(wanted) if owner else None
    message = f"missing key `{wanted}` in {shape.noun(owner, f.path)}"
    fix = f"add `{wanted}: …`" + (f" ({field.description.rstrip('.')})" if field and field.description else "")
    return Diagnostic("spec.missing-key", message, f.parent.span, "has to be given here", fix)


def _wrong_type(f: _Found, found: Sequence[_Found]) -> Diagnostic:
    same = [g for g in found if g.path == f.path and g.error["type"] in _TYPES]
    expected = list(dict.fromkeys(_TYPES[g.error["type"]] for g in same))
    if "a number" in expected and "a whole number" in expected:
        expected.remove("a whole number")
    message = f"{f.name} must be {_alternatives(expected)}, not {_shown(f.node)}"
    return Diagnostic("spec.wrong-type", message, f.place.span, _origin(f.node), _type_fix(f.node, expected))


def _type_fix(node: Node, expected: Sequence[str]) -> str:
    if not isinstance(node, ScalarNode):
        return ""
    value = node.value
    if "a list" in expected and value is not None:
        return f"write `[{node.text[:40]}]`"
    if "text" in expected and value is not None:
        return "put it in quotes" if not node.reference else ""
    if "`true` or `false`" in expected and isinstance(value, str) and value.lower() in _YAML_1_1_WORDS:
        return f"`{value}` is text in YAML 1.2: write `{_YAML_1_1_WORDS[value.lower()]}`"
    if isinstance(value, str) and value.replace(".", "", 1).isdigit():
        return "remove the quotes"
    return ""


_YAML_1_1_WORDS = {
    "yes": "true", "on": "true", "y": "true", "true": "true",
    "no": "false", "off": "false", "n": "false", "false": "false",
}  # fmt: skip


def _bad_choice(f: _Found) -> Diagnostic:
    allowed = shape.choices(shape.annotation_at(f.model, f.error["loc"]))
    value = to_python(f.node)
    message = f"{f.name} cannot be {_shown(f.node)}"
    label = f"not one of: {', '.join(allowed)}" if len(allowed) > 1 else f"must be `{''.join(allowed)}`"
    fix = _suggestion(value, allowed) if isinstance(value, str) else ""
    return Diagnostic("spec.bad-value", message, f.place.span, _joined(label, _origin(f.node)), fix)


def _bad_value(f: _Found) -> Diagnostic:
    label = _joined(_why(f), _origin(f.node))
    if f.below and f.below[-1] == "[key]" and f.key is not None:
        return Diagnostic("spec.bad-value", f"the key {_quoted(str(f.path[-1]))} has the wrong form", f.key.span, label)
    if isinstance(f.node, MapNode) or (isinstance(f.node, SeqNode) and f.key is not None):
        return Diagnostic("spec.bad-value", _why(f), f.parent.span)
    return Diagnostic("spec.bad-value", f"{f.name} cannot be {_shown(f.node)}", f.place.span, label)


def _misfit(f: _Found) -> Diagnostic:
    """What a validator of ours found, which also says at which key and why."""
    label = _joined(f.ctx.get("label", ""), _origin(f.node))
    return Diagnostic(f.ctx.get("code", "spec.bad-value"), f.error["msg"], f.place.span, label)


def _unknown_kind(kinds: Mapping[str, type[Written]], what: str) -> Callable[[_Found], Diagnostic]:
    code = f"spec.unknown-{what}"
    others = {key for model in kinds.values() for key in shape.keys_of(model)} - set(kinds)
    example = "`{log: Training started}`" if what == "condition" else "`{wait: {pod: running}}`"

    def report(f: _Found) -> Diagnostic:
        if not isinstance(f.node, MapNode):
            message = f"a {what} must be a mapping, not {_shown(f.node)}"
            return Diagnostic("spec.wrong-type", message, f.place.span, _origin(f.node), f"write it as {example}")
        known = [key for key in f.node.entries if key in kinds]
        if len(known) > 1:
            message = f"a {what} says one thing, here it says " + " and ".join(f"`{key}`" for key in known)
            fix = "join conditions with `all` or `any`" if what == "condition" else "write two steps"
            return Diagnostic(code, message, f.node.entries[known[1]].key.span, "a second one", fix)
        label = f"not one of: {', '.join(kinds)}"
        wrong = [key for key in f.node.entries if key not in others]
        wrong.sort(key=lambda key: not _nearest(key, kinds))
        if not wrong:
            return Diagnostic(code, f"this {what} does not say what it is", f.parent.span, label)
        entry = f.node.entries[wrong[0]]
        message = f"unknown {what} {_quoted(wrong[0])}"
        return Diagnostic(code, message, entry.key.span, label, _suggestion(wrong[0], kinds))

    return report


def _why(f: _Found) -> str:
    """The rule that the value breaks."""
    ctx, kind = f.ctx, f.error["type"]
    if kind == "value_error":
        return str(ctx["error"])
    if kind == "string_pattern_mismatch":
        return PATTERNS_IN_WORDS.get(ctx["pattern"], f"must match {ctx['pattern']}")
    if kind in _RULES:
        return _RULES[kind].format(**ctx)
    return f.error["msg"]


def _origin(node: Node) -> str:
    return f"from `{node.reference[:60]}`" if isinstance(node, ScalarNode) and node.reference else ""


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _quoted(text: str) -> str:
    shown = " ".join(text.split())
    return f"`{shown if len(shown) <= 60 else shown[:59] + '…'}`"


def _shown(node: Node) -> str:
    match node:
        case MapNode():
            return "a mapping"
        case SeqNode():
            return "a list"
        case ScalarNode(value=None):
            return "empty"
        case ScalarNode(value=str() as text):
            return f"the text {_quoted(text)}" if text else "the empty text"
        case _:
            return _quoted(node.text)


def _alternatives(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


_TYPES: Mapping[str, str] = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "`true` or `false`",
    "none_required": "empty",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
}
_RULES: Mapping[str, str] = {
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "string_too_short": "must not be empty",
    "string_too_long": "must not have more than {max_length} characters",
    "too_short": "needs at least {min_length} entry",
    "too_long": "must not have more than {max_length} entries",
}
_REPORTS: Mapping[str, Callable[[_Found], Diagnostic]] = {
    "literal_error": _bad_choice,
    "enum": _bad_choice,
    "misfit": _misfit,
    "condition_kind": _unknown_kind(CONDITIONS, "condition"),
    "step_kind": _unknown_kind(STEPS, "step"),
}
