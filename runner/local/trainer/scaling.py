"""What a CPU run changed of the template, said in the log and kept for the manifest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .log import log


@dataclass(frozen=True)
class Scaled:
    """One template value that a CPU run replaced."""

    field: str
    template: Any
    used: Any
    reason: str


@dataclass
class Scaling:
    """Collects what was changed, and says it in the log at once."""

    changes: list[Scaled] = field(default_factory=list)

    def use(self, name: str, template: Any, used: Any, reason: str) -> Any:
        """`used`; recorded when it differs from what the template asked for."""
        if template is not None and template != used:
            self.changes.append(Scaled(name, template, used, reason))
            log.info("[Local] Scaled %s: %s -> %s (%s)", name, template, used, reason)
        return used
