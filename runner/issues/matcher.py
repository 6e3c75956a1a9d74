"""Recognises known issues in single lines, cheaply: most lines are dismissed by looking for a few plain texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from runner.conditions.logbook import MAX_LINE_LENGTH
from runner.issues.catalogue import IssueRule, load_catalogue
from runner.issues.saying import Saying, saying_of
from runner.spec.models import KnownIssue, Method
from runner.spec.patterns import LinePattern, PatternTooCostlyError, line_pattern

_DIGITS = str.maketrans("123456789", "0" * 9)
_MOST_KINDS = 4_096
"""Kinds of lines that are remembered; a training has some dozens."""
_RAISED = re.compile(r"(?:\w+\.)*[A-Z]\w*(?:Error|Exception): ")
_AT_ANY_LEVEL = ("metrics_post_failed", "alert_failed", "not_learning", "pod_restarted")
"""Figures, and what the trainer's own reporters tell, whatever level they think it has."""


class IssueMatcher:
    """The rules for one template, in the order in which they are tried.

    What the spec itself declares comes first, in its own order: a template may declare as expected what is an error
    elsewhere, and an error what the catalogue calls harmless.
    """

    def __init__(self, extra: Sequence[KnownIssue] = (), method: Method | None = None) -> None:
        known = [rule for rule in load_catalogue() if not rule.methods or method is None or method in rule.methods]
        self.rules: tuple[IssueRule, ...] = (*(IssueRule.of_spec(issue) for issue in extra), *known)
        self._by_id = {rule.id: rule for rule in reversed(self.rules)}
        self._patterns = [None if rule.pattern is None else line_pattern(rule.pattern) for rule in self.rules]
        self._always = [at for at, rule in enumerate(self.rules) if rule.pattern is not None and not rule.contains]
        self._ranks_of: dict[str, list[int]] = {}
        self._api_ranks_of: dict[str, list[int]] = {}
        self._alike: dict[str, list[int]] = {}
        self._kinds: dict[str, Sequence[int]] = {}
        for at, rule in enumerate(self.rules):
            if rule.evidence == "traceback":
                continue
            ranks = self._api_ranks_of if rule.evidence == "api" else self._ranks_of
            for text in rule.contains:
                ranks.setdefault(text, []).append(at)
                if rule.evidence != "api":
                    self._alike.setdefault(text.translate(_DIGITS), []).append(at)

    @property
    def literals(self) -> Iterable[str]:
        """The texts one of which a line must contain to fit any rule of the catalogue."""
        return self._ranks_of.keys()

    def match(self, line: str) -> IssueRule | None:
        """The first rule that a line fits for which it counts by itself; None for lines that say nothing known.

        While a run goes on nothing else than the line is known, so what it says in passing, of others or as data is
        no error. What the spec itself declares always counts.
        """
        saying: Saying | None = None
        for rule, pattern in self._fitting(line):
            if rule.verdict == "expected" or rule.failure_class == "known_issue":
                return rule
            saying = saying or saying_of(line[:MAX_LINE_LENGTH])
            if rule.failure_class in _AT_ANY_LEVEL or _counts(rule, pattern, saying):
                return rule
        return None

    def fit(self, line: str) -> IssueRule | None:
        """The first rule that the line fits, however it says it; for who knows the lines around it."""
        return next((rule for rule, _ in self._fitting(line)), None)

    def _fitting(self, line: str) -> Iterator[tuple[IssueRule, LinePattern | None]]:
        """The rules that the line fits, in order; a pattern that cannot be searched in bounded time does not fit."""
        line = line[:MAX_LINE_LENGTH]
        for at in self._likely(line):
            rule, pattern = self.rules[at], self._patterns[at]
            if rule.is_harmless and _RAISED.match(line):
                continue  # an exception may advise the very setting that a warning is about
            if _is_in(rule, pattern, line):
                yield rule, pattern

    def _likely(self, line: str) -> Sequence[int]:
        """Ranks of the rules whose texts the line may contain; lines that differ in digits are looked at once."""
        kind = line.translate(_DIGITS)
        known = self._kinds.get(kind)
        if known is None:
            found = {at for text, ranks in self._alike.items() if text in kind for at in ranks}
            known = sorted({*self._always, *found})
            if len(self._kinds) < _MOST_KINDS:
                self._kinds[kind] = known
        return known

    def match_api(self, message: str) -> IssueRule | None:
        """The first rule that an API's error fits: those for API errors, then those for log lines."""
        message = " ".join(message.split())[:MAX_LINE_LENGTH]
        likely = {at for text, ranks in self._api_ranks_of.items() if text in message for at in ranks}
        for at in sorted(likely):
            pattern = self._patterns[at]
            if pattern is None or _fits(pattern, message):
                return self.rules[at]
        return self.fit(message)

    def rule(self, issue_id: str) -> IssueRule | None:
        """The rule with this id; the spec's own wins."""
        return self._by_id.get(issue_id)

    def root_cause(self, issue_ids: Iterable[str]) -> IssueRule | None:
        """The issue that explains most why a job failed; None when all are expected.

        A specific one before a generic one; what ends a training before lost metrics or alerts, which do not; an
        error before infrastructure; then the order of the catalogue.
        """
        wanted = set(issue_ids)
        rules = [rule for rule in self.rules if rule.id in wanted and rule.verdict != "expected"]
        return min(rules, key=_rank, default=None)


def _rank(rule: IssueRule) -> tuple[bool, bool, bool]:
    is_telemetry = rule.failure_class in ("metrics_post_failed", "alert_failed", "alerts_missing")
    return rule.generic, is_telemetry, rule.verdict != "error"


def _counts(rule: IssueRule, pattern: LinePattern | None, saying: Saying) -> bool:
    """A rule holds for what a line says, not only for what it mentions."""
    is_of_rows = rule.failure_class.startswith("dataset")  # what is wrong with a row may be said of that row
    if saying.is_in_passing or (saying.is_of_a_row and not is_of_rows):
        return False
    unquoted = saying.unquoted
    return unquoted is None or _is_in(rule, pattern, unquoted)


def _is_in(rule: IssueRule, pattern: LinePattern | None, text: str) -> bool:
    is_there = not rule.contains or any(part in text for part in rule.contains)
    return is_there and (pattern is None or _fits(pattern, text))


def _fits(pattern: LinePattern, line: str) -> bool:
    try:
        return pattern.search(line)
    except PatternTooCostlyError:
        return False
