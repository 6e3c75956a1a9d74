"""Regular expressions from specs, searched in lines from machines we do not own, in bounded time.

Python's engine backtracks: `(a+)+$` on thirty letters can outlive the run. Patterns that can only cost about the
square of a line's length go to that engine; for the rest, long lines go to `linear`, which never backtracks. What
neither can do in bounded time raises `PatternTooCostlyError`, and the condition is unknown, never green.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from functools import lru_cache
from operator import itemgetter
from typing import Any

from runner.spec.automaton import Automaton, UnsupportedError

# Private by name, but the only parser that agrees with `re` about what a pattern means.
_parser: Any = importlib.import_module("re._parser")

_MAX_STEPS = 10_000_000
"""Steps of Python's engine that one line may cost in the worst case: well under a second."""
_REPEATS = {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}
_SMALL_REPEAT = 4
_BODY: dict[str, Callable[[Any], Any]] = {
    "SUBPATTERN": itemgetter(3),
    "ATOMIC_GROUP": lambda argument: argument,
    "ASSERT": itemgetter(1),
    "ASSERT_NOT": itemgetter(1),
}


class PatternTooCostlyError(Exception):
    """Searching this line for this pattern could take longer than anybody wants to wait."""


class LinePattern:
    """A compiled pattern for lines of at most a few thousand characters."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._compiled = re.compile(pattern)
        tree = _parser.parse(pattern)
        self._literal = _required_literal(tree)
        self._fast_length = _fast_length(tree)
        self._automaton: Automaton | None = None
        self._why_not = ""
        if self._fast_length < 4_000:
            self._prepare_linear(tree)

    def _prepare_linear(self, tree: Any) -> None:
        try:
            self._automaton = Automaton(tree)
        except UnsupportedError as exc:
            self._why_not = str(exc)

    @property
    def is_bounded(self) -> bool:
        """True when every line can be searched in bounded time."""
        return not self._why_not

    def search(self, text: str) -> bool:
        """Whether the pattern matches anywhere in the line.

        Raises:
            PatternTooCostlyError: it cannot be said in bounded time.
        """
        if self._literal not in text:
            return False
        if len(text) <= self._fast_length:
            return self._compiled.search(text) is not None
        if self._automaton is None:
            raise PatternTooCostlyError(
                f"the pattern nests repetitions and uses {self._why_not}, so a line of {len(text):,} characters "
                "could take for ever"
            )
        return self._automaton.search(text)


@lru_cache(maxsize=4_096)
def line_pattern(pattern: str) -> LinePattern:
    """The compiled pattern, from a cache.

    Raises:
        re.error: not a regular expression.
    """
    return LinePattern(pattern)


def _required_literal(tree: Any) -> str:
    """The longest text that every match contains, as far as it is easy to see; empty when it is not."""
    if tree.state.flags & re.IGNORECASE:
        return ""
    runs = [""]
    for op, argument in tree:
        if op.name == "LITERAL":
            runs[-1] += chr(argument)
        else:
            runs.append("")
    return max(runs, key=len)


def _fast_length(tree: Any) -> int:
    """Longest line for which Python's engine is sure to be quick enough."""
    degree = _degree(tree, inside=False)
    if degree is None:
        return 12  # two to the twelfth ways to split a line are nothing
    return int(_MAX_STEPS ** (1 / (degree + 1)))


def _degree(tree: Any, *, inside: bool) -> int | None:
    """How many repetitions can share one stretch of text between them; None when they nest."""
    total = 0
    for op, argument in tree:
        part = _degree_of(op.name, argument, inside=inside)
        if part is None:
            return None
        total += part
    return total


def _degree_of(name: str, argument: Any, *, inside: bool) -> int | None:
    if name in _REPEATS:
        return _degree_of_repeat(argument, inside=inside)
    if name in _BODY:
        return _degree(_BODY[name](argument), inside=inside)
    if name in ("BRANCH", "GROUPREF_EXISTS"):
        # Inside a repetition two branches may match the same text: `(ab|ab)*` is as bad as `(a*)*`.
        branches = argument[1] if name == "BRANCH" else argument[1:]
        return None if inside else _worst(branches)
    return int(name == "GROUPREF")


def _degree_of_repeat(argument: tuple[int, int, Any], *, inside: bool) -> int | None:
    lowest, highest, body = argument
    if highest <= 1:
        # `a?` alone costs a factor of two; inside a repetition it is one more way to split the text.
        return None if inside and lowest != highest else _degree(body, inside=inside)
    if lowest == highest and highest <= _SMALL_REPEAT:
        part = _degree(body, inside=inside)
        return None if part is None else part * highest
    if inside:
        return None
    part = _degree(body, inside=True)
    return None if part is None else part + 1


def _worst(branches: Any) -> int | None:
    parts = [_degree(branch, inside=False) for branch in branches if branch is not None]
    known = [part for part in parts if part is not None]
    return max(known, default=0) if len(known) == len(parts) else None
