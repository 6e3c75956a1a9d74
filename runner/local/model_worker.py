#!/usr/bin/env python3
"""Holds trained models and lets them answer: one JSON object a line in, one a line out, until its input ends.

In:  {"folder", "adapter": bool, "messages": [{"role", "content"}], "temperature", "max_tokens"}
Out: {"content", "prompt_tokens", "completion_tokens"} or {"error"}
Or:  {"make": FOLDER}, which trains the seeded model there and is answered with {"made": FOLDER}.

`folder` is what `standalone_trainer.py` writes: `runspec_model.json` says where base, adapter and tokenizer are.
A process of its own, so that torch is neither imported into a server nor able to block it.
"""

from __future__ import annotations

import json
import os
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

KEPT_MODELS = 3

loaded: OrderedDict[tuple[str, bool], tuple[Any, Any]] = OrderedDict()


def main() -> int:
    torch.set_num_threads(1)
    # What libraries print must not get between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        try:
            asked = json.loads(line)
            reply = make(Path(asked["make"])) if "make" in asked else answer(asked)
        except Exception as exc:  # whatever a library raises is the answer to this question, not the end of the worker
            reply = {"error": f"{type(exc).__name__}: {exc}"}
        answers.write(json.dumps(reply) + "\n")
        answers.flush()
    return 0


def make(folder: Path) -> dict[str, Any]:
    # This file is started as a script, apart from the package that it stands in.
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    from runner.local.seed_model import make_seed_model  # noqa: PLC0415 - found only now

    make_seed_model(folder)
    return {"made": str(folder)}


def answer(question: dict[str, Any]) -> dict[str, Any]:
    tokenizer, model = model_of(Path(question["folder"]), with_adapter=bool(question["adapter"]))
    prompt = prompt_of(tokenizer, question["messages"])
    given = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
    room = int(model.config.max_position_embeddings) - 8
    length = min(int(given["input_ids"].shape[1]), room - 1)
    given = {name: values[:, -length:] for name, values in given.items()}
    temperature = float(question["temperature"])
    sampling = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
    with torch.no_grad():
        written = model.generate(
            **given, **sampling, max_new_tokens=max(1, min(int(question["max_tokens"]), room - length)),
            pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
    fresh = written[0, length:]
    content = tokenizer.decode(fresh, skip_special_tokens=True).strip()
    return {"content": content, "prompt_tokens": length, "completion_tokens": int(fresh.shape[0])}


def prompt_of(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    if tokenizer.chat_template:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    return "\n".join(message["content"] for message in messages)


def model_of(folder: Path, *, with_adapter: bool) -> tuple[Any, Any]:
    """Tokenizer and model of a folder, kept for the next question; the least used one makes room."""
    key = (str(folder), with_adapter)
    if key not in loaded:
        loaded[key] = load(folder, with_adapter=with_adapter)
        while len(loaded) > KEPT_MODELS:
            loaded.popitem(last=False)
    loaded.move_to_end(key)
    return loaded[key]


def load(folder: Path, *, with_adapter: bool) -> tuple[Any, Any]:
    manifest = json.loads((folder / "runspec_model.json").read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(folder / manifest["tokenizer"])
    whole = manifest["model"] if with_adapter and manifest["model"] else manifest["base_model"]
    model = AutoModelForCausalLM.from_pretrained(folder / whole)
    if with_adapter and manifest["adapter"]:
        model = PeftModel.from_pretrained(model, str(folder / manifest["adapter"]))
    return tokenizer, model.eval()


if __name__ == "__main__":
    sys.exit(main())
