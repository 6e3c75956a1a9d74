"""Lists in pages, as every list of the RunPod API has them since September 2026.

Source: RunPod contract §1.1, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from runner.local.runpod_query import Rule, text, whole_number

T = TypeVar("T")
MAX_PAGE = 1000
PAGING: Mapping[str, Rule] = {"limit": whole_number(1, MAX_PAGE), "cursor": text}


def paged(items: Sequence[T], query: Mapping[str, str], *, key: Callable[[T], str]) -> tuple[list[T], dict[str, Any]]:
    """One page of a list and its `pagination`, for a checked query.

    Args:
        items: in the order of their keys.
        key: what the cursor names; an item may be gone when its cursor comes back.
    """
    limit, cursor = int(query.get("limit", MAX_PAGE)), query.get("cursor", "")
    rest = [item for item in items if not cursor or key(item) > cursor]
    page, has_more = rest[:limit], len(rest) > limit
    return page, {"nextCursor": key(page[-1]) if has_more else None, "hasNextPage": has_more}
