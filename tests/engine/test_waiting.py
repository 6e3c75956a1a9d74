"""What a wait that ran out says of the template: that something did not come, or that nobody could have seen it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runner.events import JobJudged
from runner.results import FailureClass, JobSnapshot, Outcome
from runner.spec.models import Phase
from tests.engine.test_giving_back import Lived, live
from tests.sim import cloud as sim
from tests.sim.schedule import planned_jobs

NEVER_IN_THE_LOG = {"log": "no line has these words"}
NEVER_IN_THE_METRICS = {"metric": "train_loss", "lt": -1}


def waited(rates: dict[str, float], wait: dict[str, Any], or_: dict[str, Any]) -> Lived:
    """A job that waits in vain for one of two things, while everything that is judged holds."""
    phase = {
        "runspec-phase": 1,
        "name": "waiting",
        "title": "Waiting",
        "steps": [
            {"deploy": "template"},
            {"wait": {"metric": "step", "gte": 5}, "timeout": "10m"},
            {"wait": wait, "or": or_, "timeout": "1m"},
        ],
        "success": [
            {"id": "pod-deploys", "title": "Pod deploys", "expect": {"pod": "started"}},
            # Not decided before the end, so that the wait is worth its time.
            {"id": "fails", "title": "Training fails", "expect": {"alert": "job_failed"}, "optional": True},
        ],
    }
    return live({"trainer stalls": 1.0, **rates}, phase=Phase.model_validate(phase))


def test_a_wait_for_either_of_two_things_is_unknown_when_one_of_them_could_not_be_seen():
    for wait, or_ in (
        (NEVER_IN_THE_LOG, NEVER_IN_THE_METRICS),
        (NEVER_IN_THE_METRICS, NEVER_IN_THE_LOG),
    ):
        (job,) = waited({"log broken": 1.0}, wait, or_).finished()
        assert (job.outcome, job.failure_class) == (Outcome.UNKNOWN, FailureClass.NO_EVIDENCE)
        assert "the log stream broke" in job.reason


def test_a_wait_for_two_things_that_certainly_did_not_come_fails():
    (job,) = waited({}, NEVER_IN_THE_LOG, NEVER_IN_THE_METRICS).finished()
    assert (job.outcome, job.failure_class) == (Outcome.FAILED, FailureClass.CRITERION)


class CancellingLab(sim.SimLab):
    """Somebody else cancels every job as soon as it trains."""

    async def list_jobs(self) -> Sequence[JobSnapshot]:
        for job in self._world.jobs.values():
            job.status = "cancelled" if job.status == "running" else job.status
        return await super().list_jobs()


def test_a_job_that_somebody_else_cancelled_has_no_verdict():
    (job,) = live({}, make_lab=CancellingLab).finished()
    assert (job.outcome, job.failure_class) == (Outcome.CANCELLED, FailureClass.INTERRUPTED)
    assert job.reason == "the job was cancelled at the lab, and not by this run"


def test_what_an_unseen_wait_kept_from_being_done_is_errored_and_not_failed():
    full = planned_jobs(1, "full")[0].phase
    lived = live({"log broken": 1.0}, phase=full)
    (job,) = lived.finished()
    assert (job.outcome, job.failure_class) == (Outcome.UNKNOWN, FailureClass.NO_EVIDENCE)
    (judged,) = (event for event in lived.disk.events() if isinstance(event, JobJudged))
    outcomes = {verdict.id: verdict.outcome for verdict in judged.verdicts}
    assert outcomes["downloads"] is outcomes["generates"] is Outcome.ERRORED
    assert Outcome.FAILED not in outcomes.values()
