"""A short supervised stage before PPO."""

from __future__ import annotations

from collections.abc import Sequence

from .arguments import side_arguments
from .examples import Example
from .log import log
from .metrics import first_and_last
from .rows import as_dataset
from .task import Task
from .tiny_model import load_float_base

WARM_START_STEPS = 40


def warm_start(task: Task, examples: Sequence[Example]) -> None:
    """Teach the base to answer at all: PPO improves a policy that speaks, and learns nothing from a random one.

    The rated answers, good and bad, are what a supervised stage before RLHF would have seen. The result is the base
    that is saved, and the reference that PPO's KL is measured against.
    """
    from trl import SFTConfig, SFTTrainer

    answered = [example for example in examples if example.response]
    if not answered:
        return
    log.info("[Local] Warm start: %d supervised steps on %d rated answers", WARM_START_STEPS, len(answered))
    rows = [
        {
            "prompt": [{"role": "user", "content": example.prompt}],
            "completion": [{"role": "assistant", "content": example.response}],
        }
        for example in answered
    ]
    config = SFTConfig(**side_arguments(task, steps=WARM_START_STEPS))
    trainer = SFTTrainer(
        model=load_float_base(task.base), args=config, processing_class=task.base.tokenizer,
        train_dataset=as_dataset(rows),
    )  # fmt: skip
    trainer.train()
    log.info("[Local] Warm start done: loss %s -> %s", *first_and_last(trainer.state.log_history, "loss"))
    trainer.model.save_pretrained(task.base.path)
