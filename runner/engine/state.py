"""One running job: its evidence, and a way to wait until that grows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache

from runner.conditions.evidence import Evidence
from runner.engine.recorder import Recorder
from runner.engine.vigil import Vigil
from runner.events import AnyEvent, IssueObserved, LogsObserved, WatchResumed
from runner.history import Lease as OpenLease
from runner.issues.catalogue import IssueRule
from runner.issues.closing import closing_issues
from runner.issues.matcher import IssueMatcher
from runner.plan import PlannedJob
from runner.ports import Clock, JobTicket
from runner.results import FailureClass, LogLine
from runner.spec.models import KnownIssue, Method

ASLEEP_S = 60.0
"""The watch looks every few seconds; nothing but the sleep of the machine, or of a whole life, lets so much pass.

So much time without an answer of the lab counts like a sleep.
"""


@lru_cache(maxsize=32)
def _matcher_of(known: tuple[KnownIssue, ...], method: Method) -> IssueMatcher:
    """One matcher for all jobs of a template: its tables take longer to make than a job to begin."""
    return IssueMatcher(extra=known, method=method)


class JobState:
    """What is known of one job while it runs. All of it comes from recorded events."""

    def __init__(self, job: PlannedJob, *, recorder: Recorder, clock: Clock) -> None:
        self.job = job
        self.evidence = Evidence()
        self.started_s = clock.monotonic()
        self.pod_name: str | None = None
        self.pod_id: str | None = None
        self.doubles: set[str] = set()
        """Further pods of that name which were given back."""
        self.lab_job_id: str | None = None
        self.config_id: str | None = None
        self.pod_since_s: float | None = None
        self.cost_usd_h: float | None = None
        self.gpu: str | None = None
        """The GPU that the pod was asked for with."""
        self.gpus: tuple[str, ...] = ()
        """The GPUs to try instead of the spec's own; empty for those."""
        self.ticket: JobTicket | None = None
        """The lab's job of a pod that we created ourselves."""
        self.log_trouble: str | None = None
        """Why the pod's log cannot be read just now."""
        self.vigil: Vigil | None = None
        self.is_winding_down = False
        """We asked for the end ourselves: what pod and job say from here on is no evidence of their health."""
        self._recorder = recorder
        self._clock = clock
        self._matcher = _matcher_of(tuple(job.spec.known_issues), job.spec.template.method)
        self._issues: set[str] = set()
        self._log_lines = 0
        self._changed = asyncio.Event()
        self.woke_s = float("-inf")
        """When the machine was last found to have slept."""
        self.blinded_s = 0.0
        """How long nobody could watch the job, in all."""
        self._awake_s: float | None = None
        self._answered_s = 0.0
        self._blind_s = 0.0

    @property
    def key(self) -> str:
        """The job's key in the plan."""
        return self.job.key

    def now(self) -> datetime:
        """The time for a new event."""
        return self._clock.now()

    async def record(self, *events: AnyEvent, durable: bool = False) -> None:
        """Record events of this job, learn from them, and wake whoever waits.

        Raises:
            StoreError: the journal cannot take them; nothing was learnt.
        """
        events = (*self._blindness(), *events)
        await self._recorder.record(*events, durable=durable)
        self._learn(events)

    async def notice_sleep(self) -> None:
        """Record a sleep of the machine, or a long silence of the lab, that nobody has recorded yet."""
        if blindness := self._blindness():
            await self._recorder.record(*blindness)
            self._learn(blindness)

    def expect_looks(self) -> None:
        """From now on the watch looks at the job every few seconds; before, nothing was to be seen or missed."""
        self._awake_s = self._answered_s = self._clock.monotonic()

    def has_answer(self) -> None:
        """The lab said all that was asked about the job; what it did not say did not happen."""
        self._answered_s = self._clock.monotonic()

    def blind_for(self, seconds: float) -> None:
        """Nobody watched the job for so long; the next record says so."""
        self._blind_s += max(0.0, seconds)
        self.blinded_s += max(0.0, seconds)

    def _blindness(self) -> tuple[AnyEvent, ...]:
        if self._awake_s is not None:
            now_s = self._clock.monotonic()
            asleep_s, self._awake_s = now_s - self._awake_s, now_s
            if asleep_s > ASLEEP_S:
                self.woke_s = self._answered_s = now_s
                self.blind_for(asleep_s)
            elif now_s - self._answered_s > ASLEEP_S and not self.is_winding_down:
                self.blind_for(now_s - self._answered_s)
                self._answered_s = now_s
        blind_s, self._blind_s = self._blind_s, 0.0
        return (WatchResumed(at=self.now(), job=self.key, blind_s=blind_s),) if blind_s else ()

    async def record_if_possible(self, *events: AnyEvent) -> None:
        """As `record`, durable, for teardown: a journal that fails must not stop it."""
        await self._recorder.record_if_possible(*events)
        self._learn(events)

    def _learn(self, events: tuple[AnyEvent, ...]) -> None:
        for event in events:
            self.evidence.apply(event)
        self.wake()

    async def record_logs(self, lines: tuple[LogLine, ...]) -> None:
        """Record new log lines and the known issues that they show, each issue once."""
        if self.vigil is not None:
            self.vigil.hear(lines)
        first = self._log_lines + 1
        self._log_lines += len(lines)
        issues = [event for number, line in enumerate(lines, first) if (event := self._issue_in(line, number))]
        await self.record(LogsObserved(at=self.now(), job=self.key, first=first, lines=lines), *issues)

    async def record_api_issue(self, message: str) -> None:
        """Record the known issue behind what a cloud or lab answered, if there is one."""
        event = self._issue(self._matcher.match_api(message), message)
        if event is not None:
            await self.record_if_possible(event)

    async def record_closing_issues(self) -> None:
        """Record the known issues that only the whole evidence shows; for when nothing more can come."""
        found = closing_issues(self.evidence, self.job.spec.template.method)
        events = [event for issue in found if (event := self._issue(self._matcher.rule(issue)))]
        if events:
            await self.record_if_possible(*events)

    def _issue_in(self, line: LogLine, number: int) -> IssueObserved | None:
        return self._issue(self._matcher.match(line.text), line.text, number)

    def _issue(self, rule: IssueRule | None, text: str = "", number: int | None = None) -> IssueObserved | None:
        if rule is None or rule.id in self._issues:
            return None
        self._issues.add(rule.id)
        return IssueObserved(
            at=self.now(),
            job=self.key,
            issue=rule.id,
            title=rule.title,
            failure_class=rule.failure_class,
            verdict=rule.verdict,
            cause=rule.cause,
            fix=rule.fix,
            log_line=number,
            text=text[:400],
        )

    def adopt(self, lease: OpenLease, *, billed_s: float) -> None:
        """Take over the pod of an earlier life, which has been billed for so many seconds."""
        self.pod_name, self.pod_id, self.lab_job_id = lease.name, lease.pod_id, lease.lab_job_id
        self.cost_usd_h, self.gpu = lease.cost_usd_h, lease.gpu or None
        self.pod_since_s = self._clock.monotonic() - billed_s
        self.started_s = self.pod_since_s

    def remember(self, *, issues: Iterable[str], log_lines: int) -> None:
        """Go on counting log lines, and mention no issue twice."""
        self._issues |= set(issues)
        self._log_lines = log_lines

    @property
    def is_job_over(self) -> bool:
        """The lab said, by status or by alert, that the training job ended."""
        return self.evidence.job_is_finished

    @property
    def root_cause(self) -> FailureClass | None:
        """What the known issues seen so far explain a failure by; None when none of them is a problem."""
        rule = self._matcher.root_cause(self._issues)
        return rule.failure if rule is not None else None

    def wake(self) -> None:
        """Let every waiter look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self, *, within_s: float) -> None:
        """Return when something new was recorded, or after `within_s` seconds."""
        try:
            async with asyncio.timeout(within_s):
                await self._changed.wait()
        except TimeoutError:
            return

    @property
    def cost_usd(self) -> float:
        """What all pods of this job have cost, by the record."""
        return self.evidence.cost_usd

    def burnt_usd(self) -> float:
        """What the pod has cost so far, by observed time and its own price; 0 without a pod."""
        if self.pod_since_s is None:
            return 0.0
        price = self.job.spec.limits.price if self.cost_usd_h is None else self.cost_usd_h
        return price * (self._clock.monotonic() - self.pod_since_s) / 3600

    def spent_before_usd(self) -> float:
        """What the pods of earlier attempts have cost."""
        return sum(pod.cost_usd(self.now()) or 0.0 for pod in self.evidence.past_pods)
