"""The main job through the command, with processes that really train."""

from __future__ import annotations

import os
import re
import signal

import pytest

from tests.cli.workshop import Said, Workshop, furnish

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return furnish(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def before(home: Workshop) -> bytes:
    return home.document.read_bytes()


@pytest.fixture(scope="module")
def finished(home: Workshop, before: bytes) -> Said:
    """A template that nobody wrote any Python for, tested once, with a tenth of the steps."""
    home.write_spec("sft_small")
    return home.process("specs/sft_small.yaml", "--phase", "basic", "--set", "watch_steps=10")


def test_new_template_is_tested_with_a_spec_and_no_python(finished):
    assert finished.code == 0, finished.err
    assert finished.last_line.startswith("✓ passed · 5 of 5 criteria · rehearsed on local")


def test_local_run_costs_nothing(finished):
    assert " · $0.00 · 0 pods open" in finished.last_line


def test_run_says_each_step_on_standard_error(finished):
    assert "Verify standalone_trainer.py downloads" in finished.err
    assert re.search(r"pod \w+ is gone", finished.err)


def test_finished_run_leaves_no_process(finished, home):
    home.assert_nothing_runs()


def test_document_takes_the_result_and_keeps_every_byte_outside_its_regions(finished, home, before):
    assert "updated reports/RUNPOD_TESTING.md" in finished.err
    after = home.document.read_bytes()
    assert after != before
    assert outside(after) == outside(before)


def test_rendering_again_changes_nothing(finished, home):
    first = home.document.read_bytes()
    assert home.process("render").out == "reports/RUNPOD_TESTING.md is up to date\n"
    assert home.process("render", "--check").code == 0
    assert home.document.read_bytes() == first


def test_history_shows_the_run_again(finished, home):
    (run,) = re.findall(r"^([0-9a-f]{8}) ", home.process("history").out, re.MULTILINE)
    assert home.process("history", run[:4]).out == finished.out
    assert home.process("history", "last").out == finished.out


def test_history_has_the_losses_that_were_posted(finished, home):
    run = home.process("history").out.splitlines()[1].split()[0]
    said = home.process("history", run, "--metric", "train_loss")
    points = [line.split("\t") for line in said.out.splitlines()]
    losses = [float(loss) for job, _, loss in points if loss]
    assert len(losses) >= 10
    assert losses[-1] < losses[0]


def test_trend_shows_verdicts_time_and_loss(finished, home):
    row = next(line for line in home.process("history", "--trend").out.splitlines() if "sft_small / basic" in line)
    assert re.search(r"✓ +1 of 1 +\d+ s +first run +\d+\.\d+", row)


def test_metric_that_nobody_recorded_is_answered_with_those_that_were(finished, home):
    run = home.process("history").out.splitlines()[1].split()[0]
    said = home.process("history", run, "--metric", "los")
    assert said.code == 2
    assert "train_loss" in said.err


def test_logs_are_numbered_as_findings_name_them(finished, home):
    said = home.process("logs")
    numbers = [int(number) for number in re.findall(r"^sft_small/basic/1:(\d+): ", said.out, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert "Training started" in said.out
    assert home.process("logs", "--follow", "--job", "basic").out == said.out


def test_status_repeats_the_last_verdict(finished, home):
    assert finished.last_line in home.process("status").out


def test_list_shows_the_new_template_as_rehearsed(finished, home):
    row = next(line for line in home.process("list").out.splitlines() if line.startswith("sft_small "))
    assert "rehearsed" in row


# --- what goes wrong ------------------------------------------------------------------------------------------------


def test_killed_trainer_is_reported_with_class_and_log_and_leaves_nothing(workshop):
    with workshop.started("specs/cpt.yaml", "--phase", "basic", "--doc", "none") as process:
        process.wait_for("Monitor first 100 steps")
        trainers = [pid for pid, command in workshop.pod_processes().items() if "standalone_trainer.py" in command]
        assert trainers
        for pid in trainers:
            os.kill(pid, signal.SIGKILL)
        said = process.end()
    assert said.code in (1, 3)
    assert "trainer-killed" in said.out
    workshop.assert_nothing_runs()


def test_ctrl_c_ends_with_130_after_the_pod_is_given_back(workshop):
    with workshop.started("specs/cpt.yaml", "--phase", "basic", "--doc", "none") as process:
        process.wait_for("Verify standalone_trainer.py downloads")
        process.popen.send_signal(signal.SIGINT)
        said = process.end()
    assert said.code == 130
    assert "interrupted: collecting evidence and giving pods back" in said.err
    assert re.search(r"pod \w+ is gone", said.err)
    assert "0 pods open" in said.last_line
    workshop.assert_nothing_runs()


def test_killed_runner_leaves_no_process_and_the_next_run_ends_its_lease(workshop):
    with workshop.started("specs/cpt.yaml", "--phase", "basic", "--doc", "none") as process:
        process.wait_for("Verify standalone_trainer.py downloads")
        assert workshop.pod_processes()
        process.popen.kill()
        process.end()
    workshop.assert_nothing_runs()
    assert workshop.process("reap", "--target", "local").code == 6
    with workshop.started("specs/cpt.yaml", "--phase", "basic", "--doc", "none") as process:
        process.wait_for("Validate the dataset")
        process.popen.send_signal(signal.SIGINT)
        assert process.end().code == 130
    said = workshop.process("reap", "--target", "local")
    assert said.code == 0
    assert "nothing is left" in said.out


def outside(document: bytes) -> bytes:
    """What the author wrote: without the regions, and without the ticks and words of keyed checkboxes."""
    text = re.sub(rb"(<!-- runspec:begin (\S+) -->\n).*?<!-- runspec:end \2 [^\n]*", rb"\1", document, flags=re.DOTALL)
    return re.sub(rb"\[[ x]\](.*<!-- runspec:check \S+ -->).*", rb"[ ]\1", text)


def test_a_pod_of_our_own_making_passes_the_same_phase(home):
    said = home.process(
        "specs/sft.yaml", "--phase", "basic", "--set", "watch_steps=10", "--via", "runpod", "--doc", "none"
    )
    assert said.code == 0, said.err
    assert said.last_line.startswith("✓ passed · 5 of 5 criteria · rehearsed on local")
