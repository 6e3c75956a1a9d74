"""The fold: merging, bounds, attempts, and that it never looks twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from runner.conditions.evidence import Evidence
from runner.conditions.logbook import Arrival, Logbook
from runner.events import JobJudged, LogsObserved, decode_event, encode_event
from runner.results import LogLine

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_last_value_that_is_not_null_wins(story):
    evidence = story().metrics({3: 1.0}).metrics({3: 0.9}).metrics({3: None}).evidence()
    assert evidence.metric("train_loss").points() == (0.9,)


def test_late_points_take_their_place(story):
    evidence = story().metrics({5: 5.0}).metrics({2: 2.0, 7: 7.0}).metrics({1: 1.0}).evidence()
    assert evidence.metric("train_loss").points() == (1.0, 2.0, 5.0, 7.0)
    assert evidence.step == 7


def test_log_is_bounded_and_says_what_it_dropped(story):
    log = Logbook(max_lines=3)
    lines = tuple(LogLine(at=NOW, source="container", text=f"X{n}") for n in range(5))
    log.extend(1, lines, Arrival(1, None, NOW))
    assert ([line.number for line in log.lines], log.dropped) == ([1, 2, 3], 2)
    log = Logbook(max_characters=4)
    log.extend(1, lines, Arrival(1, None, NOW))
    assert (len(log.lines), log.dropped) == (2, 3)


def test_absence_in_a_cut_log_is_unknown(story):
    told = story().log("a", "b")
    evidence = told.evidence()
    evidence.log.dropped = 1
    from runner.conditions.evaluate import evaluate
    from runner.spec.conditions import LogMatches, Never

    assert evaluate(LogMatches(log="a"), evidence).truth is True
    assert evaluate(LogMatches(log="X"), evidence).truth is None
    assert evaluate(Never(never=LogMatches(log="X")), evidence).truth is None


def test_line_is_searched_once_however_often_the_condition_is_asked(story, monkeypatch):
    evidence = Evidence()
    searched = []
    for number in range(1, 101):
        line = LogLine(at=NOW, source="container", text=f"line {number}")
        evidence.apply(LogsObserved(at=NOW, job="j", first=number, lines=(line,)))
        evidence.log.matches("line 7$")
        searched.append(evidence.log._cursors["line 7$", None].position)
    assert searched == list(range(1, 101))
    assert [evidence.log.lines[at].number for at in evidence.log.matches("line 7$")] == [7]


def test_later_attempt_starts_afresh_but_its_pods_stay_in_the_bill(story):
    told = story().starts().creates("p1").log("boom").ends_pod("p1", cost=0.5).starts(attempt=2)
    told.creates("p2").ends_pod("p2", cost=0.25)
    evidence = told.evidence()
    assert (len(evidence.log.lines), list(evidence.pods), evidence.cost_usd) == (0, ["p2"], 0.75)


def test_resumed_run_of_the_same_attempt_goes_on(story):
    assert len(story().starts().log("a").starts().log("b").evidence().log.lines) == 2


def test_judgement_closes_so_that_a_replay_sees_what_the_run_saw(story):
    told = story().log("a")
    told.events.append(JobJudged(at=told.now, job="j", verdicts=()))
    told.log("boom")
    evidence = told.evidence()
    assert (evidence.closed, len(evidence.log.lines)) == (True, 1)


def test_time_never_goes_back(story):
    evidence = story().log("a").evidence()
    before = evidence.now
    evidence.advance(before - timedelta(hours=1))
    assert evidence.now == before
    evidence.advance((before + timedelta(hours=1)).replace(tzinfo=None))
    assert evidence.now == before + timedelta(hours=1)


def test_replay_from_the_journal_gives_the_same_findings(story):
    told = story().starts().creates().sees_pod("RUNNING").log("a", "b").metrics({1: 2.0, 2: 1.0}).job("completed")
    replayed = Evidence()
    replayed.apply_all(decode_event(encode_event(event)) for event in told.events)
    replayed.close()
    for asked in ({"log": "b"}, {"metric": "train_loss", "falls": {}}, {"job": "completed"}):
        from runner.conditions.evaluate import evaluate

        assert evaluate(_condition(asked), replayed) == told.find(asked, closed=True)


def _condition(written):
    from pydantic import TypeAdapter

    from runner.spec.conditions import Condition

    return TypeAdapter(Condition).validate_python(written)


def test_pod_that_a_listing_lacked_and_that_is_back_is_not_missing(story):
    told = story().creates().loses_pod()
    assert told.evidence().pod_missing_since is not None
    assert told.sees_pod("RUNNING").evidence().pod_missing_since is None


def test_pod_fails_by_an_error_at_once_and_by_an_exit_after_a_minute(story):
    assert story().creates().sees_pod("ERROR").evidence().pod_failed
    told = story().creates().sees_pod("EXITED")
    assert told.evidence().pod_failed is None
    assert told.wait(61).evidence().pod_failed


def test_ended_pod_stays_gone_whatever_a_late_answer_says(story):
    evidence = story().creates().ends_pod().sees_pod("RUNNING").evidence()
    assert evidence.pod is not None
    assert evidence.pod.state == "gone"


def test_job_is_finished_by_status_or_by_alert(story):
    assert not story().job("running").evidence().job_is_finished
    assert story().job("failed").evidence().job_is_finished
    assert story().alert("job_completed").evidence().job_is_finished
