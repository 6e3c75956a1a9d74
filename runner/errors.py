"""What can go wrong, said once: where it is, what it is, why, and how to fix it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches


@dataclass(frozen=True, slots=True)
class Span:
    """A place in a file: one-based line and column; `length` is in characters on that line."""

    file: str
    line: int
    col: int
    length: int = 1
    text: str = ""
    """The whole source line, without its line end; empty when it is not known."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.col}"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One problem of the user's input: what, where, why and fix.

    Attributes:
        code: stable identifier such as `spec.unknown-key`.
        message: what is wrong, one sentence without a full stop, code in backticks.
        span: where; None when the problem has no file (a command line flag).
        label: why, shown beside the caret; may be empty.
        fix: what to do; may be empty.
    """

    code: str
    message: str
    span: Span | None = None
    label: str = ""
    fix: str = ""

    def render(self) -> str:
        """The problem as text for a terminal, without colour."""
        lines = [f"error[{self.code}]: {self.message}"]
        if self.span is not None:
            lines += _excerpt(self.span, self.label)
        elif self.label:
            lines.append(f"  = why: {self.label}")
        if self.fix:
            lines.append(f"  = fix: {self.fix}")
        return "\n".join(lines)


def _excerpt(span: Span, label: str) -> list[str]:
    gutter = " " * len(str(span.line))
    lines = [f"{gutter}--> {span}"]
    if not span.text or span.col > _EXCERPT_CHARS:
        # The caret would stand far right of what anybody sees; the position says where to look.
        return [*lines, f"{gutter} = why: {label}"] if label else lines
    shown = span.text[:_EXCERPT_CHARS].translate(_CONTROL)
    carets = "^" * max(1, min(span.length, len(shown) - span.col + 1))
    return [
        *lines,
        f"{gutter} |",
        f"{span.line} | {shown}",
        f"{gutter} | {' ' * (span.col - 1)}{carets} {label}".rstrip(),
        f"{gutter} |",
    ]


_EXCERPT_CHARS = 200

# Source lines come from strangers: a terminal must not obey them, nor turn their direction, and each character keeps
# its one column.
_OBEYED = (*range(0x09), *range(0x0A, 0x20), *range(0x7F, 0xA0))
_INVISIBLE = (0xAD, 0x61C, *range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070), 0xFEFF)
_CONTROL = dict.fromkeys((*_OBEYED, *_INVISIBLE), "�") | {0x09: " "}


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """`did you mean `x`?`, or the empty string when nothing is near."""
    near = get_close_matches(wrong, sorted(known), n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else ""


class RunspecError(Exception):
    """Anything runspec raises on purpose; the command line turns it into an exit code."""


@dataclass
class DiagnosedError(RunspecError):
    """An error made of one or more problems in what the user wrote."""

    diagnostics: Sequence[Diagnostic] = field(default_factory=tuple)

    def __str__(self) -> str:
        return "\n\n".join(diagnostic.render() for diagnostic in self.diagnostics)


class SpecError(DiagnosedError):
    """A spec or phase file is wrong; nothing was started."""


class DatasetError(DiagnosedError):
    """Rows of a dataset do not fit the method; nothing was started."""


class PlanError(DiagnosedError):
    """The specs are fine but cannot be planned together: missing names, clashing limits."""


class StoreError(RunspecError):
    """The state directory cannot be read, written or locked."""


class LeakError(RunspecError):
    """Something runs on, and may cost, although it was ended."""


class ReportError(DiagnosedError):
    """A document cannot be rendered without losing what somebody wrote."""


class ModelError(RunspecError):
    """A trained model cannot be used: its archive is unsafe or broken, or it cannot be loaded."""


class ProviderError(RunspecError):
    """A cloud or lab call failed.

    Attributes:
        status: the HTTP status, None when no answer arrived.
        retryable: the same call may be repeated and may then work.
        ambiguous: the call may have had its effect although it failed.
        kind: the class of failure, see `ProviderErrorKind`.
        request_id: the vendor's id of the request, for support.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str,
        status: int | None = None,
        retryable: bool = False,
        ambiguous: bool = False,
        retry_after_s: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.retryable = retryable
        self.ambiguous = ambiguous
        self.retry_after_s = retry_after_s
        self.request_id = request_id
