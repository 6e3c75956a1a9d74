"""YAML 1.2 as we read it."""

from __future__ import annotations

import pytest

from runner.errors import SpecError
from runner.spec.sources import Source
from runner.spec.yaml_tree import MAX_DEPTH, parse_yaml, to_python


def read(text: str, *, pure: bool = False):
    problems = []
    value = to_python(parse_yaml(Source("x.yaml", text), problems, pure=pure))
    assert problems == []
    return value


@pytest.mark.parametrize("pure", [False, True], ids=["fast", "pure"])
@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("yes", "yes"), ("No", "No"), ("on", "on"), ("off", "off"), ("y", "y"),
        ("true", True), ("True", True), ("FALSE", False), ("tRue", "tRue"),
        ("null", None), ("~", None), ("", None), ("nil", "nil"),
        ("12", 12), ("-12", -12), ("+12", 12), ("012", 12), ("0o17", 15), ("0x1F", 31), ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("1.5", 1.5), ("1e3", 1000.0), ("1.0e-06", 1e-6), ("2e-4", 2e-4), (".5", 0.5), ("5.", 5.0), ("1.2.3", "1.2.3"),
        ("20:30", "20:30"), ("2025-12-19", "2025-12-19"), ("0.60 USD/h", "0.60 USD/h"), ("20m", "20m"), ("=", "="),
        ("'12'", "12"), ('"true"', "true"), ('"a\\u00e9"', "aé"), ("'it''s'", "it's"), ("a#b", "a#b"), ("a # b", "a"),
        ("[a, 1, [b]]", ["a", 1, ["b"]]), ("{a: 1, b: {c: d}}", {"a": 1, "b": {"c": "d"}}), ("[]", []), ("{}", {}),
        ("|\n  one\n  two\n", "one\ntwo\n"), (">-\n  one\n  two\n", "one two"), ("one\n  two", "one two"),
    ],
)  # fmt: skip
def test_a_value_has_the_type_of_yaml_1_2(written, value, pure):
    result = read(f"a: {written}\n", pure=pure)["a"]
    assert result == value
    assert type(result) is type(value)


def test_every_key_and_value_knows_its_place():
    tree = parse_yaml(Source("x.yaml", "a: 1\nlist:\n  - x: {y: 'z z'}\n  -\n    k: |\n      text\nempty:\n"), [])
    item = tree.get("list").items[0]
    inner = item.get("x")
    spans = [tree.entries["a"].key, item.entries["x"].key, inner.entries["y"].key, inner.get("y").place]
    assert [(s.span.line, s.span.col, s.span.length) for s in spans] == [(1, 1, 1), (3, 5, 1), (3, 9, 1), (3, 12, 5)]
    block = tree.get("list").items[1].get("k")
    assert (block.place.line, block.place.col) == (5, 8)
    assert tree.get("empty").place.is_empty


def test_columns_count_characters_not_bytes():
    tree = parse_yaml(Source("x.yaml", "é𝒳: {ß: ü}\n"), [])
    inner = tree.get("é𝒳")
    assert (inner.place.col, inner.entries["ß"].key.col, inner.get("ß").place.col) == (5, 6, 9)


def test_anchors_and_merge_keys_work_and_keep_their_places():
    text = "base: &b {x: 1, y: 2}\nmore: &m {y: 3, z: 4}\none: {<<: *b, y: 9}\ntwo:\n  <<: [*b, *m]\n  w: *b\n"
    tree = parse_yaml(Source("x.yaml", text), [])
    assert to_python(tree)["one"] == {"x": 1, "y": 9}
    assert to_python(tree)["two"] == {"x": 1, "y": 2, "z": 4, "w": {"x": 1, "y": 2}}
    assert tree.get("one").entries["x"].key.line == 1
    assert read("a: {'<<': 1}\n") == {"a": {"<<": 1}}


def test_sixty_levels_are_enough_and_one_more_is_too_many():
    inner = MAX_DEPTH - 2  # the file and the value itself are levels too
    assert read("a: " + "[" * inner + "1" + "]" * inner)
    with pytest.raises(SpecError, match="deeper than 60 levels"):
        read("a: " + "[" * (inner + 1) + "1" + "]" * (inner + 1))


def test_depth_is_counted_through_aliases():
    nested = "a0: &a0 [x]\n" + "".join(f"a{n + 1}: &a{n + 1} [[[[[*a{n}]]]]]\n" for n in range(15))
    with pytest.raises(SpecError, match="deeper than 60 levels"):
        read(nested)


@pytest.mark.parametrize("pure", [False, True], ids=["fast", "pure"])
@pytest.mark.parametrize(
    "text",
    [
        "a: 'x", "a: {b", "a: [b", "a: b: c", "a:\n\t- b", "a: *b", "a: &a [*a]", "- a\nb: c", "a: @b", "a: %b",
        "%YAML 9\n---\na: 1", 'a: "\\q"', 'a: "\\ud800"', "a: b\n---\nc: d", "a: b\n...\nc", "a: !b c", "{a: 1}}",
        "? ", ": ", "[a]: b", "a: |9z\n x", "&a a: b\n*a : c", "!<tag:x> a: b", "---\n---\na: b", "a: [>]", "'", '"',
        "`", "|", "\\", "*", "&", "!", "a:\n  - b\n c: d",
    ],
)  # fmt: skip
def test_broken_yaml_is_a_diagnostic_with_either_parser(text, pure):
    problems: list = []
    try:
        parse_yaml(Source("x.yaml", text), problems, pure=pure)
    except SpecError as error:
        problems = list(error.diagnostics)
    assert problems
    assert all(problem.span is not None and problem.span.line <= len(text.split("\n")) for problem in problems)
