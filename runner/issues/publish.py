"""The catalogue as others read it: a JSON Schema for editors, and a page for people."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from runner.issues.catalogue import IssueRule, RuleFile, load_catalogue

SCHEMA_FILE = "issues.schema.json"
PAGE_FILE = "docs/issues.md"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_DESCRIPTIONS = {
    "id": "Stable; conditions and history refer to it.",
    "title": "What is shown for it, in a few words.",
    "class": "What kind of thing it is; decides what the engine does next.",
    "verdict": "error: the thing under test is wrong; infrastructure: something else broke; expected: harmless.",
    "cause": "Why it happens.",
    "fix": "What to do about it.",
    "scope": "What it concerns.",
    "evidence": "What shows it.",
    "contains": "A line contains one of these texts, exactly.",
    "pattern": "Regular expression that must match as well, when given.",
    "exceptions": "For a traceback: names of the exception, without module.",
    "frames": "For a traceback: texts one of which is in its frames.",
    "methods": "Only for templates of these methods.",
    "generic": "It does not say what went wrong; any other issue of the same job explains more.",
    "sources": "Where it is known from.",
}
_EVIDENCE = {
    "log": "a log line, or the same text in an API's error",
    "api": "an API's error or answer",
    "metric": "the metrics, at the end of a job",
    "absence": "something that never came, at the end of a job",
    "traceback": "the frames of a traceback",
    "note": "nothing that is recorded: known, and written down",
}


def issues_schema() -> dict[str, Any]:
    """The JSON Schema of a catalogue file."""
    (schema,), definitions = msgspec.json.schema_components([RuleFile], ref_template="#/$defs/{name}")
    rule = definitions[IssueRule.__name__]
    rule["description"] = "One known issue, and how it shows."
    definitions[RuleFile.__name__]["properties"]["rules"]["description"] = "The rules, in the order they are tried."
    for name, text in _DESCRIPTIONS.items():
        rule["properties"][name] = {**rule["properties"][name], "description": text}
    return {
        "$schema": _DIALECT,
        "title": "Known issues",
        "description": "A catalogue of known issues: ordered rules, of which the first that fits a line wins.",
        **schema,
        "$defs": definitions,
    }


def render_issue_schemas() -> dict[str, str]:
    """The schema as a file's text, by its name."""
    return {SCHEMA_FILE: json.dumps(issues_schema(), indent=2, ensure_ascii=False) + "\n"}


def issues_page(rules: Iterable[IssueRule] | None = None) -> str:
    """The page about every known issue, in the order in which they are tried."""
    known = tuple(load_catalogue() if rules is None else rules)
    lines = [
        "# Known issues",
        "",
        "Generated from `runner/issues/catalogue.yaml`; change it there and run `python -m runner.issues.publish`.",
        "",
        "The first rule that fits a line wins. An `expected` issue never fails a run, an `infrastructure` issue says",
        "nothing about the template, an `error` is what the template or its setup did wrong.",
        "",
        "| Issue | Class | Verdict | Shown by | Known from |",
        "|-------|-------|---------|----------|------------|",
    ]
    lines += [
        f"| [{one.id}](#{one.id}) | {one.failure_class} | {one.verdict} | {one.evidence} | {', '.join(one.sources)} |"
        for one in known
    ]
    for rule in known:
        lines += ["", f"## {rule.id}", "", f"**{_text(rule.title)}**", "", *_body(rule)]
    return "\n".join(lines) + "\n"


def _body(rule: IssueRule) -> list[str]:
    methods = f" of {', '.join(rule.methods)}" if rule.methods else ""
    return [
        f"- Cause: {_text(rule.cause)}",
        f"- Fix: {_text(rule.fix)}",
        f"- Scope: {rule.concerns}{methods}",
        f"- Shown by: {_EVIDENCE[rule.evidence]}",
        *([f"- Looks like: {', '.join(_code(text) for text in rule.contains[:4])}"] if rule.contains else []),
    ]


def _text(text: str) -> str:
    return re.sub(r"([<>|])", r"\\\1", text)


def _code(text: str) -> str:
    fence = "``" if "`" in text else "`"
    pad = " " if text.startswith("`") or text.endswith("`") or text != text.strip() else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def main() -> None:
    """Write the page and the schema into the folder this is run in."""
    Path(PAGE_FILE).write_text(issues_page(), encoding="utf-8")
    for name, text in render_issue_schemas().items():
        (Path("schemas") / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
