"""The language of `expr:` conditions: what may be written, and what its functions and operators do.

Only what is listed here can be written: numbers, comparisons, arithmetic, `and or not`, `a if b else c`, metrics by
their names, slices of them, and the functions of `FUNCTIONS`. No attributes, no comprehensions, no assignments.
Arithmetic is on floats, so no number and no text can grow; a metric without a value makes the result unknown.
"""

from __future__ import annotations

import ast
import operator
import re
import statistics
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from runner.spec.patterns import line_pattern

MAXNODES = 200
MAX_DEPTH = 25
MAX_TEXT = 2_000

NODES = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd, ast.BinOp, ast.Add,
    ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE,
    ast.Gt, ast.GtE, ast.IfExp, ast.Call, ast.Name, ast.Load, ast.Constant, ast.Subscript, ast.Slice,
)  # fmt: skip


class MistakeError(Exception):
    """The expression asks for something that has no answer, such as a division by zero."""


# --- functions and operators ------------------------------------------------------------------------------------


def _numbers(values: Sequence[Any]) -> tuple[float, ...]:
    """The numbers of `f(series)` or `f(a, b)`."""
    if len(values) == 1 and isinstance(values[0], tuple):
        return values[0]
    return tuple(as_number(value) for value in values)


def as_number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        kind = {tuple: "a whole metric", str: "a text", bool: "a truth value"}.get(type(value), "that")
        raise MistakeError(f"{kind} is not a number")
    return float(value)


def _of_some(function: Callable[[tuple[float, ...]], float]) -> Callable[..., float]:
    def of(*values: Any) -> float:
        return float(function(_numbers(values)))

    return of


def _rounded(value: Any, digits: Any = 0.0) -> float:
    return round(as_number(value), int(max(-20.0, min(20.0, as_number(digits)))))


FUNCTIONS: Mapping[str, Callable[..., float]] = {
    "last": _of_some(lambda values: values[-1]),
    "first": _of_some(lambda values: values[0]),
    "median": _of_some(statistics.median),
    "mean": _of_some(statistics.fmean),
    "min": _of_some(min),
    "max": _of_some(max),
    "sum": _of_some(sum),
    "count": _of_some(len),
    "len": _of_some(len),
    "abs": lambda value: abs(as_number(value)),
    "round": _rounded,
}
"""Functions of numbers. Beside them: `steps()`, `cost()`, `log_count(pattern)`, `alert_count(type)`,
`issue_count(kind)`."""

OF_EVIDENCE = {"steps": 0, "cost": 0, "log_count": 1, "alert_count": 1, "issue_count": 1}
"""Number of arguments of the functions that look at the evidence."""


def _arithmetic(function: Callable[[float, float], float]) -> Callable[[Any, Any], float]:
    def of(left: Any, right: Any) -> float:
        result = function(as_number(left), as_number(right))
        if isinstance(result, complex):
            raise MistakeError("the root of a negative number")
        return result

    return of


def _comparison(function: Callable[[float, float], bool]) -> Callable[[Any, Any], bool]:
    return lambda left, right: function(as_number(left), as_number(right))


def _not(value: Any) -> bool:
    return not as_truth(value)


def as_truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise MistakeError("`and`, `or` and `not` join comparisons, not numbers")
    return value


OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: _arithmetic(operator.add),
    ast.Sub: _arithmetic(operator.sub),
    ast.Mult: _arithmetic(operator.mul),
    ast.Div: _arithmetic(operator.truediv),
    ast.FloorDiv: _arithmetic(operator.floordiv),
    ast.Mod: _arithmetic(operator.mod),
    ast.Pow: _arithmetic(operator.pow),
    ast.USub: lambda value: -as_number(value),
    ast.UAdd: lambda value: +as_number(value),
    ast.Not: _not,
    ast.Eq: _comparison(operator.eq),
    ast.NotEq: _comparison(operator.ne),
    ast.Lt: _comparison(operator.lt),
    ast.LtE: _comparison(operator.le),
    ast.Gt: _comparison(operator.gt),
    ast.GtE: _comparison(operator.ge),
}


# --- checking ---------------------------------------------------------------------------------------------------


def check_expression(text: str) -> list[str]:
    """Everything that is wrong with an expression, each as a sentence; empty when it can be evaluated."""
    tree = parse_expression(text)
    return [tree] if isinstance(tree, str) else _problems(tree)


@lru_cache(maxsize=1_024)
def parse_expression(text: str) -> ast.Expression | str:
    """The tree, or why there is none."""
    if len(text) > MAX_TEXT:
        return f"an expression has at most {MAX_TEXT:,} characters"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as invalid escapes in a pattern
            tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as exc:
        return f"not an expression: {exc.msg}"
    except (ValueError, MemoryError, RecursionError):
        return "not an expression"
    if sum(1 for _ in ast.walk(tree)) > MAXNODES or _is_deeper(tree, MAX_DEPTH):
        return "this expression has too many parts"
    return tree


def _is_deeper(tree: ast.AST, limit: int) -> bool:
    level: list[ast.AST] = [tree]
    for _ in range(limit):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return False
    return True


def _problems(tree: ast.Expression) -> list[str]:
    found = [problem for node in ast.walk(tree) for problem in _problems_of(node)]
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = (node for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called)
    found += [f"`{name.id}` is a function: write `{name.id}(…)`" for name in names if _is_function(name.id)]
    if not found and not isinstance(tree.body, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.IfExp | ast.Constant):
        found.append("an expression must be true or false: compare something")
    elif not found and not _looks_at_evidence(tree):
        found.append("an expression must look at evidence: name a metric, or call a function such as `steps()`")
    return list(dict.fromkeys(found))


def _looks_at_evidence(tree: ast.Expression) -> bool:
    """Whether it can come out in more than one way: what is true by itself would be green without evidence."""
    return any(isinstance(node, ast.Name) and node.id not in FUNCTIONS for node in ast.walk(tree))


def _is_function(name: str) -> bool:
    return name in FUNCTIONS or name in OF_EVIDENCE


def _problems_of(node: ast.AST) -> list[str]:
    match node:
        case ast.Call():
            return _call_problems(node)
        case ast.Constant(value=bool() | int() | float() | str() as value):
            return _constant_problems(value)
        case ast.Constant():
            return [f"`{_cut(ast.unparse(node), 40)}` has no meaning here"]
        case ast.Name(id=name) if name.startswith("_"):
            return [f"`{_cut(name, 40)}` is not the name of a metric"]
        case _ if not isinstance(node, NODES):
            return [f"`{type(node).__name__}` is not allowed in an expression"]
        case _:
            return []


def _constant_problems(value: bool | float | str) -> list[str]:
    if isinstance(value, str) and len(value) > 1_000:
        return ["a text has at most 1,000 characters"]
    if isinstance(value, int) and abs(value) > 10**300:
        return ["this number is too large"]
    return []


def _call_problems(node: ast.Call) -> list[str]:
    if not isinstance(node.func, ast.Name) or not _is_function(node.func.id):
        known = ", ".join(f"`{name}`" for name in sorted({*FUNCTIONS, *OF_EVIDENCE}))
        return [f"`{_cut(ast.unparse(node.func), 40)}` is not a function; there are {known}"]
    name = node.func.id
    if node.keywords:
        return [f"`{name}` takes no named arguments"]
    wanted = OF_EVIDENCE.get(name)
    if wanted is None:
        return [] if node.args else [f"`{name}` needs an argument"]
    if len(node.args) != wanted:
        return [f"`{name}` takes {wanted} argument{'s' if wanted != 1 else ''}"]
    return _pattern_problems(name, node.args)


def _pattern_problems(name: str, arguments: Sequence[ast.expr]) -> list[str]:
    for argument in arguments:
        if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
            return [f"`{name}` takes a text in quotes"]
        if name == "log_count":
            try:
                line_pattern(argument.value)
            except (re.error, OverflowError, RecursionError) as exc:
                return [f"not a regular expression: {exc}"]
    return []


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
