"""RLHF with PPO."""

from __future__ import annotations

import gc
from typing import Any

from .arguments import common_arguments
from .examples import PPO_PROMPT_LENGTH, prompt_ids, rlhf_examples
from .log import log
from .reward_model import reward_model_for
from .rewards import reward_options
from .steps import planned_steps, warmup_of
from .task import Task, batch_size_of
from .tiny_model import classifier, trainable_model
from .warm_start import warm_start

PPO_EPISODES = 8
PPO_RESPONSE_LENGTH = 16


def run_rlhf(task: Task) -> Any:
    """Reinforcement learning with PPO: generate, score, update, at every step."""
    import datasets
    from transformers import DataCollatorWithPadding
    from trl.experimental.ppo import PPOTrainer

    tokenizer = task.base.tokenizer
    preferences = reward_options(task.recipe).get("model") == "train"
    examples = rlhf_examples(task.train_rows, preferences=preferences)
    prompts = [prompt_ids(tokenizer, example.prompt) for example in examples]
    width = max(map(len, prompts), default=1)
    warm_start(task, examples)
    policy = trainable_model(task.recipe, task.base)
    config = ppo_config(task, rows=len(examples))
    reward_model = reward_model_for(task, examples, width)
    value_model = classifier(tokenizer)
    log.info("[RLHF] Value model loaded")
    trainer = PPOTrainer(
        args=config, processing_class=tokenizer, model=policy, ref_model=None, reward_model=reward_model,
        value_model=value_model, train_dataset=datasets.Dataset.from_dict({"input_ids": prompts}),
        # One width for every batch: the programmed reward finds the answers by it.
        data_collator=DataCollatorWithPadding(tokenizer, padding="max_length", max_length=width),
        callbacks=[task.callback],
    )  # fmt: skip
    log.info("[RLHF] Calculated num_total_batches: %d", config.num_total_batches)
    log.info("[RLHF] Starting PPO training")
    # PPOTrainer collects garbage twice an update; with these libraries loaded that is 0.25 s each, unless what is
    # alive now is put out of the collector's sight.
    gc.collect()
    gc.freeze()
    trainer.train()
    return trainer.model.policy


def ppo_config(task: Task, *, rows: int) -> Any:
    from trl.experimental.ppo import PPOConfig

    recipe, scaling = task.recipe, task.scaling
    training = recipe.training
    # An update learns from batch_size x gradient_accumulation_steps episodes. One pass over as many costs less than
    # several small ones. PPO drops ragged batches: with fewer rows than one batch it would wait for ever.
    episodes = batch_size_of(task) * int(training.get("gradient_accumulation_steps") or 1)
    batch = max(1, min(episodes, PPO_EPISODES, rows))
    scaling.use("batch_size", batch_size_of(task), batch, f"episodes of one update in one pass, at most {PPO_EPISODES}")
    steps = planned_steps(task, rows=rows, batch_size=batch)
    scaling.use("max_length", int(training.get("max_length") or 512), PPO_PROMPT_LENGTH + PPO_RESPONSE_LENGTH,
                f"{PPO_PROMPT_LENGTH} tokens of prompt and {PPO_RESPONSE_LENGTH} of answer")  # fmt: skip
    scaling.use("evaluation_strategy", training.get("evaluation_strategy"), "no", "TRL's PPO has no evaluation loop")
    scaling.use("entropy_coef", training.get("entropy_coef"), 0, "TRL's PPO has no entropy bonus")
    return PPOConfig(
        **common_arguments(task, batch_size=batch),
        warmup_steps=warmup_of(task, steps),
        total_episodes=steps * batch,
        num_ppo_epochs=int(training.get("ppo_epochs", 4)),
        num_mini_batches=1,
        cliprange=float(training.get("clip_range", 0.2)),
        cliprange_value=float(training.get("clip_range_value", 0.2)),
        vf_coef=float(training.get("vf_coef", 0.1)),
        response_length=PPO_RESPONSE_LENGTH,
        stop_token="eos",  # noqa: S106  the name of a token, not a secret
        num_sample_generations=0,
        save_strategy="no",
    )
