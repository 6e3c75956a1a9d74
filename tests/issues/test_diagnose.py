"""From whole logs to one cause."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from runner.issues import logtext
from runner.issues.diagnose import diagnose
from runner.issues.logtext import LogText, clean
from runner.spec.models import Method

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import log_samples as samples  # noqa: E402 - with importlib mode, tests have no folder of their own on the path

MESSAGES = YAML(typ="safe").load((HERE / "messages.yaml").read_text())
EXCERPTS = YAML(typ="safe").load((HERE / "logs" / "index.yaml").read_text())


def method_of(name):
    return None if name in (None, "any") else Method(name)


@pytest.mark.parametrize("knows_exit", [True, False], ids=["exit-known", "exit-unknown"])
@pytest.mark.parametrize("one", EXCERPTS, ids=lambda one: one["file"])
def test_excerpt_of_a_real_log_gets_its_class(one, knows_exit):
    log = LogText.read(HERE / "logs" / one["file"])
    found = diagnose(log, method=method_of(one["method"]), exit_code=one["exit"] if knows_exit else None)
    assert (found.failure_class, list(found.also)) == (one["class"], one.get("also", [])), found
    assert found.exit_code == one["exit"]
    if one["evidence"] is None:
        assert (found.evidence, found.line) == (None, None)
    else:
        assert one["evidence"] in found.evidence
        lines = (HERE / "logs" / one["file"]).read_text().split("\n")
        assert found.evidence.split("\n")[0] in lines[found.line - 1]
    assert found.cause
    assert found.fix


@pytest.mark.parametrize("one", samples.FAILED, ids=lambda one: one[0])
def test_failure_in_other_words_gets_its_class(one):
    _, text, code, method, expected = one
    found = diagnose(LogText(text), method=method_of(method), exit_code=code)
    assert found.failure_class == expected, found
    assert found.exit_code
    assert found.fix


@pytest.mark.parametrize("one", MESSAGES, ids=lambda one: f"{one['class']}-{one['text'][:50]}")
def test_message_of_a_library_that_was_run_wrong_gets_its_class(one):
    text = samples.traceback(one["text"], *one["frames"])
    for method in {None, one.get("method")}:
        for before in ("", samples.STARTED + samples.STEPS):
            found = diagnose(LogText(before + text), method=method_of(method), exit_code=1)
            assert found.failure_class == one["class"], found
            assert found.evidence
            assert found.evidence.split("\n")[0] == one["text"].split("\n")[0].strip()


@pytest.mark.parametrize("one", [one for one in samples.FAILED if one[0] not in ("oom-code-alone", "unknown-code")],
                         ids=lambda one: one[0])  # fmt: skip
def test_failure_is_seen_without_an_exit_code(one):
    _, text, _, _, expected = one
    found = diagnose(LogText(text))
    assert found.failure_class == expected, found


@pytest.mark.parametrize("one", samples.ENDED, ids=lambda one: one[0])
def test_training_that_ended_is_healthy_or_says_what_was_lost(one):
    _, text, code, method, expected, also = one
    found = diagnose(LogText(text), method=method_of(method), exit_code=code)
    assert (found.failure_class, list(found.also)) == (expected, also), found


# By itself such an exception is an error; a training that goes on after it has got over it.
GOT_OVER = ["ValueError: num_samples should be a positive integer value, but got num_samples=0"]


@pytest.mark.parametrize("line", [*GOT_OVER, *(HERE / "harmless.txt").read_text().splitlines()])
@pytest.mark.parametrize("exit_code", [0, None])
def test_training_that_ended_well_is_not_condemned_for_a_word_in_a_line(line, exit_code):
    steps = samples.STEPS.splitlines(keepends=True)
    between = samples.STARTED + samples.ALERT + "".join(steps[:2]) + line + "\n" + "".join(steps[2:])
    for text in (f"{line}\n{samples.WELL}", between + samples.FINISHED + samples.ALERT, f"{samples.WELL}{line}\n"):
        found = diagnose(LogText(text), exit_code=exit_code)
        assert found.failure_class in ("healthy", "healthy_with_warnings"), found
        assert found.also == ()


@pytest.mark.parametrize("code", [143, -15])
def test_process_that_sigterm_ended_without_a_word_was_stopped_and_raised_nothing(code):
    found = diagnose(LogText(samples.STARTED + samples.STEPS), exit_code=code)
    assert (found.failure_class, found.issue, found.exit_code) == ("trainer_killed", "trainer-stopped", code)


def test_failure_outranks_every_warning_and_lost_post():
    text = (
        samples.WARNED
        + samples.STARTED
        + "trainer: metrics POST failed: 405\n"
        + samples.traceback("KeyError: 'chosen'")
    )
    found = diagnose(LogText(text), exit_code=1)
    assert (found.failure_class, found.also) == ("dataset_wrong_format", ("metrics_post_failed",))


def test_an_alert_about_a_failure_is_no_failed_alert():
    sent = "[INFO] [Alert] Sent job_failed alert successfully\n"
    found = diagnose(LogText(samples.STARTED + samples.traceback("KeyError: 'chosen'") + sent), exit_code=1)
    assert (found.failure_class, found.also) == ("dataset_wrong_format", ())


def test_text_before_the_failure_that_training_got_over_is_not_its_cause():
    text = samples.STARTED + samples.traceback("torch.OutOfMemoryError: CUDA out of memory.") + samples.STEPS
    found = diagnose(LogText(text + samples.traceback("OSError: [Errno 28] No space left on device")), exit_code=1)
    assert found.failure_class == "disk_full"


def test_source_lines_of_a_traceback_are_nobodys_message():
    text = samples.traceback("RuntimeError: nobody knows").replace(
        "run(spec)", 'raise ValueError("the dataset is empty")'
    )
    assert diagnose(LogText(text), exit_code=1).failure_class == "trainer_error"


def test_line_numbers_are_those_of_the_file_in_spite_of_progress_bars():
    text = "first\n" + samples.BAR + "third\n" + samples.traceback("KeyError: 'chosen'")
    found = diagnose(LogText(text), exit_code=1)
    assert found.line == text[: text.index("KeyError")].count("\n") + 1


def test_message_in_a_progress_bar_is_still_read():
    text = "Map:  10%|█         | 4/40\rKeyError: 'chosen'\n"
    assert diagnose(LogText(text), exit_code=1).failure_class == "dataset_wrong_format"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("\x1b[31mKeyError: 'text'\x1b[0m", "KeyError: 'text'"),
        ("[rank3]: KeyError: 'text'", "KeyError: 'text'"),
        ("trainer-1  | KeyError: 'text'", "KeyError: 'text'"),
        ("2026-03-01T10:00:00.1Z KeyError: 'text'", "KeyError: 'text'"),
        ("2026-03-01 10:00:00,1 INFO trainer: fine", "2026-03-01 10:00:00,1 INFO trainer: fine"),
        ("  indented", "  indented"),
    ],
)
def test_what_others_put_around_a_line_is_taken_off(line, shown):
    assert clean(line) == shown


@pytest.mark.parametrize(
    "prefix",
    [
        "[2026-03-01 10:00:0{}] ",
        "trainer-0 main ",
        "Mar 01 10:0{}:00 host python[17]: ",
        "(RayTrain pid=17{}) ",
        "stderr: ",
    ],
)
@pytest.mark.parametrize(
    "last", ["StopIteration", "KeyError: 'chosen'", "RuntimeError: the moon is in the wrong house"]
)
def test_what_stands_before_every_line_is_learnt_from_the_traceback(prefix, last):
    text = samples.traceback(last).replace("run(spec)", 'raise ValueError("the dataset is empty")')
    expected = diagnose(LogText(text), exit_code=1)
    lines = [prefix.format(number % 10) + line for number, line in enumerate(text.splitlines())]
    found = diagnose(LogText("\n".join(lines)), exit_code=1)
    assert (found.failure_class, found.evidence) == (expected.failure_class, expected.evidence)
    assert found.evidence == last


def test_logger_that_marks_only_the_first_line_of_a_traceback_hides_no_source_line():
    text = "2026-03-01 10:00:00,001 ERROR trainer: " + samples.traceback("RuntimeError: nobody knows").replace(
        "run(spec)", 'raise ValueError("the dataset is empty")'
    )
    assert diagnose(LogText(text), exit_code=1).evidence == "RuntimeError: nobody knows"


def test_warning_that_an_exception_quotes_is_no_reason_to_pass_over_it():
    advice = "You may need to set `remove_unused_columns=False` in `TrainingArguments`."
    raised = f"ValueError: No columns in the dataset match the model's forward method signature. {advice}"
    text = "2026-03-01 10:00:00,001 INFO trainer: dataset rows: 0\n" + samples.traceback(raised)
    assert diagnose(LogText(text), exit_code=1).failure_class == "dataset_wrong_format"


def test_only_the_ends_of_a_huge_log_are_read_and_the_numbers_stay_right(tmp_path, monkeypatch):
    monkeypatch.setattr(logtext, "HEAD_BYTES", 2_000)
    monkeypatch.setattr(logtext, "TAIL_BYTES", 2_000)
    filler = "".join(f"line {number}\n" for number in range(5_000))
    path = tmp_path / "huge.log"
    path.write_text(samples.STARTED + filler + samples.traceback("KeyError: 'chosen'"))
    log = LogText.read(path)
    found = diagnose(log, exit_code=1)
    lines = path.read_text().split("\n")
    assert len(log.text) < 5_000
    assert lines[found.line - 1] == "KeyError: 'chosen'"
    assert [line.text for line in log.around(found.line, 1)] == ["    run(spec)", "KeyError: 'chosen'"]
    assert "were not read" in found.note


def test_bytes_that_are_no_text_do_no_harm(tmp_path):
    path = tmp_path / "odd.log"
    path.write_bytes(b"\xff\x00\x80\n" + b"\x1b[" * 100 + b"KeyError: 'chosen'\n" + bytes(range(256)))
    assert diagnose(LogText.read(path), exit_code=1).failure_class in ("dataset_wrong_format", "trainer_error")


@pytest.mark.parametrize("word", ["loss", "grad_norm", "learning_rate"])
@pytest.mark.parametrize("odd", ["1.2.3", "2026-01-01", "0.001-0.0002", "1e-5-2"])
def test_figures_that_are_no_numbers_do_no_harm(word, odd):
    steps = [{"loss": 2.0 - n / 10, "grad_norm": 1.0, "learning_rate": 0.0002} for n in range(4)]
    lines = "".join(f"{ {**step, word: odd} }\n" for step in steps)
    log = LogText(samples.STARTED + samples.ALERT + lines + samples.FINISHED + samples.ALERT)
    assert diagnose(log, exit_code=0).failure_class.startswith("healthy")


def test_a_flood_of_lines_costs_little_and_hides_nothing():
    line = "2026-03-01 10:00:00,001 INFO trainer: step {}/20000 loss={} grad_norm=1.779 lr=0.005\n"
    body = "".join(line.format(number, 5 - number / 50_000) for number in range(20_000))
    noise = "x.py:1: UserWarning: something is not quite as it was in an earlier version of this library\n" * 20_000
    text = samples.STARTED + samples.ALERT + noise + body + samples.traceback("KeyError: 'chosen'")
    begun = time.process_time()
    found = diagnose(LogText(text), exit_code=1)
    assert found.failure_class == "dataset_wrong_format"
    assert time.process_time() - begun < 3


def as_json_lines(text, **fields):
    return "\n".join(json.dumps({**fields, "msg": line}) for line in text.splitlines())


def as_docker(text):
    return "\n".join(json.dumps({"log": f"{line}\n", "stream": "stderr"}) for line in text.splitlines())


def as_one_record(text):
    return json.dumps({"level": "error", "msg": "Training failed", "exc_info": text})


def as_one_message(text):
    return json.dumps({"severity": "ERROR", "message": text})


WRAPPED = [
    as_json_lines,
    as_docker,
    as_one_record,
    as_one_message,
    lambda text: as_json_lines(text, level="error"),
    lambda text: "\n".join(f"    {line}" for line in text.splitlines()),
    lambda text: "\n".join(f"ERROR: {line}" for line in text.splitlines()),
]


@pytest.mark.parametrize("wrap", WRAPPED)
@pytest.mark.parametrize(
    "message", ["torch.OutOfMemoryError: CUDA out of memory.", "KeyError: 'chosen'", "StopIteration"]
)
def test_error_in_a_wrapped_log_keeps_its_class(wrap, message):
    for text in (samples.STARTED + samples.STEPS + samples.traceback(message), samples.traceback(message), message):
        expected = diagnose(LogText(text), exit_code=1)
        found = diagnose(LogText(f"{wrap(text)}\n"), exit_code=1)
        assert (found.failure_class, found.issue) == (expected.failure_class, expected.issue), (wrap(text), found)


@pytest.mark.parametrize("wrap", WRAPPED[:2])
def test_healthy_wrapped_log_stays_healthy(wrap):
    assert diagnose(LogText(wrap(samples.WELL)), exit_code=0).failure_class == "healthy"


def test_what_a_json_logger_informs_of_is_no_error():
    line = '{"level": "info", "msg": "No GPU found, training on the CPU"}\n'
    found = diagnose(LogText(line + as_json_lines(samples.WELL, level="info")))
    assert found.failure_class in ("healthy", "healthy_with_warnings"), found
