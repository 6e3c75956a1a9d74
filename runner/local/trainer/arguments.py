"""Arguments of TRL's configurations: the template's values, scaled where a CPU needs it."""

from __future__ import annotations

from typing import Any

from .metrics import LOGGING_STEPS
from .recipe import LEARNING_RATES, Recipe
from .scaling import Scaling
from .task import Task, evaluates

MAX_LENGTH = 256


def scaled_learning_rate(recipe: Recipe, scaling: Scaling) -> float:
    template = float(recipe.training.get("learning_rate", 2e-4))
    # A rate above ours is an author's own wish, such as a test of what too high a rate does.
    used = max(template, LEARNING_RATES[recipe.method])
    reason = "a tiny random model hardly moves at the template's rate"
    return float(scaling.use("learning_rate", template, used, reason))


def optimizer_arguments(recipe: Recipe, scaling: Scaling, *, four_bit: bool) -> dict[str, Any]:
    training = recipe.training
    optim = str(training.get("optim", "adamw_torch"))
    if not four_bit and optim != "adamw_torch":
        optim = scaling.use("optim", optim, "adamw_torch", "paged and 8-bit optimizers need bitsandbytes")
    return {
        "learning_rate": scaled_learning_rate(recipe, scaling),
        "optim": optim,
        "lr_scheduler_type": training.get("lr_scheduler_type", "linear"),
        "weight_decay": float(training.get("weight_decay", 0.0)),
        "max_grad_norm": float(training.get("max_grad_norm", 1.0)),
        "adam_beta1": float(training.get("adam_beta1", 0.9)),
        "adam_beta2": float(training.get("adam_beta2", 0.999)),
        "adam_epsilon": float(training.get("adam_epsilon", 1e-8)),
    }


def device_arguments(recipe: Recipe, scaling: Scaling) -> dict[str, Any]:
    """What a GPU template asks of its device and a CPU has not."""
    training = recipe.training
    for name in ("bf16", "fp16"):
        scaling.use(name, training.get(name), False, "one CPU thread trains in float32")
    scaling.use("gradient_checkpointing", training.get("gradient_checkpointing"), False, "memory is no limit here")
    scaling.use("dataloader_num_workers", training.get("dataloader_num_workers"), 0, "rows are in memory")
    scaling.use("dataloader_pin_memory", training.get("dataloader_pin_memory"), False, "there is no GPU")
    # trl 1.12 with transformers 5 has no such argument; passing it is a TypeError.
    scaling.use("group_by_length", training.get("group_by_length"), False, "removed from transformers 5")
    return {
        "bf16": False, "fp16": False, "use_cpu": True, "gradient_checkpointing": False,
        "dataloader_num_workers": 0, "dataloader_pin_memory": False,
    }  # fmt: skip


def common_arguments(task: Task, *, batch_size: int) -> dict[str, Any]:
    """Arguments that every TRL configuration takes. Steps are set later, when the rows are packed and counted."""
    recipe, scaling = task.recipe, task.scaling
    logging_steps = int(recipe.training.get("logging_steps", 10))
    dense = scaling.use("logging_steps", logging_steps, min(logging_steps, LOGGING_STEPS), "denser curves")
    scaling.use(
        "gradient_accumulation_steps", recipe.training.get("gradient_accumulation_steps"), 1,
        "one batch a step keeps the steps of a small dataset many and short",
    )  # fmt: skip
    return {
        "output_dir": str(recipe.output_dir),
        "per_device_train_batch_size": batch_size,
        "gradient_accumulation_steps": 1,
        "logging_steps": dense,
        "logging_first_step": True,
        "seed": recipe.seed,
        "report_to": "none",
        "disable_tqdm": True,
        **optimizer_arguments(recipe, scaling, four_bit=task.base.four_bit),
        **device_arguments(recipe, scaling),
    }


def evaluation_arguments(task: Task) -> dict[str, Any]:
    """Evaluation and checkpoints in the same rhythm, so that a best evaluation has its checkpoint."""
    if not evaluates(task):
        return {"eval_strategy": "no", "save_strategy": "no"}
    training = task.recipe.training
    return {
        "eval_strategy": "steps",
        "per_device_eval_batch_size": int(training.get("eval_batch_size") or training.get("batch_size") or 4),
        "save_strategy": "steps",
        "save_total_limit": training.get("save_total_limit"),
    }


def max_length_of(task: Task, limit: int) -> int:
    template = int(task.recipe.training.get("max_length") or 512)
    return int(task.scaling.use("max_length", template, min(template, limit), "short sequences keep a CPU step fast"))


def side_arguments(task: Task, *, steps: int) -> dict[str, Any]:
    """Arguments of the short trainings before PPO: the warm start and the reward model."""
    return {
        "output_dir": str(task.recipe.output_dir), "max_steps": steps, "learning_rate": 3e-3,
        "per_device_train_batch_size": 8, "max_length": MAX_LENGTH, "seed": task.recipe.seed, "bf16": False,
        "fp16": False, "use_cpu": True, "gradient_checkpointing": False, "dataloader_pin_memory": False,
        "report_to": "none", "disable_tqdm": True, "save_strategy": "no", "logging_steps": LOGGING_STEPS,
    }  # fmt: skip
