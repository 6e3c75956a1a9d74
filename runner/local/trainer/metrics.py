"""Numbers of a metrics row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LOGGING_STEPS = 5

# TRL's names -> the keys that go beside the core fields of a point.
EXTRA_FIELDS = {
    "rewards/margins": "reward_margin",
    "rewards/accuracies": "reward_accuracy",
    "objective/scores": "reward_mean",
    "objective/rlhf_reward": "rlhf_reward",
    "objective/kl": "kl",
    "loss/policy_avg": "policy_loss",
    "loss/value_avg": "value_loss",
    "policy/entropy_avg": "entropy",
    "policy/clipfrac_avg": "clip_fraction",
}


def finite(value: Any, digits: int = 6) -> float | None:
    """The number rounded, or None for what JSON has no word for."""
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    # Adding zero turns the -0.0 of a first policy loss into 0.0.
    return round(float(value), digits) + 0.0


def perplexity(loss: float | None) -> float | None:
    # exp() of 709 and more overflows a double.
    return finite(math.exp(loss), 4) if loss is not None and loss < 700 else None


def loss_trend(losses: Sequence[float]) -> str:
    """The last ten losses, older half against newer half; 5 % apart is a trend."""
    recent = list(losses[-10:])
    if len(recent) < 5:
        return "insufficient_data"
    half = len(recent) // 2
    older, newer = sum(recent[:half]) / half, sum(recent[half:]) / (len(recent) - half)
    if abs(newer - older) <= 0.05 * abs(older):
        return "stable"
    return "improving" if newer < older else "degrading"


def first_and_last(history: Sequence[Mapping[str, Any]], key: str) -> tuple[Any, Any]:
    values = [entry[key] for entry in history if key in entry]
    return (round(values[0], 4), round(values[-1], 4)) if values else (None, None)


@dataclass
class BestEval:
    """The lowest evaluation loss so far."""

    loss: float | None = None
    epoch: int = 0
    step: int = 0
    stale_evals: int = 0

    def take(self, loss: float, epoch: int, step: int) -> bool:
        """Note one evaluation; true when it is the best yet."""
        if self.loss is not None and loss >= self.loss:
            self.stale_evals = 1
            return False
        self.loss, self.epoch, self.step, self.stale_evals = loss, epoch, step, 0
        return True
