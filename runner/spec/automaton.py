"""Does a pattern match anywhere in a line: answered in time proportional to the line, without backtracking.

A set of places in the pattern is moved along the line one character at a time (Thompson's construction). It answers
yes or no only, so groups and greediness do not matter; look-around and back-references are not regular, and are
refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_MAX_PLACES = 2_000
_CATEGORIES: dict[str, Callable[[str], bool]] = {
    "CATEGORY_DIGIT": str.isdecimal,
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_WORD": lambda char: char.isalnum() or char == "_",
}

Test = Callable[[str], bool]
Edge = tuple[str, Any, tuple[int, ...]]
"""What a place does: `char` (test), `at` (position test), `split` or `match`; and where it leads."""


class UnsupportedError(Exception):
    """This construct cannot be matched without backtracking; the text names it."""


class Automaton:
    """A pattern as places and the ways between them, built backwards from the end."""

    def __init__(self, tree: Any) -> None:
        self._places: list[Edge] = [("match", None, ())]
        self._moves: dict[tuple[frozenset[int], str], frozenset[int]] = {}
        self._start = self._sequence(tree, 0, tree.state.flags)
        self._has_positions = any(kind == "at" for kind, _, _ in self._places)

    def search(self, text: str) -> bool:
        """Whether the pattern matches anywhere in the text."""
        active: set[int] = set()
        for position in range(len(text) + 1):
            active.add(self._start)
            reached = self._spread(active, text, position)
            if 0 in reached:
                return True
            if position < len(text):
                active = set(self._step(frozenset(reached), text[position]))
        return False

    def _spread(self, active: set[int], text: str, position: int) -> set[int]:
        reached: set[int] = set()
        todo = list(active)
        while todo:
            place = todo.pop()
            if place in reached:
                continue
            reached.add(place)
            kind, test, ahead = self._places[place]
            if kind == "split" or (kind == "at" and test(text, position)):
                todo.extend(ahead)
        return reached

    def _step(self, reached: frozenset[int], char: str) -> frozenset[int]:
        """The places after one character. Remembered, because lines repeat themselves."""
        key = (reached, char)
        after = self._moves.get(key)
        if after is None:
            places = (self._places[place] for place in reached)
            after = frozenset(ahead[0] for kind, test, ahead in places if kind == "char" and test(char))
            if len(self._moves) < 20_000:
                self._moves[key] = after
        return after

    def _place(self, kind: str, test: Any, *ahead: int) -> int:
        if len(self._places) >= _MAX_PLACES:
            raise UnsupportedError("more repetitions than can be laid out")
        self._places.append((kind, test, ahead))
        return len(self._places) - 1

    def _sequence(self, parts: Any, goal: int, flags: int) -> int:
        for op, argument in reversed(list(parts)):
            goal = self._part(op.name, argument, goal, flags)
        return goal

    def _part(self, name: str, argument: Any, goal: int, flags: int) -> int:
        match name:
            case "MAX_REPEAT" | "MIN_REPEAT":
                return self._repeat(argument, goal, flags)
            case "BRANCH":
                return self._place("split", None, *(self._sequence(arm, goal, flags) for arm in argument[1]))
            case "SUBPATTERN":
                _, added, removed, body = argument
                return self._sequence(body, goal, (flags | added) & ~removed)
            case "AT":
                return self._place("at", _position_test(argument.name, flags), goal)
            case "LITERAL" | "NOT_LITERAL" | "IN" | "ANY":
                return self._place("char", _char_test(name, argument, flags), goal)
            case _:
                raise UnsupportedError(name.lower().replace("_", " "))

    def _repeat(self, argument: tuple[int, int, Any], goal: int, flags: int) -> int:
        lowest, highest, body = argument
        unbounded = highest >= 4_000  # no line is longer
        if unbounded:
            loop = self._place("split", None)
            inner = self._sequence(body, loop, flags)
            self._places[loop] = ("split", None, (inner, goal))
            goal = loop
        else:
            end = goal
            for _ in range(highest - lowest):
                goal = self._place("split", None, self._sequence(body, goal, flags), end)
        for _ in range(lowest):
            goal = self._sequence(body, goal, flags)
        return goal


def _char_test(name: str, argument: Any, flags: int) -> Test:
    if name == "ANY":
        return (lambda char: True) if flags & re.DOTALL else (lambda char: char != "\n")
    if name == "IN":
        test = _in_test(argument)
    else:
        wanted = chr(argument)
        test = lambda char: char == wanted  # noqa: E731 - a named function would say no more
    if flags & re.IGNORECASE:
        test = _any_case(test)
    return (lambda char: not test(char)) if name == "NOT_LITERAL" else test


def _any_case(test: Test) -> Test:
    return lambda char: test(char) or test(char.lower()) or test(char.upper())


def _in_test(items: Any) -> Test:
    negate = bool(items) and items[0][0].name == "NEGATE"
    tests = [_item_test(op.name, argument) for op, argument in items if op.name != "NEGATE"]
    return lambda char: any(test(char) for test in tests) is not negate


def _item_test(name: str, argument: Any) -> Test:
    if name == "LITERAL":
        return lambda char: ord(char) == argument
    if name == "RANGE":
        low, high = argument
        return lambda char: low <= ord(char) <= high
    if name == "CATEGORY":
        inverted = "NOT_" in argument.name
        test = _CATEGORIES[argument.name.replace("NOT_", "")]
        return lambda char: test(char) is not inverted
    raise UnsupportedError(name.lower())


def _at_boundary(text: str, at: int) -> bool:
    word = _CATEGORIES["CATEGORY_WORD"]
    before = at > 0 and word(text[at - 1])
    after = at < len(text) and word(text[at])
    return before is not after


_POSITIONS: dict[str, Callable[[str, int], bool]] = {
    "AT_BEGINNING": lambda _, at: at == 0,
    "AT_BEGINNING_STRING": lambda _, at: at == 0,
    "AT_BEGINNING_LINE": lambda text, at: at == 0 or text[at - 1] == "\n",
    "AT_END": lambda text, at: at == len(text) or (at == len(text) - 1 and text[at] == "\n"),
    "AT_END_STRING": lambda text, at: at == len(text),
    "AT_END_LINE": lambda text, at: at == len(text) or text[at] == "\n",
    "AT_BOUNDARY": _at_boundary,
    "AT_NON_BOUNDARY": lambda text, at: bool(text) and not _at_boundary(text, at),
}


def _position_test(name: str, flags: int) -> Callable[[str, int], bool]:
    if flags & re.MULTILINE and name in ("AT_BEGINNING", "AT_END"):
        name += "_LINE"
    return _POSITIONS[name]
