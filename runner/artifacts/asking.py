#!/usr/bin/env python3
"""Load an unpacked model and answer prompts, with and without what the training added. A program of its own.

    python -I asking.py FOLDER < {"prompts": [...], "max_tokens": 32, "timeout_s": 600}

It imports nothing of runspec, so that torch never enters the runner. It prints one JSON object:
`{"answers": [{"prompt", "answer", "base"}]}`, or `{"failed": WHY}` with exit code 3 when the model cannot be loaded.

Nothing of the folder is executed: weights are read from safetensors files only, code and hub are switched off. A folder
with a `runspec_model.json` says where adapter, base and tokenizer are; without one they are looked for.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CHAT_METHODS = ("sft", "rlhf")
FAILED = 3


class Unusable(Exception):  # noqa: N818 - about the model, not about us
    """Why a model cannot be asked, in one sentence."""


def main() -> int:
    folder, request = Path(sys.argv[1]).resolve(), json.load(sys.stdin)
    # Should the runner be killed, nobody else would end this process.
    signal.alarm(max(1, int(request["timeout_s"])))
    for name, value in (("HF_HUB_OFFLINE", "1"), ("OMP_NUM_THREADS", "1"), ("TOKENIZERS_PARALLELISM", "false")):
        os.environ[name] = value
    try:
        with contextlib.redirect_stdout(sys.stderr):
            answers = ask(folder, request["prompts"], int(request["max_tokens"]))
    except Unusable as exc:
        print(json.dumps({"failed": str(exc)}))
        return FAILED
    except Exception as exc:  # whatever a library makes of a broken model is a finding about the model
        print(json.dumps({"failed": f"{type(exc).__name__}: {exc}"[:1_000]}))
        return FAILED
    print(json.dumps({"answers": answers}))
    return 0


def ask(folder: Path, prompts: Sequence[str], max_tokens: int) -> list[dict[str, str | None]]:
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    layout = layout_of(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(layout["tokenizer"], trust_remote_code=False)
    answers: list[dict[str, str | None]] = [{"prompt": prompt, "answer": "", "base": None} for prompt in prompts]
    base = load(layout["base"]) if layout["base"] else None
    if base is not None:
        for answer in answers:
            answer["base"] = generate(base, tokenizer, str(answer["prompt"]), layout["method"], max_tokens)
    trained = with_adapter(base, layout["adapter"]) if layout["adapter"] else load(layout["model"])
    for answer in answers:
        answer["answer"] = generate(trained, tokenizer, str(answer["prompt"]), layout["method"], max_tokens)
    return answers


def layout_of(folder: Path) -> dict[str, Any]:
    """Where the parts of the model are; None for those that it does not have."""
    manifest = folder / "runspec_model.json"
    if manifest.is_file():
        said = json.loads(manifest.read_text(encoding="utf-8"))
        found = {
            "method": said.get("method"),
            "base": inside(folder, said.get("base_model")),
            "adapter": inside(folder, said.get("adapter")),
            "model": inside(folder, said.get("model")),
            "tokenizer": inside(folder, said.get("tokenizer")),
        }
    else:
        found = guessed(folder)
    if found["tokenizer"] is None:
        raise Unusable("there is no tokenizer in it")
    if found["adapter"] is not None and found["base"] is None:
        raise Unusable("it is an adapter, and the base model that it belongs to is not in the archive")
    if found["adapter"] is None and found["model"] is None:
        raise Unusable("there is neither an adapter nor a model in it")
    return found


def inside(folder: Path, name: object) -> Path | None:
    """A folder that the manifest names, which must lie in the model's own."""
    if name is None:
        return None
    path = (folder / str(name)).resolve()
    if not path.is_relative_to(folder) or not path.is_dir():
        raise Unusable(f"its manifest names `{str(name)[:80]}`, which is not in it")
    return path


def guessed(folder: Path) -> dict[str, Any]:
    """The parts of a model without a manifest, such as one that another trainer saved."""
    candidates = [folder, *sorted(path for path in folder.rglob("*") if path.is_dir())]

    def first(*names: str) -> Path | None:
        return next((path for path in candidates for name in names if (path / name).is_file()), None)

    adapter = first("adapter_config.json")
    model = first("config.json")
    return {
        "method": None,
        "base": model if adapter is not None else None,
        "adapter": adapter,
        "model": None if adapter is not None else model,
        "tokenizer": first("tokenizer.json", "tokenizer_config.json"),
    }


def load(path: Path) -> Any:
    from transformers import AutoModelForCausalLM

    # Pickled weights can run code while they are read, so only safetensors are.
    return AutoModelForCausalLM.from_pretrained(path, use_safetensors=True, trust_remote_code=False).eval()


def with_adapter(base: Any, adapter: Path) -> Any:
    from peft import PeftModel

    if not (adapter / "adapter_model.safetensors").is_file():
        raise Unusable("its adapter is not a safetensors file")
    return PeftModel.from_pretrained(base, adapter).eval()


def generate(model: Any, tokenizer: Any, prompt: str, method: str | None, max_tokens: int) -> str:
    """The likeliest answer: without chance, so that two models that say the same are the same to us."""
    import torch

    text = prompt
    if method in CHAT_METHODS and tokenizer.chat_template:
        chat = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    inputs = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        output = model.generate(
            **inputs, max_new_tokens=max_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id
        )
    return str(tokenizer.decode(output[0][inputs["input_ids"].shape[1] :], skip_special_tokens=True))


if __name__ == "__main__":
    sys.exit(main())
