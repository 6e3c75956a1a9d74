"""`expr:` conditions on evidence: `simpleeval` behind the whitelist of `language`, three-valued.

A metric without a value, or evidence that could not be had, makes the result unknown, unless `and` or `or` is decided
by its other side.
"""

from __future__ import annotations

import ast
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

from simpleeval import InvalidExpression, SimpleEval

from runner.conditions.evidence import STEP
from runner.conditions.scope import Scope, cut
from runner.conditions.sightings import alerts_in_view, issues_in_view, lines_in_view
from runner.conditions.words import in_words, number
from runner.results import Finding
from runner.spec.conditions import Expression
from runner.spec.expressions import (
    FUNCTIONS,
    NODES,
    OPERATORS,
    MistakeError,
    as_number,
    as_truth,
    check_expression,
    parse_expression,
)

__all__ = ["check_expression", "find_expression"]

_MAX_SHOWN = 12

Value = float | str | bool | tuple[float, ...]


class _UnknownError(Exception):
    """The evidence to work this out is not there; the text says which."""


class _Evaluator(SimpleEval):  # type: ignore[misc] # simpleeval comes without types
    """Kleene's `and` and `or`, series by name, and nothing else than the whitelist."""

    nodes: dict[type[ast.AST], Callable[..., Any]]

    def __init__(self, scope: Scope) -> None:
        super().__init__(operators=OPERATORS, functions=_functions(scope), names=lambda node: _named(scope, node))
        self.nodes = {kind: visit for kind, visit in self.nodes.items() if issubclass(kind, NODES)}
        self.nodes[ast.BoolOp] = self._kleene
        self.nodes[ast.IfExp] = self._choice

    def _kleene(self, node: ast.BoolOp) -> bool:
        decisive = isinstance(node.op, ast.Or)
        unknown: _UnknownError | None = None
        for value in node.values:
            try:
                if as_truth(self._eval(value)) is decisive:
                    return decisive
            except _UnknownError as exc:
                unknown = unknown or exc
        if unknown is not None:
            raise unknown
        return not decisive

    def _choice(self, node: ast.IfExp) -> Any:
        return self._eval(node.body if as_truth(self._eval(node.test)) else node.orelse)

    def _eval_subscript(self, node: ast.Subscript) -> Any:
        series, key = self._eval(node.value), self._eval(node.slice)
        if not isinstance(series, tuple):
            raise MistakeError("only metrics have parts")
        try:
            part = series[_whole(key)]
        except (IndexError, ValueError) as exc:
            raise _UnknownError(f"`{cut(ast.unparse(node), 60)}` is not there") from exc
        if part == ():
            raise _UnknownError(f"`{cut(ast.unparse(node), 60)}` is empty")
        return part


def _whole(key: Any) -> Any:
    """Slices and indices are whole numbers; the language has floats only."""
    if isinstance(key, slice):
        return slice(*(None if part is None else int(as_number(part)) for part in (key.start, key.stop, key.step)))
    return int(as_number(key))


def _named(scope: Scope, node: ast.Name) -> Value:
    if node.id == STEP:
        return _steps(scope)
    points = scope.evidence.metric(node.id).points(scope.until)
    if not points:
        raise _UnknownError(scope.gap("metrics") or f"no value of `{cut(node.id, 60)}` was seen")
    if scope.gap("metrics"):
        raise _UnknownError(scope.gap("metrics"))
    return points


def _steps(scope: Scope) -> float:
    steps = scope.evidence.step_series.steps(scope.until)
    reason = scope.gap("metrics")
    if not steps or reason:
        raise _UnknownError(reason or "no optimizer step was seen")
    return float(steps[-1])


def _functions(scope: Scope) -> dict[str, Callable[..., float]]:
    def complete(source: str) -> None:
        reason = scope.gap(source) or scope.nothing_seen(source)
        if reason is not None:
            raise _UnknownError(reason)

    def log_count(pattern: str) -> float:
        complete("logs")
        costly = scope.evidence.log.too_costly(pattern)
        if costly is not None:
            raise _UnknownError(costly)
        return float(len(lines_in_view(scope, pattern)))

    def alert_count(kind: str) -> float:
        complete("alerts")
        if kind == "job_started":
            complete("start-alert")
        return float(len(alerts_in_view(scope, kind)))

    def issue_count(kind: str) -> float:
        complete("issues")
        return float(len(issues_in_view(scope, kind)))

    def cost() -> float:
        evidence = scope.evidence
        if not evidence.all_pods or any(pod.cost_usd(evidence.now) is None for pod in evidence.all_pods):
            raise _UnknownError("nobody said what the pod costs")
        return evidence.cost_usd

    return {
        **FUNCTIONS,
        "steps": lambda: _steps(scope),
        "cost": cost,
        "log_count": log_count,
        "alert_count": alert_count,
        "issue_count": issue_count,
    }


class _Result(NamedTuple):
    truth: bool | None
    reason: str


def find_expression(condition: Expression, scope: Scope) -> Finding:
    """What the expression comes to, with the values of its parts; decided when nothing more will be observed."""
    expected = in_words(condition)
    tree = parse_expression(condition.expr)
    if isinstance(tree, str) or (problems := check_expression(condition.expr)):
        return scope.unknown(expected, tree if isinstance(tree, str) else "; ".join(problems))
    evaluator = _Evaluator(scope)
    result = _evaluate(evaluator, tree)
    values = _values(evaluator, tree)
    observed = "; ".join(values) or ("true" if result.truth else "false")
    if result.truth is None:
        return scope.unknown(expected, "; ".join([cut(result.reason), *values]))
    return Finding(truth=result.truth, decided=scope.evidence.closed, expected=expected, observed=observed)


def _evaluate(evaluator: _Evaluator, tree: ast.Expression) -> _Result:
    try:
        value = evaluator.eval("", previously_parsed=tree.body)
    except _UnknownError as exc:
        return _Result(None, str(exc))
    except (
        MistakeError,
        InvalidExpression,
        ArithmeticError,
        ValueError,
        TypeError,
        statistics.StatisticsError,
    ) as exc:
        return _Result(None, f"cannot be worked out: {exc}")
    if not isinstance(value, bool):
        return _Result(None, "the result is neither true nor false")
    return _Result(value, "")


def _values(evaluator: _Evaluator, tree: ast.Expression) -> list[str]:
    """`last(train_loss) = 1.46` for every call, part and bare metric, outermost first."""
    shown: dict[str, str] = {}
    for node in _telling(tree.body):
        text = cut(ast.unparse(node), 80)
        if text not in shown and len(shown) < _MAX_SHOWN:
            shown[text] = f"{text} = {_shown(evaluator, node)}"
    return list(shown.values())


def _telling(node: ast.AST) -> list[ast.AST]:
    if isinstance(node, ast.Call | ast.Subscript | ast.Name):
        return [node]
    return [found for child in ast.iter_child_nodes(node) for found in _telling(child)]


def _shown(evaluator: _Evaluator, node: ast.AST) -> str:
    try:
        value = evaluator._eval(node)
    except (_UnknownError, MistakeError, InvalidExpression, ArithmeticError, ValueError, TypeError):
        return "unknown"
    return f"{len(value):,} values" if isinstance(value, tuple) else number(value)
