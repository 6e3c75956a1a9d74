"""From a whole log to one cause.

A failure outranks a warning. Lost metrics and alerts stop no training, so they are the cause only of what else went
well, and are named beside any other cause.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from runner.issues.catalogue import IssueRule
from runner.issues.ending import Ending, Raised, message_at, read_ending
from runner.issues.learning import Figure, losses, not_learning
from runner.issues.logtext import Line, LogText
from runner.issues.matcher import IssueMatcher
from runner.issues.telemetry import Kind, Posts, kind_of, read_posts
from runner.spec.models import Method

TELEMETRY = ("metrics_post_failed", "alert_failed", "alerts_missing")
_LOST: tuple[tuple[Kind, str, str], ...] = (
    ("metrics", "metrics-post-failed", "metrics_post_failed"),
    ("alert", "alert-post-failed", "alert_failed"),
)
_KILLED = (137, -9)
_STOPPED = (143, -15)
_MOST_OF_A_KIND = 200
_MESSAGE_LINES = 4
"""Lines of an exception's message that are looked at, its first one included."""
_LONGEST_EVIDENCE = 1_000
_SOFT = re.compile(r"\b(WARNING|WARN|INFO|DEBUG|warning|warn)\b|Warning:|\"(?:info|debug)\"")
_WARNING = re.compile(r"\b(WARNING|WARN)\b|\bWarning:|^\[?[Ww]arning\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What a log shows.

    Attributes:
        failure_class: one of the classes of issues, `healthy`, or `unknown` when the log does not say how it ended.
        issue: id of the rule; None when no rule says it.
        evidence: the line that decides, as it stands in the log; None when something is missing from it.
        line: its number, from 1.
        also: classes of what else was found, none twice.
        exit_code: as given or as the log says.
        note: what was not read.
    """

    failure_class: str
    issue: str | None = None
    title: str = ""
    evidence: str | None = None
    line: int | None = None
    cause: str = ""
    fix: str = ""
    also: tuple[str, ...] = ()
    exit_code: int | None = None
    note: str = ""

    def as_json(self) -> dict[str, object]:
        """The fields that `runspec explain --json` prints."""
        return {
            "class": self.failure_class, "issue": self.issue, "evidence": self.evidence, "line": self.line,
            "cause": self.cause, "fix": self.fix, "also": list(self.also), "exit_code": self.exit_code,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sighting:
    """A rule that fits a line."""

    rule: IssueRule
    line: Line


@dataclass(frozen=True, slots=True)
class _Case:
    """All that was read from one log."""

    log: LogText
    matcher: IssueMatcher
    ending: Ending
    sightings: tuple[Sighting, ...]
    posts: dict[Kind, Posts]
    losses: tuple[Figure, ...]
    method: Method | None


def diagnose(log: LogText, *, method: Method | None = None, exit_code: int | None = None) -> Diagnosis:
    """The one cause that explains a log most.

    Args:
        method: rules for other methods are left out; None tries all.
        exit_code: of the trainer's process; taken from the log when it is not known.
    """
    matcher = IssueMatcher(method=method)
    found = losses(log)
    case = _Case(
        log=log,
        matcher=matcher,
        ending=read_ending(log, exit_code=exit_code, steps=[figure.place for figure in found]),
        sightings=tuple(_sightings(log, matcher)),
        posts=read_posts(log),
        losses=tuple(found),
        method=method,
    )
    telemetry = _telemetry(case)
    main = _failure(case, telemetry) if _has_failed(case) else _success(case, telemetry)
    code = case.ending.exit_code
    if code is None and main.failure_class != "unknown":
        code = 0 if not _has_failed(case) else 137 if main.issue == "oom-killed" else 1
    also = tuple(
        dict.fromkeys(one.rule.failure_class for one in telemetry if one.rule.failure_class != main.failure_class)
    )
    return replace(main, also=also, exit_code=code, note=log.note)


# --- reading ------------------------------------------------------------------------------------------------------


def _sightings(log: LogText, matcher: IssueMatcher) -> Iterable[Sighting]:
    """The rule that each line fits; of a flood of lines of one kind, the first and the last ones."""
    short, starts = log.condensed()
    last = -1
    for place in sorted({place for text in matcher.literals for place in short.ends(text, _MOST_OF_A_KIND)}):
        line = short.line_at(place)
        if line.start == last or _is_source(line.text):
            continue
        last = line.start
        rule = matcher.fit(line.text)
        if rule is not None:
            row = line.number - 1
            begin = short.text.rfind("\n", 0, place) + 1
            yield Sighting(rule, log.line_at(starts[row] + place - begin))


def _is_source(text: str) -> bool:
    # A line of a traceback's source quotes messages that nobody raised.
    return text.startswith(("  ", "│", "❱")) and "Killed" not in text


def _has_failed(case: _Case) -> bool:
    ending = case.ending
    after = [one for one in ending.raised if one.line.start > ending.progress and not _is_post(case, one.line)]
    if ending.exit_code not in (None, 0):
        return True
    is_said = any(
        one.rule.generic and one.rule.failure_class != "dataset_empty" and one.line.start > ending.progress
        for one in case.sightings
    )
    if ending.done is not None:
        return is_said and bool(after)
    if after:
        return True
    return ending.exit_code is None and any(
        _is_hard(one) and one.line.start > ending.progress for one in case.sightings
    )


def _is_hard(sighting: Sighting) -> bool:
    rule = sighting.rule
    if rule.verdict == "expected" or rule.failure_class in (*TELEMETRY, "not_learning"):
        return False
    return not _SOFT.search(sighting.line.text)


def _is_post(case: _Case, line: Line) -> bool:
    lost = [one for posts in case.posts.values() for one in (*posts.failed, *posts.retrying)]
    return any(one.start == line.start for one in lost)


# --- deciding -----------------------------------------------------------------------------------------------------


def _failure(case: _Case, telemetry: Sequence[Sighting]) -> Diagnosis:
    ending = case.ending
    real = [one for one in case.sightings if one.rule.verdict != "expected" and not _is_post(case, one.line)]
    causes = [one for one in real if not one.rule.generic and one.rule.failure_class not in TELEMETRY]
    late = [one for one in causes if one.line.start > ending.progress]
    choices = (
        _by_frames(case, has_text=True),
        _raised_ones(case, late),
        [one for one in late if _is_hard(one)],
        _killed(case),
        [one for one in real if one.rule.generic and one.rule.failure_class not in ("trainer_error", "trainer_killed")],
        _by_frames(case, has_text=False),
        _raised_ones(case, causes),
        [one for one in late if one.rule.failure_class != "not_learning"],
        _not_learning(case),
        [one for one in causes if _is_hard(one)],
        [*telemetry[:1]],
        [one for one in real if one.rule.generic and _is_end(case, one)],
        _last_exception(case),
        [one for one in real if one.rule.generic],
    )
    chosen = next((group[-1] for group in choices if group), None)
    if chosen is not None:
        return _of(case, _unless_said_by(case, chosen))
    line = ending.raised[-1].line if ending.raised else ending.exit_line
    rule = case.matcher.rule("trainer-stopped" if not line and ending.exit_code in _STOPPED else "trainer-failed")
    assert rule is not None  # noqa: S101 - the catalogue's own
    return _of(case, Sighting(rule, line)) if line else _of_rule(rule)


def _unless_said_by(case: _Case, chosen: Sighting) -> Sighting:
    """The process that the kernel ended is best shown by its exit code."""
    if chosen.rule.id == "oom-killed" and case.ending.exit_line is not None:
        return Sighting(chosen.rule, case.ending.exit_line)
    return chosen


def _raised_ones(case: _Case, sightings: Sequence[Sighting]) -> list[Sighting]:
    """Those on the lines of an exception's message."""
    firsts = [one.line.number for one in case.ending.raised]
    numbers = {number + offset for number in firsts for offset in range(_MESSAGE_LINES)}
    direct = [one for one in sightings if one.line.number in set(firsts)]
    return direct or [one for one in sightings if one.line.number in numbers and not _SOFT.search(one.line.text)]


def _killed(case: _Case) -> list[Sighting]:
    rule = case.matcher.rule("oom-killed")
    if rule is None or case.ending.exit_code not in _KILLED:
        return []
    seen = [one for one in case.sightings if one.rule.id == "oom-killed"]
    line = case.ending.exit_line or (seen[-1].line if seen else None)
    return [Sighting(rule, line or case.log.line_at(max(0, len(case.log.text.rstrip()) - 1)))]


def _by_frames(case: _Case, *, has_text: bool) -> list[Sighting]:
    found = []
    rules = [rule for rule in case.matcher.rules if bool(rule.contains) is has_text]
    for raised in case.ending.raised:
        if raised.line.start > case.ending.progress and not _is_post(case, raised.line):
            rule = _rule_of_frames(rules, raised)
            found += [Sighting(rule, raised.line)] if rule else []
    return found


def _rule_of_frames(rules: Iterable[IssueRule], raised: Raised) -> IssueRule | None:
    for rule in rules:
        is_told = not rule.contains or any(text in raised.line.text for text in rule.contains)
        if is_told and raised.name in rule.exceptions and any(frame in raised.frames for frame in rule.frames):
            return rule
    return None


def _last_exception(case: _Case) -> list[Sighting]:
    """What nobody knows is at least best shown by its own last words."""
    rule = case.matcher.rule("trainer-traceback")
    raised = [one.line for one in case.ending.raised if one.line.start > case.ending.progress]
    return [Sighting(rule, line) for line in raised[-1:] if rule and not _is_post(case, line)]


def _is_end(case: _Case, one: Sighting) -> bool:
    return any(raised.line.start == one.line.start for raised in case.ending.raised)


def _not_learning(case: _Case) -> list[Sighting]:
    found = not_learning(case.log, case.losses, may_rise=case.method is Method.RLHF)
    rule = case.matcher.rule(found.issue) if found else None
    return [Sighting(rule, case.log.line_at(found.place))] if found and rule else []


def _success(case: _Case, telemetry: Sequence[Sighting]) -> Diagnosis:
    learning = _not_learning(case) or _without_a_step(case)
    if learning:
        return _of(case, learning[0])
    if telemetry:
        return _of(case, telemetry[0])
    ending = case.ending
    if ending.done is None and ending.exit_code is None:
        return Diagnosis(
            failure_class="unknown",
            title="The log does not say how it ended",
            cause="There is no error, no exit code and no sign that training finished.",
            fix="Give the exit code with `--exit-code`, or the whole log.",
        )
    warning = _warning(case)
    if warning is not None:
        return warning
    return Diagnosis(
        failure_class="healthy",
        title="Nothing is wrong",
        evidence=_evidence(ending.done) if ending.done else None,
        line=ending.done.number if ending.done else None,
        cause="Training ran to its end, and the log has neither errors nor warnings.",
        fix="Nothing to do.",
    )


def _without_a_step(case: _Case) -> list[Sighting]:
    """A trainer without rows may end well, and has trained nothing."""
    if case.losses:
        return []
    return [one for one in case.sightings if one.rule.failure_class == "dataset_empty"]


def _warning(case: _Case) -> Diagnosis | None:
    known = [one for one in case.sightings if one.rule.verdict == "expected"]
    special = [one for one in known if one.rule.id != "python-warning"]
    if special:
        return _of(case, special[0])
    places = [place for word in ("WARN", "arning:") for place in case.log.places(word)]
    for place in sorted(places):
        line = case.log.line_at(place)
        if _WARNING.search(line.text) and not any(one.line.start == line.start for one in known):
            return _recovered(line)
    if known:
        return _of(case, known[0])
    # Errors that training got over.
    return next((_recovered(one.line) for one in case.sightings if one.rule.failure_class != "not_learning"), None)


def _recovered(line: Line) -> Diagnosis:
    return Diagnosis(
        failure_class="healthy_with_warnings",
        title="A warning that nobody knows",
        evidence=_evidence(line),
        line=line.number,
        cause="A library warns; training ran to its end.",
        fix="Read the warning; nothing else is wrong.",
    )


# --- telemetry ----------------------------------------------------------------------------------------------------


def _telemetry(case: _Case) -> list[Sighting]:
    """Metrics and alerts that did not arrive, by the most specific rule for their line."""
    found = []
    for kind, default, wanted in _LOST:
        line = case.posts[kind].lost
        if line is None:
            continue
        rule = case.matcher.fit(line.text)
        if rule is None or rule.failure_class != wanted:
            rule = case.matcher.rule(default)
        if rule is not None:
            found.append(Sighting(rule, line))
    known = {one.rule.failure_class for one in found}
    for seen in case.sightings:
        is_counted = kind_of(seen.line.text) is not None  # and if it is not among the lost, a retry worked
        if seen.rule.failure_class in TELEMETRY and seen.rule.failure_class not in known and not is_counted:
            known.add(seen.rule.failure_class)
            found.append(seen)
    missing = case.matcher.rule("alerts-missing")
    if missing is not None and "alert_failed" not in known and _are_alerts_missing(case):
        found.append(Sighting(missing, Line(0, "", 0)))
    return found


def _are_alerts_missing(case: _Case) -> bool:
    """A training that began and ended tells of its beginning and its end."""
    ending, alerts = case.ending, case.posts["alert"]
    if _has_failed(case) or not ending.is_started or ending.done is None:
        return False
    return alerts.delivered < (1 if ending.is_cut else 2)


def _of(case: _Case, sighting: Sighting) -> Diagnosis:
    line = sighting.line
    found = _of_rule(sighting.rule)
    if not line.number:
        return found
    is_raised = any(raised.line.start == line.start for raised in case.ending.raised)
    evidence = message_at(case.log, line) if is_raised else line.text
    return replace(found, evidence=evidence.strip()[:_LONGEST_EVIDENCE], line=line.number)


def _of_rule(rule: IssueRule) -> Diagnosis:
    return Diagnosis(failure_class=rule.failure_class, issue=rule.id, title=rule.title, cause=rule.cause, fix=rule.fix)


def _evidence(line: Line) -> str:
    return line.text.strip()[:_LONGEST_EVIDENCE]
