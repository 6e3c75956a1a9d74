"""Markdown from templates. Whatever a template prints is escaped, unless it says that it is Markdown already."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from jinja2 import ChoiceLoader, DictLoader, PackageLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from runner.reports.foreign import LONGEST, visible

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_SPECIAL = re.compile(r"[\\`*\[\]|~$&<>]|(?<![^\W_])_|_(?![^\W_])")
_BLOCK_START = re.compile(r"^(?:[#+=-]|\d{1,9}(?=[.)](?:[ \t]|$)))")
_CODE = re.compile(r"`([^`]+)`")


class Markdown(str):
    """Text that is Markdown already and goes into a document as it is."""

    __slots__ = ()


def escaped(text: object, longest: int = LONGEST) -> Markdown:
    """Foreign text as Markdown that shows it, on one line, also inside a table cell."""
    if isinstance(text, Markdown):
        return text
    line = _SPECIAL.sub(
        lambda match: _ENTITIES.get(match.group(), "\\" + match.group()), visible(str(text), longest=longest)
    )
    return Markdown(_BLOCK_START.sub(_unblocked, line))


def _unblocked(match: re.Match[str]) -> str:
    # `1.` opens a list, and a backslash before the digit would show: escape what follows it.
    start = match.group()
    return f"&#{ord(start[0])};{start[1:]}" if start[0].isdigit() else "\\" + start


def code(text: object) -> Markdown:
    """Foreign text in code style; as plain escaped text when it holds what would end the span, cell or comment."""
    line = visible(str(text))
    return escaped(line) if not line or set("`|<") & set(line) else Markdown(f"`{line}`")


def inline(text: str) -> Markdown:
    """A title somebody wrote in Markdown: code spans are kept, everything else is escaped."""
    parts = _CODE.split(visible(text))
    return Markdown("".join(code(part) if index % 2 else _keeping_blanks(part) for index, part in enumerate(parts)))


def _keeping_blanks(text: str) -> str:
    before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    return before + escaped(text) + after if text.strip() else text


def _finalize(value: Any) -> Any:
    return value if isinstance(value, Markdown) else escaped(value)


def environment(
    filters: Mapping[str, Callable[..., Any]], overrides: Mapping[str, str] = MappingProxyType({})
) -> ImmutableSandboxedEnvironment:
    """The templates of this package, with `code` and `inline` beside the given filters; each is compiled once.

    Args:
        overrides: templates by name that are used instead of ours.
    """
    templates = ImmutableSandboxedEnvironment(
        loader=ChoiceLoader([DictLoader(overrides), PackageLoader("runner.reports", "templates")]),
        undefined=StrictUndefined,
        autoescape=False,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    templates.filters.update(filters, code=code, inline=inline)
    return templates
