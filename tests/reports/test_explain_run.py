"""Why a recorded run failed, from its events."""

from __future__ import annotations

import fake_runs as fake
import msgspec

from runner import events as e
from runner import results as r
from runner.reports.difference import changes, last_passed, recorded_jobs
from runner.reports.explain import explain, tree

JOB = "dpo_standard/basic/1"
LOG = (
    "[Main] Training method: dpo",
    "python 3.11.7 torch 2.13.0 transformers 5.23.0 trl 1.16.0",
    "Traceback (most recent call last):",
    '  File "/workspace/trainer.py", line 88, in main',
    "    run(spec)",
    "KeyError: 'chosen'",
    "process exited with code 1",
)
PARTS = r.Finding(
    truth=False, decided=True, expected="all of 2 conditions", observed="",
    parts=(
        r.Finding(truth=True, decided=True, expected="a log line `Training started`", observed="log line 1"),
        r.Finding(
            truth=False, decided=True, expected="no known issue that is an error",
            observed="dataset-preference-missing", evidence=("log line 6",),
        ),
    ),
)  # fmt: skip
NO_ERRORS = msgspec.structs.replace(fake.verdict("no-errors", r.Outcome.FAILED), finding=PARTS)


def failed(*lines: str, **kwargs: object) -> e.AnyEvent:
    events = fake.job_events(
        JOB, r.Outcome.FAILED, fake.verdicts(no_errors=NO_ERRORS), extra=[fake.logs(JOB, *lines)], **kwargs
    )
    return fake.run("bad1", events, outcome=r.Outcome.FAILED, day=3, records=[fake.record(JOB, method="dpo")])


def one(run):
    (job,) = recorded_jobs(run)
    return job


def test_the_cause_is_found_in_the_log_with_the_lines_around_it():
    found = explain(one(failed(*LOG)))
    assert found.diagnosis.issue == "dataset-preference-missing"
    assert (found.diagnosis.line, found.diagnosis.fix) == (6, "Give rows with `prompt`, `chosen` and `rejected`.")
    assert [line.number for line in found.lines] == [3, 4, 5, 6, 7]


def test_line_numbers_are_those_of_the_record_when_its_beginning_is_missing():
    run = failed(*LOG)
    events = [
        msgspec.structs.replace(event, first=101) if isinstance(event, e.LogsObserved) else event
        for event in run.events
    ]
    found = explain(one(type(run)(run.run, tuple(events), ())))
    assert found.diagnosis.line == 106
    assert [line.number for line in found.lines] == [103, 104, 105, 106, 107]


def test_a_criterion_is_shown_with_its_values():
    rows = list(tree(PARTS))
    assert rows == [
        (0, "✗ all of 2 conditions"),
        (1, "✓ a log line `Training started`: log line 1"),
        (1, "✗ no known issue that is an error: dataset-preference-missing"),
    ]


def test_without_a_word_in_the_log_the_reason_of_the_job_explains():
    events = fake.job_events(
        JOB, r.Outcome.ERRORED, reason="deploy: HTTP 500: No NVIDIA RTX A4000 GPUs currently available on RunPod.",
        failure_class=r.FailureClass.CAPACITY,
    )  # fmt: skip
    found = explain(one(fake.run("bad2", events, outcome=r.Outcome.ERRORED)))
    assert (found.diagnosis.failure_class, found.diagnosis.issue) == ("capacity", "no-capacity")


def test_without_log_and_reason_the_recorded_issue_explains():
    seen = fake.issue(JOB, issue="alerts-missing", failure_class="alerts_missing", verdict="error", fix="Set them.")
    events = fake.job_events(JOB, r.Outcome.FAILED, fake.verdicts(no_errors=NO_ERRORS), extra=[seen])
    found = explain(one(fake.run("bad3", events, outcome=r.Outcome.FAILED)))
    assert (found.diagnosis.issue, found.diagnosis.fix) == ("alerts-missing", "Set them.")


def passed_before(**record: object):
    extra = [fake.logs(JOB, "Training started", "python 3.11.7 torch 2.13.0 transformers 5.23.0 trl 1.12.0")]
    content = {"spec": {"template": {"training": {"batch_size": 2, "learning_rate": 0.0002}}}}
    return fake.run(
        "good", fake.job_events(JOB, r.Outcome.PASSED, fake.verdicts(), extra=extra), day=1,
        records=[fake.record(JOB, method="dpo", content=content, **record)],
    )  # fmt: skip


def test_what_is_different_from_the_last_pass_is_named():
    bad = failed(*LOG)
    content = {"spec": {"template": {"training": {"batch_size": 8, "learning_rate": 0.0002}}}}
    start = msgspec.structs.replace(bad.events[0], jobs=(fake.record(JOB, method="dpo", seed=7, content=content),))
    job = one(type(bad)(bad.run, (start, *bad.events[1:]), ()))
    before = last_passed(job, [fake.passing("other"), passed_before(), bad])
    assert before.run.run == "good"
    assert [(change.what, change.before, change.now) for change in changes(before, job)] == [
        ("spec.template.training.batch_size", "2", "8"),
        ("seed", "42", "7"),
        ("version of trl", "1.12.0", "1.16.0"),
    ]


def test_a_later_pass_or_one_of_another_phase_is_not_compared_with():
    job = one(failed(*LOG))
    later = fake.run("late", fake.job_events(JOB, r.Outcome.PASSED, fake.verdicts()), day=9)
    other = fake.run("full", fake.job_events("dpo_standard/full/1", r.Outcome.PASSED, fake.verdicts()))
    assert last_passed(job, [later, other]) is None


def test_json_of_a_job_has_the_fields_of_a_log():
    found = explain(one(failed(*LOG))).as_json()
    assert {"class", "issue", "evidence", "line", "cause", "fix", "also", "criteria", "changes"} <= found.keys()
    assert found["criteria"][0]["finding"]["parts"][1]["truth"] is False
