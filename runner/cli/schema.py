"""`runspec schema`: the JSON Schemas of what people write, and of the JSON report."""

from __future__ import annotations

from pathlib import Path

import click

from runner.issues.publish import render_issue_schemas
from runner.spec.schema import render_schemas

OUT_OF_DATE = 7


@click.command("schema")
@click.argument("name", required=False)
@click.option("--write", is_flag=True, help="Write all schemas into the folder.")
@click.option("--check", is_flag=True, help="Exit with 7 when a schema in the folder is out of date.")
@click.option("--dir", "folder", type=click.Path(path_type=Path, file_okay=False), default="schemas", show_default=True)
def command(name: str | None, write: bool, check: bool, folder: Path) -> int:
    """Print the schema NAME (such as `spec.schema.json`), or write or check all of them."""
    schemas = {**render_schemas(), **render_issue_schemas(), **_render_faults(), **_render_report()}
    if check:
        stale = [file for file, text in schemas.items() if _read(folder / file) != text]
        for file in stale:
            click.echo(f"{folder / file} is out of date: run `runspec schema --write`", err=True)
        return OUT_OF_DATE if stale else 0
    if write:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in schemas.items():
            (folder / file).write_text(text, encoding="utf-8")
            click.echo(str(folder / file))
        return 0
    if name is None:
        click.echo("\n".join(schemas))
    elif name in schemas:
        click.echo(schemas[name], nl=False)
    else:
        raise click.BadParameter(f"there is no schema `{name}`; there are {', '.join(schemas)}", param_hint="NAME")
    return 0


def _render_faults() -> dict[str, str]:
    import json

    from runner.local.faults import rules_schema

    return {"faults.schema.json": json.dumps(rules_schema(), indent=2, ensure_ascii=False) + "\n"}


def _render_report() -> dict[str, str]:
    from runner.reports.json_report import SCHEMA_FILE, report_schema

    return {SCHEMA_FILE: report_schema()}


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None
