"""Patterns: the same answer as `re`, in bounded time."""

from __future__ import annotations

import contextlib
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.spec.automaton import Automaton
from runner.spec.patterns import LinePattern, PatternTooCostlyError, _parser, line_pattern

PATTERNS = [
    "abc", "a.c", "^abc$", "a|bc|d", "(ab)+c", "(a+)+$", "(a|ab)*c", "[a-c]{2,4}", "[^a]b", r"\d+\s\w+", r"\bab\b",
    r"\Bb", "a??b", "(?:a|b)*?c", "x*", "(a*)*b", "(a|a)*b", "a{3}", "a{0,2}b{1,}", r"[\d\s]a", r"[^\W]b", "(?i)AbC",
    "(?i:A)b", "^$", r"a\Z", r"\Aa", "(?s)a.b", "(?m)^b$", "()", "(?P<x>a)b", "(ab|a)(c|bcd)(d*)",
]  # fmt: skip

REDOS = [
    "(a+)+$", "(a*)*b", "(a|a)*b", "(a|aa)+$", "(.*)*x", "(.+)+x", r"(\w+\s?)*$x", "^(([a-z])+.)+[A-Z]([a-z])+$",
    "(a+){10}$b", "(a?){30}a{30}b", "(x+x+)+y", ".*.*.*.*.*=", "a.*a.*a.*a.*a.*b", r"(\d+)*\d+!", "([a-zA-Z]+)*!",
    "(a{1,30}){1,30}b", "^(a|a|a|a)*$b", "(a*a*a*a*)*b", r"\s+\s+\s+\s+x", "(?:(?:a*)*)*b", "(ab|ab|ab)*c",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=150, deadline=None)
@given(text=st.text(alphabet="abcdABC1 x_\n", max_size=12))
def test_automaton_agrees_with_re(pattern, text):
    assert Automaton(_parser.parse(pattern)).search(text) is (re.search(pattern, text) is not None)


@pytest.mark.parametrize("pattern", [*PATTERNS, *REDOS])
@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet="abcABC1 x=!", max_size=14))
def test_line_pattern_agrees_with_re(pattern, text):
    assert line_pattern(pattern).search(text) is (re.search(pattern, text) is not None)


@pytest.mark.parametrize("line", ["a" * 4_000, "a" * 3_999 + "!", "ab" * 2_000, " " * 4_000, "x" * 4_000])
@pytest.mark.parametrize("pattern", REDOS)
def test_hostile_pattern_on_a_long_line_is_bounded(pattern, line):
    begun = time.process_time()
    with contextlib.suppress(PatternTooCostlyError):
        line_pattern(pattern).search(line)
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("pattern", [r"(a+)+\1$", "(a+)+(?=b)$", r"(?:(a|b)(?(1)a|b))*c"])
def test_pattern_that_cannot_be_bounded_says_so(pattern):
    compiled = LinePattern(pattern)
    assert not compiled.is_bounded
    with pytest.raises(PatternTooCostlyError, match="could take for ever"):
        compiled.search("a" * 500 + "c")


def test_condition_with_such_a_pattern_is_unknown(story):
    told = story().log("a" * 500)
    assert told.find({"log": r"(a+)+\1$"}, closed=True).truth is None
    assert told.find({"never": {"log": r"(a+)+\1$"}}, closed=True).truth is None
    assert told.log("aa").find({"log": r"(a+)+\1$"}, closed=True).truth is True


@pytest.mark.parametrize(
    "pattern", ["Training started", r"Step (\d+)/(\d+)", "Traceback|CUDA out of memory", "[Pp]acking"]
)
def test_ordinary_pattern_on_an_ordinary_line_goes_to_the_fast_engine(pattern):
    assert LinePattern(pattern)._fast_length >= 200
