"""What a log says of the posts a training makes about itself: metrics and alerts, delivered or not."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from runner.issues.logtext import Line, LogText

Kind = Literal["metrics", "alert"]

_MOST_OF_A_KIND = 20_000
_WORDS = ("lert", "etric", "LERT", "ETRIC")
_POST = re.compile(
    r"\b(post|posts|posted|posting|send|sends|sent|sending|report|reported|reporting|push|pushed|deliver|delivered"
    r"|upload|uploaded|submit|submitted|notify|webhook|http|https|api|callback|url|request|alert\]|metrics\])\b|alert\]"
    r"|metricscallback\]"
)
_FAILED = re.compile(
    r"fail|error|refused|timed? ?out|unreachable|could not|couldn't|cannot|unable|rejected|max retries|unauthorized"
    r"|forbidden|not allowed|not found|unavailable|dropped|lost|unbound|reset by peer|aborted|giving up"
    r"|(->|=>|status|code|http|:|got|returned|with)[\s=:]*[345]\d\d\b"
)
_SURE = re.compile(r"\bsent\b.{0,80}\bsuccess|\bsuccessfully (sent|posted|delivered)")
_DONE = re.compile(
    r"(->|=>|status|code|http|:|got|returned|with)[\s=:]*2\d\d\b|\bsent\b|success|delivered|accepted|\bok\b|posted"
)
_QUIET = re.compile(
    r"disabled|skip|not (set|configured|enabled)|will (only )?(post|write|send)|compute_metrics|metric_for_best"
)
_AGAIN = re.compile(r"\bretry|\bretries left|\battempt \d+ ?(/|of) ?\d+|\btrying again|backing off")


@dataclass(slots=True)
class Posts:
    """The posts of one kind that a log tells of.

    Attributes:
        delivered: how many arrived.
        failed: the lines of those that did not.
    """

    delivered: int = 0
    failed: list[Line] = field(default_factory=list)
    retrying: list[Line] = field(default_factory=list)

    def put(self, line: Line, *, is_delivered: bool) -> None:
        """Count one line; a retry that worked in the end lost nothing."""
        if is_delivered:
            self.delivered += 1
            self.retrying.clear()
        elif _AGAIN.search(line.text.lower()):
            self.retrying.append(line)
        else:
            self.failed.append(line)

    @property
    def lost(self) -> Line | None:
        """The first line about a post that never arrived."""
        found = [*self.failed, *self.retrying]
        return min(found, key=lambda line: line.start, default=None)


def kind_of(text: str) -> Kind | None:
    """What a line's post was about, when it is about one."""
    low = text.lower()
    alert, metrics = low.find("alert"), low.find("metric")
    if alert < 0 and metrics < 0:
        return None
    if _QUIET.search(low) or not _POST.search(low):
        return None
    return "alert" if metrics < 0 or 0 <= alert < metrics else "metrics"


def read_posts(log: LogText) -> dict[Kind, Posts]:
    """Every post that the log tells of."""
    posts: dict[Kind, Posts] = {"metrics": Posts(), "alert": Posts()}
    places = sorted({place for word in _WORDS for place in log.ends(word, _MOST_OF_A_KIND)})
    last = -1
    for place in places:
        line = log.line_at(place)
        if line.start == last or line.text.startswith(("  ", "│")):
            continue
        last = line.start
        _take(posts, line)
    return posts


def _take(posts: dict[Kind, Posts], line: Line) -> None:
    kind = kind_of(line.text)
    # An alert about a failure is no failure of an alert.
    low = line.text.lower().replace("job_failed", "job_ended")
    if kind is None:
        return
    if kind == "alert" and "read timed out" in low:
        posts[kind].put(line, is_delivered=True)  # the lab handles an alert before it answers
    elif _SURE.search(low):
        posts[kind].put(line, is_delivered=True)
    elif _FAILED.search(low):
        posts[kind].put(line, is_delivered=False)
    elif _DONE.search(low):
        posts[kind].put(line, is_delivered=True)
