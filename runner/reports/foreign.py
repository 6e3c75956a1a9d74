"""Text from strangers (logs, answers, names), made harmless before it is shown anywhere."""

from __future__ import annotations

import re

# Everything that moves a cursor, hides or reorders text, or is no character at all: C0, C1, soft hyphen, bidirectional
# controls and isolates, zero-width characters, tags, halves of surrogate pairs.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e0fff]"
)
_BLANK = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029 ]+")
LONGEST = 300


def visible(text: str, *, longest: int = LONGEST) -> str:
    """One line on which every character shows: `\\x1b` for an escape, a space for a line end; cut when it is long."""
    cut = text[: longest * 4]
    line = _UNSEEN.sub(_as_escape, _BLANK.sub(" ", cut)).strip()
    return line if len(line) <= longest and len(cut) == len(text) else line[: longest - 1].rstrip() + "…"


def _as_escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
