"""Lines of real and documented logs, and what they are recognised as."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from runner.issues.matcher import IssueMatcher
from runner.spec.loader import load_spec
from runner.spec.models import KnownIssue, Method

ANY = None

# method, line, class, verdict
LINES = [
    # excerpts of real logs
    (Method.SFT, 'WARNING trainer: alert POST failed: 500 Internal Server Error: {"error":"alert store unavailable"}',
     "alert_failed", "error"),
    (Method.SFT, "ValueError: You have set `args.eval_strategy` to IntervalStrategy.STEPS but you didn't pass an "
     "`eval_dataset` to `Trainer`.", "config_invalid", "error"),
    (ANY, "peft.utils.error.NoMatchingPeftModuleError: Target modules {'c_attn'} not found in the base model.",
     "config_invalid", "error"),
    (Method.SFT, "TypeError: SFTConfig.__init__() got an unexpected keyword argument 'max_seq_length'",
     "config_invalid", "error"),
    (ANY, "ValueError: num_samples should be a positive integer value, but got num_samples=0", "dataset_empty",
     "error"),
    (Method.SFT, "StopIteration", "dataset_empty", "error"),
    (ANY, "json.decoder.JSONDecodeError: Expecting value: line 2 column 1 (char 15)", "dataset_invalid_json",
     "error"),
    (Method.DPO, "KeyError: 'chosen'", "dataset_wrong_format", "error"),
    (Method.DPO, "ValueError: Column to remove ['chosen'] not in the dataset. Current columns in the dataset: ['a']",
     "dataset_wrong_format", "error"),
    (Method.SFT, "KeyError: 'text'", "dataset_wrong_format", "error"),
    (Method.CPT, "AttributeError: 'NoneType' object has no attribute 'endswith'", "dataset_wrong_format", "error"),
    (Method.SFT, "SafetensorError: Error while serializing: I/O error: No space left on device (os error 28)",
     "disk_full", "error"),
    (Method.ORPO, "WARNING trl: [RANK 0] When using DPODataCollatorWithPadding, you should set "
     "`remove_unused_columns=False` in your TrainingArguments", "healthy_with_warnings", "expected"),
    (Method.CPT, "WARNING trl: [RANK 0] Padding-free training is enabled, but the attention implementation is not",
     "healthy_with_warnings", "expected"),
    (Method.SFT, "trainer: metrics POST failed: <urlopen error [Errno 111] Connection refused>",
     "metrics_post_failed", "error"),
    (Method.SFT, "trainer: alert POST failed: <urlopen error [Errno 111] Connection refused>", "alert_failed",
     "error"),
    (Method.SFT, "trainer: metrics POST failed: 405 Method Not Allowed: Method Not Allowed", "metrics_post_failed",
     "error"),
    (ANY, "importlib.metadata.PackageNotFoundError: No package metadata was found for bitsandbytes",
     "missing_dependency", "error"),
    (Method.DPO, "ModuleNotFoundError: No module named 'weave'", "missing_dependency", "error"),
    (Method.DPO, "No module named 'weave'", "missing_dependency", "error"),
    (Method.ORPO, "ImportError: cannot import name 'ORPOConfig' from 'trl' (/workspace/trl/__init__.py)",
     "missing_dependency", "error"),
    (Method.RLHF, "ModuleNotFoundError: No module named 'trl.experimental.ppo'", "missing_dependency", "error"),
    (ANY, "Check your internet connection or see how to run the library in offline mode at 'https://example.org'.",
     "model_not_found", "infrastructure"),
    (ANY, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.96 GiB.", "oom", "error"),
    (Method.SFT, "process exited with code 137", "oom", "error"),
    (Method.SFT, "IndexError: index out of range in self", "tokenizer_model_mismatch", "error"),
    (ANY, "ValueError: Your setup doesn't support bf16/gpu. You need to assign use_cpu", "unsupported_hardware",
     "error"),
    # the contract's table
    (ANY, "[MetricsCallback] API POST failed: 405 - ", "metrics_post_failed", "error"),
    (ANY, '[MetricsCallback] API POST failed: 401 - {"error":"Unauthorized: Invalid token"}', "metrics_post_failed",
     "error"),
    (ANY, "[MetricsCallback] Failed to POST metrics to API: Connection refused", "metrics_post_failed", "error"),
    (ANY, "ValueError: Out of range float values are not JSON compliant", "metrics_post_failed", "error"),
    (ANY, "[Alert] Alert failed: 401", "alert_failed", "error"),
    (ANY, "[Alert] Failed to send alert: HTTPSConnectionPool: Read timed out. (read timeout=10)",
     "healthy_with_warnings", "expected"),
    (ANY, "[Alert] Failed to send alert: Connection refused", "alert_failed", "error"),
    (ANY, "ValueError: Dataset format not compatible with DPO/ORPO", "dataset_wrong_format", "error"),
    (ANY, "dpo requires preference format. Current dataset is chatml", "dataset_wrong_format", "error"),
    (ANY, "✗ ERROR: Failed to download dataset", "bootstrap_failed", "error"),
    (ANY, "UnicodeDecodeError: 'utf-8' codec can't decode byte 0x8b in position 1", "dataset_invalid_json", "error"),
    (ANY, "ValueError: The model did not return a loss from the inputs, only the following keys: logits",
     "config_invalid", "error"),
    (ANY, "ValueError: Passing a custom data collator is not supported when using padding-free.", "config_invalid",
     "error"),
    (ANY, "ImportError: cannot import name 'DataCollatorForCompletionOnlyLM' from 'trl'", "missing_dependency",
     "error"),
    (ANY, "torchaudio 2.1.0+cu118 requires torch==2.1.0, but you have torch 2.9.1 which is incompatible.",
     "missing_dependency", "error"),
    (ANY, "✗ ERROR: TRL imports failed after upgrade", "missing_dependency", "error"),
    (ANY, "DETECTED CONTAINER RESTART", "pod_restarted", "error"),
    (ANY, "bash: line 12: configBase64: unbound variable", "bootstrap_failed", "error"),
    (ANY, "bash: line 9: METRICS_API_URL: unbound variable", "metrics_post_failed", "error"),
    (ANY, "✗ ERROR: Failed to install dependencies", "bootstrap_failed", "infrastructure"),
    (ANY, "✗ ERROR: Failed to download standalone_trainer.py", "bootstrap_failed", "infrastructure"),
    (ANY, "No NVIDIA RTX A4000 GPUs currently available on RunPod. Try: (1)", "capacity", "infrastructure"),
    (ANY, "Provider runpod not found or not configured", "provider_error", "infrastructure"),
    (ANY, "TypeError: Cannot read properties of null (reading 'desiredStatus')", "provider_error", "infrastructure"),
    (ANY, "ModuleNotFoundError: No module named 'lib.training'", "missing_dependency", "error"),
    (ANY, "OSError: meta-llama-Llama is not a local folder and is not a valid model identifier listed on",
     "model_not_found", "error"),
    (ANY, "OSError: You are trying to access a gated repo.", "model_not_found", "error"),
    (ANY, "RuntimeError: expected scalar type Float but found BFloat16", "config_invalid", "error"),
    (ANY, "ValueError: Cannot use chat template functions because tokenizer.chat_template is not set",
     "tokenizer_model_mismatch", "error"),
    (Method.CPT, "TypeError: '<' not supported between instances of 'NoneType' and 'int'", "config_invalid", "error"),
    (ANY, "ValueError: Method 'orpo' not found", "missing_dependency", "error"),
    (ANY, "{'loss': 'nan', 'grad_norm': 'nan', 'learning_rate': '0.0002'}", "not_learning", "error"),
    (ANY, "[Progress] Epoch 1/1 | Step 5/10 | Loss nan | LR 2e-4", "not_learning", "error"),
    # generic
    (ANY, "✗ Training failed with exit code: 137", "trainer_killed", "error"),
    (ANY, "✗ Training failed with exit code: 143", "trainer_killed", "error"),
    (ANY, "✗ Training failed with exit code: -9", "trainer_killed", "error"),
    (ANY, "✗ Training failed with exit code: 1", "trainer_error", "error"),
    (ANY, "[Main] Training failed with error: something new", "trainer_error", "error"),
    (ANY, "[Main] Training failed with error: CUDA out of memory. Tried to allocate 2 GiB", "oom", "error"),
    (ANY, "Traceback (most recent call last):", "trainer_error", "error"),
    (ANY, "process exited with code 2", "trainer_error", "error"),
    # benign
    (Method.CPT, "Response template not found in tokenized sequence", "healthy_with_warnings", "expected"),
    (Method.SFT, "Response template not found in tokenized sequence", "tokenizer_model_mismatch", "error"),
    (ANY, "huggingface/tokenizers: The current process just got forked, after parallelism", "healthy_with_warnings",
     "expected"),
    (ANY, "[Patch] Could not import PolicyAndValueWrapper", "healthy_with_warnings", "expected"),
    (ANY, "x.py:1: FutureWarning: PPO will move to the experimental package", "healthy_with_warnings", "expected"),
    (ANY, "Supabase credentials not found. Runtime parameter updates disabled.", "healthy_with_warnings", "expected"),
    (ANY, "[SFT] save_steps (50) is not a multiple of eval_steps (20)", "healthy_with_warnings", "expected"),
]  # fmt: skip

HEALTHY = [
    # one step without a gradient ends no run: a training that has learnt all there is has many
    "2026-11-22 08:49:29,534 INFO trainer: step 19/20 loss=0.0004 grad_norm=0.0 lr=0.005",
    "2026-11-22 08:49:29,390 INFO trainer: training started: 20 steps",
    "2026-11-22 08:49:29,534 INFO trainer: step 5/20 loss=5.0995 grad_norm=1.7794 lr=0.005",
    "2026-11-22 08:49:29,534 INFO trainer: step 9/20 loss=0.0155 grad_norm=0.0185 lr=0.005",
    "{'loss': '5.1', 'grad_norm': '1.779', 'learning_rate': '0.005', 'epoch': '0.5'}",
    "{'loss': 5.1, 'grad_norm': 0.05, 'learning_rate': 0.0, 'epoch': 0.5}",
    "[Progress] Epoch 1/1 | Step 5/10 | Loss N/A | LR 2e-4",
    "Tokenizing train dataset: 100%|██████████| 40/40 [00:00<00:00, 1826.19 examples/s]",
    "✓ Training completed successfully! (exit code: 0)",
    "process exited with code 0",
    "[Alert] Sent job_started alert successfully",
    "✓ Dataset downloaded (12K)",
    "Installing dependencies...",
    "",
]


@pytest.mark.parametrize(("method", "line", "failure_class", "verdict"), LINES, ids=[row[1][:50] for row in LINES])
def test_line_is_recognised(method, line, failure_class, verdict):
    rule = IssueMatcher(method=method).match(line)
    assert rule is not None
    assert (rule.failure_class, rule.verdict) == (failure_class, verdict), rule.id


@pytest.mark.parametrize("line", HEALTHY)
def test_healthy_line_is_no_issue(line):
    assert IssueMatcher().match(line) is None


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("✗ Training failed with exit code: 137", "trainer-killed"),
        ("✗ Training failed with exit code: -9", "trainer-killed"),
        ("✗ Training failed with exit code: 143", "trainer-stopped"),
        ("✗ Training failed with exit code: -15", "trainer-stopped"),
        ("process exited with code 143", "trainer-stopped"),
        ("process exited with code -15", "trainer-stopped"),
        ("process exited with code 137", "oom-killed"),
        ("✗ Training failed with exit code: 1432", "trainer-failed"),
    ],
)
def test_trainer_ended_by_sigterm_is_not_told_to_look_at_its_memory(line, rule):
    found = IssueMatcher().match(line)
    assert found is not None
    assert found.id == rule
    assert ("memory" in found.fix) == (rule in ("trainer-killed", "oom-killed"))


def known(name, log, verdict="expected", **fields):
    return KnownIssue(id=name, log=log, verdict=verdict, because="it does that", **fields)


def test_what_the_spec_expects_wins_over_the_catalogue():
    matcher = IssueMatcher(extra=[known("fine", "out of memory.*retrying")])
    rule = matcher.match("CUDA out of memory, retrying with a smaller batch")
    assert rule is not None
    assert (rule.id, rule.verdict, rule.cause) == ("fine", "expected", "it does that")
    other = matcher.match("CUDA out of memory")
    assert other is not None
    assert other.id == "oom-cuda"


def test_rule_of_the_spec_is_found_by_its_id():
    matcher = IssueMatcher(extra=[known("oom-cuda", "x"), known("fine", "y", fix="nothing")])
    assert matcher.rule("oom-cuda").verdict == "expected"
    assert matcher.rule("fine").fix == "nothing"
    assert matcher.rule("disk-full").failure_class == "disk_full"
    assert matcher.rule("nobody-knows") is None


@pytest.mark.parametrize(
    ("seen", "cause"),
    [
        (["trainer-traceback", "dataset-empty", "trainer-failed"], "dataset-empty"),
        (["metrics-post-405", "oom-cuda", "trainer-killed"], "oom-cuda"),
        (["alert-post-failed", "metrics-post-failed"], "metrics-post-failed"),
        (["trainer-traceback", "dataset-stop-iteration", "package-missing"], "package-missing"),
        (["trainer-traceback", "dataset-stop-iteration"], "dataset-stop-iteration"),
        (["python-warning", "trainer-traceback"], "trainer-traceback"),
        (["model-host-unreachable", "trainer-traceback"], "model-host-unreachable"),
    ],
)
def test_root_cause_is_what_explains_most(seen, cause):
    assert IssueMatcher().root_cause(seen).id == cause


def test_expected_issues_explain_nothing():
    assert IssueMatcher().root_cause(["python-warning"]) is None


def test_pattern_of_a_spec_that_cannot_be_bounded_fits_nothing():
    matcher = IssueMatcher(extra=[known("slow", r"(a+)+\1$")])
    assert matcher.match("a" * 4_000 + "b") is None


def test_a_hundred_thousand_lines_take_seconds():
    matcher = IssueMatcher()
    begun = time.process_time()
    for number in range(20_000):
        matcher.match(f"2026-11-22 08:49:29,534 INFO trainer: step {number}/20 loss=5.0995 grad_norm=1.7794 lr=0.005")
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    "line",
    [
        "Xet Storage is enabled for this repo, but the 'hf_xet' package is not installed. Falling back to regular HTTP "
        "download. For better performance, install the package with: `pip install huggingface_hub[hf_xet]`",
        "'(ReadTimeoutError(\"HTTPSConnectionPool(host='huggingface.co', port=443): Read timed out.\"), '(ID: 1)')' "
        "thrown while requesting HEAD https://huggingface.co/acme/tiny/resolve/main/config.json",
        "Could not load bitsandbytes native library: libcuda.so.1: cannot open shared object file",
        "The tokenizer has new PAD/BOS/EOS tokens that differ from the model config and generation config.",
    ],
)
def test_what_healthy_pods_write_stops_no_run(line):
    found = IssueMatcher().match(line)
    assert found is not None
    assert found.verdict == "expected"


def test_what_a_spec_expects_may_be_an_exception():
    own = KnownIssue(id="own", log="KeyError: 'chosen'", verdict="expected", because="we know")
    assert IssueMatcher((own,)).match("KeyError: 'chosen'").id == "own"


@pytest.mark.parametrize("line", (Path(__file__).parent / "harmless.txt").read_text().splitlines())
def test_no_harmless_line_is_an_error_while_the_run_goes_on(line):
    found = IssueMatcher().match(line)
    assert found is None or found.verdict == "expected", found


@pytest.mark.parametrize(
    "spec", sorted((Path(__file__).parents[2] / "specs").glob("*.yaml")), ids=lambda path: path.stem
)
def test_the_templates_own_issues_take_no_harmless_line_for_an_error(spec):
    loaded = load_spec(spec).spec
    matcher = IssueMatcher(extra=loaded.known_issues, method=loaded.template.method)
    lines = (Path(__file__).parent / "harmless.txt").read_text().splitlines()
    found = [(line, rule.id) for line in lines if (rule := matcher.match(line)) and rule.verdict != "expected"]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.",
        "RuntimeError: CUDA out of memory. Tried to allocate 20.00 MiB.",
        "[rank0]: torch.OutOfMemoryError: CUDA out of memory.",
        "   torch.cuda.OutOfMemoryError: CUDA out of memory.",
        "INFO worker: torch.OutOfMemoryError: CUDA out of memory.",
        "ERROR: CUDA out of memory",
        "ERROR:__main__:RuntimeError: CUDA out of memory",
        "2026-03-01 10:00:01,000 - trainer - ERROR - CUDA out of memory",
        "2026-03-01 10:00:01,000 INFO trainer: Training failed: CUDA out of memory",
        "\u2717 ERROR: CUDA out of memory",
        '{"level": "error", "msg": "CUDA out of memory"}',
        '{"msg": "RuntimeError: CUDA out of memory"}',
        'time="2026-03-01T10:00:01Z" level=error msg="CUDA out of memory"',
        "CUDA out of memory. Tried to allocate 2.00 GiB",
    ],
)
def test_error_counts_in_whatever_way_it_is_logged(line):
    assert IssueMatcher().match(line).id == "oom-cuda"


def test_wrong_row_may_be_told_by_its_number():
    assert IssueMatcher().match("Row 3: missing required column 'chosen'").failure_class == "dataset_wrong_format"


def test_what_a_spec_declares_counts_at_every_level():
    own = KnownIssue(id="own", log="CUDA is not available", verdict="error", because="we need it")
    assert IssueMatcher((own,)).match("INFO trainer: CUDA is not available, training on the CPU").id == "own"


@pytest.mark.parametrize(
    "line", ["'" * 3_900, ": " * 1_950, "[a]: " * 780, "1" * 3_900, "level=a msg=" * 320, "KeyError: '" * 350]
)
def test_line_that_nobody_writes_takes_no_time(line):
    matcher = IssueMatcher()
    begun = time.process_time()
    matcher.match(f"{line[:3_960]} CUDA out of memory")
    assert time.process_time() - begun < 0.5
