"""Every kind of condition: what is true, false, unknown, and what is decided."""

from __future__ import annotations

import random
from typing import Any

import pytest

LATER = 3_600
FALLING = {step: 2.0 - step / 100 for step in range(1, 61)}
_CHANCE = random.Random(12)
NOISE = {step: round(_CHANCE.gauss(0.17, 0.07), 3) for step in range(200)}

OPEN, CLOSED = False, True
T, F, U = True, False, None

# name, what happened, condition, (truth, decided) while open, truth once closed
TABLE: list[tuple[str, Any, dict[str, Any], tuple[bool | None, bool], bool | None]] = [
    ("no pod yet", lambda s: s, {"pod": "created"}, (F, False), F),
    ("created", lambda s: s.creates(), {"pod": "created"}, (T, True), T),
    ("created stays", lambda s: s.creates().ends_pod(), {"pod": "created"}, (T, True), T),
    ("not started", lambda s: s.creates(), {"pod": "started"}, (F, False), F),
    ("started by running", lambda s: s.creates().sees_pod("RUNNING"), {"pod": "started"}, (T, True), T),
    ("started stays", lambda s: s.creates().sees_pod("RUNNING").ends_pod(), {"pod": "started"}, (T, True), T),
    ("started by a line", lambda s: s.creates().log("hi"), {"pod": "started"}, (T, True), T),
    ("a system line is no start", lambda s: s.creates().log("pull", source="system"), {"pod": "started"},
     (F, False), F),
    ("running", lambda s: s.creates().sees_pod("RUNNING"), {"pod": "running"}, (T, False), T),
    ("no longer running", lambda s: s.creates().sees_pod("RUNNING").sees_pod("EXITED"), {"pod": "running"},
     (F, False), F),
    ("exited", lambda s: s.creates().sees_pod("EXITED"), {"pod": "exited"}, (T, False), T),
    ("failed", lambda s: s.creates().sees_pod("ERROR"), {"pod": "failed"}, (T, False), T),
    ("a new word is no failure", lambda s: s.creates().sees_pod("MIGRATING"), {"pod": "failed"}, (F, False), F),
    ("gone", lambda s: s.creates().loses_pod(), {"pod": "gone"}, (T, False), T),
    ("pods cannot be seen", lambda s: s.misses("pod"), {"pod": "started"}, (U, False), U),
    ("pending", lambda s: s.job("queued"), {"job": "pending"}, (T, False), T),
    ("running job", lambda s: s.job("running"), {"job": "running"}, (T, False), T),
    ("completed by status", lambda s: s.job("completed"), {"job": "completed"}, (T, False), T),
    ("completed by alert", lambda s: s.job("running").alert("job_completed"), {"job": "completed"}, (T, False), T),
    ("failed beats completed", lambda s: s.alert("job_failed").job("completed"), {"job": "completed"}, (F, True), F),
    ("failed after completed", lambda s: s.job("completed").alert("job_failed"), {"job": "completed"}, (F, True), F),
    ("failed by alert alone", lambda s: s.job("running").alert("job_failed"), {"job": "failed"}, (T, True), T),
    ("out of memory is a failure", lambda s: s.alert("gpu_oom"), {"job": "failed"}, (T, True), T),
    ("finished", lambda s: s.job("cancelled"), {"job": "finished"}, (T, True), T),
    ("not finished", lambda s: s.job("running"), {"job": "finished"}, (F, False), F),
    ("jobs cannot be seen", lambda s: s.misses("job"), {"job": "completed"}, (U, False), U),
    ("line", lambda s: s.log("a", "Training started"), {"log": "Training started"}, (T, True), T),
    ("no line", lambda s: s.log("a"), {"log": "Training started"}, (F, False), F),
    ("line although logs broke", lambda s: s.log("X").misses("logs"), {"log": "X"}, (T, True), T),
    ("no line and logs broke", lambda s: s.log("a").misses("logs"), {"log": "X"}, (U, False), U),
    ("line of the other source", lambda s: s.log("X", source="system"), {"log": "X", "source": "container"},
     (F, False), F),
    ("lines counted", lambda s: s.log("X", "X"), {"log": "X", "count": {"gte": 2}}, (T, True), T),
    ("at most two so far", lambda s: s.log("X", "X"), {"log": "X", "count": {"lte": 2}}, (T, False), T),
    ("more than two", lambda s: s.log("X", "X", "X"), {"log": "X", "count": {"lte": 2}}, (F, True), F),
    ("exactly one so far", lambda s: s.log("X"), {"log": "X", "count": {"eq": 1}}, (T, False), T),
    ("at most two of no line at all", lambda s: s, {"log": "X", "count": {"lte": 2}}, (U, False), U),
    ("alert", lambda s: s.alert("job_started"), {"alert": "job_started"}, (T, True), T),
    ("other alert", lambda s: s.alert("job_failed"), {"alert": "job_started"}, (F, False), F),
    ("no alert at all is a finding", lambda s: s.log("a"), {"alert": "job_started"}, (F, False), F),
    ("one alert seen twice", lambda s: s.alert("job_started", "x").alert("job_started", "x"),
     {"alert": "job_started", "count": {"eq": 1}}, (T, False), T),
    ("alerts cannot be had", lambda s: s.misses("alerts"), {"alert": "job_started"}, (U, False), U),
    ("the start alert cannot be had", lambda s: s.log("a").misses("start-alert"), {"alert": "job_started"},
     (U, False), U),
    ("the start alert came all the same", lambda s: s.misses("start-alert").alert("job_started"),
     {"alert": "job_started"}, (T, True), T),
    ("no start alert says nothing of the others", lambda s: s.log("a").misses("start-alert"),
     {"alert": "job_completed"}, (F, False), F),
    ("step reached", lambda s: s.metrics({99: 1.0, 100: 1.0}), {"metric": "step", "gte": 100}, (T, True), T),
    ("step reached by the job", lambda s: s.job("running", 100), {"metric": "step", "gte": 100}, (T, True), T),
    ("step 0 of a job says nothing", lambda s: s.job("running", 0), {"metric": "step", "gte": 0}, (F, False), F),
    ("step not reached", lambda s: s.metrics({99: 1.0}), {"metric": "step", "gte": 100}, (F, False), F),
    ("step passed", lambda s: s.metrics({99: 1.0}), {"metric": "step", "lte": 50}, (F, True), F),
    ("no step, no metrics", lambda s: s.misses("metrics"), {"metric": "step", "gte": 100}, (U, False), U),
    ("newest value", lambda s: s.metrics({1: 2.0, 2: 1.0}), {"metric": "train_loss", "lt": 1.5}, (T, False), T),
    ("newest value too high", lambda s: s.metrics({1: 1.0, 2: 2.0}), {"metric": "train_loss", "lt": 1.5},
     (F, False), F),
    ("null does not hide the last value", lambda s: s.metrics({2: 1.0}).metrics({2: None}),
     {"metric": "train_loss", "lt": 1.5}, (T, False), T),
    ("no such metric", lambda s: s.metrics({1: 1.0}), {"metric": "loss", "lt": 9}, (F, False), F),
    ("values counted", lambda s: s.metrics(FALLING), {"metric": "train_loss", "count": {"gte": 60}}, (T, True), T),
    ("nulls do not count", lambda s: s.metrics({0: None}), {"metric": "train_loss", "count": {"gte": 1}},
     (F, False), F),
    ("no metrics to count", lambda s: s.misses("metrics"), {"metric": "train_loss", "count": {"gte": 1}},
     (U, False), U),
    ("real NaN", lambda s: s.metrics({1: float("nan")}), {"metric": "train_loss", "is": "nan"}, (T, True), T),
    ("infinity", lambda s: s.metrics({1: float("inf")}), {"metric": "train_loss", "is": "nan"}, (T, True), T),
    ("null at the last step is normal", lambda s: s.metrics({1: 1.0, 2: None}),
     {"metric": "train_loss", "is": "nan"}, (F, False), F),
    ("nothing but nulls", lambda s: s.metrics(dict.fromkeys(range(20))),
     {"metric": "train_loss", "is": "nan"}, (U, False), U),
    ("a long tail of nulls", lambda s: s.metrics(FALLING).metrics(dict.fromkeys(range(61, 90))),
     {"metric": "train_loss", "is": "nan"}, (U, False), U),
    ("all finite", lambda s: s.metrics(FALLING), {"metric": "train_loss", "is": "finite"}, (T, False), T),
    ("not all finite", lambda s: s.metrics({1: 1.0, 2: float("inf")}), {"metric": "train_loss", "is": "finite"},
     (F, True), F),
    ("nothing is not finite", lambda s: s.log("a"), {"metric": "train_loss", "is": "finite"}, (F, False), F),
    ("falls", lambda s: s.metrics(FALLING), {"metric": "train_loss", "falls": {"by": "10 %"}}, (T, False), T),
    ("does not fall that much", lambda s: s.metrics(FALLING), {"metric": "train_loss", "falls": {"by": "60 %"}},
     (F, False), F),
    ("flat does not fall", lambda s: s.metrics(dict.fromkeys(range(40), 1.0)),
     {"metric": "train_loss", "falls": {}}, (F, False), F),
    ("one value cannot fall", lambda s: s.metrics({1: 1.0}), {"metric": "train_loss", "falls": {}}, (U, False), U),
    ("nothing does not fall", lambda s: s.log("a"), {"metric": "train_loss", "falls": {}}, (F, False), F),
    ("two values may fall by chance", lambda s: s.metrics({1: 2.0, 2: 1.0}), {"metric": "train_loss", "falls": {}},
     (U, False), U),
    ("two values fall by a named size", lambda s: s.metrics({1: 2.0, 2: 1.0}),
     {"metric": "train_loss", "falls": {"by": "10 %"}}, (T, False), T),
    ("falls by any size", lambda s: s.metrics(FALLING), {"metric": "train_loss", "falls": {}}, (T, False), T),
    ("rises", lambda s: s.metrics({step: -loss for step, loss in FALLING.items()}),
     {"metric": "train_loss", "rises": {}}, (T, False), T),
    ("ten values in order rise", lambda s: s.metrics({step: 0.1 * step for step in range(10)}),
     {"metric": "train_loss", "rises": {}}, (T, False), T),
    ("eight values in order may be chance", lambda s: s.metrics({step: 0.1 * step for step in range(8)}),
     {"metric": "train_loss", "rises": {}}, (U, False), U),
    ("a value carried forward is one value", lambda s: s.metrics({step: 0.1 * (step // 10) for step in range(60)}),
     {"metric": "train_loss", "rises": {}}, (U, False), U),
    ("noise does not fall for that it seems to rise", lambda s: s.metrics(NOISE), {"metric": "train_loss", "falls": {}},
     (F, False), F),
    ("a spike", lambda s: s.metrics({**FALLING, 61: 30.0}), {"metric": "train_loss", "spike": {}}, (T, False), T),
    ("no spike", lambda s: s.metrics(FALLING), {"metric": "train_loss", "spike": {}}, (F, False), F),
    ("a high beginning is no spike", lambda s: s.metrics({1: 50.0, **dict.fromkeys(range(2, 40), 1.0)}),
     {"metric": "train_loss", "spike": {}}, (F, False), F),
    ("nothing does not spike", lambda s: s.log("a"), {"metric": "train_loss", "spike": {}}, (F, False), F),
    ("never a spike", lambda s: s.metrics(FALLING), {"never": {"metric": "train_loss", "spike": {}}}, (T, False), T),
    ("silence is no proof against spikes", lambda s: s.log("a"), {"never": {"metric": "train_loss", "spike": {}}},
     (U, False), U),
    ("one value is no proof against spikes", lambda s: s.metrics({1: 1.0}),
     {"never": {"metric": "train_loss", "spike": {}}}, (U, False), U),
    ("median within", lambda s: s.metrics({1: 1.0, 2: 9.0, 3: 2.0}),
     {"metric": "train_loss", "median": {"gte": 2, "lt": 3}}, (T, False), T),
    ("median outside", lambda s: s.metrics({1: 1.0}), {"metric": "train_loss", "median": {"gt": 1}}, (F, False), F),
    ("no median of nothing", lambda s: s.misses("metrics"), {"metric": "train_loss", "median": {"gt": 1}},
     (U, False), U),
    ("values in order", lambda s: s.metrics({1: 1.0, 2: 1.0, 3: 2.0}), {"metric": "train_loss", "is": "monotonic"},
     (T, False), T),
    ("a value below an earlier one", lambda s: s.metrics(FALLING), {"metric": "train_loss", "is": "monotonic"},
     (F, False), F),
    ("steps in order", lambda s: s.metrics({1: 1.0}).wait(5).metrics({2: 1.0}),
     {"metric": "step", "is": "monotonic"}, (T, False), T),
    ("an earlier step later", lambda s: s.metrics({2: 1.0}).wait(5).metrics({1: 1.0}),
     {"metric": "step", "is": "monotonic"}, (F, False), F),
    ("one step has no order", lambda s: s.metrics({1: 1.0}), {"metric": "step", "is": "monotonic"}, (U, False), U),
    ("stalled", lambda s: s.metrics({1: 1.0}).wait(LATER), {"metric": "step", "stalled": "10m"}, (T, False), F),
    ("not yet stalled", lambda s: s.metrics({1: 1.0}).wait(60), {"metric": "step", "stalled": "10m"}, (F, False), F),
    ("nothing cannot stall", lambda s: s.log("a").wait(LATER), {"metric": "step", "stalled": "10m"}, (F, False), F),
    ("an ended job does not stall", lambda s: s.metrics({1: 1.0}).job("completed").wait(LATER),
     {"metric": "step", "stalled": "10m"}, (F, False), F),
    ("issue of a kind", lambda s: s.log("boom").issue(line=1), {"issue": "error"}, (T, True), T),
    ("issue by id", lambda s: s.log("boom").issue("disk-full"), {"issue": "disk-full"}, (T, True), T),
    ("an expected issue is no error", lambda s: s.log("a").issue(verdict="expected"), {"issue": "error"},
     (F, False), F),
    ("no logs, no issues", lambda s: s.misses("logs"), {"issue": "error"}, (U, False), U),
    ("model", lambda s: s.downloads(5_000), {"artifact": "model", "min_size": "4 KB"}, (T, True), T),
    ("model too small", lambda s: s.downloads(50), {"artifact": "model", "min_size": "4 KB"}, (F, False), F),
    ("no model", lambda s: s, {"artifact": "model"}, (F, False), F),
    ("no way to a model", lambda s: s.misses("artifact"), {"artifact": "model"}, (U, False), U),
    ("a refused model", lambda s: s.rejects("`../x` leads elsewhere"), {"artifact": "model"}, (F, False), F),
    ("a refused model does not answer", lambda s: s.rejects("broken", "load"), {"generation": "answers"},
     (F, False), F),
    ("the SDK agrees", lambda s: s.compares(200), {"sdk": "metrics"}, (T, False), T),
    ("the SDK reads too few", lambda s: s.compares(3), {"sdk": "metrics", "count": {"gte": 10}}, (F, False), F),
    ("the SDK disagrees", lambda s: s.compares(200, "step 3: train_loss is 1 and 2"), {"sdk": "metrics"},
     (F, False), F),
    ("nobody asked the SDK", lambda s: s, {"sdk": "metrics"}, (F, False), F),
    ("no SDK", lambda s: s.misses("sdk"), {"sdk": "metrics"}, (U, False), U),
    ("answers", lambda s: s.answers("hi"), {"generation": "answers"}, (T, False), T),
    ("an empty answer", lambda s: s.answers("hi").answers("  ", prompt="b"), {"generation": "answers"},
     (F, False), F),
    ("no question", lambda s: s, {"generation": "answers"}, (F, False), F),
    ("no way to ask", lambda s: s.misses("generation"), {"generation": "answers"}, (U, False), U),
    ("differs", lambda s: s.answers("hi", base="ho"), {"generation": "differs"}, (T, False), T),
    ("the base model answers the same", lambda s: s.answers("hi", base="hi"), {"generation": "differs"},
     (F, False), F),
    ("the base model was not asked", lambda s: s.answers("hi"), {"generation": "differs"}, (U, False), U),
    ("cheap", lambda s: s.creates().ends_pod(cost=0.2), {"cost": "total", "lte": "0.2 USD"}, (T, False), T),
    ("dear", lambda s: s.creates().ends_pod(cost=0.3), {"cost": "total", "lte": "0.2 USD"}, (F, False), F),
    ("dear while it runs", lambda s: s.creates(price=1.0).wait(LATER), {"cost": "total", "lte": "0.5 USD"},
     (F, False), F),
    ("price not known", lambda s: s.creates(price=None), {"cost": "total", "lte": "1 USD"}, (U, False), U),
    ("no pod costs nothing, and says nothing", lambda s: s, {"cost": "total", "lte": "1 USD"}, (U, False), U),
    ("quick", lambda s: s.creates().sees_pod("RUNNING"), {"duration": "provision", "lte": "2m"}, (T, True), T),
    ("slow", lambda s: s.creates().wait(200).sees_pod("RUNNING"), {"duration": "provision", "lte": "2m"},
     (F, True), F),
    ("too slow already", lambda s: s.creates().wait(200), {"duration": "provision", "lte": "2m"}, (F, True), F),
    ("not over", lambda s: s.creates(), {"duration": "provision", "lte": "2m"}, (U, False), U),
    ("first step", lambda s: s.creates().metrics({0: None}).metrics({1: 1.0}),
     {"duration": "first_step", "lte": "2m"}, (T, True), T),
    ("no step to be had", lambda s: s.creates().misses("metrics"), {"duration": "first_step", "lte": "2m"},
     (U, False), U),
    ("run", lambda s: s.creates().sees_pod("RUNNING").job("completed"), {"duration": "run", "lte": "2m"},
     (T, False), T),
    ("total", lambda s: s.starts().creates().wait(60), {"duration": "total", "lte": "2m"}, (U, False), T),
    ("never, so far", lambda s: s.log("a"), {"never": {"log": "X"}}, (T, False), T),
    ("never, but it was", lambda s: s.log("X"), {"never": {"log": "X"}}, (F, True), F),
    ("never, on silence", lambda s: s, {"never": {"log": "X"}}, (U, False), U),
    ("never, without logs", lambda s: s.log("a").misses("logs"), {"never": {"log": "X"}}, (U, False), U),
    ("never NaN without a value", lambda s: s.log("a"), {"never": {"metric": "train_loss", "is": "nan"}},
     (U, False), U),
    ("never an issue on silence", lambda s: s.creates(), {"never": {"issue": "error"}}, (U, False), U),
    ("never above, though it was", lambda s: s.metrics({1: 9.0}).metrics({2: 1.0}),
     {"never": {"metric": "train_loss", "gt": 5}}, (F, False), F),
    ("never running, though it was", lambda s: s.creates().sees_pod("RUNNING").sees_pod("EXITED"),
     {"never": {"pod": "running"}}, (F, True), F),
    ("never stalled, though it was", lambda s: s.metrics({1: 1.0}).wait(LATER).metrics({2: 1.0}),
     {"never": {"metric": "step", "stalled": "10m"}}, (F, True), F),
    ("all", lambda s: s.log("X").alert("job_started"), {"all": [{"log": "X"}, {"alert": "job_started"}]},
     (T, True), T),
    ("all, one false for good", lambda s: s.log("X"), {"all": [{"never": {"log": "X"}}, {"log": "Y"}]},
     (F, True), F),
    ("all, one unknown", lambda s: s.log("X").misses("alerts"), {"all": [{"log": "X"}, {"alert": "job_started"}]},
     (U, False), U),
    ("all, false beats unknown", lambda s: s.log("X").misses("alerts"),
     {"all": [{"log": "Y"}, {"alert": "job_started"}]}, (F, False), F),
    ("any, true beats unknown", lambda s: s.log("X").misses("alerts"),
     {"any": [{"alert": "job_started"}, {"log": "X"}]}, (T, True), T),
    ("any, unknown beats false", lambda s: s.log("X").misses("alerts"),
     {"any": [{"alert": "job_started"}, {"log": "Y"}]}, (U, False), U),
    ("expression", lambda s: s.metrics(FALLING), {"expr": "last(train_loss) < first(train_loss)"}, (T, False), T),
    ("false expression", lambda s: s.metrics(FALLING), {"expr": "last(train_loss) > 7"}, (F, False), F),
    ("expression on nothing", lambda s: s.log("a"), {"expr": "last(train_loss) < 7"}, (U, False), U),
]  # fmt: skip


@pytest.mark.parametrize(("happened", "asked", "while_open", "once_closed"), [row[1:] for row in TABLE],
                         ids=[row[0] for row in TABLE])  # fmt: skip
def test_condition_comes_to_what_the_evidence_says(story, happened, asked, while_open, once_closed):
    told = happened(story())
    finding = told.find(asked)
    assert (finding.truth, finding.decided) == while_open, finding
    finding = told.find(asked, closed=True)
    assert (finding.truth, finding.decided) == (once_closed, True), finding


def test_finding_says_what_was_expected_what_was_seen_and_where(story):
    finding = story().log("starting", "[MetricsCallback] Training started").find({"log": "Training started"})
    assert finding.expected == "log line matching “Training started”"
    assert finding.observed == "line 2: “[MetricsCallback] Training started”"
    assert finding.evidence == ("log line 2",)
    assert story().log(*"abc").find({"log": "X"}).observed == "no such line in 3 lines"


def test_pointer_of_an_alert_has_its_time_and_that_of_a_series_its_steps(story):
    assert story().alert("job_started").find({"alert": "job_started"}).evidence == ("alert job_started at 12:00:00Z",)
    falls = story().metrics(FALLING).find({"metric": "train_loss", "falls": {}})
    assert falls.evidence == ("train_loss steps 1–60",)
    assert falls.observed == "median 1.945 of the first 10 and 1.445 of the last 10 values"


def test_noise_whose_end_is_above_its_start_is_no_rise(story):
    finding = story().metrics(NOISE).find({"metric": "train_loss", "rises": {}}, closed=True)
    assert finding.truth is None
    assert finding.observed == (
        "cannot be known: median 0.151 of the first 10 and 0.1955 of the last 10 values, "
        "which is not enough evidence that this is more than chance"
    )


@pytest.mark.parametrize("window", [5, 10, 50])
def test_noise_is_green_in_hardly_any_of_many_runs(story, window):
    rng = random.Random(11)
    asked = {"metric": "train_loss", "rises": {"window": window}}
    runs = [story().metrics({step: rng.gauss(0.17, 0.07) for step in range(200)}) for _ in range(400)]
    truths = [told.find(asked, closed=True).truth for told in runs]
    assert truths.count(True) <= 8  # one in a hundred, and some luck
    assert truths.count(None) > 150


def test_rise_in_the_midst_of_noise_is_seen_in_a_window_that_is_wide_enough(story):
    rng = random.Random(5)
    told = story().metrics({step: rng.gauss(0.18 + 0.1 * step / 200, 0.065) for step in range(200)})
    assert told.find({"metric": "train_loss", "rises": {"window": 50}}, closed=True).truth is True


def test_unknown_finding_gives_its_reason(story):
    finding = story().misses("metrics", "RLHF posts none").find({"metric": "train_loss", "count": {"gte": 1}})
    assert finding.observed == "cannot be known: RLHF posts none (metrics)"


def test_text_from_outside_is_cut(story):
    finding = story().log("X" * 9_000).find({"log": "X"})
    assert len(finding.observed) < 250


def test_parts_are_kept(story):
    finding = story().log("a").find({"all": [{"log": "a"}, {"never": {"log": "b"}}]})
    assert [part.truth for part in finding.parts] == [True, True]
    assert finding.parts[1].parts[0].truth is False


def test_false_expression_shows_its_values(story):
    finding = story().metrics({1: 1.46, 2: 0.65}).find({"expr": "last(train_loss) > 2 * first(train_loss)"})
    assert finding.observed == "last(train_loss) = 0.65; first(train_loss) = 1.46"


# --- never … until_step -------------------------------------------------------------------------------------------

NO_ERROR = {"never": {"log": "boom"}, "until_step": 100}
NO_ISSUE = {"never": {"issue": "error"}, "until_step": 100}


def test_never_until_is_decided_once_the_log_went_on_beyond_the_step(story):
    told = story().log("a").metrics({99: 1.0})
    assert told.find(NO_ERROR).decided is False
    told.metrics({100: 1.0})
    assert told.find(NO_ERROR).decided is False, "a line from before may still be on its way"
    told.log("b")
    finding = told.find(NO_ERROR)
    assert (finding.truth, finding.decided) == (True, True)
    told.log("boom")
    assert told.find(NO_ERROR, closed=True).truth is True


def test_late_line_from_before_the_step_counts(story):
    told = story().log("a").metrics({100: 1.0}).wait(20).log("boom", written_s_ago=60)
    finding = told.find(NO_ERROR)
    assert (finding.truth, finding.decided) == (False, True)


def test_line_from_after_the_step_does_not_count(story):
    told = story().log("a").metrics({100: 1.0}).wait(20).log("boom", written_s_ago=5)
    assert told.find(NO_ERROR, closed=True).truth is True


def test_line_that_arrives_before_the_step_is_known_counts(story):
    assert story().metrics({99: 1.0}).log("boom").metrics({150: 1.0}).find(NO_ERROR).truth is False


def progress(step, total=200):
    return f"[2026-01-01 12:00:00] [__main__] [INFO] [Progress] Epoch 1/3 | Step {step}/{total} | Loss 1.5 | LR 2.0e-04"


def test_line_after_the_trainers_word_that_the_step_was_reached_does_not_count_however_late_metrics_are(story):
    told = story().metrics({40: 1.0}).log(progress(95), progress(105), "boom").issue(line=3).metrics({110: 1.0})
    for asked in (NO_ERROR, NO_ISSUE, {"never": {"log": "Step 105/"}, "until_step": 100}):
        assert told.find(asked, closed=True).truth is True, asked
    assert told.find({"never": {"log": "Step 95/"}, "until_step": 100}, closed=True).truth is False


@pytest.mark.parametrize(
    "lines",
    [
        ("boom", progress(105)),
        (progress(95), "boom"),
        (progress(100).replace("Loss 1.5", "Loss boom"),),
        ("Step 105/200", "boom"),
        ("the docs say: [Progress] Epoch 1/3 | Step 105/200 | Loss 1.5", "boom"),
        ("[Progress] Epoch 1/3 | Step 105/20 | Loss 1.5", "boom"),
        ("[Progress] Step 105/200", "boom"),
    ],
)
def test_trainers_word_hides_no_line_that_came_before_it_and_no_other_text_is_its_word(story, lines):
    told = story().metrics({40: 1.0}).log(*lines).metrics({150: 1.0}).log("z")
    assert told.find(NO_ERROR, closed=True).truth is False


def test_line_from_before_the_trainers_word_counts_though_the_stream_brings_it_late(story):
    told = story().metrics({40: 1.0}).log(progress(105)).log("boom", written_s_ago=30).metrics({150: 1.0})
    assert told.find(NO_ERROR, closed=True).truth is False


def test_what_the_system_writes_is_not_the_trainers_word(story):
    told = story().metrics({40: 1.0}).log(progress(105), source="system").log("boom").metrics({150: 1.0})
    assert told.find(NO_ERROR, closed=True).truth is False


def test_issue_counts_as_its_line_does(story):
    told = story().log("a").metrics({100: 1.0}).wait(20).log("boom", written_s_ago=60).issue(line=2)
    assert told.find(NO_ISSUE, closed=True).truth is False
    told = story().log("a").metrics({100: 1.0}).wait(20).log("boom").issue(line=2)
    assert told.find(NO_ISSUE, closed=True).truth is True


def test_never_until_waits_for_the_issues_of_the_deciding_lines(story):
    told = story().log("a").metrics({100: 1.0}).log("b")
    assert told.find(NO_ISSUE).decided is False
    assert told.log("c").find(NO_ISSUE).decided is True


def test_too_few_steps_are_unknown_unless_the_job_completed(story):
    told = story().log("a").metrics({40: 1.0})
    finding = told.find(NO_ERROR, closed=True)
    assert (finding.truth, finding.observed) == (None, "cannot be known: only 40 of 100 steps were seen")
    assert told.job("failed").find(NO_ERROR, closed=True).truth is None
    completed = story().log("a").metrics({40: 1.0}).alert("job_completed")
    assert completed.find(NO_ERROR, closed=True).truth is True


def test_without_any_step_and_without_metrics_never_until_is_unknown(story):
    told = story().log("a").misses("metrics", "RLHF posts none").alert("job_completed")
    finding = told.find(NO_ERROR, closed=True)
    assert finding.truth is None
    assert "RLHF posts none" in finding.observed
    assert told.log("boom").find(NO_ERROR).truth is False, "what was seen was seen"


def test_logs_that_broke_before_the_step_make_never_until_unknown(story):
    assert story().log("a").metrics({50: 1.0}).misses("logs").metrics({100: 1.0}).find(NO_ERROR).truth is None


def test_logs_that_break_after_the_decision_change_nothing(story):
    told = story().log("a").metrics({100: 1.0}).log("b").misses("logs")
    assert told.find(NO_ERROR, closed=True).truth is True


ACCEPTED = [{"device": "cpu (local)", "dataset": "ab" * 6, "value": 1.0, "run": "r1"}]


@pytest.mark.parametrize(
    ("value", "more", "truth"),
    [
        (1.09, {}, T),
        (1.2, {}, F),
        (0.85, {}, F),
        (1.2, {"relative": "20 %"}, T),
        (1.2, {"absolute": 0.3}, T),
        (1.0, {"accepted": []}, U),
        (1.0, {"accepted": [{**ACCEPTED[0], "dataset": "cd" * 6}]}, U),
        (1.0, {"accepted": [{**ACCEPTED[0], "device": "NVIDIA A40"}]}, U),
        (None, {}, F),
    ],
)
def test_a_baseline_is_of_the_same_rows_and_device_and_has_two_limits(story, value, more, truth):
    told = story().checks("ab" * 32).creates().log("a")
    told = told if value is None else told.metrics(dict.fromkeys(range(20), value))
    asked = {"baseline": "train_loss", "relative": "10 %", "accepted": ACCEPTED, **more}
    assert told.find(asked, closed=True).truth is truth


def test_steps_that_arrive_late_and_out_of_order_can_be_asked_about(story):
    told = story().metrics({21: 1.0}).metrics({5: 1.0, 10: 1.0})
    finding = told.find({"never": {"metric": "step", "is": "monotonic"}, "until_step": 20}, closed=True)
    assert finding.truth is False  # the order held, so it is not true that it never did
    assert finding.observed == "2 values in order"
