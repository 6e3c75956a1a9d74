"""DPO and ORPO: learning from pairs of a better and a worse answer."""

from __future__ import annotations

from typing import Any

from .arguments import MAX_LENGTH, common_arguments, evaluation_arguments, max_length_of
from .log import log
from .rows import as_dataset
from .steps import set_steps
from .task import Task, batch_size_of, eval_dataset
from .tiny_model import trainable_model


def run_dpo(task: Task) -> Any:
    from trl import DPOConfig, DPOTrainer

    announce_pairs(task)
    config = DPOConfig(
        **common_arguments(task, batch_size=batch_size_of(task)),
        **evaluation_arguments(task),
        max_length=max_length_of(task, MAX_LENGTH),
        beta=float(task.recipe.training.get("beta", 0.1)),
    )
    trainer = DPOTrainer(
        model=trainable_model(task.recipe, task.base), args=config, processing_class=task.base.tokenizer,
        train_dataset=as_dataset(task.train_rows), eval_dataset=eval_dataset(task), callbacks=[task.callback],
    )  # fmt: skip
    set_steps(task, trainer)
    log.info("[DPO] Starting training loop")
    trainer.train()
    return trainer.model


def run_orpo(task: Task) -> Any:
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    announce_pairs(task)
    config = ORPOConfig(
        **common_arguments(task, batch_size=batch_size_of(task)),
        **evaluation_arguments(task),
        max_length=max_length_of(task, MAX_LENGTH),
        beta=float(task.recipe.training.get("beta", 0.1)),
        # ORPO's collator needs every column; leaving the default costs a warning and the same result.
        remove_unused_columns=False,
    )
    trainer = ORPOTrainer(
        model=trainable_model(task.recipe, task.base), args=config, processing_class=task.base.tokenizer,
        train_dataset=as_dataset(task.train_rows), eval_dataset=eval_dataset(task), callbacks=[task.callback],
    )  # fmt: skip
    set_steps(task, trainer)
    log.info("[ORPO] Starting training loop")
    trainer.train()
    return trainer.model


def announce_pairs(task: Task) -> None:
    label = task.recipe.label
    pairs = sum(1 for row in task.train_rows if {"prompt", "chosen", "rejected"} <= row.keys())
    log.info("[%s] Loaded %d real preference pairs", label, pairs)
    log.info("[%s] Train preference dataset size: %d", label, len(task.train_rows))
