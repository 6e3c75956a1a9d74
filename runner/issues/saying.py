"""How one line says what it says: as what happened, or in passing, of others, as data.

A whole log shows by its end whether something was an error. While a run goes on there is only the line itself, so
what it says counts for less where its writer did not mean it as an error.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

MESSAGE_KEYS = ("message", "msg", "log", "event", "error", "detail")
_TRACE_KEYS = ("exc_info", "exception", "traceback", "stack", "stack_trace", "stacktrace")
_LEVEL_KEYS = ("level", "levelname", "severity", "lvl", "log.level")
_LEVELS = "TRACE|DEBUG|INFO|NOTICE|SUCCESS|WARNING|WARN|ERROR|CRITICAL|FATAL"
# The level stands behind stamps and at most two names: `10:00:01 - trainer - INFO - `, `[rank0]:[INFO|x.py:3] `.
_HEAD = re.compile(
    r"^(?:[^A-Za-z\"'{]|(?<=\d)[TZ](?=[\W\d]))*(?:(?:[\w.<>:/-]+[\])]?(?: - | ?[:|] ?| )){0,2}[\[(<]?)"
    rf"({_LEVELS}|{_LEVELS.lower()})(?=[\s:|\])>/-])[\]\s:|)>-]*(?:\S+\.py:\d+\S*\s*)?"
)
_LOGFMT = re.compile(r"\b(?:level|lvl|severity)=\"?(\w+)\"? .*?\b(?:msg|message)=\"?(.*)", re.IGNORECASE)
_NAME = re.compile(r"\s*\[?[\w./<>:-]+\]?(?:: | - | \| |\] |>> ?)")
_MOST_NAMES = 3
_RAISED = re.compile(
    r"(?:Uncaught )?(?:\w+\.)*[A-Z]\w*(?:Error|Exception|Invalid|Iteration|Interrupt|NotFound|Timeout|Failure)"
    r"(?::|\s*$)"
)
# Python writes nothing behind the key; who goes on writes about the error.
_ABOUT_A_KEY = re.compile(r"^KeyError: (['\"]).*?\1 +[a-z]{2,} ")
_FAILS = re.compile(
    r"\b(?:[Ff]ailed|FAILED|[Ff]atal|[Ee]rror: |ERROR\b|Killed|SIGKILL|[Ee]xited? |exit(?:ing)? (?:code|status)|"
    r"Traceback \(|[Aa]borted|[Cc]rashed)"
)
_GETS_BY = re.compile(
    r"[,;:.(-] ?(?:so |now |and )?(?:using|training on|running on|fall(?:s|ing)? back|skip(?:ped|ping|s)?|"
    r"ignor(?:ed|ing)|continu(?:es|ing))\b|\b(?:were|was|rows|lines|records|examples|samples) "
    r"(?:skipped|ignored|dropped)\b|\bskipped:|^(?:[Ss]kipp|[Ii]gnor|[Dd]ropp)(?:ed|ing)\b"
)
_FIELD = re.compile(
    r"^(?:dataset |training |eval |example |generated |model )?(?:prompts?|completions?|chosen|rejected|texts?|"
    r"samples?|examples?|questions?|answers?|instructions?|responses?|content|user|assistant|system|human|messages|"
    r"conversations?|generated|output|rows?)(?: ?#?\d+)? ?[:=|>]",
    re.IGNORECASE,
)
_TALK = re.compile(r"^I(?:'m|'ve)? |^(?:What|Why|How|When|Where|Who|Which|Can|Does|Do|Is|Are|Should)\b.*\?")
_DATA = re.compile(r"^(?:[\[(]?\{|\[[\"']|\|.*\||│|❱)")
_SOURCE = re.compile(r"^\s+(?:raise |return |File \"|if |assert |self\.|[\w.]+ ?= )")
_QUOTED = re.compile(r"\"[^\"]*\"|“[^”]*”|«[^»]*»")


@dataclass(frozen=True, slots=True)
class Saying:
    """What a line says, without what a logger puts around it.

    Attributes:
        message: without level and names of loggers.
        level: in capitals; empty when the line names none.
        is_raised: an exception's name begins it.
        fails: by level or word, it tells of a failure.
    """

    message: str
    level: str = ""
    is_raised: bool = False
    fails: bool = False

    @property
    def is_in_passing(self) -> bool:
        """Its writer did not mean it as an error: it informs, tells what is done instead, or is data or a question."""
        if self.is_raised:
            return bool(_ABOUT_A_KEY.match(self.message))
        said, is_error = self.message, _is_error(self.level)
        if _DATA.match(said) or _SOURCE.match(said):
            return True
        if not is_error and (_TALK.match(said) or _GETS_BY.search(said)):
            return True
        return self.level in ("TRACE", "DEBUG", "INFO", "NOTICE", "SUCCESS") and not self.fails

    @property
    def is_of_a_row(self) -> bool:
        """It shows what stands in a field of the dataset, or in what the model writes."""
        return not self.is_raised and not _is_error(self.level) and bool(_FIELD.match(self.message))

    @property
    def unquoted(self) -> str | None:
        """The message without what it only quotes; None when quotes may be the very error."""
        return None if self.is_raised or self.fails else _QUOTED.sub("", self.message)


def saying_of(line: str) -> Saying:
    """What a line says; a logger's JSON object says its message."""
    if line.startswith("{") and (wrapped := _of_json(line)) is not None:
        return wrapped
    logfmt = _LOGFMT.search(line)
    if logfmt:
        return _of_message(logfmt[2], logfmt[1].upper().replace("WARNING", "WARN"))
    head = _HEAD.match(line)
    level = head[1].upper().replace("WARNING", "WARN") if head else ""
    return _of_message(line[head.end() :] if head else line, level)


def messages_in(line: str) -> list[str]:
    """The message in a logger's JSON object, and the traceback that goes with it; empty when the line is none."""
    fields = _fields(line)
    found = [fields[key] for key in MESSAGE_KEYS if isinstance(fields.get(key), str)][:1]
    return [str(text) for text in (*found, *(fields[key] for key in _TRACE_KEYS if isinstance(fields.get(key), str)))]


def _of_json(line: str) -> Saying | None:
    messages = messages_in(line)
    if not messages:
        return None
    message, fields = messages[0], _fields(line)
    level = next((str(fields[key]).upper() for key in _LEVEL_KEYS if isinstance(fields.get(key), str)), "")
    inner = saying_of(message) if not message.startswith("{") else _of_message(message, "")
    return replace(inner, level=level, fails=inner.fails or _is_error(level)) if level and not inner.level else inner


def _fields(line: str) -> dict[str, object]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _of_message(text: str, level: str) -> Saying:
    bare = text
    for _ in range(_MOST_NAMES):
        name = _NAME.match(bare)
        if not name or _FIELD.match(bare) or _RAISED.match(bare.lstrip()):
            break
        bare = bare[name.end() :]
    is_raised = bool(_RAISED.match(bare.lstrip()))
    fails = _is_error(level) or bool(_FAILS.search(text))
    return Saying(bare, level, is_raised, fails)


def _is_error(level: str) -> bool:
    return level in ("ERROR", "CRITICAL", "FATAL")
