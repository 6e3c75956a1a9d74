"""Why a job's steps end early, and what class of failure that is."""

from __future__ import annotations

from runner.errors import ProviderError, RunspecError, StoreError
from runner.ports import ProviderErrorKind
from runner.results import FailureClass, Outcome
from runner.spec.conditions import Condition

NO_VERDICT = {
    FailureClass.CAPACITY,
    FailureClass.INFRASTRUCTURE,
    FailureClass.PROVIDER,
    FailureClass.INTERRUPTED,
    FailureClass.LIMIT,
    FailureClass.LEAK,
}
"""Classes that say nothing about the template: something else broke."""


class StopJob(RunspecError):  # noqa: N818 - it ends a job; whether that is an error is its class
    """Ends the steps of a job at once; the pod is still given back and the evidence still judged."""

    def __init__(self, reason: str, failure_class: FailureClass, *, unmet: tuple[Condition, ...] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.failure_class = failure_class
        self.unmet = unmet
        """What was waited for in vain; whether it never came, or was never seen, the closed evidence tells."""

    @property
    def outcome(self) -> Outcome:
        """How the step that noticed it ended."""
        if self.failure_class is FailureClass.INTERRUPTED:
            return Outcome.CANCELLED
        return Outcome.ERRORED if self.failure_class in NO_VERDICT else Outcome.FAILED


def cut_off_by(exc: BaseException) -> StopJob:
    """What it means for a job that something else than its own steps ended it."""
    if isinstance(exc, Exception) and not isinstance(exc, StoreError):
        return StopJob(f"an error of runspec itself ended the job: {type(exc).__name__}", FailureClass.INFRASTRUCTURE)
    return StopJob("the run broke off before the job was over", FailureClass.INTERRUPTED)


def stop_for_provider(doing: str, exc: ProviderError) -> StopJob:
    """What a failed call of a cloud or lab means for the job."""
    failure = {
        ProviderErrorKind.CAPACITY: FailureClass.CAPACITY,
        ProviderErrorKind.BALANCE: FailureClass.LIMIT,
    }.get(ProviderErrorKind(exc.kind), FailureClass.PROVIDER)
    return StopJob(f"{doing}: {exc}", failure)
