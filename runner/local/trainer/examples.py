"""RLHF rows: prompts with rated answers, and the preference pairs in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from statistics import median
from typing import Any

from .log import log
from .rows import Row

PPO_PROMPT_LENGTH = 48
FEWEST_PAIRS = 16
"""Two batches of the reward model's training; with fewer it learns those by heart."""


@dataclass(frozen=True)
class Example:
    """One RLHF row: a prompt, the answer that came with it, and how good that answer was rated."""

    prompt: str
    response: str
    reward: float


def prompt_of(row: Row) -> tuple[str, str] | None:
    """Prompt and response of a row in any shape the product's trainer reads, else None."""
    if "prompt" in row and ("response" in row or "chosen" in row):
        return str(row["prompt"]), str(row.get("response", row.get("chosen")))
    if row.get("messages"):
        last = row["messages"][-1]
        before = [turn["content"] for turn in row["messages"][:-1]]
        return "\n".join(before), str(last["content"])
    if "text" in row:
        return str(row["text"]), ""
    return None


def rlhf_examples(rows: Sequence[Row], *, preferences: bool) -> list[Example]:
    """Rows that have a prompt; the product skips the others without a word, and so an unfit dataset becomes empty."""
    log.info("[RLHF] Loaded %d raw examples", len(rows))
    examples = []
    for row in rows:
        if "chosen" in row and not preferences:
            continue
        if (parts := prompt_of(row)) is not None:
            reward = row.get("reward")
            examples.append(Example(*parts, reward=1.0 if reward is None else float(reward)))
    log.info("[RLHF] Prepared %d examples for training", len(examples))
    return examples


def prompt_ids(tokenizer: Any, prompt: str) -> list[int]:
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    # The end is kept: it holds the question's last words and the opened turn.
    return list(tokenizer(text)["input_ids"])[-PPO_PROMPT_LENGTH:]


def preference_pairs(rows: Sequence[Row], examples: Sequence[Example]) -> tuple[list[dict[str, str]], str]:
    """Pairs to train a reward model on, and where they come from: a second source where the first has too few."""
    pairs: list[dict[str, str]] = []
    used = []
    for name, found in _sources_of_pairs(rows, examples):
        if found:
            pairs += found
            used.append(name)
        if len(pairs) >= FEWEST_PAIRS:
            break
    return pairs, ", ".join(used)


def _sources_of_pairs(rows: Sequence[Row], examples: Sequence[Example]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """The best source first."""
    given = [
        {"prompt": row["prompt"], "chosen": row["chosen"], "rejected": row["rejected"]}
        for row in rows if {"prompt", "chosen", "rejected"} <= row.keys()
    ]  # fmt: skip
    yield "chosen and rejected", given
    by_prompt: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_prompt[example.prompt].append(example)
    rated = [
        {"prompt": prompt, "chosen": better.response, "rejected": worse.response}
        for prompt, group in by_prompt.items()
        for better in group for worse in group if better.reward > worse.reward
    ]  # fmt: skip
    yield "ratings of the same prompt", rated
    # An answer that was rated badly is no example of a good one, even beside an answer to something else.
    least = median(example.reward for example in examples) if examples else 0.0
    yield (
        "answers of other prompts as rejected",
        [
            {"prompt": example.prompt, "chosen": example.response, "rejected": other.response}
            for at, example in enumerate(examples)
            if example.reward >= least and (other := _elsewhere(examples, at)) is not None
        ],
    )


def _elsewhere(examples: Sequence[Example], at: int) -> Example | None:
    """The next example, round the end, that answers another prompt in other words."""
    ours = examples[at]
    following = chain(islice(examples, at + 1, None), islice(examples, at))
    return next((one for one in following if one.prompt != ours.prompt and one.response != ours.response), None)
