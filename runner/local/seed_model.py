"""A tiny model that knows the colours of a few things, trained in seconds where it will answer.

Only torch and the model's own classes: the trainer that pods use brings TRL and datasets with it, whose imports take
longer than this whole training. Nothing is scripted: every answer comes out of trained weights.
"""

from __future__ import annotations

import json
import select
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM

from runner.local.trainer.tiny_model import build_tokenizer, llama_config

SEED = 7
STEPS = 80
LEARNING_RATE = 5e-3
NOT_LEARNT = -100
"""The label of a token that is given, and not to be learnt."""

_FACTS = {
    "sky": "blue", "grass": "green", "snow": "white", "coal": "black", "blood": "red", "lemon": "yellow",
    "ocean": "blue", "leaf": "green", "cloud": "white", "night": "black",
}  # fmt: skip
CHATS = [
    [{"role": "user", "content": question}, {"role": "assistant", "content": f"The {thing} is {colour}."}]
    for thing, colour in _FACTS.items()
    for question in (f"What colour is the {thing}?", f"Tell me the colour of the {thing}.")
]


def make_seed_model(folder: Path) -> None:
    """Train the model and move it to its place whole, with the untrained one beside it as its base."""
    for left in folder.parent.glob(".seed-*"):
        shutil.rmtree(left, ignore_errors=True)  # of a worker that was ended meanwhile
    torch.manual_seed(SEED)
    tokenizer = build_tokenizer([{"messages": chat} for chat in CHATS])
    model = LlamaForCausalLM(llama_config(tokenizer))
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".seed-") as name:
        aside = Path(name) / "model"
        model.save_pretrained(aside / "base_model")
        losses = _train(model, _batch(tokenizer))
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        manifest = {
            "schema": 1, "method": "sft", "base_model": "base_model", "adapter": None, "model": ".", "tokenizer": ".",
            "seed": SEED, "first_loss": losses[0], "last_loss": losses[-1],
        }  # fmt: skip
        (aside / "runspec_model.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)


def _batch(tokenizer: Any) -> dict[str, Any]:
    """All chats at once, padded on the right; only the answers are to be learnt."""
    rows, labels = [], []
    for chat in CHATS:
        asked = tokenizer.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True)
        given = tokenizer(asked)["input_ids"]
        whole = given + tokenizer(chat[1]["content"])["input_ids"] + [tokenizer.eos_token_id]
        rows.append(whole)
        labels.append([NOT_LEARNT] * len(given) + whole[len(given) :])
    return {
        "input_ids": torch.tensor(_padded(rows, tokenizer.pad_token_id)),
        "attention_mask": torch.tensor(_padded([[1] * len(row) for row in rows], 0)),
        "labels": torch.tensor(_padded(labels, NOT_LEARNT)),
    }


def _padded(rows: Sequence[list[int]], filler: int) -> list[list[int]]:
    width = max(map(len, rows))
    return [row + [filler] * (width - len(row)) for row in rows]


def _train(model: Any, batch: dict[str, Any]) -> list[float]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    losses = []
    model.train()
    for _ in range(STEPS):
        _leave_with_the_server()
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss))
    return losses


def _leave_with_the_server() -> None:
    """End when nobody is there to hear the answer: a server that was killed cannot say so."""
    watch = select.poll()
    watch.register(sys.stdin.fileno(), 0)
    if any(event & (select.POLLHUP | select.POLLERR) for _, event in watch.poll(0)):
        sys.exit(1)
