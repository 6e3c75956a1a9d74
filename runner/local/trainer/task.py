"""Everything that a method needs to train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .callback import MetricsCallback
from .recipe import Recipe
from .rows import Row, as_dataset
from .scaling import Scaling
from .tiny_model import Base

EVAL_ROWS = 40


@dataclass(frozen=True)
class Task:
    """Everything a method needs to train."""

    recipe: Recipe
    scaling: Scaling
    base: Base
    callback: MetricsCallback
    train_rows: Sequence[Row]
    eval_rows: Sequence[Row]


def evaluates(task: Task) -> bool:
    return bool(task.eval_rows) and str(task.recipe.training.get("evaluation_strategy", "no")) != "no"


def eval_dataset(task: Task) -> Any | None:
    if not evaluates(task):
        return None
    rows = task.eval_rows[:EVAL_ROWS]
    task.scaling.use("eval_rows", len(task.eval_rows), len(rows), "evaluations stay cheap")
    return as_dataset(rows)


def batch_size_of(task: Task) -> int:
    return int(task.recipe.training.get("batch_size", 4))
