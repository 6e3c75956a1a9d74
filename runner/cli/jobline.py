"""What one job is doing right now, folded from its events: the row of the live table, the line of the plain one."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from runner.events import (
    AnyEvent,
    JobEvent,
    JobFinished,
    JobJudged,
    JobStarted,
    LabJobObserved,
    MetricsObserved,
    PodCreated,
    PodDoubled,
    PodGone,
    PodObserved,
    PodRefused,
    PodRequested,
    PodTerminating,
    RunStarted,
    StepFinished,
    StepStarted,
)
from runner.results import Outcome, Target, Verdict

SIGNS = {
    Outcome.PASSED: "✓",
    Outcome.FAILED: "✗",
    Outcome.ERRORED: "!",
    Outcome.UNKNOWN: "?",
    Outcome.SKIPPED: "-",
    Outcome.CANCELLED: "-",
}


@dataclass(slots=True)
class JobLine:
    """The state of one job in words and numbers."""

    key: str
    now: str = "waiting for its turn"
    pod: str = ""
    step: int | None = None
    total_steps: int | None = None
    loss: float | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    price_usd_h: float = 0.0
    pod_from: datetime | None = None
    pod_until: datetime | None = None
    outcome: Outcome | None = None
    step_from: datetime | None = None

    def apply(self, event: JobEvent) -> None:
        """Learn from one event."""
        match event:
            case JobStarted():
                self.started_at, self.now = event.at, "starting"
            case StepStarted():
                self.now, self.step_from = visible_title(event.title), event.at
            case LabJobObserved():
                self.step = max(self.step or 0, event.snapshot.step or 0) or self.step
                self.total_steps = event.snapshot.total_steps or self.total_steps
            case MetricsObserved():
                self.step = max([self.step or 0, *(point.step for point in event.points)])
                losses = [loss for point in event.points if (loss := point.values.get("train_loss")) is not None]
                self.loss = losses[-1] if losses else self.loss
            case JobFinished():
                self.ended_at, self.outcome, self.now = event.at, event.outcome, "done"
                self.started_at = self.started_at or event.at
            case _:
                self._apply_to_pod(event)

    def _apply_to_pod(self, event: JobEvent) -> None:
        match event:
            case PodRequested():
                self.pod, self.pod_from, self.pod_until = "requested", event.at, None
                self.price_usd_h = event.price_cap_usd_h
            case PodCreated():
                self.pod, self.price_usd_h = "created", event.cost_usd_h or self.price_usd_h
            case PodObserved():
                self.pod = event.pod.status.lower()
                self.price_usd_h = event.pod.cost_usd_h or self.price_usd_h
            case PodTerminating():
                self.pod, self.now, self.step_from = "terminating", "giving the pod back", event.at
            case PodGone():
                self.pod, self.pod_until = "gone", event.at
            case PodRefused():
                self.pod, self.pod_from = "refused", None

    def elapsed_s(self, now: datetime) -> float:
        """Since the job started; stands still when it ended."""
        if self.started_at is None:
            return 0.0
        return ((self.ended_at or now) - self.started_at).total_seconds()

    def waited_s(self, now: datetime) -> float:
        """Since what it does now began."""
        return 0.0 if self.step_from is None else (now - self.step_from).total_seconds()

    @property
    def is_pod_open(self) -> bool:
        """Asked for, and not proven gone."""
        return self.pod_from is not None and self.pod_until is None

    def cost_usd(self, now: datetime) -> float:
        """What its pod has cost so far, by time and price."""
        if self.pod_from is None:
            return 0.0
        return ((self.pod_until or now) - self.pod_from).total_seconds() * self.price_usd_h / 3600


@dataclass(slots=True)
class Board:
    """All jobs of a run."""

    lines: dict[str, JobLine] = field(default_factory=dict)
    started_at: datetime | None = None
    target: Target = Target.LOCAL
    max_spend_usd: float | None = None

    def cost_usd(self, line: JobLine, now: datetime) -> float:
        """What a job has cost so far; pods on this machine have a price to rehearse limits with, but nobody pays it."""
        return line.cost_usd(now) if self.target is Target.CLOUD else 0.0

    def apply(self, event: AnyEvent) -> JobLine | None:
        """Learn from one event; returns the line that it changed."""
        if isinstance(event, RunStarted):
            self.started_at, self.target, self.max_spend_usd = event.at, event.target, event.max_spend_usd
            self.lines = {job.job: JobLine(job.job) for job in event.jobs}
        if not isinstance(event, JobEvent) or event.job not in self.lines:
            return None
        line = self.lines[event.job]
        line.apply(event)
        return line


def visible_title(title: str) -> str:
    """A step's title without the marks of Markdown."""
    return title.replace("`", "")


def unmet(event: JobJudged) -> list[Verdict]:
    """What did not hold, the criteria that failed first."""
    open_ = [one for one in event.verdicts if one.outcome not in (Outcome.PASSED, Outcome.SKIPPED)]
    return sorted(open_, key=lambda one: one.outcome is not Outcome.FAILED)


def sentence(event: AnyEvent) -> str | None:
    """The event as one plain line, without its job; None for what happens too often to print."""
    match event:
        case StepStarted():
            return f"  {visible_title(event.title)} …"
        case StepFinished():
            detail = f": {event.detail.splitlines()[0]}" if event.detail else ""
            return f"{SIGNS[event.outcome]} step {event.index + 1} {event.outcome} ({event.elapsed_s:.1f} s){detail}"
        case PodCreated():
            how = " (found again after its answer was lost)" if event.adopted else ""
            return f"  pod {event.pod_id} created on {event.gpu}{how}"
        case PodTerminating():
            return f"  giving pod {event.pod_id or event.name} back: {event.reason.splitlines()[0]}"
        case PodGone():
            return f"  pod {event.pod_id} is gone after {event.alive_s:.0f} s"
        case PodDoubled():
            return f"! a second pod of the same request was given back: {event.pod_id}, after {event.alive_s:.0f} s"
        case JobJudged() if verdicts := unmet(event):
            return "; ".join(
                f"{SIGNS[one.outcome]} {visible_title(one.title)}: {_first_line(one.finding.observed)}"
                for one in verdicts
            )
        case JobFinished():
            reason = f": {event.reason.splitlines()[0]}" if event.reason else ""
            return f"{SIGNS[event.outcome]} {event.outcome} in {event.elapsed_s:.0f} s{reason}"
        case _:
            return None


def _first_line(text: str) -> str:
    return (text.splitlines() or [""])[0]
