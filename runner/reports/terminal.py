"""A run's result for a terminal: a row a job, what did not pass and why, and the verdict as the last line.

Nothing here needs a tty: without one the same lines come without colour, the last one unwrapped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from runner.reports import wording
from runner.reports.attention import Line, problems, word
from runner.reports.evidence import JobReport, RunReport
from runner.reports.explain import Explanation
from runner.reports.foreign import visible
from runner.results import Outcome, Target

MOST_PROBLEMS = 10
_STYLES = {
    Outcome.PASSED: "green",
    Outcome.FAILED: "red",
    Outcome.ERRORED: "magenta",
    Outcome.UNKNOWN: "magenta",
    Outcome.SKIPPED: "default",
    Outcome.CANCELLED: "default",
}
_ASCII = str.maketrans({"✓": ".", "✗": "F", "–": "-", "·": "|", "×": "x", "→": ">", "…": "~", "≈": "~"})
_INDENT = 2
_LABEL = 10


def print_summary(
    report: RunReport, console: Console, explanations: Mapping[str, Explanation] | None = None, *, flags: str = ""
) -> None:
    """Print the result of a run; the last line is the verdict.

    Args:
        explanations: why jobs did not pass, by job key, as far as it is known.
        flags: what a command needs to find the run, such as ` --state DIR`.
    """
    for line in _warnings(report, flags):
        _print(console, *_wrapped(console, Text(line, "red")))
    for row in _rows(report.jobs, console.width):
        _print(console, row)
    found = problems(report, explanations or {}, flags)
    for problem in found[:MOST_PROBLEMS]:
        _print(console, Text(""))
        for each in problem.lines:
            _print_problem_line(console, each)
    if len(found) > MOST_PROBLEMS:
        rest = wording.count(len(found) - MOST_PROBLEMS, "more problem")
        _print(console, Text(f"\n… and {rest}: runspec explain {visible(report.run)}{flags}"))
    for note in report.notes:
        _print(console, Text(f"note: {visible(note)}"))
    _print(console, Text(""))
    _print_verdict(console, report)


def verdict_line(report: RunReport) -> str:
    """The whole result in one line: verdict, counts, evidence level, time, money, open pods."""
    return " · ".join(_verdict_parts(report))


def _verdict_parts(report: RunReport) -> list[str]:
    passed = sum(job.passed_criteria for job in report.jobs)
    criteria = sum(len(job.verdicts) for job in report.jobs)
    spent = wording.money(report.cost_usd)
    limit = f" of {wording.money(report.max_spend_usd)}" if report.max_spend_usd is not None else ""
    pods = wording.count(len(report.open_pods), "pod")
    parts = [
        _headline(report),
        _job_counts(report),
        f"{passed} of {criteria} criteria",
        _level(report),
        wording.duration(report.elapsed_s),
        f"{spent}{limit}",
        f"{pods} open",
    ]
    return [part for part in parts if part]


def _headline(report: RunReport) -> str:
    if report.outcome is None:
        judged = sum(job.is_judged for job in report.jobs)
        jobs = wording.count(len(report.jobs), "job")
        return f"! interrupted at {wording.clock(report.last_at)}, {judged} of {jobs} judged"
    if report.outcome is Outcome.PASSED and any(job.is_flaky for job in report.jobs):
        return "≈ passed, flaky"
    return f"{wording.SIGNS[report.outcome]} {report.outcome.value}"


def _job_counts(report: RunReport) -> str:
    total = len(report.jobs)
    if total < 2 or report.outcome in (None, Outcome.PASSED):
        return ""
    order = (Outcome.FAILED, Outcome.ERRORED, Outcome.UNKNOWN, Outcome.CANCELLED, Outcome.SKIPPED)
    counts = [(sum(job.outcome is one for job in report.jobs), one.value) for one in order]
    counts.append((sum(job.outcome is None for job in report.jobs), "interrupted"))
    found = [(number, word) for number, word in counts if number]
    if not found:
        return ""
    (first, word), *others = found
    return ", ".join([f"{first} of {total} jobs {word}", *(f"{number} {other}" for number, other in others)])


def _level(report: RunReport) -> str:
    if report.is_staged:
        return f"made to go wrong on {report.target.value}"
    if report.target is Target.SCRIPTED or report.outcome is Outcome.PASSED:
        return wording.EVIDENCE[report.target]
    return f"on {report.target.value}"


def _warnings(report: RunReport, flags: str) -> Iterator[str]:
    if report.finished_at is not None and report.open_pods:
        names = ", ".join(visible(lease.name) for lease in report.open_pods[:5])
        more = f" and {len(report.open_pods) - 5} more" if len(report.open_pods) > 5 else ""
        pods = wording.count(len(report.open_pods), "pod")
        yield f"! {pods} not proven gone and may still be billed: {names}{more}. Run: runspec reap{flags}"


def _rows(jobs: Sequence[JobReport], width: int) -> Iterator[Text]:
    cells = [_cells(job) for job in jobs]
    widths = [max((cell_len(row[index]) for row in cells), default=0) for index in range(5)]
    fits = sum(widths) + 2 * 4 <= width
    for job, row in zip(jobs, cells, strict=True):
        style = _style(job)
        head = Text(_padded(row[0], widths[0]), style)
        if fits:
            rest = [_padded(row[1], widths[1]), *(_right(row[index], widths[index]) for index in (2, 3, 4))]
            yield Text.assemble(head, "  " + "  ".join(rest).rstrip())
        else:
            yield Text.assemble(head, "  " + row[1])
            yield Text(" " * (widths[0] + 2) + " · ".join(cell for cell in row[2:] if cell))


def _cells(job: JobReport) -> list[str]:
    met = f"{job.passed_criteria} of {len(job.verdicts)}"
    return [word(job), visible(job.key), met, wording.duration(job.elapsed_s), wording.money(job.cost_usd)]


def _style(job: JobReport) -> str:
    if job.outcome is None:
        return "magenta"
    return "yellow" if job.is_flaky else _STYLES[job.outcome]


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))


def _right(text: str, width: int) -> str:
    return " " * (width - cell_len(text)) + text


def _print_problem_line(console: Console, line: Line) -> None:
    text, label = line.text, line.label
    if line.is_heading:
        _print(console, *_wrapped(console, Text(text, _style_of(line.outcome))))
        return
    if line.outcome is not None:
        for index, row in enumerate(Text(text, _style_of(line.outcome)).wrap(console, _room(console, 2 * _INDENT))):
            _print(console, Text.assemble(" " * (_INDENT if index == 0 else 2 * _INDENT), row))
        return
    indent = _INDENT + _LABEL
    lines = Text(text).wrap(console, _room(console, indent))
    for index, row in enumerate(lines):
        head = " " * _INDENT + label.ljust(_LABEL) if index == 0 else " " * indent
        _print(console, Text.assemble(head, row))


def _room(console: Console, indent: int) -> int:
    # A pipe has no width: whoever reads it wants whole lines.
    return max(20, console.width - indent) if console.is_terminal else 10_000


def _style_of(outcome: Outcome | None) -> str:
    return "magenta" if outcome is None else _STYLES[outcome]


def _print_verdict(console: Console, report: RunReport) -> None:
    style = "magenta" if report.outcome is None else _STYLES[report.outcome]
    parts = _verdict_parts(report)
    if not console.is_terminal:
        _print(console, Text(" · ".join(parts), style))
        return
    line = parts[0]
    for part in parts[1:]:
        if cell_len(f"{line} · {part} ·") > console.width:
            _print(console, Text(f"{line} ·", style))
            line = part
        else:
            line = f"{line} · {part}"
    _print(console, Text(line, style))


def _wrapped(console: Console, text: Text) -> Sequence[Text]:
    # A pipe has no width: whoever reads it wants whole lines.
    return list(text.wrap(console, console.width)) if console.is_terminal else [text]


def _print(console: Console, *lines: Text) -> None:
    for line in lines:
        line.rstrip()
        if console.options.ascii_only:
            line.plain = line.plain.translate(_ASCII).encode("ascii", "replace").decode()
        console.print(line, soft_wrap=True, highlight=False, markup=False, emoji=False)
