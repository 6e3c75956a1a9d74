"""What the YAML parser says about broken syntax, in words that help somebody who does not know the grammar."""

from __future__ import annotations

import re

from ruamel.yaml.error import MarkedYAMLError

from runner.errors import Diagnostic
from runner.spec.sources import Source

_TAB_INDENT = re.compile(r"[ ]*\t")


def explain(source: Source, error: MarkedYAMLError | None, text: str) -> Diagnostic:
    """One diagnostic for the error that ended the parsing of `source`."""
    if error is None:
        return Diagnostic("spec.syntax", "this is not YAML", source.span(1, 1), _one_line(text))
    problem, context = str(error.problem or ""), str(error.context or "")
    mark = error.problem_mark or error.context_mark
    line, col = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    tab = _tab_near(source, line)
    if tab is not None:
        message, label = "a tab cannot indent YAML", "this is a tab"
        return Diagnostic("spec.syntax", message, source.span(*tab), label, "indent with spaces")
    if _starts_elsewhere(problem, context) and error.context_mark is not None:
        line, col = error.context_mark.line + 1, error.context_mark.column + 1
    message, label, fix = _words(problem, context)
    if "flow" in context and mark is not None and "${" in source.lines[min(mark.line, len(source.lines) - 1)]:
        fix = 'inside `{ }` and `[ ]` a reference needs quotes: `"${name}"`'
    return Diagnostic("spec.syntax", message, source.span(line, col), label, fix)


def _tab_near(source: Source, line: int) -> tuple[int, int] | None:
    """The tab in the indentation of the line with the error, or of the one before it."""
    for number in (line, line - 1):
        if 0 < number <= len(source.lines):
            match = _TAB_INDENT.match(source.lines[number - 1])
            if match and source.lines[number - 1].strip():
                return number, match.end()
    return None


def _starts_elsewhere(problem: str, context: str) -> bool:
    """Whether the place to look at is where something was opened, not where its end was missed."""
    return ("quoted scalar" in context and "end of stream" in problem) or "flow" in context


def _words(problem: str, context: str) -> tuple[str, str, str]:
    """Message, label and fix."""
    for (needle, place), words in _KNOWN.items():
        if needle in problem and place in context:
            return words
    return "this is not YAML", _one_line(problem or context), ""


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]


_KNOWN: dict[tuple[str, str], tuple[str, str, str]] = {
    ("end of stream", "quoted"): ("this quote is never closed", "opened here", "add the closing quote"),
    ("", "flow mapping"): (
        "this `{` is never closed, or a comma is missing", "opened here", "check the commas and add the `}`"),
    ("", "flow sequence"): (
        "this `[` is never closed, or a comma is missing", "opened here", "check the commas and add the `]`"),
    ("mapping values are not allowed", ""): (
        "a `:` cannot stand here", "", "put text that contains `: ` in quotes, or check the indentation"),
    ("could not find expected ':'", ""): (
        "a key without its `:`", "", "write `key: value`"),
    ("escape", "quoted"): (
        "unknown escape in a quoted text", "", "write regular expressions in single quotes, or double the `\\`"),
    ("did not find expected key", ""): (
        "this line is indented differently from its neighbours", "", "line it up with the keys above it"),
    ("expected '-' indicator", ""): (
        "this line does not fit into the list above it", "", "start each item with `- `, all in one column"),
    ("cannot start any token", ""): (
        "a value cannot start with this character", "", "put the value in quotes"),
    ("did not find expected alphabetic or numeric", ""): (
        "`*` and `&` need a name", "", "put the value in quotes if it is text"),
    ("expected <document start>", ""): (
        "the document ended before this line", "", "check the indentation and the brackets above"),
    ("undefined tag handle", ""): (
        "an unknown tag", "", "values have the types of YAML 1.2: delete the tag"),
}  # fmt: skip
