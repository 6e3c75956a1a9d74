"""`runspec new KEY`: a valid spec to start from."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from runner.errors import Diagnostic, SpecError, did_you_mean
from runner.spec.adopt import template_of
from runner.spec.conditions import NAME_PATTERN
from runner.spec.loader import load_spec
from runner.spec.models import FORMATS_OF_METHOD, Method

GENERATED_ROWS = 100
_PARTS = "common/qlora.yaml"


@click.command("new")
@click.argument("key")
@click.option("--method", type=click.Choice([one.value for one in Method]), help="How the template trains.")
@click.option("--model", help="Base model, `organisation/name`.")
@click.option("--title", help="Heading of the template's section; made from KEY if absent.")
@click.option("--dataset", help="JSON Lines file, relative to the spec; without it rows are made up from a seed.")
@click.option(
    "--from-template",
    "source",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Take everything from this `config_json` of the lab (JSON or YAML).",
)
@click.option("--dir", "folder", type=click.Path(path_type=Path, file_okay=False), default="specs", show_default=True)
def command(
    key: str, method: str | None, model: str | None, title: str | None, dataset: str | None, source: Path | None,
    folder: Path,
) -> int:  # fmt: skip
    """Write a valid spec for the template KEY; asks for what is missing when there is somebody to ask."""
    if not re.fullmatch(NAME_PATTERN, key):
        raise click.BadParameter("a key has small letters, digits, `_` and `-`, and begins with a letter")
    path = folder / f"{key}.yaml"
    if path.exists():
        raise click.BadParameter(f"`{path}` exists already; nothing was changed")
    template = _read_template(source, key) if source else _asked(key, method, model)
    text = _spec_text(folder, template, title or _title(key), dataset)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    try:
        load_spec(path)
    except SpecError:
        path.unlink()
        raise
    click.echo(f"wrote {path}")
    click.echo(f"next: `runspec validate {path}`, then `runspec {path} --phase basic`", err=True)
    return 0


def _asked(key: str, method: str | None, model: str | None) -> dict[str, Any]:
    is_interactive = sys.stdin.isatty()
    missing = [flag for flag, value in (("--method", method), ("--model", model)) if value is None]
    if missing and not is_interactive:
        raise click.UsageError(f"say {' and '.join(missing)}, or `--from-template FILE`: there is nobody to ask")
    if method is None:
        method = click.prompt("How does it train?", type=click.Choice([one.value for one in Method]))
    if model is None:
        model = click.prompt("Base model (organisation/name)")
    template: dict[str, Any] = {"key": key, "method": str(method), "model": model}
    if method == Method.RLHF:
        template["reward"] = {"function": "keyword"}
    return template


def _title(key: str) -> str:
    words = key.replace("_", " ").replace("-", " ").split()
    return " ".join(word.upper() if word in set(Method) else word.capitalize() for word in words)


def _read_template(path: Path, key: str) -> dict[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="safe").load(path)  # JSON is YAML
    except (YAMLError, UnicodeDecodeError) as exc:
        raise click.ClickException(f"{path} is neither JSON nor YAML: {exc}") from exc
    if isinstance(content, Mapping) and isinstance(content.get("templates"), Mapping):
        templates = content["templates"]
        if key not in templates:
            hint = did_you_mean(key, map(str, templates)) or f"it has {', '.join(map(str, templates))}"
            raise SpecError([Diagnostic("new.unknown-template", f"{path} has no template `{key}`", fix=hint)])
        content = templates[key]
    if isinstance(content, Mapping) and isinstance(content.get("config_json"), Mapping):
        content = content["config_json"]
    return template_of(key, content if isinstance(content, Mapping) else {})


def _spec_text(folder: Path, template: Mapping[str, Any], title: str, dataset: str | None) -> str:
    format_ = FORMATS_OF_METHOD[Method(template["method"])]
    rows = f"file: {_flow(dataset)}" if dataset else f"generate: {{rows: {GENERATED_ROWS}, seed: 7}}"
    is_whole = "training" in template
    uses_parts = not is_whole and (folder / _PARTS).is_file()
    lines = [
        "# yaml-language-server: $schema=../schemas/spec.schema.json",
        "runspec: 1",
        f"name: {template['key']}",
        f"title: {_flow(title)}",
        f"tags: [{template['method']}]",
        *([f"use: [{_PARTS}]"] if uses_parts else []),
        "",
        "template:",
        *(f"  {name}: {_flow(value)}" for name, value in template.items()),
        "",
        f"dataset: {{format: {format_}, {rows}}}",
    ]
    return "\n".join(lines) + "\n"


def _flow(value: Any) -> str:
    """A value as one line of YAML; plain where that is safe, JSON otherwise."""
    if isinstance(value, str):
        is_plain = (
            re.fullmatch(r"[A-Za-z][\w ./()+-]*", value) and value == value.strip() and value.lower() not in _WORDS
        )
        return value if is_plain else json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flow(str(name))}: {_flow(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(one) for one in value) + "]"
    if isinstance(value, float):
        # YAML 1.1 readers, and with them most editors, take `1e-05` for text.
        return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))
    return json.dumps(value)


_WORDS = {"yes", "no", "on", "off", "true", "false", "null", "y", "n"}
