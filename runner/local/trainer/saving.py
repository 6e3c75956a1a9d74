"""The trained model on disk, and the manifest that says what is what."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .log import log
from .task import Task
from .tiny_model import load_float_base

# Where the product's trainer leaves a method's model, under output_dir; "" is output_dir itself.
MODEL_FOLDERS = {"sft": "", "dpo": "dpo_model", "rlhf": "rlhf_model", "orpo": "orpo_model", "cpt": ""}
MERGES = {"sft", "dpo"}


def save_model(task: Task, model: Any) -> None:
    """Adapter and tokenizer where the product puts them, the base beside them, and a page that says which is which."""
    recipe, root = task.recipe, task.recipe.output_dir
    folder = root / MODEL_FOLDERS[recipe.method]
    log.info("[%s] Saving final model%s", recipe.label, f" to {folder}" if recipe.method == "cpt" else "")
    model.save_pretrained(folder)
    task.base.tokenizer.save_pretrained(folder)
    if recipe.lora is not None:
        log.info("[%s] LoRA adapters saved to %s", recipe.label, folder)
    if recipe.method in ("rlhf", "orpo"):
        log.info("[%s] Model saved to %s", recipe.label, folder)
    merged = recipe.method in MERGES and recipe.lora is not None
    if merged:
        merge_model(task, folder)
        log.info("[%s] Merged model saved successfully", recipe.label)
    write_manifest(task, folder, merged=merged)
    log.info("[%s] Skipping HF Hub upload", recipe.label)


def merge_model(task: Task, folder: Path) -> None:
    from peft import PeftModel

    # From disk, not from memory: an adapter trained on a 4-bit base is merged into its float32 original.
    merged = PeftModel.from_pretrained(load_float_base(task.base), folder).merge_and_unload()
    merged.save_pretrained(folder / "merged_model")
    task.base.tokenizer.save_pretrained(folder / "merged_model")


def write_manifest(task: Task, folder: Path, *, merged: bool) -> None:
    root, recipe = task.recipe.output_dir, task.recipe

    def inside(path: Path) -> str:
        return path.relative_to(root).as_posix()

    losses = task.callback.losses
    manifest = {
        "schema": 1,
        "method": recipe.method,
        "template_model": recipe.model_name,
        "base_model": inside(task.base.path),
        "adapter": inside(folder) if recipe.lora is not None else None,
        "model": inside(folder) if recipe.lora is None else None,
        "merged_model": inside(folder / "merged_model") if merged else None,
        "tokenizer": inside(folder),
        "device": "cpu",
        "seed": recipe.seed,
        "first_loss": losses[0] if losses else None,
        "last_loss": losses[-1] if losses else None,
        "scaled": [asdict(change) for change in task.scaling.changes],
    }
    (root / "runspec_model.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
