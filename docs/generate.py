"""Writes the reference pages from the code: `python docs/generate.py`, or `--check` to see whether they are current."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from runner.cli.main import COMMANDS, cli
from runner.spec.schema import phase_schema, spec_schema

FOLDER = Path(__file__).resolve().parent / "reference"
GENERATED = "<!-- written by docs/generate.py; do not edit -->"

Schema = Mapping[str, Any]


def main(arguments: list[str]) -> int:
    """Write all pages, or with `--check` exit with 7 when one is out of date."""
    stale = []
    for name, make in PAGES.items():
        path, text = FOLDER / name, f"{GENERATED}\n\n{make().rstrip()}\n"
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for name in stale:
        print(f"docs/reference/{name} {'is out of date: run `python docs/generate.py`' if arguments else 'written'}")
    return 7 if stale and "--check" in arguments else 0


# --- the command line ---------------------------------------------------------------------------------------------


def command_line() -> str:
    """Every command with its arguments and options, from click."""
    parts = [
        "# Command line",
        "A bare path means `run`: `runspec specs/cpt.yaml` is `runspec run specs/cpt.yaml`. Data goes to standard "
        "output, everything else to standard error. Exit codes are [on their own page](exit-codes.md).",
        "Flags with a variable can be set once for all commands; what is typed wins. A flag that may be repeated takes "
        "several values from its variable, with spaces between them.",
    ]
    context = click.Context(cli, info_name="runspec")
    for name in COMMANDS:
        command = cli.get_command(context, name)
        if command is not None:
            parts += _command(command, click.Context(command, info_name=name, parent=context))
    return "\n\n".join(parts)


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    yield f"## `{context.command_path}`"
    yield f"```text\n{command.get_usage(context)}\n```"
    yield (command.help or "").strip()
    rows = [_option_row(option) for option in command.params if isinstance(option, click.Option) and not option.hidden]
    if rows:
        yield table(("option", "meaning", "default", "variable"), rows)
    for name, below in getattr(command, "commands", {}).items():
        yield from _command(below, click.Context(below, info_name=name, parent=context))


def _option_row(option: click.Option) -> tuple[str, ...]:
    kind = option.make_metavar(click.Context(cli)) if not option.is_flag else ""
    names = ", ".join(f"`{name}`" for name in option.opts) + (f" `{kind}`" if kind else "")
    default = (
        ""
        if option.is_flag or not isinstance(option.default, str | int | float) or option.default == ""
        else f"`{option.default}`"
    )
    return names, option.help or "", default, f"`{option.envvar}`" if option.envvar else ""


# --- specs and phases -----------------------------------------------------------------------------------------------


def spec_keys() -> str:
    """Every key of a spec, from its JSON Schema."""
    schema = spec_schema()
    sections = ["Template", "Lora", "Reward", "Data", "Dataset", "Generate", "Gpu", "Limits", "Matrix", "Criterion"]
    sections += ["KnownIssue"]
    return "\n\n".join(
        [
            "# Keys of a spec",
            "A spec is a YAML file with `runspec: 1` on top. Editors complete its keys through the modeline "
            "`# yaml-language-server: $schema=../schemas/spec.schema.json`. Any value may be a reference such as "
            "`${vars.NAME}` or `${limits.run}`. Files named under `use` and `extends` give what the spec leaves out.",
            "## The file",
            keys(schema, schema["$defs"]),
            *_sections(schema, [name for name in sections if name in schema["$defs"]]),
        ]
    )


def phase_keys() -> str:
    """Every key of a phase, its steps and the conditions, from its JSON Schema."""
    schema = phase_schema()
    defs = schema["$defs"]
    steps, conditions = _kinds(schema, "Step"), _kinds(schema, "Condition")
    rest = [name for name in defs if name not in {*steps, *conditions, "Step", "Condition", "Reference"}]
    return "\n\n".join(
        [
            "# Keys of a phase",
            "A phase is a YAML file with `runspec-phase: 1` on top, in a folder `phases` beside the specs or above.",
            "## The file",
            keys(schema, schema["$defs"]),
            *_sections(schema, rest),
            "## Steps",
            "A step is a mapping; the key that its heading names says what is done.",
            *_sections(schema, steps, level=3, by_first_key=True),
            "## Conditions",
            "`wait`, `stop_if` and `expect` take the same conditions. A condition is true, false, or unknown when its "
            "evidence cannot be had; unknown is never green.",
            *_sections(schema, conditions, level=3, by_first_key=True),
        ]
    )


def _kinds(schema: Schema, name: str) -> list[str]:
    return [choice["$ref"].rpartition("/")[2] for choice in schema["$defs"][name]["oneOf"]]


def _sections(schema: Schema, names: list[str], *, level: int = 2, by_first_key: bool = False) -> Iterator[str]:
    for name in names:
        section = schema["$defs"][name]
        heading = next(iter(section.get("required", [])), name.lower()) if by_first_key else _snake(name)
        yield f"{'#' * level} `{heading}`"
        yield section.get("description", "")
        yield keys(section, schema["$defs"])


def _snake(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name).strip("_")


def keys(section: Schema, defs: Schema) -> str:
    """The keys of one mapping as a table, its own before those that all its kind have."""
    needed = section.get("required", [])
    properties = sorted(
        section.get("properties", {}).items(), key=lambda item: (item[0] in _SHARED, item[0] not in needed)
    )
    return table(
        ("key", "value", "default", "meaning"),
        [
            (f"`{key}`", kind(value, defs), _default(value, is_needed=key in needed), _meaning(value, defs))
            for key, value in properties
        ],
    )


_SHARED = {"title", "timeout", "optional"}


def _meaning(value: Schema, defs: Schema) -> str:
    return str(value.get("description") or defs.get(_named(value), {}).get("description", ""))


def _named(value: Schema) -> str:
    return str(value.get("$ref", "")).rpartition("/")[2]


def _default(value: Schema, *, is_needed: bool) -> str:
    if is_needed:
        return "needed"
    default = value.get("default")
    return "" if default in (None, "", [], {}) else f"`{json.dumps(default, ensure_ascii=False)}`"


def kind(value: Schema, defs: Schema) -> str:
    """What may be written for a value, in words."""
    choices = [choice for choice in value.get("anyOf", value.get("oneOf", [])) if choice.get("type") != "null"]
    choices = [choice for choice in choices if _named(choice) != "Reference"]
    if choices:
        return " or ".join(dict.fromkeys(kind(choice, defs) for choice in choices))
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return " ".join(f"`{one}`" for one in value["enum"])
    if "$ref" in value:
        target = defs.get(_named(value), {})
        return kind(target, defs) if "enum" in target else _snake(_named(value)).replace("_", " ")
    if value.get("examples"):
        return f"such as `{value['examples'][0]}`"
    if value.get("type") == "array":
        return f"list of {kind(value['items'], defs)}" if "items" in value else "list"
    return _WORDS.get(str(value.get("type")), "any")


_WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "mapping",
}


# --- exit codes ----------------------------------------------------------------------------------------------------


def exit_codes() -> str:
    """What each exit code means."""
    return "\n\n".join(
        [
            "# Exit codes",
            table(("code", "meaning"), [(f"`{code}`", meaning) for code, meaning in EXIT_CODES.items()]),
            "When several apply to a run, the first of these wins: 6, 130, 1, 4, 3, 0. A pod that may still be billed "
            "outweighs every verdict.",
        ]
    )


EXIT_CODES = {
    0: "every selected criterion passed, or the command did what it was asked",
    1: "a criterion failed: the thing under test is wrong",
    2: "usage, a bad spec, bad data, a missing key or package: nothing was launched",
    3: "no verdict: infrastructure, capacity, evidence that could not be had, or a bug of runspec",
    4: "stopped by a price, spend or time limit",
    5: "nothing was selected",
    6: "teardown is not confirmed: a pod may still be billed; run `runspec reap`",
    7: "`--check` found something out of date",
    130: "interrupted, after every pod was given back",
    141: "whoever read the output went away, as `head` does; never the result of a run",
}


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


PAGES: dict[str, Callable[[], str]] = {
    "command-line.md": command_line,
    "spec.md": spec_keys,
    "phase.md": phase_keys,
    "exit-codes.md": exit_codes,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
