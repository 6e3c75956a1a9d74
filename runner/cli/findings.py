"""What `runspec doctor` finds: one line each, what a missing thing costs, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

SETTINGS_EXIT = 2
UNKNOWN_EXIT = 3


class State(StrEnum):
    """How a thing is."""

    OK = "ok"
    OFF = "off"
    """Not there, and nobody has to have it."""
    WARN = "warn"
    BROKEN = "broken"
    """There, and of no use; or not there, and asked for."""
    UNKNOWN = "unknown"
    """Could not be found out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. `text` never has a secret in it.

    Attributes:
        area: `machine`, `state`, `settings`, `lab` or `runpod`.
        costs: what does not work because of it.
        fix: what to do, as a command where there is one.
    """

    area: str
    name: str
    state: State
    text: str
    costs: str | None = None
    fix: str | None = None


MARKS = {
    State.OK: "ok     ",
    State.OFF: "off    ",
    State.WARN: "warning",
    State.BROKEN: "BROKEN ",
    State.UNKNOWN: "unknown",
}


def rendered(findings: Sequence[Finding]) -> Iterable[str]:
    """Lines for a terminal, by area; readable without colour."""
    area = ""
    for finding in findings:
        if finding.area != area:
            area = finding.area
            yield area
        yield f"  {MARKS[finding.state]}  {finding.name}: {finding.text}"
        if finding.costs:
            yield f"           costs: {finding.costs}"
        if finding.fix:
            yield f"           fix:   {finding.fix}"


def as_json(findings: Sequence[Finding], *, exit_code: int, verdict: str) -> dict[str, Any]:
    """The same for programs; extended, never changed in meaning."""
    return {
        "schema": 1,
        "exit_code": exit_code,
        "verdict": verdict,
        "findings": [asdict(finding) for finding in findings],
    }


def exit_code(findings: Iterable[Finding]) -> int:
    """2 when something is to be mended here, 3 when something could not be found out, else 0."""
    states = {finding.state for finding in findings}
    return SETTINGS_EXIT if State.BROKEN in states else UNKNOWN_EXIT if State.UNKNOWN in states else 0
