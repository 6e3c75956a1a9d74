"""`${name}`: types, text, escapes, places."""

from __future__ import annotations

import pytest

from runner.spec.interpolate import Interpolation, flatten
from runner.spec.sources import Source
from runner.spec.yaml_tree import parse_yaml, to_python


def filled(text: str, **fixed: object) -> tuple[dict, Interpolation]:
    tree = parse_yaml(Source("x.yaml", text), [])
    names = flatten(tree, "x")
    interpolation = Interpolation({key.removeprefix("x."): node for key, node in names.items()}, fixed)
    return to_python(interpolation.node(tree)), interpolation


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${a}", 5),
        ("'${a}'", 5),
        ('"${a}"', 5),
        ("${b}", True),
        ("${n}", None),
        ("${rate}", 2e-4),
        ("at ${rate}", "at 2e-4"),
        ("${a}${a}", "55"),
        ("${b} and ${n}", "true and null"),
        ("'${a} '", "5 "),
        ("$${a}", "${a}"),
        ("a $${b} c ${a}", "a ${b} c 5"),
        ("$$${a}", "$${a}"),
        ("$ {a} $5 a$", "$ {a} $5 a$"),
        ("'{a}$'", "{a}$"),
        ("${t}", "text"),
        ("${c.d}", "deep"),
        ("${chain}", 5),
    ],
)
def test_a_reference_takes_the_value_with_its_type_or_as_text(written, value):
    text = f"a: 5\nb: true\nn: null\nrate: 2e-4\nt: text\nc: {{d: deep}}\nchain: ${{a}}\nhere: {written}\n"
    result, interpolation = filled(text)
    assert result["here"] == value
    assert type(result["here"]) is type(value)
    assert interpolation.problems == []


def test_references_work_in_lists_and_nested_mappings_but_not_in_keys():
    result, _ = filled("a: 5\nb: [x, {c: ['${a}']}]\n'${a}': 1\n")
    assert result == {"a": 5, "b": ["x", {"c": [5]}], "${a}": 1}


@pytest.mark.parametrize(
    ("text", "line", "col", "length"),
    [
        ("a: x ${no} y\n", 1, 6, 5),
        ("a: 'x ${no} y'\n", 1, 7, 5),
        ('a: "\\t\\u00e9 ${no}"\n', 1, 14, 5),
        ("a: |\n  one\n  two ${no}\n", 3, 7, 5),
        ("a: >-\n  one $${x}\n  two ${no}\n", 3, 7, 5),
        ("a: one\n  two ${no}\n", 2, 7, 5),
        ("a: {b: [1, 'x ${no} y']}\n", 1, 15, 5),
        ("é: 'ü ${no}'\n", 1, 7, 5),
        ('a: "\\x24{no} ok"\n', 1, 4, 13),  # hidden by an escape: the whole text is the place
    ],
)
def test_an_unknown_name_is_reported_at_its_own_column(text, line, col, length):
    _, interpolation = filled(text)
    (problem,) = interpolation.problems
    span = problem.span
    assert (problem.code, span.line, span.col, span.length) == ("spec.unknown-name", line, col, length)


def test_each_wrong_reference_of_a_text_is_reported():
    _, interpolation = filled("a: '${x} ${ y } ${a.b} ${'\n")
    codes = [problem.code.removeprefix("spec.") for problem in interpolation.problems]
    assert codes == ["unknown-name", "bad-reference", "unknown-name", "bad-reference"]
    assert [problem.span.col for problem in interpolation.problems] == [5, 10, 17, 24]


def test_doubling_a_text_again_and_again_ends():
    text = "a0: xxxxxxxxxx\n" + "".join(f"a{n + 1}: '${{a{n}}}${{a{n}}}'\n" for n in range(25))
    _, interpolation = filled(text)
    assert {problem.code for problem in interpolation.problems} == {"spec.too-large"}


def test_a_long_chain_of_names_ends():
    _, interpolation = filled("".join(f"a{n}: ${{a{n + 1}}}\n" for n in range(2000)) + "a2000: 1\n")
    assert "spec.too-deep" in {problem.code for problem in interpolation.problems}
