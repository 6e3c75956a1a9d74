"""The config.json that a pod gets: not the stored config, but what a whitelist leaves of it.

Source: FineTune Lab contract §4.2, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TRAINING_KEYS = frozenset((
    "method", "use_lora", "num_epochs", "batch_size", "learning_rate", "lr_scheduler_type", "warmup_ratio",
    "warmup_steps", "save_steps", "save_total_limit", "evaluation_strategy", "eval_steps", "eval_batch_size",
    "packing", "gradient_accumulation_steps", "logging_steps", "bf16", "fp16", "optim", "max_grad_norm",
    "weight_decay", "gradient_checkpointing", "dataloader_num_workers", "dataloader_prefetch_factor",
    "dataloader_pin_memory", "group_by_length", "max_length", "quantization",
))  # fmt: skip
DATA_KEYS = frozenset((
    "strategy", "generation_type", "max_samples", "train_split", "eval_split", "dataset_format",
))  # fmt: skip

# A deliberate difference: the real service drops these, and its RLHF then trains with the trainer's own defaults and
# an untrained reward model. Here they pass, so that an RLHF template can be tested with the values it states.
PASSED_TRAINING_KEYS = frozenset((
    "ppo_epochs", "clip_range", "clip_range_value", "vf_coef", "entropy_coef", "response_length", "reward",
))  # fmt: skip
# The December 2025 deploy route passes these as they are.
PASSED_SECTIONS = ("seed", "evaluation", "tensorboard", "predictions", "tools")

# The real route writes `value || default`, so a zero is replaced too.
TRAINING_DEFAULTS: Mapping[str, Any] = {
    "warmup_steps": 100, "weight_decay": 0.01, "max_grad_norm": 1.0, "dataloader_num_workers": 4,
    "max_length": 512, "gradient_accumulation_steps": 1, "eval_steps": 500, "save_steps": 500,
}  # fmt: skip
DATA_DEFAULTS: Mapping[str, Any] = {"eval_split": 0.2}
DEFAULT_MODEL = "Qwen/Qwen2.5-0.5B-Instruct"
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")


def pod_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """What `config_json` becomes on its way into a pod."""
    training, data = _section(config, "training"), _section(config, "data")
    model = {"name": DEFAULT_MODEL, **_section(config, "model")}
    result: dict[str, Any] = {
        "model": model,
        "tokenizer": {"name": model["name"], **_section(config, "tokenizer")},
        "training": _kept(training, TRAINING_KEYS | PASSED_TRAINING_KEYS, TRAINING_DEFAULTS),
        "lora": _lora(training),
        "data": _kept(data, DATA_KEYS, DATA_DEFAULTS),
        "dataset_path": "/workspace/dataset.jsonl",
        "output_dir": "/workspace/fine_tuned_model",
    }
    result.update({key: config[key] for key in PASSED_SECTIONS if key in config})
    return result


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    return section if isinstance(section, dict) else {}


def _kept(section: Mapping[str, Any], keys: frozenset[str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in section.items() if key in keys}
    return kept | {key: default for key, default in defaults.items() if not kept.get(key)}


def _lora(training: Mapping[str, Any]) -> dict[str, Any]:
    inner = _section(training, "lora_config")
    return {
        "r": inner.get("r") or training.get("lora_r") or 16,
        "alpha": inner.get("lora_alpha") or training.get("lora_alpha") or 32,
        "dropout": inner.get("lora_dropout", training.get("lora_dropout", 0.1)),
        "target_modules": inner.get("target_modules") or list(LORA_TARGETS),
        "bias": inner.get("bias") or "none",
        "task_type": inner.get("task_type") or "CAUSAL_LM",
    }
