"""The catalogue of known issues: what is recognised, what it means, what to do about it."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Literal

import msgspec
from ruamel.yaml import YAML

from runner.results import FailureClass
from runner.spec.models import KnownIssue, Method

IssueVerdict = Literal["error", "expected", "infrastructure"]
IssueScope = Literal["template", "dataset", "model", "trainer", "image", "pod", "lab", "runpod"]
IssueEvidence = Literal["log", "api", "metric", "absence", "traceback", "note"]
IssueClass = Literal[
    "alert_failed",
    "alerts_missing",
    "bootstrap_failed",
    "capacity",
    "config_invalid",
    "dataset_empty",
    "dataset_invalid_json",
    "dataset_wrong_format",
    "disk_full",
    "healthy_with_warnings",
    "known_issue",
    "metrics_post_failed",
    "missing_dependency",
    "model_not_found",
    "not_learning",
    "oom",
    "pod_restarted",
    "provider_error",
    "tokenizer_model_mismatch",
    "trainer_error",
    "trainer_killed",
    "unsupported_hardware",
]
"""What kind of thing an issue is; `known_issue` is for what a spec itself declares."""

_FAILURES: dict[str, FailureClass] = {
    "oom": FailureClass.OUT_OF_MEMORY,
    "trainer_killed": FailureClass.TRAINER_KILLED,
    "dataset_empty": FailureClass.DATASET,
    "dataset_invalid_json": FailureClass.DATASET,
    "dataset_wrong_format": FailureClass.DATASET,
    "capacity": FailureClass.CAPACITY,
    "provider_error": FailureClass.PROVIDER,
}

_SCOPES: dict[str, IssueScope] = {
    "alert_failed": "lab",
    "bootstrap_failed": "image",
    "capacity": "runpod",
    "config_invalid": "template",
    "dataset_empty": "dataset",
    "dataset_invalid_json": "dataset",
    "dataset_wrong_format": "dataset",
    "disk_full": "pod",
    "metrics_post_failed": "lab",
    "missing_dependency": "image",
    "model_not_found": "model",
    "not_learning": "template",
    "oom": "pod",
    "pod_restarted": "pod",
    "provider_error": "lab",
    "tokenizer_model_mismatch": "model",
    "unsupported_hardware": "pod",
}


class IssueRule(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"failure_class": "class"}
):
    """One known issue and how a line shows it.

    Attributes:
        contains: the line contains one of these texts; empty for an issue that no line can show. For a traceback: the
            exception's first line does, which together with the frames says more than the line alone.
        pattern: regular expression that must match as well, when given.
        methods: only for templates of these methods; empty for all.
        evidence: what shows it: a `log` line (or the same text in an API error), only an `api` error, `metric`
            figures, the `absence` of something, the frames of a `traceback`; a `note` is known, but nothing recorded
            shows it.
        exceptions: for a traceback: the exception is one of these, by its name without a module.
        frames: for a traceback: and one of these texts is in its frames.
        scope: what it concerns, when that is not what its class is about.
        generic: says that something went wrong, not what; a specific issue of the same job explains more.
    """

    id: str
    title: str
    failure_class: IssueClass
    verdict: IssueVerdict
    cause: str
    fix: str = ""
    evidence: IssueEvidence = "log"
    contains: tuple[str, ...] = ()
    exceptions: tuple[str, ...] = ()
    frames: tuple[str, ...] = ()
    pattern: str | None = None
    methods: tuple[Method, ...] = ()
    scope: IssueScope | None = None
    generic: bool = False
    sources: tuple[str, ...] = ()

    @property
    def concerns(self) -> IssueScope:
        """What it concerns: as the rule says, else what its class is about."""
        return self.scope or _SCOPES.get(self.failure_class, "trainer")

    @property
    def is_harmless(self) -> bool:
        """The catalogue itself says that nobody has to act; what a spec declares as expected is its author's word."""
        return self.verdict == "expected" and self.failure_class != "known_issue"

    @property
    def failure(self) -> FailureClass:
        """What it means for what happens next."""
        default = FailureClass.INFRASTRUCTURE if self.verdict == "infrastructure" else FailureClass.TRAINER_ERROR
        return _FAILURES.get(self.failure_class, default)

    @classmethod
    def of_spec(cls, issue: KnownIssue) -> IssueRule:
        """The rule for what a spec says of its own template."""
        return cls(
            id=issue.id,
            title=issue.because,
            failure_class="known_issue",
            verdict=issue.verdict,
            cause=issue.because,
            fix=issue.fix or "",
            pattern=issue.log,
        )


class RuleFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A catalogue file."""

    rules: tuple[IssueRule, ...]


@lru_cache(maxsize=1)
def load_catalogue() -> tuple[IssueRule, ...]:
    """The rules that come with runspec, in the order in which they are tried."""
    text = resources.files("runner.issues").joinpath("catalogue.yaml").read_text(encoding="utf-8")
    return parse_catalogue(text)


def parse_catalogue(text: str) -> tuple[IssueRule, ...]:
    """Rules from YAML.

    Raises:
        msgspec.ValidationError: not a catalogue of this version.
        ValueError: two rules have one id.
    """
    rules = msgspec.convert(YAML(typ="safe", pure=False).load(text), RuleFile).rules
    ids = [rule.id for rule in rules]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise ValueError(f"these ids are used twice: {', '.join(twice)}")
    return rules
