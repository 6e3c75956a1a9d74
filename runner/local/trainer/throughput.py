"""What a training takes: tokens a second through the model, and the most memory that the process had."""

from __future__ import annotations

import re
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any


class TokenCount:
    """Counts the tokens that the model learns from; padding, and what it only generates or evaluates, is left out."""

    def __init__(self) -> None:
        self.total = 0

    def watch(self, model: Any) -> None:
        """Count from now on. Every method calls the model for its loss, but not every trainer counts tokens itself."""
        self.total = 0
        model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        import torch

        if not (model.training and torch.is_grad_enabled()):
            return
        ids, mask = kwargs.get("input_ids", args[0] if args else None), kwargs.get("attention_mask")
        if mask is not None and ids is not None and mask.shape == ids.shape:
            self.total += int(mask.sum())
        elif ids is not None:
            self.total += ids.numel()


def peak_memory_gb() -> float:
    """The most main memory that this process ever had, in GiB."""
    # getrusage() on Linux starts from what the process had that started this one.
    with suppress(OSError):
        found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
        if found:
            return round(int(found[1]) / 2**20, 3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**30 if sys.platform == "darwin" else 2**20), 3)
