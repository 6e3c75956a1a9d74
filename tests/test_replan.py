"""From a recorded run back to its plan."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from runner.errors import PlanError
from runner.events import JobFinished, JobStarted, RunStarted, decode_event, encode_event
from runner.plan import Plan, Selection, make_plan
from runner.replan import finished_jobs, is_same_work, past_of, plan_of_record
from runner.results import FailureClass, Outcome, Target
from runner.spec.find import find_spec_files
from runner.spec.loader import find_phase, load_spec

NOW = datetime(2026, 11, 22, tzinfo=UTC)
SPECS = Path(__file__).parents[1] / "specs"


@pytest.fixture(scope="module")
def plan() -> Plan:
    """All 35 jobs of the standard specs."""
    specs = [load_spec(path) for path in find_spec_files([SPECS])]
    selection = Selection(vars={"watch_steps": 7, "rows": 300})
    return make_plan(specs, find_phase=find_phase, selection=selection, target=Target.LOCAL, max_spend_usd=3)


@pytest.fixture(scope="module")
def started(plan: Plan) -> RunStarted:
    """The beginning of a run of them, as it comes out of a journal."""
    jobs = tuple(job.record() for job in plan.jobs)
    event = RunStarted(at=NOW, run="r", target=plan.target, via=plan.via, jobs=jobs, max_spend_usd=3)
    decoded = decode_event(encode_event(event))
    assert isinstance(decoded, RunStarted)
    return decoded


def test_the_record_of_a_run_is_its_whole_plan(plan, started):
    again = plan_of_record(started)
    assert len(again.jobs) == 35
    assert again == plan


def test_batch_jobs_have_seeds_of_their_own_on_the_same_rows(plan):
    batch = [job for job in plan.jobs if job.key.startswith("dpo_standard/batch/")]
    assert [job.seed for job in batch] == [42, 43, 44, 45, 46]
    assert [job.record().seed for job in batch] == [job.config["seed"] for job in batch]
    assert len({job.spec.dataset for job in batch}) == 1
    assert batch[0].spec.dataset.generate.rows == 300


def test_rlhf_jobs_tell_the_trainer_where_their_reward_comes_from(plan):
    job = next(job for job in plan.jobs if job.spec.name == "rlhf_standard")
    assert job.config["training"]["reward"] == {"function": "keyword"}


def test_the_same_work_is_told_from_other_work(plan, started):
    assert is_same_work(plan, started)
    fewer = Plan(jobs=plan.jobs[1:], target=plan.target)
    elsewhere = Plan(jobs=plan.jobs, target=Target.CLOUD)
    edited = msgspec.structs.replace(
        started, jobs=(msgspec.structs.replace(started.jobs[0], spec_digest="x"), *started.jobs[1:])
    )
    assert not is_same_work(fewer, started)
    assert not is_same_work(elsewhere, started)
    assert not is_same_work(plan, edited)


def test_a_record_of_another_format_is_refused_in_words(started):
    broken = msgspec.structs.replace(started.jobs[0], content={"spec": {"runspec": 9}})
    with pytest.raises(PlanError, match="does not hold a spec that this version understands"):
        plan_of_record(msgspec.structs.replace(started, jobs=(broken,)))


def ended(job: str, outcome: Outcome, failure: FailureClass | None = None) -> JobFinished:
    return JobFinished(at=NOW, job=job, outcome=outcome, failure_class=failure)


def test_jobs_that_were_interrupted_or_left_out_run_again_and_no_others():
    events = [
        JobStarted(at=NOW, job="a"),
        ended("a", Outcome.PASSED),
        ended("b", Outcome.FAILED, FailureClass.CRITERION),
        ended("c", Outcome.ERRORED, FailureClass.CAPACITY),
        ended("d", Outcome.CANCELLED, FailureClass.INTERRUPTED),
        ended("e", Outcome.SKIPPED),
        ended("f", Outcome.ERRORED, FailureClass.INTERRUPTED),
        JobStarted(at=NOW, job="g"),
    ]
    assert finished_jobs(events).keys() == {"a", "b", "c"}
    assert past_of(events) == [*events[:4], events[-1]]
