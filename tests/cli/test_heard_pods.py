"""What is said of pods when the journal broke off."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from runner.cli.heard_pods import HeardPods
from runner.events import PodCreated, PodGone, PodRequested

AT = datetime(2026, 11, 20, tzinfo=UTC)
REQUESTED = PodRequested(at=AT, job="a/b/1", name="pod-1", via="lab", gpu="A40", price_cap_usd_h=1.0, deadline=AT)
CREATED = PodCreated(at=AT, job="a/b/1", name="pod-1", pod_id="p1", cost_usd_h=0.2, gpu="A40")
GONE = PodGone(at=AT, job="a/b/1", name="pod-1", pod_id="p1", alive_s=3.0, cost_usd=0.0)


def test_nothing_was_launched_when_no_pod_was_asked_for():
    assert not HeardPods().was_any


def test_pod_that_is_gone_leaves_a_run_without_a_verdict():
    heard = HeardPods()
    heard.remember([REQUESTED, CREATED, GONE])
    assert heard.conclude(Path("state"))[0] == 3


def test_pod_whose_creation_could_not_be_recorded_and_that_is_gone_is_not_open():
    heard = HeardPods()
    heard.remember([REQUESTED, GONE])
    assert heard.conclude(Path("state"))[0] == 3


def test_pod_that_nobody_saw_go_is_named_with_what_ends_it():
    heard = HeardPods()
    heard.remember([REQUESTED, CREATED])
    code, words = heard.conclude(Path("state"))
    assert code == 6
    assert words == "pods may still be billed: pod-1; run `runspec reap --state state`"
