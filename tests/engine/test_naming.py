"""Names and marks of our own pods."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from runner.engine.naming import MAX_NAME, PREFIX, PodNames, deadline_of, is_ours, marker


@given(st.text(), st.integers(1, 10_000))
def test_every_name_is_short_ours_and_of_the_letters_that_are_allowed(run, first):
    name = PodNames(run, first=first).new()
    assert len(name) <= MAX_NAME
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert name.startswith(PREFIX)
    assert is_ours(name)


def test_no_name_is_given_twice_and_a_later_life_goes_on_counting():
    names = PodNames("abc123")
    assert [names.new() for _ in range(3)] == ["runspec-abc123-1", "runspec-abc123-2", "runspec-abc123-3"]
    assert PodNames("abc123", first=4).new() == "runspec-abc123-4"


def test_pods_of_others_are_not_ours():
    for name in ("training-deadbeef", "runspec", "runspec-", "runspec-abc", "my-runspec-abc-1", "runspec-abc-1-x", ""):
        assert not is_ours(name)


@given(st.datetimes(datetime(2020, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)))
def test_the_mark_of_a_pod_says_when_it_should_have_ended(deadline):
    assert deadline_of(marker("runspec-a-1", deadline)) == deadline.replace(microsecond=0)


@given(st.none() | st.text())
def test_a_mark_that_says_nothing_is_no_deadline(mark):
    assert deadline_of(mark) is None
