"""A template as the lab stores it: the `config_json` of a training configuration."""

from __future__ import annotations

from typing import Any

from runner.spec.models import Data, Lora, Template

_MODEL = {"trust_remote_code": True, "torch_dtype": "bfloat16", "device_map": "auto"}
"""The same in every template of the lab."""

_NF4 = {
    "load_in_4bit": True,
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_compute_dtype": "bfloat16",
    "bnb_4bit_use_double_quant": True,
}


def template_config(template: Template) -> dict[str, Any]:
    """The lab's `config_json` of a template: sections model, tokenizer, training, data and what else it has.

    A key whose value is null is left out: this is how a spec takes back what a file under `use` says. `reward` is
    not part of it: the lab has no such section.
    """
    config: dict[str, Any] = {
        "model": {"name": template.model, **_MODEL},
        "tokenizer": {"name": template.model, "trust_remote_code": True, **_given(template.tokenizer)},
        "training": _training(template),
        "data": _data(template.data),
    }
    if template.evaluation:
        config["evaluation"] = {
            key: list(value) if isinstance(value, tuple) else value for key, value in template.evaluation.items()
        }
    if template.tensorboard:
        config["tensorboard"] = _given(template.tensorboard)
    if template.seed is not None:
        config["seed"] = template.seed
    return config


def job_config(template: Template, *, seed: int) -> dict[str, Any]:
    """The template's config with what a job of ours adds to it: its seed, and where its reward comes from.

    `reward` goes into `training`, which the lab stores as it is; its own deploy drops what it does not know (contract
    §4.2), and its PPO then has a reward model of its own.
    """
    config = {**template_config(template), "seed": seed}
    if template.reward is not None:
        config["training"] = {**config["training"], "reward": template.reward.model_dump(exclude_none=True)}
    return config


def _training(template: Template) -> dict[str, Any]:
    training: dict[str, Any] = {"method": template.method.value, "use_lora": template.lora is not None}
    if template.lora is not None:
        training |= _lora(template.lora)
    if template.quantization == "nf4":
        training["quantization"] = dict(_NF4)
    return training | _given(template.training)


def _lora(lora: Lora) -> dict[str, Any]:
    """The lab wants the numbers twice: flat, and as what PEFT's `LoraConfig` takes."""
    return {
        "lora_r": lora.r,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "lora_config": {
            "r": lora.r,
            "lora_alpha": lora.alpha,
            "lora_dropout": lora.dropout,
            "target_modules": list(lora.target_modules),
            "bias": "none",
            "task_type": "CAUSAL_LM",
        },
    }


def _data(data: Data) -> dict[str, Any]:
    return data.model_dump(exclude_none=True)


def _given(section: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if value is not None}
