"""What must hold for any events in any order."""

from __future__ import annotations

import random
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from runner.conditions.evaluate import evaluate
from runner.conditions.evidence import Evidence
from runner.conditions.judge import job_outcome, judge
from runner.events import AlertsObserved, LogsObserved, MetricsObserved
from runner.results import Outcome
from runner.spec.models import Criterion

LEAVES = [
    {"pod": "created"}, {"pod": "started"}, {"pod": "running"}, {"pod": "failed"}, {"pod": "gone"},
    {"job": "completed"}, {"job": "failed"}, {"job": "finished"}, {"job": "running"},
    {"log": "boom"}, {"log": "boom", "count": {"lte": 2}}, {"log": "ok", "count": {"eq": 1}},
    {"alert": "job_started"}, {"alert": "job_completed", "count": {"lt": 2}},
    {"metric": "step", "gte": 30}, {"metric": "step", "lte": 30}, {"metric": "step", "stalled": "2m"},
    {"metric": "train_loss", "lt": 1}, {"metric": "train_loss", "count": {"gte": 2}},
    {"metric": "train_loss", "is": "nan"}, {"metric": "train_loss", "is": "finite"},
    {"metric": "train_loss", "falls": {}}, {"metric": "train_loss", "spike": {"factor": 2, "window": 3}},
    {"metric": "train_loss", "is": "monotonic"}, {"metric": "step", "is": "monotonic"}, {"sdk": "metrics"},
    {"metric": "train_loss", "median": {"lte": 1}}, {"issue": "error"}, {"issue": "infrastructure"},
    {"artifact": "model", "min_size": "10 B"}, {"generation": "answers"}, {"generation": "differs"},
    {"cost": "total", "lte": "0.02 USD"}, {"duration": "provision", "lte": "1m"}, {"duration": "run", "lte": "1m"},
    {"duration": "first_step", "lte": "1m"}, {"duration": "total", "lte": "1m"},
    {"expr": "last(train_loss) < 1 or log_count('boom') > 1"},
]  # fmt: skip

written = st.recursive(
    st.sampled_from(LEAVES),
    lambda parts: st.one_of(
        st.builds(lambda part, until: {"never": part} | ({"until_step": until} if until else {}), parts,
                  st.sampled_from([None, 20, 40])),
        st.builds(lambda some: {"all": some}, st.lists(parts, min_size=1, max_size=3)),
        st.builds(lambda some: {"any": some}, st.lists(parts, min_size=1, max_size=3)),
    ),
    max_leaves=4,
)  # fmt: skip

SAID = [f"[Progress] Epoch 1/1 | Step {step}/60 | Loss 1.5 | boom" for step in (5, 20, 45)]
number = st.integers(0, 60)
loss = st.sampled_from([None, 0.5, 1.5, 3.0, float("nan")])
happening = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from([1, 30, 100])),
    st.tuples(st.just("creates"), st.sampled_from(["p1", "p2"])),
    st.tuples(st.just("sees_pod"), st.sampled_from(["STARTING", "RUNNING", "EXITED", "ERROR", "TERMINATED"])),
    st.tuples(st.just("loses_pod")),
    st.tuples(st.just("ends_pod")),
    st.tuples(st.just("job"), st.sampled_from(["pending", "running", "completed", "failed"]), number),
    st.tuples(st.just("log"), st.sampled_from(["ok", "boom", "step", *SAID]), st.sampled_from([0, 40, 90])),
    st.tuples(st.just("issue"), st.sampled_from(["error", "expected", "infrastructure"]),
              st.one_of(st.none(), st.integers(1, 5))),
    st.tuples(st.just("metrics"), st.dictionaries(number, loss, min_size=1, max_size=4)),
    st.tuples(st.just("alert"), st.sampled_from(["job_started", "job_completed", "job_failed", "gpu_oom"])),
    st.tuples(st.just("misses"), st.sampled_from(["logs", "metrics", "alerts", "job", "pod", "generation"])),
    st.tuples(st.just("downloads"), st.sampled_from([5, 50])),
    st.tuples(st.just("answers"), st.sampled_from(["", "hi"]), st.sampled_from([None, "hi", "ho"])),
)  # fmt: skip
happenings = st.lists(happening, max_size=14)


def tell(story, what):
    told = story().starts()
    for verb, *details in what:
        if verb == "log":
            told.log(details[0], written_s_ago=details[1])
        elif verb == "issue":
            told.issue(verdict=details[0], line=details[1])
        else:
            getattr(told, verb)(*details)
    return told


@settings(max_examples=1_500, deadline=None)
@given(asked=written, before=happenings, after=happenings)
def test_decided_finding_never_changes(story, condition, asked, before, after):
    told = tell(story, before + after)
    asked = condition(asked)
    evidence, decided = Evidence(), None
    for event in told.events:
        evidence.apply(event)
        finding = evaluate(asked, evidence)
        assert decided is None or (finding.truth, finding.decided) == (decided, True)
        if finding.decided:
            assert finding.truth is not None
            decided = finding.truth
    evidence.close()
    finding = evaluate(asked, evidence)
    assert finding.decided
    assert decided is None or finding.truth is decided


@settings(max_examples=400, deadline=None)
@given(asked=written, what=happenings, after=happenings)
def test_closed_evidence_ignores_what_comes_later(story, condition, asked, what, after):
    events = tell(story, what + after).events
    evidence = Evidence()
    evidence.apply_all(events[: len(what) + 1])
    evidence.close()
    finding = evaluate(condition(asked), evidence)
    evidence.apply_all(events)
    evidence.advance(evidence.now + timedelta(days=1))
    assert evaluate(condition(asked), evidence) == finding


ORDERLESS = [
    {"pod": "started"}, {"job": "completed"}, {"job": "failed"}, {"job": "finished"}, {"log": "boom"},
    {"never": {"log": "boom"}}, {"alert": "job_started"}, {"never": {"issue": "error"}},
    {"metric": "step", "gte": 30}, {"metric": "train_loss", "count": {"gte": 2}},
    {"never": {"metric": "train_loss", "is": "nan"}}, {"log": "ok", "count": {"eq": 1}},
    {"never": {"alert": "job_failed"}}, {"all": [{"log": "ok"}, {"job": "completed"}]},
]  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(what=happenings, seed=st.integers(0, 1_000))
def test_no_order_of_events_turns_a_failed_run_into_a_passed_one(story, condition, what, seed):
    """Whatever observes one thing twice (a step with two losses) may depend on the order; nothing else may."""
    seen: set[int] = set()
    for one in what:
        if one[0] == "metrics":
            for step in [step for step in one[1] if step in seen]:
                del one[1][step]
            seen |= set(one[1])
    what = [one for one in what if one != ("metrics", {})]
    shuffled = list(what)
    random.Random(seed).shuffle(shuffled)
    one, other = tell(story, what).evidence(closed=True), tell(story, shuffled).evidence(closed=True)
    for asked in ORDERLESS:
        assert evaluate(condition(asked), one).truth is evaluate(condition(asked), other).truth, asked


@settings(max_examples=300, deadline=None)
@given(what=happenings, after=happenings, until=st.sampled_from([20, 40]))
def test_nothing_that_comes_later_hides_an_error_from_before_the_step(story, condition, what, after, until):
    what = [one for one in what if (one[0] == "log" and one[1] != SAID[2]) or one[0] in ("wait", "sees_pod")]
    what = [one for one in what if one[0] != "log" or one[1] != SAID[1] or until > 20]
    evidence = tell(story, [*what, ("log", "boom", 0), *after]).evidence(closed=True)
    assert evaluate(condition({"never": {"log": "^boom"}, "until_step": until}), evidence).truth is False


@settings(max_examples=300, deadline=None)
@given(asked=written, what=happenings)
def test_verdict_does_not_depend_on_how_observations_were_batched(story, condition, asked, what):
    told = tell(story, what)
    one, other = Evidence(), Evidence()
    for event in told.events:
        one.apply(event)
        for part in _split(event):
            other.apply(part)
    one.close()
    other.close()
    assert evaluate(condition(asked), one).truth is evaluate(condition(asked), other).truth


def _split(event):
    match event:
        case LogsObserved():
            return [
                LogsObserved(at=event.at, job=event.job, first=number, lines=(line,))
                for number, line in enumerate(event.lines, event.first)
            ]
        case MetricsObserved():
            points = sorted(event.points, key=lambda point: point.step)
            return [MetricsObserved(at=event.at, job=event.job, points=(point,)) for point in points]
        case AlertsObserved():
            return [AlertsObserved(at=event.at, job=event.job, alerts=(alert,)) for alert in event.alerts]
        case _:
            return [event]


@settings(max_examples=300, deadline=None)
@given(parts=st.lists(st.sampled_from(LEAVES), min_size=1, max_size=4), what=happenings)
def test_all_any_and_never_follow_kleene(story, condition, parts, what):
    evidence = tell(story, what).evidence()
    truths = [evaluate(condition(part), evidence).truth for part in parts]
    all_of, any_of = ("all", all), ("any", any)
    for (key, join), decisive in ((all_of, False), (any_of, True)):
        expected = join(truths) if None not in truths else decisive if decisive in truths else None
        assert evaluate(condition({key: parts}), evidence).truth is expected


@settings(max_examples=300, deadline=None)
@given(asked=written, what=happenings, source=st.sampled_from(["logs", "metrics", "alerts", "job", "pod"]))
def test_less_evidence_never_makes_a_verdict_green(story, condition, asked, what, source):
    """Telling that a source broke may turn a verdict into unknown, and never a red one into a green one."""
    told = tell(story, what)
    before = evaluate(condition(asked), told.evidence(closed=True)).truth
    after = evaluate(condition(asked), told.misses(source).evidence(closed=True)).truth
    assert after is not True or before is not False


@settings(max_examples=300, deadline=None)
@given(asked=st.lists(written, max_size=4), what=happenings)
def test_unknown_is_never_green(story, condition, asked, what):
    criteria = [Criterion(id=f"c{n}", title="t", expect=condition(one)) for n, one in enumerate(asked)]
    verdicts = judge(criteria, tell(story, what).evidence(closed=True))
    truths = [verdict.finding.truth for verdict in verdicts]
    assert (job_outcome(verdicts) is Outcome.PASSED) == (bool(truths) and all(truth is True for truth in truths))


@settings(max_examples=200, deadline=None)
@given(asked=written)
def test_nothing_is_green_on_no_evidence_at_all(condition, asked):
    evidence = Evidence()
    evidence.close()
    assert evaluate(condition(asked), evidence).truth is not True
