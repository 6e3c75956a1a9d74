"""A run as JUnit XML: a suite a spec and phase, a test case a criterion of a job.

Failed is `<failure>`; errored, unknown, cancelled and not judged are `<error>`; an expected known issue and an optional
criterion that does not hold are `<skipped>`. So a run is green in a CI system exactly when nothing is left to explain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as ET

from runner.reports import wording
from runner.reports.evidence import UNJUDGED, JobReport, RunReport
from runner.reports.foreign import visible
from runner.results import Outcome, Verdict

_LONGEST = 2000


def render_junit(report: RunReport) -> bytes:
    """The run as an XML document in UTF-8. The same run gives the same bytes."""
    root = ET.Element("testsuites", name="runspec")
    for (spec, phase), jobs in _groups(report.jobs).items():
        root.append(_suite(report, spec, phase, jobs))
    totals = {name: sum(int(suite.get(name, "0")) for suite in root) for name in ("tests", "failures", "errors")}
    for name, number in totals.items():
        root.set(name, str(number))
    root.set("time", f"{report.elapsed_s:.3f}")
    ET.indent(root)
    body: str = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'.encode()


def _groups(jobs: Sequence[JobReport]) -> dict[tuple[str, str], list[JobReport]]:
    found: dict[tuple[str, str], list[JobReport]] = {}
    for job in jobs:
        found.setdefault((job.record.spec, job.record.phase), []).append(job)
    return found


def _suite(report: RunReport, spec: str, phase: str, jobs: Sequence[JobReport]) -> ET.Element:
    suite = ET.Element("testsuite", name=_attribute(f"{spec}.{phase}"))
    suite.append(_properties(report, jobs))
    cases = [case for job in jobs for case in _cases(job, name_job=len(jobs) > 1)]
    suite.extend(cases)
    counts = {
        "tests": len(cases),
        "failures": sum(case.find("failure") is not None for case in cases),
        "errors": sum(case.find("error") is not None for case in cases),
        "skipped": sum(case.find("skipped") is not None for case in cases),
    }
    for name, number in counts.items():
        suite.set(name, str(number))
    suite.set("time", f"{max(job.elapsed_s for job in jobs):.3f}")
    suite.set("timestamp", report.started_at.strftime("%Y-%m-%dT%H:%M:%S"))
    return suite


def _properties(report: RunReport, jobs: Sequence[JobReport]) -> ET.Element:
    found = ET.Element("properties")
    values = {
        "run": report.run,
        "target": report.target.value,
        "evidence": wording.EVIDENCE[report.target],
        "commit": report.commit or "",
        "model": jobs[0].record.model,
        "cost_usd": f"{sum(job.cost_usd for job in jobs):.4f}",
    }
    for name, value in values.items():
        ET.SubElement(found, "property", name=name, value=_attribute(value))
    return found


def _cases(job: JobReport, *, name_job: bool) -> Iterator[ET.Element]:
    for verdict in job.verdicts:
        case = _case(job, verdict.title.replace("`", ""), name_job=name_job)
        _judge(case, job, verdict)
        yield case
    decided = any(_is_problem(verdict) for verdict in job.verdicts)
    if job.outcome not in (Outcome.PASSED, Outcome.SKIPPED) and not decided:
        case = _case(job, "Comes to a verdict", name_job=name_job)
        _child(case, "error", _reason(job), job.failure_class.value if job.failure_class else "errored", "")
        yield case
    for issue in job.issues:
        if issue.verdict == "expected":
            case = _case(job, f"Known issue {issue.issue}", name_job=name_job)
            _child(case, "skipped", f"expected: {issue.title}: {issue.cause}", None, "")
            yield case


def _is_problem(verdict: Verdict) -> bool:
    return not verdict.optional and verdict.outcome not in (Outcome.PASSED, Outcome.SKIPPED)


def _case(job: JobReport, title: str, *, name_job: bool) -> ET.Element:
    number = f" [{job.key.rsplit('/', 1)[-1]}]" if name_job else ""
    name = _attribute(f"{title}{number}")
    return ET.Element("testcase", classname=_attribute(f"{job.record.spec}.{job.record.phase}"), name=name, time="0")


def _judge(case: ET.Element, job: JobReport, verdict: Verdict) -> None:
    found = verdict.finding
    if verdict.outcome is Outcome.PASSED:
        return
    said = [("expected", found.expected), ("observed", found.observed), ("evidence", ", ".join(found.evidence))]
    fix = next((one.fix for one in job.issues if one.verdict == "error" and one.fix), "")
    lines = [f"{label}: {visible(text, longest=_LONGEST)}" for label, text in (*said, ("fix", fix)) if text]
    lines.append(f"job: {visible(job.key)}, run {visible(job.run)}")
    message = f"{verdict.outcome.value}: {found.observed}"
    if verdict.outcome is Outcome.SKIPPED or verdict.optional:
        _child(case, "skipped", f"optional, {message}" if verdict.optional else message, None, "\n".join(lines))
    elif verdict.outcome is Outcome.FAILED:
        _child(case, "failure", message, "criterion", "\n".join(lines))
    else:
        why = _reason(job) if found.observed == UNJUDGED else found.observed
        _child(case, "error", f"{verdict.outcome.value}: {why}", verdict.outcome.value, "\n".join(lines))


def _reason(job: JobReport) -> str:
    return job.reason or ("interrupted before a verdict" if job.outcome is None else "no reason was recorded")


def _child(case: ET.Element, tag: str, message: str, type_: str | None, text: str) -> None:
    child = ET.SubElement(case, tag, message=_attribute(message))
    if type_ is not None:
        child.set("type", type_)
    child.text = text or None


def _attribute(text: str) -> str:
    return visible(text, longest=_LONGEST)
