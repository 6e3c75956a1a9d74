"""How many optimizer steps a run has, and what follows from that."""

from __future__ import annotations

import math
import os
import sys
from typing import Any

from .task import Task, batch_size_of, evaluates

EVALS_PER_RUN = 4
DEFAULT_MIN_STEPS = 200
WARMUP_SHARE = 20


def step_limit(name: str, default: int) -> int:
    return int(os.environ.get(name) or default)


def planned_steps(task: Task, *, rows: int, batch_size: int) -> int:
    """Optimizer steps of the whole run: the template's epochs, but enough steps to be watched."""
    per_epoch = max(1, math.ceil(rows / batch_size))
    epochs = float(task.recipe.training.get("num_epochs", 1))
    template = math.ceil(per_epoch * epochs)
    least = step_limit("RUNSPEC_TRAINER_MIN_STEPS", DEFAULT_MIN_STEPS)
    most = step_limit("RUNSPEC_TRAINER_MAX_STEPS", sys.maxsize)
    steps = min(max(template, least), most)
    if steps != template:
        why = f"at least {least} optimizer steps" if steps > template else f"at most {most} optimizer steps"
        task.scaling.use("num_epochs", recipe_number(epochs), recipe_number(round(steps / per_epoch, 2)), why)
        task.scaling.use("total_steps", template, steps, why)
    return steps


def recipe_number(value: float) -> float | int:
    return int(value) if value == int(value) else value


def warmup_of(task: Task, steps: int) -> int:
    training = task.recipe.training
    template = int(training.get("warmup_steps") or math.ceil(float(training.get("warmup_ratio") or 0) * steps))
    used = min(template, steps // WARMUP_SHARE)
    return int(task.scaling.use("warmup_steps", template, used, f"the run is {steps} steps long"))


def set_steps(task: Task, trainer: Any) -> None:
    """Fix the number of steps of a built trainer: only now are its rows tokenized, packed and counted."""
    steps = planned_steps(task, rows=len(trainer.train_dataset), batch_size=batch_size_of(task))
    trainer.args.max_steps = steps
    trainer.args.warmup_steps = warmup_of(task, steps)
    if evaluates(task):
        every = max(1, steps // EVALS_PER_RUN)
        for name in ("eval_steps", "save_steps"):
            template = int(task.recipe.training.get(name) or 500)
            setattr(trainer.args, name, task.scaling.use(name, template, min(template, every), "a short run"))
