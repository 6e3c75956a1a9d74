"""Hyper-parameters of a template: the lab's names, and values that no trainer can use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches

from runner.errors import Diagnostic
from runner.spec.conditions import Scalar
from runner.spec.yaml_tree import MapNode, ScalarNode

NAMES = frozenset((
    "method", "use_lora", "num_epochs", "batch_size", "learning_rate", "lr_scheduler_type", "warmup_ratio",
    "warmup_steps", "save_steps", "save_total_limit", "evaluation_strategy", "eval_steps", "eval_batch_size",
    "packing", "gradient_accumulation_steps", "logging_steps", "bf16", "fp16", "optim", "max_grad_norm",
    "weight_decay", "gradient_checkpointing", "dataloader_num_workers", "dataloader_prefetch_factor",
    "dataloader_pin_memory", "group_by_length", "max_length", "quantization", "ppo_epochs", "clip_range",
    "clip_range_value", "vf_coef", "entropy_coef", "adam_beta1", "adam_beta2", "adam_epsilon", "beta",
    "max_prompt_length", "disable_dropout", "response_length", "response_template", "pretokenize", "use_streaming",
    "lora_r", "lora_alpha", "lora_dropout", "lora_config",
))  # fmt: skip
"""What the lab's templates set. Source: FineTune Lab contract §4.2, read 2026-11."""

OF_TRAINERS = frozenset(("use_bdlora", "use_dora", "use_qalora", "use_rslora", "entropy_coef_max", "entropy_coef_min"))
"""Settings that only look like slips in one. Source: `LoraConfig` of PEFT 0.21 and `GRPOConfig` of TRL 1.12."""

# A trainer may know more names than the lab's templates use, so only what is nearly one of these is taken for a slip.
_NEARNESS = 0.85
_SHORTEST_GUESSED = 6


def training_problems(training: MapNode) -> Iterator[Diagnostic]:
    """Slips in names, which the lab would drop without a word, and values that fail only on a paid machine."""
    for name, entry in training.entries.items():
        if name not in NAMES | OF_TRAINERS and (near := _nearest(name)):
            yield Diagnostic(
                "spec.unknown-key",
                f"unknown key `{name}` in `training`",
                entry.key.span,
                "the lab would drop it without a word",
                f"did you mean `{near}`?",
            )
        elif rule := _RULES.get(name):
            holds, words = rule
            value = entry.value
            if not isinstance(value, ScalarNode) or value.broken or value.value is None:
                continue  # the model says so, or the value is taken back
            if not holds(value.value):
                message = f"`{name}` cannot be `{value.text[:60]}`"
                yield Diagnostic("spec.bad-value", message, value.place.span, words)


def has_rule(name: str) -> bool:
    """Whether `training_problems` says what a value of this name may be."""
    return name in _RULES


def _nearest(name: str) -> str:
    guesses = sorted(known for known in NAMES if len(known) >= _SHORTEST_GUESSED)
    return next(iter(get_close_matches(name[:60], guesses, n=1, cutoff=_NEARNESS)), "")


def _is_count(value: Scalar) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: Scalar, least: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= least


_COUNT = (_is_count, "must be a whole number of at least 1")
_RULES: dict[str, tuple[Callable[[Scalar], bool], str]] = {
    "batch_size": _COUNT,
    "eval_batch_size": _COUNT,
    "gradient_accumulation_steps": _COUNT,
    "max_length": _COUNT,
    "ppo_epochs": _COUNT,
    "num_epochs": (lambda value: _is_number(value, 1), "must be a number of at least 1"),
    "learning_rate": (lambda value: _is_number(value, 0) and value != 0, "must be a number above 0"),
}
