"""HTML and SVG from templates: whatever a template prints is made visible and escaped, unless it is markup already."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from runner.reports import wording
from runner.reports.foreign import visible

LONGEST = 400
_CODE = re.compile(r"`([^`]+)`")


def prose(text: str) -> Markup:
    """A sentence with `code` in it, everything else escaped."""
    parts = _CODE.split(visible(text, longest=LONGEST))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else escape(part) for index, part in enumerate(parts)
    )


def trusted(text: str) -> Markup:
    """Markup of our own making: what a template rendered, an asset of this package, numbers in a path."""
    return Markup(text)  # noqa: S704 - this is the one place that says so


def _finalize(value: Any) -> Any:
    if isinstance(value, Markup | int | float):
        return value
    return visible(str(value), longest=LONGEST)


@cache
def html_environment() -> Environment:
    """The templates of this package that make HTML or SVG, escaped as they are printed."""
    templates = Environment(
        loader=PackageLoader("runner.reports", "templates"),
        undefined=StrictUndefined,
        autoescape=True,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    templates.filters.update(
        prose=prose,
        money=wording.money,
        took=wording.duration,
        minute=wording.minute,
        count=wording.count,
        figure=wording.figure,
    )
    return templates
