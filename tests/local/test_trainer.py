"""The trainer is run as a pod runs it: a process of its own, reporting to a real server on loopback."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from runner.local.trainer import metrics, reporter
from runner.local.trainer.examples import FEWEST_PAIRS, Example, preference_pairs
from runner.local.trainer.lab_http import Answer
from runner.local.trainer.reporter import Job, Reporter
from runner.local.trainer.throughput import TokenCount
from runner.local.trainer_bundle import bundle

PPO_STEPS = 60
PATIENCE_S = 600  # a bound for what hangs: machines that are shared are slow at times
COLOURS = {"apple": "red", "sea": "blue", "tree": "green", "sun": "yellow", "coal": "black", "snow": "white"}
LOG_LINE = re.compile(r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d] \[__main__] \[(INFO|WARNING|ERROR)] ")
CORE_FIELDS = {
    "step", "epoch", "train_loss", "eval_loss", "learning_rate", "grad_norm", "samples_per_second",
    "gpu_memory_allocated_gb", "gpu_memory_reserved_gb", "gpu_utilization_percent", "perplexity", "train_perplexity",
    "loss_trend", "best_eval_loss", "best_epoch", "best_step", "epochs_without_improvement", "timestamp",
}  # fmt: skip


def question(thing: str) -> str:
    return f"What colour is the {thing}?"


def answer(thing: str) -> str:
    return f"The {thing} is {COLOURS[thing]}."


THINGS = [*COLOURS] * 7
ROWS: dict[str, list[dict[str, Any]]] = {
    "sft": [
        {"messages": [{"role": "user", "content": question(t)}, {"role": "assistant", "content": answer(t)}]}
        for t in THINGS
    ],
    "pairs": [{"prompt": question(t), "chosen": answer(t), "rejected": "I do not know."} for t in THINGS],
    "rlhf": [
        {"prompt": question(t), "response": said, "reward": reward}
        for t in COLOURS
        for said, reward in ((answer(t), 1.0), ("I do not know.", 0.1))
    ],
    "cpt": [{"text": f"{answer(t)} Everyone in the village by the river says so."} for t in THINGS],
}


# --- a lab that listens ------------------------------------------------------------------------------------------


@dataclass
class Lab:
    """What the trainer posted, by job; jobs in `refused` get that status for their metrics."""

    url: str = ""
    metrics: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    alerts: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)

    def alert_types(self, job: str) -> list[str]:
        return [alert["type"] for alert in self.alerts[job]]

    def values(self, job: str, key: str) -> list[float]:
        return [point[key] for point in self.metrics[job] if point.get(key) is not None]


def handler_for(lab: Lab) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            job, status = body["job_id"], 200
            if self.path == "/api/training/local/metrics":
                lab.headers[f"{job} metrics"] = dict(self.headers)
                status = lab.refused.get(job, 200)
                if status == 200:
                    lab.metrics[job] += body["metrics"]
            else:
                lab.headers[f"{job} alerts"] = dict(self.headers)
                lab.alerts[job].append(body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b'{"error":"Method Not Allowed"}' if status != 200 else b"{}")

        def log_message(self, *_args: object) -> None:
            pass

    return Handler


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_for(lab)) as server:
        lab.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield lab
        server.shutdown()
        thread.join()


# --- a pod that trains -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    job: str
    code: int
    log: str
    output: Path


def write_job(folder: Path, method: str, rows: list[dict[str, Any]], **training: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "dataset.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    config = {
        "model": {"name": "meta-llama/Llama-3.2-1B"},
        "tokenizer": {"name": "meta-llama/Llama-3.2-1B"},
        "training": {
            "method": method, "num_epochs": 1, "batch_size": 4, "gradient_accumulation_steps": 2, "learning_rate": 2e-5,
            "warmup_steps": 100, "max_length": 512, "logging_steps": 10, "bf16": True, "optim": "paged_adamw_8bit",
            "evaluation_strategy": "steps", "quantization": {"load_in_4bit": True}, **training,
        },
        "lora": {
            "r": 16, "alpha": 32, "dropout": 0.1, "bias": "none", "task_type": "CAUSAL_LM",
            "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"],
        },
        "data": {"strategy": "standard"},
        "dataset_path": str(folder / "dataset.jsonl"),
        "output_dir": str(folder / "out"),
    }  # fmt: skip
    path = folder / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def start(lab: Lab, config: Path, job: str, *, steps: int = 40) -> subprocess.Popen[str]:
    environment = os.environ | {
        "JOB_ID": job, "JOB_TOKEN": f"token-{job}", "USER_ID": "user-1", "INTERNAL_API_KEY": "internal",
        "METRICS_API_URL": f"{lab.url}/api/training/local/metrics", "ALERT_API_URL": f"{lab.url}/api/alerts/trigger",
        "RUNSPEC_TRAINER_MIN_STEPS": str(steps), "RUNSPEC_TRAINER_MAX_STEPS": str(steps),
    }  # fmt: skip
    (config.parent / "standalone_trainer.py").write_bytes(bundle())
    return subprocess.Popen(
        [sys.executable, "standalone_trainer.py", "--config", str(config), "--execution-id", job],
        cwd=config.parent, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], config: Path, job: str) -> Run:
    log, _ = process.communicate(timeout=PATIENCE_S)
    return Run(job, process.returncode, log, config.parent / "out")


def run_job(lab: Lab, folder: Path, method: str, rows: str, *, steps: int = 40, **training: Any) -> Run:
    job = folder.name
    config = write_job(folder, method, ROWS[rows], **training)
    return finish(start(lab, config, job, steps=steps), config, job)


def run_until_first_loss(lab: Lab, folder: Path) -> Run:
    """A long run that gets SIGTERM as soon as the lab has seen a loss."""
    job = folder.name
    config = write_job(folder, "sft", ROWS["sft"])
    process = start(lab, config, job, steps=100_000)
    deadline = time.monotonic() + PATIENCE_S
    while not lab.values(job, "train_loss") and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    return finish(process, config, job)


@pytest.fixture(scope="module")
def runs(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Run]]]:
    """All training jobs, two at a time: a cold process spends most of its life importing on one core."""
    root = tmp_path_factory.mktemp("jobs")
    lab.refused["cpt"] = 405
    with ThreadPoolExecutor(2) as pool:
        yield {
            "rlhf": pool.submit(run_job, lab, root / "rlhf", "rlhf", "rlhf", steps=PPO_STEPS),
            "sft": pool.submit(run_job, lab, root / "sft", "sft", "sft", steps=60),
            "dpo": pool.submit(run_job, lab, root / "dpo", "dpo", "pairs"),
            "orpo": pool.submit(run_job, lab, root / "orpo", "orpo", "pairs"),
            "cpt": pool.submit(run_job, lab, root / "cpt", "cpt", "cpt", packing=True),
            "wrong-rows": pool.submit(run_job, lab, root / "wrong-rows", "dpo", "cpt"),
            "stopped": pool.submit(run_until_first_loss, lab, root / "stopped"),
            "reward-model": pool.submit(
                run_job, lab, root / "reward-model", "rlhf", "rlhf", steps=3, reward={"model": "train"}
            ),
        }


def messages(run: Run) -> str:
    return "\n".join(LOG_LINE.sub("", line) for line in run.log.splitlines())


# --- what a configuration does, before anything is trained --------------------------------------------------------


def test_unreadable_config_ends_with_1_and_no_alert(lab: Lab, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text("{not json", encoding="utf-8")
    run = finish(start(lab, config, "unreadable"), config, "unreadable")
    assert run.code == 1
    assert "[Config] Failed to load: " in run.log
    assert lab.alerts["unreadable"] == []


def test_bad_arguments_end_with_2_where_there_is_only_the_standard_library(tmp_path: Path) -> None:
    script = tmp_path / "standalone_trainer.py"
    script.write_bytes(bundle())
    done = subprocess.run([sys.executable, "-I", "-S", str(script)], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 2, done.stderr
    assert "--config" in done.stderr


def test_unknown_method_fails_before_torch_is_imported(lab: Lab, tmp_path: Path) -> None:
    config = write_job(tmp_path / "grpo", "grpo", ROWS["sft"])
    run = finish(start(lab, config, "grpo"), config, "grpo")
    assert run.code == 1
    assert "[Main] Training failed with error: ValueError: Unknown training method: 'grpo'" in run.log
    assert lab.alert_types("grpo") == ["job_failed"]
    assert "Tokenizer loaded" not in run.log


def test_invalid_json_names_its_line(lab: Lab, tmp_path: Path) -> None:
    config = write_job(tmp_path / "json", "sft", ROWS["sft"])
    (tmp_path / "json" / "dataset.jsonl").write_text('{"text": "a"}\n{"text": \n', encoding="utf-8")
    run = finish(start(lab, config, "json"), config, "json")
    assert run.code == 1
    assert "[DataLoader] Invalid JSON at line 2" in lab.alerts["json"][0]["error_message"]
    assert "JSONDecodeError" in lab.alerts["json"][0]["error_message"]


def test_telemetry_without_a_lab_does_not_raise(caplog: pytest.LogCaptureFixture) -> None:
    # Port 9 of loopback: nothing listens there.
    job = Job("j", "t", "u", "http://127.0.0.1:9/m", "http://127.0.0.1:9/a", "", timeout_s=1)
    lab = Reporter(job, "model")
    lab.metric({"step": 1})
    lab.ended("job_completed")
    assert [record.message.split(": ")[0] for record in caplog.records] == [
        "[MetricsCallback] Failed to POST metrics to API",
        "[Alert] Failed to send alert",
    ]


def test_a_lab_too_slow_for_the_metrics_still_hears_how_the_job_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    hung, posted = threading.Event(), []

    def post(url: str, body: dict[str, Any], _headers: object, _timeout_s: float) -> Answer:
        if url == "metrics":
            hung.wait(30)
        posted.append(body.get("type"))
        return Answer(200, "")

    monkeypatch.setattr(reporter, "post_json", post)
    monkeypatch.setattr(reporter, "DRAIN_S", 0.05)
    lab = Reporter(Job("j", "t", "u", "metrics", "alerts", "", timeout_s=1), "model")
    lab.metric({"step": 1})
    lab.metric({"step": 2})
    lab.ended("job_completed")
    hung.set()
    assert posted[0] == "job_completed"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "3.2"])
def test_what_json_has_no_number_for_becomes_null(value: Any) -> None:
    assert metrics.finite(value) is None


@pytest.mark.parametrize(
    ("losses", "trend"),
    [
        ([3.0, 2.9], "insufficient_data"),
        ([5.0, 4.0, 3.0, 2.0, 1.0], "improving"),
        ([1.0, 1.0, 1.0, 1.0, 1.01], "stable"),
        ([1.0, 1.0, 2.0, 3.0, 4.0], "degrading"),
    ],
)
def test_loss_trend_compares_the_halves_of_the_last_ten(losses: list[float], trend: str) -> None:
    assert metrics.loss_trend(losses) == trend


def test_only_tokens_that_the_model_learns_from_are_counted() -> None:
    import torch

    class Model(torch.nn.Module):
        def forward(self, **_inputs: Any) -> None: ...

    model, tokens = Model(), TokenCount()
    tokens.watch(model)
    ids, mask = torch.zeros(2, 5, dtype=torch.long), torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    model(input_ids=ids, attention_mask=mask)
    assert tokens.total == 8
    model(input_ids=ids)
    assert tokens.total == 18
    with torch.no_grad():
        model(input_ids=ids)
    model.eval()
    model(input_ids=ids)
    assert tokens.total == 18


def test_peak_memory_is_the_process_own_and_not_that_of_who_started_it() -> None:
    ask = "from runner.local.trainer.throughput import peak_memory_gb; print(peak_memory_gb())"
    parent = f"import subprocess, sys; fat = bytearray(2**29); subprocess.run([sys.executable, '-c', {ask!r}])"
    said = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=True)
    assert 0 < float(said.stdout) < 0.4


def test_preference_pairs_come_from_ratings_of_the_same_prompt() -> None:
    examples = [Example("q", "good", 1.0), Example("q", "bad", 0.2), Example("r", "x", 0.5)]
    pairs, source = preference_pairs([], examples)
    assert pairs[0] == {"prompt": "q", "chosen": "good", "rejected": "bad"}
    assert source.startswith("ratings of the same prompt")


def test_reward_model_of_rated_rows_is_trained_on_more_than_the_few_prompts_that_were_rated_twice() -> None:
    rated = [Example(f"question {number}", f"answer {number}", number / 40) for number in range(40)]
    pairs, source = preference_pairs([], [*rated, Example("question 3", "nonsense", -1.0)])
    assert len(pairs) >= FEWEST_PAIRS
    assert source == "ratings of the same prompt, answers of other prompts as rejected"
    assert all(pair["chosen"] != "nonsense" for pair in pairs)


def test_enough_given_pairs_are_not_mixed_with_made_up_ones() -> None:
    rows = [{"prompt": f"q{number}", "chosen": "yes", "rejected": "no"} for number in range(FEWEST_PAIRS)]
    pairs, source = preference_pairs(rows, [Example("q", "good", 1.0), Example("q", "bad", 0.2)])
    assert pairs == rows
    assert source == "chosen and rejected"


# --- what training does -------------------------------------------------------------------------------------------


@pytest.mark.training
def test_sft_loss_falls_and_every_point_reaches_the_lab(lab: Lab, runs: dict[str, Future[Run]]) -> None:
    run = runs["sft"].result()
    assert run.code == 0, run.log
    points, losses = lab.metrics["sft"], lab.values("sft", "train_loss")
    assert losses[0] > 4
    assert min(losses) < losses[0] / 2
    assert [point["step"] for point in points] == sorted(point["step"] for point in points)
    assert {point["step"] for point in points} == set(range(61))
    assert all(point.keys() >= CORE_FIELDS for point in points)
    assert points[0]["train_loss"] is None
    assert points[-1]["train_loss"] is None
    assert lab.values("sft", "eval_loss")
    assert points[-1]["loss_trend"] == "improving"
    assert lab.headers["sft metrics"]["Authorization"] == "Bearer token-sft"


@pytest.mark.training
def test_sft_log_has_the_marker_lines_in_order(runs: dict[str, Future[Run]]) -> None:
    text = messages(runs["sft"].result())
    markers = [
        r"FineTune Lab Standalone Trainer - Starting", r"\[Main\] Execution ID: sft", r"\[Main\] Training method: sft",
        r"\[Main\] Model: \S+", r"\[DataLoader\] Loaded 42 examples", r"\[DataLoader\] Train dataset: 33 examples",
        r"\[Main\] Datasets loaded successfully", r"\[Trainer\] Tokenizer loaded successfully",
        r"\[Main\] Starting SFT training from scratch", r"\[Local\] Scaled learning_rate: 2e-05 -> 0\.01 \(",
        r"\[Model\] LoRA config: r=16, alpha=32, dropout=0\.1", r"trainable params: ",
        r"\[Trainer\] Model loaded successfully", r"\[SFT\] Starting training loop",
        r"\[MetricsCallback\] Cloud mode enabled - will POST to http://127", r"\[MetricsCallback\] Training started",
        r"\[MetricsCallback\] Total steps: 60",
        r"\[Progress\] Epoch \d+/\d+ \| Step 5/60 \| Loss [\d.]+ \| LR [\d.e+-]+", r"\[Progress\] .* Step 60/60 ",
        r"\[MetricsCallback\] Training ended", r"\[SFT\] Saving final model", r"LoRA adapters saved to",
        r"Merged model saved successfully", r"\[Main\] SFT training completed successfully",
        r"(?m)^Training completed successfully!", r"\[Alert\] Sent job_completed alert successfully",
    ]  # fmt: skip
    found = [re.search(marker, text) for marker in markers]
    assert [marker for marker, match in zip(markers, found, strict=True) if match is None] == []
    places = [match.start() for match in found if match is not None]
    assert places == sorted(places)


@pytest.mark.training
def test_completed_alert_is_the_last_thing_the_lab_hears(lab: Lab, runs: dict[str, Future[Run]]) -> None:
    runs["sft"].result()
    started, completed = lab.alerts["sft"]
    assert (started["type"], started["status"], started["total_steps"]) == ("job_started", "started", 60)
    assert (completed["type"], completed["status"], completed["error_message"]) == ("job_completed", "completed", None)
    assert started["user_id"] == "user-1"
    assert lab.headers["sft alerts"]["X-Api-Key"] == "internal"


RELOAD = """
import sys, warnings; warnings.simplefilter("ignore")
from pathlib import Path
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
torch.set_num_threads(1)
root = Path(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(root)
chat = [{"role": "user", "content": sys.argv[2]}]
inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(root / "base_model"), root)
for model in (adapted, AutoModelForCausalLM.from_pretrained(root / "merged_model")):
    answer = model.generate(**inputs, max_new_tokens=24, do_sample=False)[0, inputs["input_ids"].shape[1]:]
    print("ANSWER", repr(tokenizer.decode(answer, skip_special_tokens=True)))
"""


@pytest.mark.training
def test_saved_sft_model_is_reloaded_and_generates(runs: dict[str, Future[Run]]) -> None:
    run = runs["sft"].result()
    manifest = json.loads((run.output / "runspec_model.json").read_text(encoding="utf-8"))
    assert (manifest["method"], manifest["base_model"], manifest["adapter"]) == ("sft", "base_model", ".")
    assert {"model", "learning_rate", "total_steps"} <= {change["field"] for change in manifest["scaled"]}
    done = subprocess.run(
        [sys.executable, "-c", RELOAD, str(run.output), question("apple")],
        capture_output=True, text=True, timeout=PATIENCE_S, env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    answers = re.findall(r"ANSWER (.*)", done.stdout)
    assert len(answers) == 2, done.stderr
    assert answers[0] == answers[1]
    assert "The" in answers[0]


@pytest.mark.training
@pytest.mark.parametrize("method", ["dpo", "orpo"])
def test_preference_training_reports_margins_that_grow(lab: Lab, runs: dict[str, Future[Run]], method: str) -> None:
    run = runs[method].result()
    assert run.code == 0, run.log
    losses, margins = lab.values(method, "train_loss"), lab.values(method, "reward_margin")
    assert min(losses) < losses[0]
    assert margins[-1] > margins[0]
    assert lab.values(method, "reward_accuracy")[-1] > 0.9
    assert f"[{method.upper()}] Loaded 33 real preference pairs" in run.log
    assert (run.output / f"{method}_model" / "adapter_model.safetensors").is_file()
    assert (run.output / f"{method}_model" / "merged_model").is_dir() == (method == "dpo")


@pytest.mark.training
@pytest.mark.parametrize("method", ["sft", "dpo", "orpo", "rlhf"])
def test_every_method_reports_tokens_a_second_and_its_memory(
    lab: Lab, runs: dict[str, Future[Run]], method: str
) -> None:
    run = runs[method].result()
    assert run.code == 0, run.log
    first, *others = lab.metrics[method]
    assert first["tokens_per_second"] is None
    assert all(0 < point["tokens_per_second"] < 1e7 for point in others)
    peaks = lab.values(method, "process_memory_peak_gb")
    assert peaks == sorted(peaks)
    assert 0.1 < peaks[-1] < 32


@pytest.mark.training
def test_ppo_reports_its_scores(lab: Lab, runs: dict[str, Future[Run]]) -> None:
    run = runs["rlhf"].result()
    assert run.code == 0, run.log
    points = [point for point in lab.metrics["rlhf"] if "reward_mean" in point]
    assert {point["step"] for point in points} == set(range(1, PPO_STEPS + 1))
    assert all({"kl", "policy_loss", "value_loss", "entropy"} <= point.keys() for point in points)
    assert all(point["train_loss"] == point["policy_loss"] for point in points)
    assert len({point["reward_mean"] for point in points}) > 5
    assert lab.alert_types("rlhf") == ["job_started", "job_completed"]
    assert f"[MetricsCallback] Total steps: {PPO_STEPS}" in run.log
    assert (run.output / "rlhf_model" / "adapter_model.safetensors").is_file()


@pytest.mark.training
def test_ppo_earns_more_reward_than_noise_explains(lab: Lab, runs: dict[str, Future[Run]]) -> None:
    assert runs["rlhf"].result().code == 0
    rewards = [point["reward_mean"] for point in lab.metrics["rlhf"] if "reward_mean" in point]
    first, last = rewards[: PPO_STEPS // 4], rewards[-PPO_STEPS // 4 :]
    noise = math.sqrt((statistics.variance(first) + statistics.variance(last)) / len(first))
    assert statistics.mean(last) > statistics.mean(first) + 3 * noise


@pytest.mark.training
def test_ppo_can_learn_from_a_trained_reward_model(runs: dict[str, Future[Run]]) -> None:
    run = runs["reward-model"].result()
    assert run.code == 0, run.log
    assert "[RLHF] Training reward model on 12 preference pairs (ratings of the same prompt, answers of" in run.log
    trained = re.search(r"Reward model trained: accuracy (\S+) -> (\S+)", run.log)
    assert trained is not None
    assert float(trained[2]) >= 0.9


@pytest.mark.training
def test_cpt_packs_its_rows(runs: dict[str, Future[Run]]) -> None:
    run = runs["cpt"].result()
    packed = re.search(r"\[CPT] Packing enabled: (\d+) rows packed into (\d+) blocks of 128 tokens", run.log)
    assert packed is not None, run.log
    assert int(packed[1]) == 33
    assert 0 < int(packed[2]) < 33
    losses = [float(loss) for loss in re.findall(r"\| Loss ([\d.]+) ", run.log)]
    assert losses[-1] < losses[0] / 2


@pytest.mark.training
def test_refused_metrics_do_not_stop_a_run(lab: Lab, runs: dict[str, Future[Run]]) -> None:
    run = runs["cpt"].result()
    assert run.code == 0, run.log
    assert '[MetricsCallback] API POST failed: 405 - {"error":"Method Not Allowed"}' in run.log
    assert lab.metrics["cpt"] == []
    assert lab.alert_types("cpt") == ["job_started", "job_completed"]


@pytest.mark.training
def test_rows_of_the_wrong_format_fail_with_the_librarys_own_error(lab: Lab, runs: dict[str, Future[Run]]) -> None:
    run = runs["wrong-rows"].result()
    assert run.code == 1
    assert "[Main] Training failed with error: KeyError: 'chosen'" in run.log
    assert "Full traceback:" in run.log
    # Inside an archive a traceback still shows file, line and source.
    assert re.search(
        r'standalone_trainer\.py/trainer/preference\.py", line \d+, in run_dpo\n +trainer = DPOTrainer', run.log
    )
    (alert,) = lab.alerts["wrong-rows"]
    assert (alert["type"], alert["status"]) == ("job_failed", "failed")
    assert alert["error_message"].startswith("KeyError: 'chosen'\n\nTraceback:\nTraceback (most recent call last)")


@pytest.mark.training
def test_sigterm_stops_a_run_without_a_completed_alert(lab: Lab, runs: dict[str, Future[Run]]) -> None:
    run = runs["stopped"].result()
    assert run.code == 143, run.log
    assert "[Main] Received SIGTERM, stopping" in run.log
    assert "Traceback" not in run.log
    assert lab.alert_types("stopped") == ["job_started"]
