"""Keeps secrets out of everything a person, a journal or a log may see."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from functools import cached_property, lru_cache

MASK = "***"
_MAX_CHARS = 600
# Shorter values (`1`, `on`, `a4`) are everyday words: masking them would make every message unreadable.
_MIN_SECRET_CHARS = 4

# What a credential looks like, for secrets that we were never told: those of other pods, or of the platform.
_SHAPES = re.compile(
    r"""
      \brpa_[0-9A-Za-z]{8,}
    | \bwak_[0-9A-Za-z]{8,}
    | \bhf_[0-9A-Za-z]{8,}
    | \beyJ[0-9A-Za-z_-]+\.[0-9A-Za-z_-]+\.[0-9A-Za-z_-]*
    | (?<=://)[^/\s:@]+:[^/\s@]+(?=@)
    """,
    re.VERBOSE,
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[0-9A-Za-z._~+/=-]{8,}")
_ASSIGNED = re.compile(
    r"(?i)(?<![0-9a-z_-])([0-9a-z_-]{0,40}(?:authorization|api[_-]?key|token|secret|password)[0-9a-z_-]{0,40}"
    r"[\"']?\s{0,4}[=:]\s{0,4}[\"']?)"
    r"(?![\"']?\s)([^\s\"',;&]{8,})"
)
_DUMPED = re.compile(
    r"(\b[A-Z0-9_]*(?:KEY|TOKEN|SECRET|PASSWORD)(?:_B64)?[\"']?\s{0,2}[=:]\s{0,2}[\"']?)([0-9A-Za-z_+/=.-]{16,})"
)
_SHAPE_WORDS = ("rpa_", "wak_", "hf_", "eyJ", "://")
_DUMP_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


class Redactor:
    """Replaces known secrets, however they are written, and whatever looks like one."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = frozenset(secret for secret in secrets if len(secret) >= _MIN_SECRET_CHARS)
        self._longest = 20 * max(map(len, self._secrets), default=0)

    def __repr__(self) -> str:
        return f"Redactor({len(self._secrets)} secrets)"

    @cached_property
    def _known(self) -> tuple[re.Pattern[str], ...]:
        """Every form of every known secret, compiled when first needed: most runs show no error to clean.

        Longest first, so that a secret which contains another one disappears whole.
        """
        return tuple(map(_forms, sorted(self._secrets, key=lambda secret: (-len(secret), secret))))

    def plus(self, secrets: Iterable[str]) -> Redactor:
        """A redactor that also knows `secrets`."""
        more = frozenset(secrets)
        return self if more <= self._secrets else Redactor(self._secrets | more)

    def clean(self, text: str) -> str:
        """`text` without secrets."""
        for known in self._known:
            text = known.sub(MASK, text)
        text = _SHAPES.sub(MASK, text)
        text = _BEARER.sub(rf"\1 {MASK}", text)
        return _ASSIGNED.sub(rf"\1{MASK}", text)

    def log_line(self, text: str) -> str:
        """A line of a pod's log without secrets: those we know, and what dumps of an environment hold.

        Gentler than `clean`, since lines are evidence and full of tokens that are none: only names in capitals count.
        """
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, MASK)
        # A plain search first: it costs a hundredth of the patterns, and hardly any line has such a word.
        if any(word in text for word in _SHAPE_WORDS):
            text = _SHAPES.sub(MASK, text)
        if any(word in text for word in _DUMP_WORDS):
            text = _DUMPED.sub(rf"\1{MASK}", text)
        return text

    def line(self, text: str) -> str:
        """`text` without secrets, on one line, without control characters, at most 600 characters."""
        # Cleaned before it is cut, because a cut secret is no longer recognised.
        shown = " ".join(_CONTROL.sub(" ", self.clean(self._bounded(text))).split())
        return shown if len(shown) <= _MAX_CHARS else shown[: _MAX_CHARS - 1] + "…"

    def _bounded(self, text: str) -> str:
        """The start of `text`, not ending within a known secret: cleaning a huge text would take long."""
        end = 16 * _MAX_CHARS
        if len(text) > end:
            around, beyond = max(0, end - self._longest), end + self._longest
            found = [match.span() for known in self._known for match in known.finditer(text, around, beyond)]
            end = min((start for start, stop in found if start < end < stop), default=end)
        return text[:end]

    def is_clean(self, text: str) -> bool:
        """Whether nothing in `text` would be masked."""
        return self.clean(text) == text


@lru_cache(maxsize=256)
def _forms(secret: str) -> re.Pattern[str]:
    """A pattern takes milliseconds to compile, and a run's hosts and pods share most of their secrets."""
    return re.compile(_pattern(secret), re.IGNORECASE)


def _pattern(secret: str) -> str:
    """A pattern for `secret` as it is, in base64, and in any nesting of JSON, Python, URL and HTML escapes."""
    encoded = base64.b64encode(secret.encode("utf-8", "surrogatepass")).decode().rstrip("=")
    forms = [
        "".join(map(_character, secret)),
        re.escape(encoded),
        re.escape(encoded.replace("+", "-").replace("/", "_")),
    ]
    return "|".join(forms)


def _character(char: str) -> str:
    if char.isascii() and char.isalnum():
        return char
    octets = char.encode("utf-8", "surrogatepass")
    utf16 = char.encode("utf-16-be", "surrogatepass").hex()
    units = [utf16[at : at + 4] for at in range(0, len(utf16), 4)]
    return "(?:{})".format(
        "|".join(
            [
                rf"\\*{re.escape(char)}",
                "".join(f"%(?:25)*{octet:02x}" for octet in octets),
                "".join(rf"\\+x{octet:02x}" for octet in octets),
                "".join(rf"\\+u{unit}" for unit in units),
                rf"\\+x{ord(char):02x}",
                rf"&#0*{ord(char)};|&#x0*{ord(char):x};",
                *(_ESCAPES.get(char, ())),
            ]
        )
    )


_ESCAPES = {
    " ": (r"\+",),
    "\n": (r"\\+n",),
    "\r": (r"\\+r",),
    "\t": (r"\\+t",),
    '"': ("&quot;",),
    "&": ("&amp;",),
    "<": ("&lt;",),
    ">": ("&gt;",),
}
