"""Laws of loading: they hold for every spec, so they are tried on many."""

from __future__ import annotations

import json
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import SpecError
from runner.spec.loader import load_phase, load_spec
from runner.spec.models import Spec
from runner.spec.scalars import format_duration, parse_duration
from runner.spec.sources import Source, read_source, refused_character
from runner.spec.yaml_tree import MapNode, Node, Place, SeqNode, parse_scalar, parse_yaml, to_python

WHOLE = Path(__file__).parent / "golden" / "whole"
FREE = {"vars", "tokenizer", "training", "evaluation", "tensorboard", "axes", "include", "exclude"}
"""Mappings whose keys are the author's own words, so that no key is wrong."""


def keys(node: Node, holder: str = "") -> list[tuple[str, Place]]:
    """Every key of the language in a tree, with its place."""
    match node:
        case MapNode():
            own = [] if holder in FREE or holder == "success-by-phase" else [
                (key, entry.key) for key, entry in node.entries.items()
            ]  # fmt: skip
            below = [
                found for key, entry in node.entries.items() for found in keys(entry.value, _holder(key, entry.value))
            ]
            return own + below
        case SeqNode():
            return [found for item in node.items for found in keys(item, holder)]
        case _:
            return []


def _holder(key: str, value: Node) -> str:
    return "success-by-phase" if key == "success" and isinstance(value, MapNode) else key


def whole(name: str) -> tuple[Source, list[tuple[str, Place]]]:
    source = read_source(WHOLE / name)
    return source, keys(parse_yaml(source, []))


PLACES = [(name, key, place) for name in ("spec.yaml", "phase.yaml") for key, place in whole(name)[1]]


def test_the_whole_files_hold():
    assert load_spec(WHOLE / "spec.yaml").name == "whole"
    assert load_phase(WHOLE / "phase.yaml").name == "phase"
    assert len(PLACES) > 150


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PLACES), st.integers(0, 20), st.sampled_from("qxz"))
def test_a_key_misspelt_anywhere_is_reported_at_its_own_line_and_column(chosen, at, letter):
    name, key, place = chosen
    lines = list(place.source.lines)
    at = min(at, len(key))
    line = lines[place.line - 1]
    start = place.col - 1
    lines[place.line - 1] = line[:start] + key[:at] + letter + line[start + at :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_text("\n".join(lines))
        with pytest.raises(SpecError) as caught:
            (load_spec if name == "spec.yaml" else load_phase)(path)
    unknown = {"spec.unknown-key", "spec.unknown-step", "spec.unknown-condition"}
    places = [(d.span.line, d.span.col) for d in caught.value.diagnostics if d.span and d.code in unknown]
    assert places == [(place.line, place.col)]


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=4000)))
def test_a_duration_that_is_written_is_read_back(duration):
    assert parse_duration(format_duration(duration)) == duration


@given(st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False))
def test_a_scalar_that_is_written_is_read_back(value):
    assert parse_scalar(json.dumps(value)) == value


words = st.text(min_size=1, max_size=30).filter(lambda text: "$" not in text and refused_character(text) is None)
names = st.from_regex(r"[a-z][a-z0-9_-]{0,10}", fullmatch=True)
scalars = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9) | words
durations = st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=3)).map(format_duration)
amounts = st.integers(1, 10**7).map(lambda cents: cents / 100)
conditions = st.recursive(
    st.sampled_from([{"pod": "started"}, {"metric": "train_loss", "is": "nan"}, {"job": "finished"}])
    | st.builds(lambda d: {"duration": "run", "lte": d}, durations)
    | st.builds(lambda n: {"metric": "step", "gte": n}, st.floats(0, 1e6)),
    lambda inner: (
        st.builds(lambda c: {"never": c}, inner)
        | st.builds(lambda c: {"all": c}, st.lists(inner, min_size=1, max_size=3))
    ),
    max_leaves=6,
)
specs = st.fixed_dictionaries(
    {
        "runspec": st.just(1),
        "name": names,
        "title": words,
        "vars": st.dictionaries(names, scalars, max_size=4),
        "template": st.fixed_dictionaries(
            {
                "key": words,
                "method": st.just("cpt"),
                "model": words,
                "training": st.dictionaries(
                    names, scalars.filter(lambda v: str(v).lower() not in {"on", "no"}), max_size=4
                ),
            },
            optional={"lora": st.fixed_dictionaries({"r": st.integers(1, 64), "alpha": st.integers(1, 64)})},
        ),
        "dataset": st.fixed_dictionaries({"format": st.just("text"), "generate": st.just({"rows": 5, "seed": 1})}),
    },
    optional={
        "limits": st.fixed_dictionaries(
            {},
            optional={
                "run": durations,
                "price": amounts.map(lambda usd: f"{usd:.2f} USD/h"),
                "spend": amounts.map(lambda usd: f"{usd:.2f} USD"),
            },
        ),
        "repeat": st.integers(1, 100),
        "success": st.builds(lambda c: {"basic": [{"id": "a", "title": "A", "expect": c}]}, conditions),
    },
)


@settings(max_examples=150, deadline=None)
@given(specs)
def test_a_spec_that_is_dumped_and_loaded_is_the_same(written):
    spec = Spec.model_validate_json(json.dumps(written))
    dumped = spec.model_dump(mode="json", by_alias=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "spec.yaml")
        path.write_text(json.dumps(dumped, ensure_ascii=False), encoding="utf-8", newline="")
        assert load_spec(path).spec == spec


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4), max_leaves=20
    )
)
def test_both_parsers_read_the_same_values_at_the_same_places(value):
    source = Source("x.yaml", json.dumps({"top": value}, ensure_ascii=False, indent=1))
    fast, slow = parse_yaml(source, []), parse_yaml(source, [], pure=True)
    assert to_python(fast) == to_python(slow) == {"top": value}
    assert fast == slow
