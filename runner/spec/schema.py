"""JSON Schemas of the files that people write, made from the models, so that editors complete and explain them.

A schema cannot know what a file gets from others through `extends` and `use`: then it asks for no key but the
file's own. Every value may also be a `${reference}`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from runner.spec import shape
from runner.spec.compose import OWN_KEYS
from runner.spec.conditions import CONDITIONS, Written
from runner.spec.models import Limits, Phase, Spec
from runner.spec.steps import STEPS

JsonSchema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE: JsonSchema = {
    "type": "string",
    "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_.-]*\}",
    "description": "A reference to a named value, such as `${vars.NAME}` or `${limits.run}`.",
}
_REFERENCE_REF = {"$ref": "#/$defs/Reference"}


def spec_schema() -> JsonSchema:
    """The schema of a spec file."""
    schema = _schema(Spec, "spec", "A spec: one fine-tuning template and how it is tested.")
    needed = _needed(Spec)
    _relax(schema, Spec)
    schema["required"] = ["runspec", "name"]
    schema["if"] = {"not": {"anyOf": [{"required": ["extends"]}, {"required": ["use"]}]}}
    schema["then"] = needed
    return schema


def part_schema() -> JsonSchema:
    """The schema of a file with parts of a spec, which specs name under `use`."""
    schema = _schema(Spec, "part", "Parts of a spec, merged into the specs that name this file under `use`.")
    _relax(schema, Spec)
    schema.pop("required", None)
    for key in OWN_KEYS:
        schema["properties"].pop(key)
    return schema


def phase_schema() -> JsonSchema:
    """The schema of a phase file."""
    return _schema(Phase, "phase", "A phase: a kind of test that specs can be put through.")


SCHEMAS: Mapping[str, Callable[[], JsonSchema]] = {
    "spec.schema.json": spec_schema,
    "part.schema.json": part_schema,
    "phase.schema.json": phase_schema,
}


def render_schemas() -> dict[str, str]:
    """The text of each schema file by its name; the same models give the same bytes."""
    return {name: json.dumps(make(), indent=2, ensure_ascii=False) + "\n" for name, make in SCHEMAS.items()}


def _schema(model: type[Written], name: str, description: str) -> JsonSchema:
    raw = model.model_json_schema(by_alias=True, mode="validation")
    defs = raw.pop("$defs")
    body = _tidied(raw)
    body.pop("description", None)
    return {
        "$schema": DIALECT,
        "$id": f"urn:runspec:schema:{name}:1",
        "title": f"runspec {name}",
        "description": description,
        **body,
        "$defs": {
            **{key: _tidied(value, _DEFAULTS.get(key, {})) for key, value in sorted(defs.items())},
            "Condition": {
                "description": "Something true or false of the evidence; its first key says what it looks at.",
                "oneOf": _refs(CONDITIONS),
            },
            "Step": {"description": "One action; its first key says what is done.", "oneOf": _refs(STEPS)},
            "Reference": _REFERENCE,
        },
    }


def _refs(kinds: Mapping[str, type[Written]]) -> list[JsonSchema]:
    return [{"$ref": f"#/$defs/{model.__name__}"} for model in kinds.values()]


_DEFAULTS = {"Limits": Limits().model_dump(mode="json")}
"""Defaults as people write them, because editors insert them; pydantic would say `PT20M`."""


def _tidied(schema: JsonSchema, defaults: Mapping[str, Any] = MappingProxyType({})) -> JsonSchema:
    """One object schema without machine-made titles, with references allowed for its values."""
    result = {key: value for key, value in schema.items() if key not in {"title", "properties"}}
    if "properties" in schema:
        properties = schema["properties"].items()
        written = {key: value | ({"default": defaults[key]} if key in defaults else {}) for key, value in properties}
        result["properties"] = {key: _value(value) for key, value in written.items()}
    return result


def _value(schema: JsonSchema) -> JsonSchema:
    """The schema of one value that somebody writes."""
    schema = {key: value for key, value in schema.items() if key != "title" and (key, value) != ("default", None)}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema[key] = _value(schema[key])
    if "patternProperties" in schema:  # names: one that does not fit is an error, not an extra
        patterns = {key: _value(value) for key, value in schema["patternProperties"].items()}
        schema |= {"patternProperties": patterns, "additionalProperties": False}
    for name, kinds in (("Condition", CONDITIONS), ("Step", STEPS)):
        if schema.get("oneOf") == _refs(kinds):
            schema = {"$ref": f"#/$defs/{name}", **{key: schema[key] for key in schema if key != "oneOf"}}
    if "anyOf" in schema:
        return schema | {"anyOf": _alternatives(schema["anyOf"])}
    if not _is_checked_scalar(schema):
        return schema
    about: JsonSchema = {key: schema.pop(key) for key in ("description", "default") if key in schema}
    return {**about, "anyOf": [schema, _REFERENCE_REF]}


def _alternatives(schemas: list[JsonSchema]) -> list[JsonSchema]:
    """`anyOf` of a value: null stays allowed, for it takes back what another file says."""
    tidied = [_value(schema) for schema in schemas]
    flat = [inner for schema in tidied for inner in schema.get("anyOf", [schema])]
    return [schema for number, schema in enumerate(flat) if schema not in flat[:number]]


def _is_checked_scalar(schema: JsonSchema) -> bool:
    """Whether the schema is of one value that a reference, which is text, would not fit."""
    if "const" in schema or schema.get("type") == "null":
        return False
    if schema.get("type") == "string":
        return bool({"enum", "pattern", "maxLength"} & set(schema))
    return schema.get("type") in {"number", "integer", "boolean"} or str(schema.get("$ref")) in _ENUMS


_ENUMS = {"#/$defs/Method", "#/$defs/DatasetFormat"}


def _needed(model: type[Written]) -> JsonSchema:
    """The keys that a mapping and those in it must have when no other file can give them."""
    required, inside = [], {}
    for key, field in shape.keys_of(model).items():
        if field.is_required():
            required.append(key)
        below = shape.model_at(model, (key,))
        needed = _needed(below) if below is not None else {}
        if needed:
            inside[key] = needed
    return {**({"required": required} if required else {}), **({"properties": inside} if inside else {})}


def _relax(schema: JsonSchema, model: type[Written]) -> None:
    """Takes the required keys away from every mapping that may come from several files."""
    for key in shape.keys_of(model):
        below = shape.model_at(model, (key,))
        if below is not None:
            schema["$defs"][below.__name__].pop("required", None)
            _relax(schema, below)
