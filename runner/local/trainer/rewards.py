"""Reward functions that PPO can learn from."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .examples import Example, prompt_ids
from .recipe import Recipe

# Prompt ids and response ids -> score. Ids, because the answers of an untrained model are seldom whole characters.
Reward = Callable[[Sequence[int], Sequence[int]], float]


def overlap(answer: Sequence[int], reference: Counter[int]) -> float:
    """F1 of two bags of tokens."""
    common = sum((Counter(answer) & reference).values())
    return 2 * common / (len(answer) + reference.total()) if common else 0.0


def lexical_reward(examples: Sequence[Example], tokenizer: Any, _options: Mapping[str, Any]) -> Reward:
    """How much an answer shares with a rated answer of its prompt, times that one's reward; the best of them."""
    rated: dict[tuple[int, ...], list[tuple[Counter[int], float]]] = defaultdict(list)
    for example in examples:
        reference = Counter(tokenizer(example.response)["input_ids"])
        rated[tuple(prompt_ids(tokenizer, example.prompt))].append((reference, example.reward))

    def score(prompt: Sequence[int], answer: Sequence[int]) -> float:
        return max((reward * overlap(answer, reference) for reference, reward in rated[tuple(prompt)]), default=0.0)

    return score


def length_reward(_examples: Sequence[Example], tokenizer: Any, options: Mapping[str, Any]) -> Reward:
    """1 for an answer of `target` characters, less the further it is away."""
    target = float(options.get("target", 40))

    def score(_prompt: Sequence[int], answer: Sequence[int]) -> float:
        text = tokenizer.decode(answer, skip_special_tokens=True)
        return 1.0 - abs(len(text) - target) / target

    return score


def keyword_reward(examples: Sequence[Example], tokenizer: Any, options: Mapping[str, Any]) -> Reward:
    """How much of each of `keywords` an answer holds: its longest prefix counts, or an untrained model never scores."""
    words = Counter(word for example in examples for word in example.response.lower().split() if len(word) > 2)
    keywords = [str(word).lower() for word in options.get("keywords") or [word for word, _ in words.most_common(5)]]

    def score(_prompt: Sequence[int], answer: Sequence[int]) -> float:
        text = tokenizer.decode(answer, skip_special_tokens=True).lower()
        return sum(found_share(keyword, text) for keyword in keywords) / max(1, len(keywords))

    return score


def found_share(keyword: str, text: str) -> float:
    return next((size / len(keyword) for size in range(len(keyword), 0, -1) if keyword[:size] in text), 0.0)


REWARDS: Mapping[str, Callable[[Sequence[Example], Any, Mapping[str, Any]], Reward]] = {
    "lexical": lexical_reward,
    "length": length_reward,
    "keyword": keyword_reward,
}


def reward_options(recipe: Recipe) -> dict[str, Any]:
    """`training.reward`: `{function: NAME, ...}` or `{model: train}`; RUNSPEC_TRAINER_REWARD where it is missing.

    The lab's whitelist drops `training.reward`; a variable of the pod passes it.
    """
    reward = recipe.training.get("reward")
    if reward is None:
        name = os.environ.get("RUNSPEC_TRAINER_REWARD") or "lexical"
        reward = {"model": "train"} if name == "model" else {"function": name}
    return {"function": reward} if isinstance(reward, str) else dict(reward)
