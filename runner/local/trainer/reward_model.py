"""What PPOTrainer asks for its scores: a trained reward model, or a function in the shape of one."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from .arguments import side_arguments
from .examples import Example, preference_pairs
from .log import log
from .metrics import first_and_last
from .rewards import REWARDS, Reward, reward_options
from .rows import as_dataset
from .task import Task
from .tiny_model import classifier

REWARD_MODEL_STEPS = 60


def reward_model_for(task: Task, examples: Sequence[Example], prompt_width: int) -> Any:
    options = reward_options(task.recipe)
    if options.get("model") == "train":
        model = trained_reward_model(task, examples)
    else:
        name = str(options.get("function", "lexical"))
        if name not in REWARDS:
            raise ValueError(f"Unknown reward function: {name!r}. Known: {', '.join(REWARDS)}")
        log.info("[RLHF] Reward function: %s", name)
        model = programmed_reward_model(REWARDS[name](examples, task.base.tokenizer, options), prompt_width)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    log.info("[RLHF] Reward model loaded and frozen")
    return model


def programmed_reward_model(reward: Reward, prompt_width: int) -> Any:
    """A function in the shape that PPOTrainer asks of a reward model.

    The trainer calls the submodule named by `base_model_prefix` on prompt and answer together, gives its last hidden
    state to `score`, and takes the value at the answer's last token. So the "hidden state" is the reward itself.
    """
    import torch

    def forward(_self: Any, *, input_ids: Any, attention_mask: Any, **_kwargs: Any) -> Any:
        scores = torch.tensor(
            [
                # Prompts are padded to one width on the left; an answer ends where its padding begins.
                reward(
                    ids[:prompt_width][mask[:prompt_width]].tolist(),
                    ids[prompt_width:][mask[prompt_width:].cumprod(0).bool()].tolist(),
                )
                for ids, mask in zip(input_ids, attention_mask.bool(), strict=True)
            ]
        )
        hidden = scores.view(-1, 1, 1).expand(-1, input_ids.shape[1], 1)
        return SimpleNamespace(hidden_states=[hidden])

    backbone = type("ProgrammedBackbone", (torch.nn.Module,), {"forward": forward})()
    head = {"base_model_prefix": "bb", "score": lambda _self, hidden: hidden}
    model: Any = type("ProgrammedReward", (torch.nn.Module,), head)()
    model.bb = backbone
    # A module without any parameter has no device, and the trainer asks for one.
    model.placeholder = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
    return model


def trained_reward_model(task: Task, examples: Sequence[Example]) -> Any:
    """A reward model trained on preference pairs with TRL's RewardTrainer, then frozen."""
    from trl import RewardConfig, RewardTrainer

    pairs, source = preference_pairs(task.train_rows, examples)
    log.info("[RLHF] Training reward model on %d preference pairs (%s)", len(pairs), source)
    tokenizer = task.base.tokenizer
    chats = [
        {
            "prompt": [{"role": "user", "content": pair["prompt"]}],
            "chosen": [{"role": "assistant", "content": pair["chosen"]}],
            "rejected": [{"role": "assistant", "content": pair["rejected"]}],
        }
        for pair in pairs
    ]
    config = RewardConfig(**side_arguments(task, steps=REWARD_MODEL_STEPS))
    trainer = RewardTrainer(
        model=classifier(tokenizer), args=config, processing_class=tokenizer, train_dataset=as_dataset(chats)
    )
    trainer.train()
    log.info("[RLHF] Reward model trained: accuracy %s -> %s", *first_and_last(trainer.state.log_history, "accuracy"))
    return trainer.model
