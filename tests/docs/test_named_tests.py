"""The safety page names the test behind each promise; a name that leads nowhere would be a promise without one."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_that_the_safety_page_names_is_there():
    text = (ROOT / "docs" / "concepts" / "safety.md").read_text()
    named = re.findall(r"`(tests/[\w/.]+)`", text)
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []
