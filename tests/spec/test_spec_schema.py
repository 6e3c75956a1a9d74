"""The JSON Schemas agree with the loader, and are not stale."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from runner.spec.schema import SCHEMAS, phase_schema, render_schemas, spec_schema
from runner.spec.sources import read_source
from runner.spec.yaml_tree import parse_yaml, to_python

ROOT = Path(__file__).parents[2]
WHOLE = Path(__file__).parent / "golden" / "whole"
KINDS = [
    *((path, "spec.schema.json") for path in sorted((ROOT / "specs").glob("*.yaml"))),
    *((path, "phase.schema.json") for path in sorted((ROOT / "specs/phases").glob("*.yaml"))),
    *((path, "part.schema.json") for path in sorted((ROOT / "specs/common").glob("*.yaml"))),
    (WHOLE / "spec.yaml", "spec.schema.json"),
    (WHOLE / "phase.yaml", "phase.schema.json"),
]


def errors(schema: dict, value: object) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(value)]


def read(path: Path) -> dict:
    return to_python(parse_yaml(read_source(path), []))


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_a_schema_is_a_schema(name):
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name]())


@pytest.mark.parametrize(("path", "schema"), KINDS, ids=lambda value: Path(value).name)
def test_every_file_of_ours_fits_its_schema_and_names_it(path, schema):
    assert errors(SCHEMAS[schema](), read(path)) == []
    if path.is_relative_to(ROOT / "specs"):
        first = path.read_text().splitlines()[0]
        up = "../" * (len(path.relative_to(ROOT).parts) - 1)
        assert first == f"# yaml-language-server: $schema={up}schemas/{schema}"


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_the_written_schemas_are_up_to_date(name):
    assert (ROOT / "schemas" / name).read_text(encoding="utf-8") == render_schemas()[name]


def changed(value: dict, path: list, new: object) -> dict:
    at = value
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = new
    return value


@pytest.mark.parametrize(
    ("path", "new"),
    [
        (["titel"], "x"),
        (["template", "metod"], "sft"),
        (["template", "method"], "stf"),
        (["template", "lora", "r"], "16"),
        (["limits", "run"], 20),
        (["limits", "price"], "0.60 EUR"),
        (["repeat"], 0),
        (["success", "basic", 0, "expect"], {"lgo": "x"}),
        (["success", "basic", 0, "expect", "untill"], 5),
        (["success", "Bad Phase"], []),
        (["vars", "Bad Name"], 1),
        (["known_issues", 0, "verdict"], "eror"),
        (["runspec"], 2),
    ],
)
def test_what_the_loader_refuses_the_editor_underlines(path, new):
    assert errors(spec_schema(), changed(read(WHOLE / "spec.yaml"), path, new))


@pytest.mark.parametrize(
    "path", [["repeat"], ["limits", "run"], ["template", "lora", "dropout"], ["gpu", "cloud"], ["tags", 0]]
)
def test_any_value_may_be_a_reference(path):
    assert errors(spec_schema(), changed(read(WHOLE / "spec.yaml"), path, "${vars.x}")) == []


def test_a_spec_that_extends_or_uses_others_need_not_have_every_key():
    own = {"runspec": 1, "name": "x", "template": {"training": {"batch_size": 2}}}
    assert errors(spec_schema(), own | {"use": ["a.yaml"]}) == []
    assert errors(spec_schema(), own | {"extends": "a.yaml"}) == []
    assert len(errors(spec_schema(), own)) > 2


def test_every_key_is_explained_on_hover():
    silent = [
        f"{model}.{key}"
        for schema in (spec_schema(), phase_schema())
        for model, definition in [("top", schema), *schema["$defs"].items()]
        for key, value in definition.get("properties", {}).items()
        if "description" not in value and "description" not in schema["$defs"][value["$ref"].removeprefix("#/$defs/")]
    ]
    assert silent == []


def test_each_condition_is_an_object_with_one_required_key_first():
    defs = spec_schema()["$defs"]
    for ref in defs["Condition"]["oneOf"]:
        model = defs[ref["$ref"].removeprefix("#/$defs/")]
        assert model["additionalProperties"] is False
        assert next(iter(model["properties"])) == model["required"][0]
