"""A run as the summary of a GitHub Actions step: Markdown, never longer than GitHub shows."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment

from runner.reports import phrases, wording
from runner.reports.evidence import JobReport, RunReport
from runner.reports.markdown import Markdown, code, environment, escaped
from runner.reports.terminal import verdict_line
from runner.results import Outcome, Verdict

LIMIT = 1024 * 1024
"""Most bytes of all summaries of one step (docs.github.com, workflow commands, read 2026)."""


def render_summary(report: RunReport, *, limit: int = LIMIT) -> str:
    """The run as Markdown of at most `limit` bytes: what does not fit is left out whole and counted."""
    problems = [_problem(report, job, verdict) for job in report.jobs for verdict in _open(job)]
    broken = [_broken(job) for job in report.jobs if job.outcome is not Outcome.PASSED and not job.is_judged]
    head = _templates().get_template("summary.md.j2").render(report=report, verdict=verdict_line(report))
    return _fitting(head.rstrip() + "\n", [*broken, *problems], limit)


def _open(job: JobReport) -> list[Verdict]:
    return [one for one in job.verdicts if one.outcome is not Outcome.PASSED and job.is_judged]


def _problem(report: RunReport, job: JobReport, verdict: Verdict) -> str:
    fix = next((one.fix for one in job.issues if one.verdict == "error" and one.fix), "")
    fix_line = f"\n  - fix: {escaped(fix)}" if fix and verdict.outcome is Outcome.FAILED else ""
    return f"- {code(job.key)}: {phrases.finding(verdict)}{fix_line}\n"


def _broken(job: JobReport) -> str:
    word = job.outcome.value if job.outcome else "interrupted"
    return (
        f"- {code(job.key)}: {wording.SIGNS.get(job.outcome or Outcome.ERRORED, '!')} {word}: {escaped(job.reason)}\n"
    )


def _fitting(head: str, items: list[str], limit: int) -> str:
    reserve = 200
    text = head if len(head.encode()) <= limit - reserve else _cut_rows(head, limit - reserve)
    shown = 0
    size = len(text.encode())
    parts = ["\n### What needs attention\n\n"] if items else []
    size += sum(len(part.encode()) for part in parts)
    for item in items:
        if size + len(item.encode()) > limit - reserve:
            break
        parts.append(item)
        size += len(item.encode())
        shown += 1
    if shown < len(items):
        parts.append(f"\n{len(items) - shown} more do not fit here; the HTML and JSON reports have all.\n")
    return text + "".join(parts)


def _cut_rows(text: str, limit: int) -> str:
    kept: list[str] = []
    size = 0
    for line in text.splitlines(keepends=True):
        size += len(line.encode())
        if size > limit:
            kept.append("\nMore jobs do not fit here.\n")
            break
        kept.append(line)
    return "".join(kept)


def _sign(job: JobReport) -> Markdown:
    if job.outcome is None:
        return Markdown("! interrupted")
    return Markdown("≈ flaky" if job.is_flaky else f"{wording.SIGNS[job.outcome]} {job.outcome.value}")


@cache
def _templates() -> Environment:
    return environment({"sign": _sign, "took": wording.duration, "money": wording.money, "figure": wording.figure})
