"""Known issues that only API errors or the whole evidence of a job show."""

# ruff: noqa: E501 - an error of an API is as long as it is

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from runner import events as e
from runner import results as r
from runner.conditions.evidence import Evidence
from runner.issues.closing import closing_issues
from runner.issues.matcher import IssueMatcher
from runner.spec.models import Method

START = datetime(2026, 1, 4, 12, tzinfo=UTC)
JOB = "cpt_standard/full/1"


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def points(values: dict[int, float | None], name: str = "train_loss", **more: float) -> e.MetricsObserved:
    found = tuple(r.MetricPoint(step=step, values={name: value, **more}) for step, value in values.items())
    return e.MetricsObserved(at=at(30), job=JOB, points=found)


def alert(kind: str, seconds: float = 20, message: str = "") -> e.AlertsObserved:
    one = r.Alert(id=kind, type=kind, lab_job_id="x", at=at(seconds), message=message)
    return e.AlertsObserved(at=at(seconds), job=JOB, alerts=(one,))


def job(status: str = "completed", step: int = 100, **more: object) -> e.LabJobObserved:
    snapshot = r.JobSnapshot(lab_job_id="x", status=status, step=step, **more)
    return e.LabJobObserved(at=at(90), job=JOB, snapshot=snapshot)


FALLING = {step: 3.0 - step / 50 for step in range(1, 101)}
WELL = (e.JobStarted(at=at(0), job=JOB), alert("job_started"), points(FALLING), alert("job_completed", 89), job())


def found(*events: e.AnyEvent, method: Method = Method.CPT, ends_s: float = 120) -> set[str]:
    evidence = Evidence()
    evidence.apply_all(events)
    evidence.advance(at(ends_s))
    evidence.close()
    return set(closing_issues(evidence, method))


def without(*kinds: type) -> tuple[e.AnyEvent, ...]:
    return tuple(event for event in WELL if not isinstance(event, kinds))


def test_a_job_that_went_well_shows_nothing():
    assert found(*WELL) == set()


def test_no_alert_at_all_is_an_issue():
    assert found(*without(e.AlertsObserved)) == {"alerts-missing"}


def test_no_metric_at_all_is_an_issue():
    assert found(*without(e.MetricsObserved)) == {"metrics-missing"}


def test_what_cannot_be_asked_for_is_not_missing():
    gone = [e.EvidenceMissing(at=at(5), job=JOB, source=source, reason="down") for source in ("alerts", "metrics")]
    assert found(*without(e.AlertsObserved, e.MetricsObserved), *gone) == set()


def test_a_job_that_ended_at_once_lacks_nothing():
    begun = (e.JobStarted(at=at(0), job=JOB), points({1: 3.0}))
    assert found(*begun, ends_s=35) == set()


def test_rlhf_is_known_to_post_nothing():
    events = without(e.AlertsObserved, e.MetricsObserved)
    assert found(*events, method=Method.RLHF) == {"rlhf-is-blind"}
    assert IssueMatcher(method=Method.RLHF).rule("rlhf-is-blind").verdict == "expected"


def test_a_loss_that_the_lab_turned_into_null_is_not_finite():
    lost = points({**FALLING, **dict.fromkeys(range(60, 101), None)}, learning_rate=2e-4)
    assert found(*without(e.MetricsObserved), lost) == {"loss-not-finite"}


def test_points_of_an_evaluation_have_no_loss_and_that_is_fine():
    evaluation = points({101: None, 102: None, 103: None})
    assert found(*WELL, evaluation) == set()


@pytest.mark.parametrize(
    ("values", "issue"),
    [
        (dict.fromkeys(range(1, 20), 5.85), "loss-constant"),
        ({step: 2.0 + step for step in range(1, 20)}, "loss-diverged"),
    ],
)
def test_a_loss_that_stands_or_rises_is_not_learning(values, issue):
    assert found(*without(e.MetricsObserved), points(values)) == {issue}


def test_metrics_that_end_at_the_thousandth_point_are_cut():
    many = points({step: 3.0 - step / 900 for step in range(1, 1001)})
    assert found(*without(e.MetricsObserved, e.LabJobObserved), many, job(step=1500)) == {"metrics-cut-at-1000"}


def test_a_finished_job_that_the_lab_calls_running_is_an_issue():
    assert found(*without(e.LabJobObserved), job("running")) == {"job-status-not-updated"}


def test_a_warning_of_the_lab_is_an_issue():
    quiet = job("running", warning="⚠️ No updates received in 12 minute(s).")
    assert "no-updates" in found(*without(e.LabJobObserved), quiet)


def test_installing_three_times_is_a_loop():
    lines = tuple(r.LogLine(at=at(n), source="container", text="Installing dependencies...") for n in range(3))
    assert found(*WELL, e.LogsObserved(at=at(3), job=JOB, first=1, lines=lines)) == {"install-loop"}


@pytest.mark.parametrize(
    ("message", "issue"),
    [
        ("the deploy failed: HTTP 500: Failed to create RunPod deployment: No NVIDIA RTX A4000 GPUs currently available on RunPod.", "no-capacity"),
        ("HTTP 500: Cannot read properties of null (reading 'desiredStatus')", "orphan-after-deploy"),
        ("HTTP 400: RunPod API key not configured. Please add your RunPod credentials in the Secrets Vault.", "runpod-key-missing"),
        ("HTTP 400: Please attach a dataset to this training configuration before deploying", "lab-no-dataset"),
        ("HTTP 404: Training configuration not found", "lab-no-config"),
        ("HTTP 500: Server configuration error: APP_BASE_URL not set", "lab-url-unset"),
        ("HTTP 500: Failed to prepare dataset for download", "dataset-download-failed"),
        ("HTTP 500: RunPod API error: 500 - internal", "runpod-create-failed"),
        ("HTTP 400: dpo requires preference format. Current dataset is chatml", "dataset-attach-refused"),
        ("the lab did not take the job: 401 Unauthorized: Invalid API key", "lab-refuses-key"),
        ("create: your account balance is too low to rent this pod", "runpod-no-balance"),
        ("HTTP 500: Provider runpod not found or not configured", "runpod-provider-missing"),
    ],
)  # fmt: skip
def test_errors_of_apis_are_recognised(message, issue):
    assert IssueMatcher().match_api(message).id == issue


def test_words_of_an_api_error_mean_nothing_in_a_log():
    assert IssueMatcher().match("Training configuration not found") is None
