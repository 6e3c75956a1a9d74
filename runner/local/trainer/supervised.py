"""SFT and CPT."""

from __future__ import annotations

from typing import Any

from .arguments import MAX_LENGTH, common_arguments, evaluation_arguments, max_length_of
from .log import log
from .rows import as_dataset
from .steps import set_steps
from .task import Task, batch_size_of, eval_dataset
from .tiny_model import trainable_model

PACKED_LENGTH = 128


def run_sft(task: Task) -> Any:
    """Supervised fine-tuning; continued pre-training is the same trainer on `{"text"}` rows."""
    from trl import SFTConfig, SFTTrainer

    packs = task.recipe.packs
    config = SFTConfig(
        **common_arguments(task, batch_size=batch_size_of(task)),
        **evaluation_arguments(task),
        max_length=max_length_of(task, PACKED_LENGTH if packs else MAX_LENGTH),
        packing=packs,
        # The default strategy warns about padding-free attention and lets packed samples see each other.
        packing_strategy="wrapped",
    )
    trainer = SFTTrainer(
        model=trainable_model(task.recipe, task.base), args=config, processing_class=task.base.tokenizer,
        train_dataset=as_dataset(task.train_rows), eval_dataset=eval_dataset(task), callbacks=[task.callback],
    )  # fmt: skip
    if packs:
        log.info(
            "[%s] Packing enabled: %d rows packed into %d blocks of %d tokens (packing_strategy=wrapped)",
            task.recipe.label, len(task.train_rows), len(trainer.train_dataset), config.max_length,
        )  # fmt: skip
    set_steps(task, trainer)
    log.info("[CPT] Starting training" if task.recipe.method == "cpt" else "[SFT] Starting training loop")
    trainer.train()
    return trainer.model
