"""Which status a template has by what was recorded: never greener than its evidence."""

from __future__ import annotations

import itertools
from datetime import timedelta

import fake_runs as fake
import pytest

from runner.events import JobJudged, PodUnconfirmed
from runner.history import RecordedRun
from runner.reports.evidence import summarise
from runner.reports.standing import PhaseSubject, Status, build_model, subject
from runner.results import FailureClass, Outcome, Target
from runner.spec.models import Phase, Spec

CLOUD, LOCAL = Target.CLOUD, Target.LOCAL
JOB = "cpt_standard/basic/1"


def basic(*runs: RecordedRun, max_age: timedelta | None = None, **changes: str):
    model = build_model([fake.subject(**changes)], runs, max_age=max_age)
    return model.templates[0].phases[0]


def single(events, **kwargs) -> RecordedRun:
    return fake.run("one", events, **kwargs)


def test_nothing_recorded_is_pending():
    assert basic().status is Status.PENDING


def test_a_local_pass_is_rehearsed_and_never_working():
    assert basic(fake.passing()).status is Status.REHEARSED
    with_issue = single(fake.job_events(JOB, judged=fake.verdicts(), extra=[fake.issue()]))
    assert basic(with_issue).status is Status.REHEARSED


def test_a_cloud_pass_is_working_and_says_when_issues_were_seen():
    assert basic(fake.passing(target=CLOUD)).status is Status.WORKING
    with_issue = single(fake.job_events(JOB, judged=fake.verdicts(), extra=[fake.issue()]), target=CLOUD)
    assert basic(with_issue).status is Status.KNOWN_ISSUES


@pytest.mark.parametrize("made", [fake.passing, fake.failing])
def test_run_that_was_made_to_go_wrong_is_listed_and_gives_no_status(made):
    staged = made(staged=("fault: lab POST /api/alerts/trigger alert-lost",))
    alone, beside = basic(staged), basic(fake.passing("0001"), staged)
    assert alone.status is Status.NO_VERDICT
    assert beside.status is Status.REHEARSED
    assert beside.decisive.run == "0001"
    assert len(beside.results) == 2
    assert "made to go wrong" in beside.results[0].notes[0] or "made to go wrong" in beside.results[1].notes[0]


def test_scripted_runs_count_for_nothing():
    assert basic(fake.passing(target=Target.SCRIPTED)).status is Status.PENDING


@pytest.mark.parametrize(
    ("older", "newer", "status"),
    [
        ((CLOUD, "pass"), (LOCAL, "pass"), Status.WORKING),
        ((CLOUD, "pass"), (LOCAL, "fail"), Status.FAILED),
        ((CLOUD, "fail"), (LOCAL, "pass"), Status.FAILED),
        ((LOCAL, "fail"), (CLOUD, "pass"), Status.WORKING),
        ((LOCAL, "pass"), (LOCAL, "fail"), Status.FAILED),
        ((LOCAL, "fail"), (LOCAL, "pass"), Status.REHEARSED),
        ((CLOUD, "pass"), (LOCAL, "unknown"), Status.WORKING),
        ((CLOUD, "pass"), (CLOUD, "unknown"), Status.NO_VERDICT),
        ((LOCAL, "pass"), (LOCAL, "errored"), Status.REHEARSED),
        ((LOCAL, "errored"), (LOCAL, "errored"), Status.NO_VERDICT),
    ],
)
def test_the_cloud_counts_more_and_a_failure_is_never_hidden_by_a_rehearsal(older, newer, status):
    make = {"pass": fake.passing, "fail": fake.failing, "unknown": fake.unknown, "errored": fake.errored}
    runs = [make[how](f"r{day}", JOB, target=target, day=day) for day, (target, how) in enumerate((older, newer))]
    assert basic(*runs).status is status


def test_an_errored_attempt_after_a_pass_is_named_beside_it():
    standing = basic(fake.passing(), fake.errored("e1", JOB, day=1))
    assert standing.later_attempt.run == "e1"


def test_a_changed_spec_or_phase_makes_evidence_stale():
    assert basic(fake.passing(), digest="s2").status is Status.STALE
    assert basic(fake.passing(), digest="s2").why_stale == "the spec changed since"
    assert basic(fake.failing(), digest="s2").status is Status.STALE
    assert basic(fake.passing(), digest="").status is Status.REHEARSED


def test_fresh_rehearsed_evidence_wins_over_stale_evidence_of_the_cloud():
    old = single(
        fake.job_events(JOB, judged=fake.verdicts()), target=CLOUD, records=[fake.record(JOB, spec_digest="s0")]
    )
    assert basic(old, fake.passing(day=1)).status is Status.REHEARSED


def test_age_is_counted_from_the_newest_run_and_not_from_today():
    old, new = fake.passing("old"), fake.passing("new", "dpo_standard/basic/1", day=40)
    subjects = [fake.subject(), fake.subject("dpo_standard", "dpo")]
    model = build_model(subjects, [old, new], max_age=timedelta(days=30))
    assert [one.phases[0].status for one in model.templates] == [Status.STALE, Status.REHEARSED]
    assert basic(old, max_age=timedelta(days=30)).status is Status.REHEARSED


def test_a_pass_after_a_retry_is_flaky_and_ticks_nothing():
    standing = basic(single(fake.job_events(JOB, judged=fake.verdicts(), attempt=2), target=CLOUD))
    assert standing.status is Status.FLAKY
    assert not standing.status.is_green


@pytest.mark.parametrize(
    "events",
    [
        pytest.param(fake.job_events(JOB, Outcome.PASSED, None), id="nobody judged"),
        pytest.param(fake.job_events(JOB, Outcome.PASSED, fake.verdicts()[:4]), id="one criterion was not judged"),
        pytest.param(
            fake.job_events(JOB, judged=fake.verdicts(trains=fake.verdict("trains", Outcome.UNKNOWN))), id="unknown"
        ),
        pytest.param(
            fake.job_events(JOB, judged=fake.verdicts(trains=fake.verdict("trains", Outcome.SKIPPED))),
            id="skipped",
        ),
        pytest.param(fake.job_events(JOB, judged=fake.verdicts(metrics_post=fake.FAILED_METRICS)), id="failed"),
        pytest.param(fake.job_events(JOB, None, fake.verdicts()), id="interrupted"),
        pytest.param(
            fake.job_events(
                JOB, Outcome.PASSED, fake.verdicts(),
                extra=[PodUnconfirmed(at=fake.at(30), job=JOB, name="other", pod_id="x", why="no answer")],
            ),
            id="a pod is not proven gone",
        ),
    ],
)  # fmt: skip
def test_a_run_that_calls_itself_passed_is_not_green_without_evidence_for_every_criterion(events):
    standing = basic(single(events, target=CLOUD))
    assert not standing.status.is_green
    assert summarise(single(events)).outcome is not Outcome.PASSED


def test_a_run_that_leaves_a_pod_open_is_not_passed():
    report = summarise(single(fake.job_events(JOB, judged=fake.verdicts(), released=False)))
    assert report.outcome is Outcome.ERRORED
    assert [lease.name for lease in report.open_pods] == ["pod-cpt_standard-basic-1"]


def test_an_optional_criterion_does_not_decide():
    judged = fake.verdicts(trains=fake.verdict("trains", Outcome.FAILED, optional=True))
    assert basic(single(fake.job_events(JOB, judged=judged))).status is Status.REHEARSED


def test_verdicts_given_again_later_replace_the_first_ones():
    run = fake.failing()
    again = JobJudged(at=fake.at(100), job=JOB, verdicts=fake.verdicts())
    assert basic(RecordedRun(run.run, (*run.events, again))).status is Status.REHEARSED
    stopped = single(
        fake.job_events(JOB, Outcome.ERRORED, fake.verdicts(), failure_class=FailureClass.LIMIT),
        outcome=Outcome.ERRORED,
    )
    assert basic(RecordedRun("one", (*stopped.events, again))).status is Status.NO_VERDICT


def test_only_the_last_attempt_counts_and_a_resume_does_not_cut_it_short():
    first = fake.job_events(JOB, None, extra=[fake.losses(JOB, 50)], cost=0.02)
    second = fake.job_events(JOB, judged=fake.verdicts(), attempt=2, extra=[fake.losses(JOB, 7)], cost=0.05)
    resumed = [*second[:5], second[0], *second[5:]]
    job = summarise(single([*first, *resumed])).jobs[0]
    assert (job.attempt, job.series[0].points, job.is_flaky) == (2, 7, False)


def test_no_order_of_results_turns_a_failed_cloud_run_into_a_pass():
    runs = [fake.failing("a", target=CLOUD, day=3), fake.passing("b", day=4), fake.passing("c", target=CLOUD, day=1)]
    for order in itertools.permutations(runs):
        assert basic(*order).status is Status.FAILED


def test_a_batch_with_one_failed_job_is_failed():
    jobs = [fake.job_events(f"cpt_standard/batch/{number}", judged=fake.verdicts()) for number in range(1, 5)]
    jobs.append(
        fake.job_events("cpt_standard/batch/5", Outcome.FAILED, fake.verdicts(metrics_post=fake.FAILED_METRICS))
    )
    standing = build_model([fake.subject()], [fake.run("b", *jobs)]).templates[0].phases[2]
    assert standing.status is Status.FAILED
    assert (standing.decisive.passed_criteria, standing.decisive.all_criteria) == (24, 25)


def test_a_subject_is_made_of_a_loaded_spec_and_its_phases():
    spec = Spec.model_validate(
        {
            "runspec": 1, "name": "cpt_standard", "title": "CPT", "notes": "n",
            "template": {"key": "cpt_standard", "method": "cpt", "model": "m/m"},
            "dataset": {"format": "text", "file": "d.jsonl"},
            "success": {"basic": [{"id": "packing", "title": "Packing works", "expect": {"log": "pack"}}]},
        }
    )  # fmt: skip
    phase = Phase.model_validate(
        {
            "runspec-phase": 1, "name": "basic", "title": "Basic", "steps": [{"deploy": "template"}],
            "success": [{"id": "trains", "title": "Training starts", "expect": {"log": "x"}}],
        }
    )  # fmt: skip
    found = subject(spec, {"basic": phase}, file="specs/cpt.yaml", digest="s", phase_digests={"basic": "p"})
    assert (found.key, found.method, found.file, found.digest) == ("cpt_standard", "cpt", "specs/cpt.yaml", "s")
    criteria = (("trains", "Training starts"), ("packing", "Packing works"))
    assert found.phases == (PhaseSubject(name="basic", title="Basic", digest="p", criteria=criteria),)


def test_a_pass_after_an_attempt_that_a_killed_runner_cut_short_is_no_flake():
    first = fake.job_events(JOB, judged=fake.verdicts())
    cut = first[: next(index for index, event in enumerate(first) if isinstance(event, JobJudged))]
    second = fake.job_events(JOB, judged=fake.verdicts(), attempt=2)
    job = summarise(single([*cut, *second])).jobs[0]
    assert (job.attempt, job.is_flaky) == (2, False)
