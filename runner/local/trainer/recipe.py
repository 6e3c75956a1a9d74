"""The parts of config.json that training needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A rate meant for billions of trained weights hardly moves this model in 200 steps. Measured to learn: with three
# times as much, PPO leaves the policy that it started from before any reward could tell it where to go.
LEARNING_RATES = {"sft": 1e-2, "cpt": 1e-2, "orpo": 1e-2, "dpo": 1e-3, "rlhf": 1e-3}


@dataclass(frozen=True)
class Lora:
    r: int
    alpha: int
    dropout: float
    target_modules: tuple[str, ...]
    bias: str


@dataclass(frozen=True)
class Recipe:
    """The parts of config.json that this trainer reads. `training` keeps the template's own names."""

    method: str
    model_name: str
    training: Mapping[str, Any]
    lora: Lora | None
    dataset_path: Path
    output_dir: Path
    max_samples: int
    eval_split: float
    seed: int

    @property
    def label(self) -> str:
        """The method as log lines spell it: `SFT`, `DPO`, ..."""
        return self.method.upper()

    @property
    def packs(self) -> bool:
        """Whether rows are packed into blocks: continued pre-training does unless the template says no."""
        return self.method in ("sft", "cpt") and bool(self.training.get("packing", self.method == "cpt"))


def parse_recipe(config: Mapping[str, Any], environment: Mapping[str, str]) -> Recipe:
    """Read config.json's sections.

    Raises:
        ValueError, KeyError: a value this trainer cannot start with; nothing heavy has been imported by then.
    """
    training = dict(config["training"])
    method = str(training["method"])
    if method not in LEARNING_RATES:
        raise ValueError(f"Unknown training method: {method!r}. Supported: {', '.join(LEARNING_RATES)}")
    data = config.get("data") or {}
    split = config.get("eval_split") or environment.get("DEFAULT_EVAL_SPLIT") or 0.2
    return Recipe(
        method=method,
        model_name=str(config["model"]["name"]),
        training=training,
        lora=parse_lora(config, training),
        dataset_path=Path(config["dataset_path"]),
        output_dir=Path(config["output_dir"]),
        max_samples=int(data.get("max_samples") or 0),
        # The product ignores data.train_split and data.eval_split too and reads this top-level key only.
        eval_split=float(split),
        seed=int(config.get("seed", 42)),
    )


def parse_lora(config: Mapping[str, Any], training: Mapping[str, Any]) -> Lora | None:
    if not training.get("use_lora", True):
        return None
    lora = config.get("lora") or training.get("lora_config") or {}
    return Lora(
        r=int(lora.get("r", 16)),
        alpha=int(lora.get("alpha", lora.get("lora_alpha", 32))),
        dropout=float(lora.get("dropout", lora.get("lora_dropout", 0.0))),
        target_modules=tuple(lora.get("target_modules") or ("q_proj", "k_proj", "v_proj", "o_proj")),
        bias=str(lora.get("bias", "none")),
    )


def load_config(path: Path) -> Mapping[str, Any]:
    config = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise ValueError(f"expected a JSON object, got {type(config).__name__}")
    return config
