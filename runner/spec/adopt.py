"""The way back from the lab's `config_json` to the `template` section of a spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.errors import Diagnostic, SpecError
from runner.spec.models import Data, Method

_LORA = ("lora_r", "lora_alpha", "lora_dropout", "lora_config", "use_lora")


def template_of(key: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The `template` section whose `template_config` is `config` again.

    Raises:
        SpecError: `config` is not a configuration of the lab.
    """
    training = dict(_section(config, "training"))
    model = _section(config, "model").get("name")
    method = training.pop("method", None)
    if not isinstance(model, str) or method not in set(Method):
        known = ", ".join(Method)
        raise _unfit(f"it needs `model.name`, and `training.method` as one of {known}; it has {model!r} and {method!r}")
    template: dict[str, Any] = {"key": key, "method": str(method), "model": model}
    tokenizer = dict(config.get("tokenizer") or {})
    tokenizer = {name: value for name, value in tokenizer.items() if name not in ("name", "trust_remote_code")}
    if tokenizer:
        template["tokenizer"] = tokenizer
    if training.get("use_lora"):
        template["lora"] = _lora(training)
    if training.pop("quantization", None):
        template["quantization"] = "nf4"
    if "reward" in training:
        template["reward"] = training.pop("reward")
    template["training"] = {name: value for name, value in training.items() if name not in _LORA}
    data = {name: value for name, value in dict(config.get("data") or {}).items() if name in Data.model_fields}
    rest = {name: config[name] for name in ("evaluation", "tensorboard", "seed") if config.get(name) is not None}
    return template | ({"data": data} if data else {}) | rest


def _lora(training: Mapping[str, Any]) -> dict[str, Any]:
    nested = training.get("lora_config") or {}
    # What a configuration leaves out, the lab fills in when it deploys.
    found = {
        "r": nested.get("r") or training.get("lora_r") or 16,
        "alpha": nested.get("lora_alpha") or training.get("lora_alpha") or 32,
        "dropout": nested.get("lora_dropout", training.get("lora_dropout")),
        "target_modules": nested.get("target_modules"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    if not isinstance(section, Mapping):
        raise _unfit(f"it has no section `{name}`")
    return section


def _unfit(why: str) -> SpecError:
    fix = "give the `config_json` of a template, with sections model, tokenizer, training and data"
    return SpecError([Diagnostic("new.bad-config", "this is not a configuration of the lab", label=why, fix=fix)])
