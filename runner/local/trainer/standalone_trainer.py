#!/usr/bin/env python3
"""Fine-tune a tiny model for real, on a CPU, the way a training pod reports it.

    python standalone_trainer.py --config config.json --execution-id JOB

One file, because a pod downloads one file. It imports nothing of runspec: the standard library, and torch, tokenizers,
transformers, datasets, peft and trl once the configuration has been read. Every loss is measured: there is no model
hub, so the base is a seeded random Llama of about 150,000 weights with a tokenizer trained on the job's own dataset.

Values of the template are used as they are wherever a CPU can. Whatever is changed is said in a line
`[Local] Scaled <field>: <template value> -> <used value> (<reason>)` and in `runspec_model.json` beside the model.

Environment: JOB_ID, JOB_TOKEN, USER_ID, METRICS_API_URL, ALERT_API_URL, INTERNAL_API_KEY, HTTP_REQUEST_TIMEOUT,
CONSOLE_LOG_INTERVAL, PROGRESS_FILENAME, DEFAULT_EVAL_SPLIT as the product's trainer reads them, and
RUNSPEC_TRAINER_MIN_STEPS, RUNSPEC_TRAINER_MAX_STEPS, RUNSPEC_TRAINER_NF4, RUNSPEC_TRAINER_REWARD and
RUNSPEC_MODEL_UPLOAD_URL (where a finished model is sent, as one zip) of our own.

Exit codes: 0 trained and saved, 1 failed or unreadable configuration, 2 bad arguments, 143 stopped by SIGTERM.
"""

from __future__ import annotations

import argparse
import gc
import gzip
import importlib.util
import json
import logging
import math
import os
import queue
import signal
import sys
import tempfile
import threading
import time
import traceback
import urllib.error
import urllib.request
import warnings
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

USER_AGENT = "runspec-trainer/1 (python-urllib)"
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
EXIT_FAILED = 1
EXIT_SIGTERM = 143

# Base and tokenizer. With Llama's own initializer_range of 0.02 the frozen random output layer bounds the logits and
# LoRA hardly lowers the loss; 0.1 was measured to let it fall.
VOCABULARY = 512
INITIALIZER_RANGE = 0.1
TOKENIZER_ROWS = 5_000
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PAD, TURN_START, TURN_END = "<|pad|>", "<|im_start|>", "<|im_end|>"

# A rate meant for billions of trained weights hardly moves this model in 200 steps. Measured to learn.
LEARNING_RATES = {"sft": 1e-2, "cpt": 1e-2, "orpo": 1e-2, "dpo": 1e-3, "rlhf": 3e-3}
MAX_LENGTH = 256
PACKED_LENGTH = 128
PPO_EPISODES = 8
PPO_PROMPT_LENGTH = 48
PPO_RESPONSE_LENGTH = 16
REWARD_MODEL_STEPS = 60
WARM_START_STEPS = 40
LOGGING_STEPS = 5
EVAL_ROWS = 40
EVALS_PER_RUN = 4
DEFAULT_MIN_STEPS = 200
WARMUP_SHARE = 20

QUEUED_POSTS = 4_000
DRAIN_S = 30.0
DRAIN_AFTER_SIGTERM_S = 2.0

log = logging.getLogger("__main__")


class Terminated(BaseException):
    """SIGTERM arrived. Not an `Exception`, so that no library swallows it."""


# --- what was scaled ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scaled:
    """One template value that a CPU run replaced."""

    field: str
    template: Any
    used: Any
    reason: str


@dataclass
class Scaling:
    """Collects what was changed, and says it in the log at once."""

    changes: list[Scaled] = field(default_factory=list)

    def use(self, name: str, template: Any, used: Any, reason: str) -> Any:
        """`used`; recorded when it differs from what the template asked for."""
        if template is not None and template != used:
            self.changes.append(Scaled(name, template, used, reason))
            log.info("[Local] Scaled %s: %s -> %s (%s)", name, template, used, reason)
        return used


# --- configuration -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lora:
    r: int
    alpha: int
    dropout: float
    target_modules: tuple[str, ...]
    bias: str


@dataclass(frozen=True)
class Recipe:
    """The parts of config.json that this trainer reads. `training` keeps the template's own names."""

    method: str
    model_name: str
    training: Mapping[str, Any]
    lora: Lora | None
    dataset_path: Path
    output_dir: Path
    max_samples: int
    eval_split: float
    seed: int

    @property
    def label(self) -> str:
        """The method as log lines spell it: `SFT`, `DPO`, ..."""
        return self.method.upper()

    @property
    def packs(self) -> bool:
        """Whether rows are packed into blocks: continued pre-training does unless the template says no."""
        return self.method in ("sft", "cpt") and bool(self.training.get("packing", self.method == "cpt"))


def parse_recipe(config: Mapping[str, Any], environment: Mapping[str, str]) -> Recipe:
    """Read config.json's sections.

    Raises:
        ValueError, KeyError: a value this trainer cannot start with; nothing heavy has been imported by then.
    """
    training = dict(config["training"])
    method = str(training["method"])
    if method not in LEARNING_RATES:
        raise ValueError(f"Unknown training method: {method!r}. Supported: {', '.join(LEARNING_RATES)}")
    data = config.get("data") or {}
    split = config.get("eval_split") or environment.get("DEFAULT_EVAL_SPLIT") or 0.2
    return Recipe(
        method=method,
        model_name=str(config["model"]["name"]),
        training=training,
        lora=parse_lora(config, training),
        dataset_path=Path(config["dataset_path"]),
        output_dir=Path(config["output_dir"]),
        max_samples=int(data.get("max_samples") or 0),
        # The product ignores data.train_split and data.eval_split too and reads this top-level key only.
        eval_split=float(split),
        seed=int(config.get("seed", 42)),
    )


def parse_lora(config: Mapping[str, Any], training: Mapping[str, Any]) -> Lora | None:
    if not training.get("use_lora", True):
        return None
    lora = config.get("lora") or training.get("lora_config") or {}
    return Lora(
        r=int(lora.get("r", 16)),
        alpha=int(lora.get("alpha", lora.get("lora_alpha", 32))),
        dropout=float(lora.get("dropout", lora.get("lora_dropout", 0.0))),
        target_modules=tuple(lora.get("target_modules") or ("q_proj", "k_proj", "v_proj", "o_proj")),
        bias=str(lora.get("bias", "none")),
    )


def load_config(path: Path) -> Mapping[str, Any]:
    config = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise ValueError(f"expected a JSON object, got {type(config).__name__}")
    return config


# --- talking to the lab ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """Who this process is and whom it reports to; empty where the environment says nothing."""

    job_id: str
    token: str
    user_id: str
    metrics_url: str
    alert_url: str
    internal_key: str
    timeout_s: float

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Job:
        return cls(
            job_id=environment.get("JOB_ID", ""),
            token=environment.get("JOB_TOKEN", ""),
            user_id=environment.get("USER_ID", ""),
            metrics_url=environment.get("METRICS_API_URL", ""),
            alert_url=environment.get("ALERT_API_URL", ""),
            internal_key=environment.get("INTERNAL_API_KEY", ""),
            timeout_s=float(environment.get("HTTP_REQUEST_TIMEOUT") or 10),
        )


@dataclass(frozen=True)
class Answer:
    status: int
    body: str


def post_json(url: str, body: Mapping[str, Any], headers: Mapping[str, str], timeout_s: float) -> Answer:
    """POST one JSON document and read at most 2,000 bytes of the answer.

    Raises:
        OSError: nothing answered (`URLError`, timeouts and refused connections are all `OSError`s).
    """
    # Bytes and not an iterator: the lab refuses chunked bodies, and only bytes get a Content-Length.
    data = json.dumps(body, allow_nan=False).encode()
    request = urllib.request.Request(  # noqa: S310  the lab's address comes from the pod's own environment
        url,
        data=data,
        method="POST",
        headers={"Content-Type": "application/json", "User-Agent": USER_AGENT, **headers},
    )
    return answer_to(request, timeout_s)


def answer_to(request: urllib.request.Request, timeout_s: float) -> Answer:
    """Send a request; an error status is an answer too.

    Raises:
        OSError: nothing answered.
    """
    # A proxy of the surrounding network cannot reach a server on this machine's loopback.
    handlers = [urllib.request.ProxyHandler({})] if urlsplit(request.full_url).hostname in LOOPBACK else []
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=timeout_s) as response:
            return Answer(response.status, response.read(2_000).decode(errors="replace"))
    except urllib.error.HTTPError as refused:
        with refused:
            return Answer(refused.code, refused.read(2_000).decode(errors="replace"))


class Reporter:
    """Posts metrics and alerts in order from one thread, so that a slow lab does not slow the training.

    Nothing here raises: telemetry that fails is a line in the log and never the end of a run.
    """

    def __init__(self, job: Job, model_name: str) -> None:
        self.job = job
        self.model_name = model_name
        self.cloud_mode = bool(job.metrics_url and job.job_id and job.token)
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(QUEUED_POSTS)
        self._dropped = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="reporter", daemon=True)
        self._thread.start()

    def metric(self, point: Mapping[str, Any]) -> None:
        if self.cloud_mode:
            self._submit(lambda: self._post_metric(point))

    def started(self, total_steps: int) -> None:
        self._submit(lambda: self._post_alert("job_started", {"total_steps": total_steps}))

    def ended(self, kind: str, error_message: str | None = None) -> None:
        """Send `job_completed` or `job_failed` once every metric is out: the lab ends the pod when it hears this.

        A lab too slow for the metrics still gets the alert.
        """
        self.close(DRAIN_S)
        self._post_alert(kind, {"error_message": error_message})

    def close(self, timeout_s: float) -> None:
        """Wait until everything was posted, but no longer than `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        with suppress(queue.Full):
            self._queue.put(None, timeout=timeout_s)
        self._thread.join(max(0.0, deadline - time.monotonic()))
        self._closed.set()
        unsent = self._dropped + (self._queue.qsize() if self._thread.is_alive() else 0)
        if unsent:
            log.warning("[MetricsCallback] Failed to POST metrics to API: %d requests were not sent", unsent)

    def _submit(self, send: Callable[[], None]) -> None:
        try:
            self._queue.put_nowait(send)
        except queue.Full:
            self._dropped += 1

    def _work(self) -> None:
        while (send := self._queue.get()) is not None and not self._closed.is_set():
            send()

    def _post_metric(self, point: Mapping[str, Any]) -> None:
        body = {"job_id": self.job.job_id, "metrics": [point]}
        headers = {"Authorization": f"Bearer {self.job.token}"}
        try:
            answer = post_json(self.job.metrics_url, body, headers, self.job.timeout_s)
        except (OSError, ValueError) as exc:
            log.warning("[MetricsCallback] Failed to POST metrics to API: %s", exc)
            return
        if answer.status != 200:
            log.warning("[MetricsCallback] API POST failed: %d - %s", answer.status, one_line(answer.body))

    def _post_alert(self, kind: str, filled: Mapping[str, Any]) -> None:
        """Post one alert; its other keys are null. Nothing is sent, nor said, where the environment names no lab."""
        if not (self.job.alert_url and self.job.job_id and self.job.user_id):
            return
        body: dict[str, Any] = {
            "type": kind, "job_id": self.job.job_id, "user_id": self.job.user_id, "model_name": self.model_name,
            "status": kind.removeprefix("job_"), "error_message": None, "loss": None, "current_step": None,
            "total_steps": None, "progress": None, **filled,
        }  # fmt: skip
        headers = {"X-API-Key": self.job.internal_key} if self.job.internal_key else {}
        try:
            answer = post_json(self.job.alert_url, body, headers, self.job.timeout_s)
        except (OSError, ValueError) as exc:
            log.warning("[Alert] Failed to send alert: %s", exc)
            return
        if answer.status == 200:
            log.info("[Alert] Sent %s alert successfully", kind)
        else:
            log.warning("[Alert] Alert failed: %d - %s", answer.status, one_line(answer.body))


def one_line(text: str) -> str:
    return " ".join(text.split())[:500]


# --- metrics -----------------------------------------------------------------------------------------------------

# TRL's names -> the keys that go beside the core fields of a point.
EXTRA_FIELDS = {
    "rewards/margins": "reward_margin",
    "rewards/accuracies": "reward_accuracy",
    "objective/scores": "reward_mean",
    "objective/rlhf_reward": "rlhf_reward",
    "objective/kl": "kl",
    "loss/policy_avg": "policy_loss",
    "loss/value_avg": "value_loss",
    "policy/entropy_avg": "entropy",
    "policy/clipfrac_avg": "clip_fraction",
}


def finite(value: Any, digits: int = 6) -> float | None:
    """The number rounded, or None for what JSON has no word for."""
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    # Adding zero turns the -0.0 of a first policy loss into 0.0.
    return round(float(value), digits) + 0.0


def perplexity(loss: float | None) -> float | None:
    # exp() of 709 and more overflows a double.
    return finite(math.exp(loss), 4) if loss is not None and loss < 700 else None


def loss_trend(losses: Sequence[float]) -> str:
    """The last ten losses, older half against newer half; 5 % apart is a trend."""
    recent = list(losses[-10:])
    if len(recent) < 5:
        return "insufficient_data"
    half = len(recent) // 2
    older, newer = sum(recent[:half]) / half, sum(recent[half:]) / (len(recent) - half)
    if abs(newer - older) <= 0.05 * abs(older):
        return "stable"
    return "improving" if newer < older else "degrading"


@dataclass
class BestEval:
    """The lowest evaluation loss so far."""

    loss: float | None = None
    epoch: int = 0
    step: int = 0
    stale_evals: int = 0

    def take(self, loss: float, epoch: int, step: int) -> bool:
        """Note one evaluation; true when it is the best yet."""
        if self.loss is not None and loss >= self.loss:
            self.stale_evals = 1
            return False
        self.loss, self.epoch, self.step, self.stale_evals = loss, epoch, step, 0
        return True


class MetricsCallback:
    """Turns the trainer's events into posted points, log lines and progress.json.

    It is not a subclass of transformers' TrainerCallback because transformers is not imported yet when this file is
    read; the trainers only ever call `on_*` methods.
    """

    def __init__(self, reporter: Reporter, recipe: Recipe, stop: threading.Event) -> None:
        self.reporter = reporter
        self.recipe = recipe
        self.stop = stop
        self.last: Mapping[str, Any] = {}
        self.losses: list[float] = []
        self.best = BestEval()
        self.began = time.monotonic()
        self.printed = self.began
        self.print_every_s = float(os.environ.get("CONSOLE_LOG_INTERVAL") or 5)

    def __getattr__(self, name: str) -> Callable[..., None]:
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda *_args, **_kwargs: None

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_kwargs: Any) -> None:
        self.began = self.printed = time.monotonic()
        if self.reporter.cloud_mode:
            url = self.reporter.job.metrics_url
            log.info("[MetricsCallback] Cloud mode enabled - will POST to %s", url)
        else:
            log.info("[MetricsCallback] Local mode - will only write to progress.json")
        log.info("[MetricsCallback] Training started")
        log.info("[MetricsCallback] Total steps: %d", state.max_steps)
        self.reporter.started(int(state.max_steps))
        self.reporter.metric(self.point(state))

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_kwargs: Any) -> None:
        if self.stop.is_set():
            # The handler's own exception is lost when the signal lands inside a finalizer; this one is not.
            raise Terminated
        self.reporter.metric(self.point(state))
        if time.monotonic() - self.printed >= self.print_every_s:
            self.print_progress(state)

    def on_log(self, _args: Any, state: Any, _control: Any, logs: Mapping[str, Any], **_kwargs: Any) -> None:
        self.last = dict(logs)
        loss = self.train_loss()
        # The summary at the end holds the average of the run: no newest loss, and it would read as a rise.
        if loss is not None and "train_runtime" not in logs:
            self.losses.append(loss)
        if (eval_loss := finite(logs.get("eval_loss"))) is not None:
            self.note_evaluation(eval_loss, state)
        self.reporter.metric(self.point(state))
        # PPO logs every update, whatever logging_steps says, and never a `loss`.
        if "loss" in logs or ("loss/policy_avg" in logs and state.global_step % LOGGING_STEPS == 0):
            self.print_progress(state)
            self.write_progress(state)

    def on_train_end(self, _args: Any, state: Any, _control: Any, **_kwargs: Any) -> None:
        self.write_progress(state)
        self.last = {}
        self.reporter.metric(self.point(state) | {"epoch": math.ceil(state.num_train_epochs)})
        log.info("[MetricsCallback] Training ended")

    def train_loss(self) -> float | None:
        # The final summary of a run carries its average under `train_loss`.
        key = "loss/policy_avg" if self.recipe.method == "rlhf" else "loss"
        return finite(self.last.get(key, self.last.get("train_loss")))

    def note_evaluation(self, eval_loss: float, state: Any) -> None:
        epoch, step = int(state.epoch or 0), int(state.global_step)
        if self.best.take(eval_loss, epoch, step):
            log.info(
                "[MetricsCallback] New best checkpoint! Score: %.4f - Eval Loss: %.4f at Epoch %d, Step %d",
                eval_loss, eval_loss, epoch, step,
            )  # fmt: skip

    def point(self, state: Any) -> dict[str, Any]:
        """One metrics row; between two logs the last logged values are carried forward."""
        train_loss, eval_loss = self.train_loss(), finite(self.last.get("eval_loss"))
        elapsed_s = time.monotonic() - self.began
        is_policy_loss = self.recipe.method == "rlhf"
        return {
            "step": int(state.global_step),
            "epoch": int(state.epoch or 0),
            "train_loss": train_loss,
            "eval_loss": eval_loss,
            "learning_rate": finite(self.last.get("learning_rate", self.last.get("lr")), 12),
            "grad_norm": finite(self.last.get("grad_norm")),
            # Named by the product; what it holds is optimizer steps a second since the start.
            "samples_per_second": finite(state.global_step / elapsed_s, 4) if elapsed_s else None,
            "gpu_memory_allocated_gb": None,
            "gpu_memory_reserved_gb": None,
            "gpu_utilization_percent": None,
            "perplexity": perplexity(eval_loss),
            "train_perplexity": None if is_policy_loss else perplexity(train_loss),
            "loss_trend": "insufficient_data" if is_policy_loss else loss_trend(self.losses),
            "best_eval_loss": self.best.loss,
            "best_epoch": self.best.epoch,
            "best_step": self.best.step,
            "epochs_without_improvement": self.best.stale_evals,
            "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            **self.extras(),
        }

    def extras(self) -> dict[str, float | None]:
        return {key: finite(self.last[name]) for name, key in EXTRA_FIELDS.items() if name in self.last}

    def print_progress(self, state: Any) -> None:
        self.printed = time.monotonic()
        epochs = math.ceil(state.num_train_epochs)
        loss, rate = self.train_loss(), finite(self.last.get("learning_rate", self.last.get("lr")), 12)
        # A policy loss is signed and near 0 by design: the reward is what tells how PPO does.
        shown = "N/A" if loss is None or self.recipe.method == "rlhf" else f"{loss:.4f}"
        more = "".join(f" | {key} {value:.4f}" for key, value in self.extras().items() if value is not None)
        log.info(
            "[Progress] Epoch %d/%d | Step %d/%d | Loss %s | LR %s%s",
            min(epochs, int(state.epoch or 0) + 1), epochs, state.global_step, state.max_steps,
            shown, "N/A" if rate is None else f"{rate:.2e}", more,
        )  # fmt: skip

    def write_progress(self, state: Any) -> None:
        path = self.recipe.output_dir / (os.environ.get("PROGRESS_FILENAME") or "progress.json")
        document = {
            "status": "running" if state.global_step < state.max_steps else "completed",
            "current_step": int(state.global_step), "total_steps": int(state.max_steps),
            "losses": self.losses[-100:], **self.point(state),
        }  # fmt: skip
        # Written aside and moved, so that a reader never sees half a document.
        aside = path.with_suffix(".tmp")
        aside.write_text(json.dumps(document), encoding="utf-8")
        aside.replace(path)


# --- dataset -----------------------------------------------------------------------------------------------------

Row = Mapping[str, Any]


def read_rows(path: Path) -> list[Row]:
    """The rows of a JSONL file, gzip or not.

    Raises:
        ValueError: a line that is not JSON.
    """
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    rows = []
    for number, line in enumerate(data.decode("utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as exc:
            raise ValueError(f"[DataLoader] Invalid JSON at line {number}") from exc
        rows.append(row)
    return rows


def split_rows(recipe: Recipe) -> tuple[list[Row], list[Row]]:
    """Training and evaluation rows: cut to `max_samples`, then split in file order, as the product does."""
    rows = read_rows(recipe.dataset_path)
    log.info("[DataLoader] Loaded %d examples", len(rows))
    if recipe.method == "rlhf":
        return rows, []
    rows = rows[: recipe.max_samples or None]
    cut = int(len(rows) * (1 - recipe.eval_split))
    train, evaluation = rows[:cut], rows[cut:]
    log.info("[DataLoader] Train dataset: %d examples", len(train))
    log.info("[DataLoader] Eval dataset: %d examples", len(evaluation))
    return train, evaluation


def strings_in(value: Any) -> Iterator[str]:
    """Every string in a row, whatever its shape: a row of the wrong shape must reach the library's own error."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from strings_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings_in(item)


def as_dataset(rows: Iterable[Row]) -> Any:
    from datasets import Dataset

    # The lab's `metadata` differs from row to row and is not for training; Arrow wants one type a column.
    return Dataset.from_list([{key: value for key, value in row.items() if key != "metadata"} for row in rows])


# --- model -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Base:
    """A random base model on disk with its tokenizer, and what turns it into a trainable one."""

    tokenizer: Any
    path: Path
    four_bit: bool


def build_tokenizer(rows: Sequence[Row]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[PAD, TURN_START, TURN_END], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    core.train_from_iterator((text for row in rows[:TOKENIZER_ROWS] for text in strings_in(row)), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=PAD, eos_token=TURN_END, chat_template=CHAT_TEMPLATE, padding_side="left",
        # Without the names, transformers 4 adds token_type_ids after a reload and generate() refuses them.
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def llama_config(tokenizer: Any, **more: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=2048,
        initializer_range=INITIALIZER_RANGE, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, **more,
    )  # fmt: skip


def build_base(recipe: Recipe, rows: Sequence[Row], scaling: Scaling) -> Base:
    """Make the tokenizer and the random base, and save both: the base cannot be downloaded from anywhere."""
    from transformers import LlamaForCausalLM, set_seed

    set_seed(recipe.seed)
    tokenizer = build_tokenizer(rows)
    log.info("[Trainer] Tokenizer loaded successfully")
    model = LlamaForCausalLM(llama_config(tokenizer))
    tiny = f"random Llama, {model.num_parameters():,} weights, vocabulary {len(tokenizer)}"
    scaling.use("model", recipe.model_name, tiny, "nothing is downloaded and a CPU trains it in seconds")
    path = recipe.output_dir / "base_model"
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return Base(tokenizer, path, four_bit=wants_four_bit(recipe, scaling))


def wants_four_bit(recipe: Recipe, scaling: Scaling) -> bool:
    """Whether to load the base in NF4: asked for by the template, switched on, and possible."""
    wanted = bool((recipe.training.get("quantization") or {}).get("load_in_4bit"))
    possible = importlib.util.find_spec("bitsandbytes") is not None
    if wanted and possible and os.environ.get("RUNSPEC_TRAINER_NF4") == "1":
        log.info("[Model] Quantization: 4-bit nf4")
        return True
    asked = "4-bit" if wanted else None
    scaling.use("quantization", asked, "none", "RUNSPEC_TRAINER_NF4=1 and bitsandbytes switch it on")
    return False


def load_float_base(base: Base) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base.path)


def load_base(base: Base) -> Any:
    from transformers import AutoModelForCausalLM

    if not base.four_bit:
        return load_float_base(base)
    from peft import prepare_model_for_kbit_training
    from transformers import BitsAndBytesConfig

    nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    model = AutoModelForCausalLM.from_pretrained(base.path, quantization_config=nf4, device_map="cpu")
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)


def trainable_model(recipe: Recipe, base: Base) -> Any:
    """The base with LoRA on it, or the base itself where the template trains every weight."""
    model = load_base(base)
    # An absolute path would be this machine's; the base travels beside the adapter.
    model.config._name_or_path = model.name_or_path = "base_model"
    if recipe.lora is not None:
        from peft import LoraConfig, get_peft_model

        lora = recipe.lora
        log.info("[Model] LoRA config: r=%d, alpha=%d, dropout=%s", lora.r, lora.alpha, lora.dropout)
        model = get_peft_model(
            model,
            LoraConfig(
                r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout, bias=lora.bias,
                target_modules=list(lora.target_modules), task_type="CAUSAL_LM",
            ),
        )  # fmt: skip
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    share = 100 * trained / total
    log.info("trainable params: %s || all params: %s || trainable%%: %.4f", f"{trained:,}", f"{total:,}", share)
    log.info("[Trainer] Model loaded successfully")
    return model


# --- arguments of the trainers -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """Everything a method needs to train."""

    recipe: Recipe
    scaling: Scaling
    base: Base
    callback: MetricsCallback
    train_rows: Sequence[Row]
    eval_rows: Sequence[Row]


def scaled_learning_rate(recipe: Recipe, scaling: Scaling) -> float:
    template = float(recipe.training.get("learning_rate", 2e-4))
    # A rate above ours is an author's own wish, such as a test of what too high a rate does.
    used = max(template, LEARNING_RATES[recipe.method])
    reason = "a tiny random model hardly moves at the template's rate"
    return float(scaling.use("learning_rate", template, used, reason))


def optimizer_arguments(recipe: Recipe, scaling: Scaling, *, four_bit: bool) -> dict[str, Any]:
    training = recipe.training
    optim = str(training.get("optim", "adamw_torch"))
    if not four_bit and optim != "adamw_torch":
        optim = scaling.use("optim", optim, "adamw_torch", "paged and 8-bit optimizers need bitsandbytes")
    return {
        "learning_rate": scaled_learning_rate(recipe, scaling),
        "optim": optim,
        "lr_scheduler_type": training.get("lr_scheduler_type", "linear"),
        "weight_decay": float(training.get("weight_decay", 0.0)),
        "max_grad_norm": float(training.get("max_grad_norm", 1.0)),
        "adam_beta1": float(training.get("adam_beta1", 0.9)),
        "adam_beta2": float(training.get("adam_beta2", 0.999)),
        "adam_epsilon": float(training.get("adam_epsilon", 1e-8)),
    }


def device_arguments(recipe: Recipe, scaling: Scaling) -> dict[str, Any]:
    """What a GPU template asks of its device and a CPU has not."""
    training = recipe.training
    for name in ("bf16", "fp16"):
        scaling.use(name, training.get(name), False, "one CPU thread trains in float32")
    scaling.use("gradient_checkpointing", training.get("gradient_checkpointing"), False, "memory is no limit here")
    scaling.use("dataloader_num_workers", training.get("dataloader_num_workers"), 0, "rows are in memory")
    scaling.use("dataloader_pin_memory", training.get("dataloader_pin_memory"), False, "there is no GPU")
    # trl 1.12 with transformers 5 has no such argument; passing it is a TypeError.
    scaling.use("group_by_length", training.get("group_by_length"), False, "removed from transformers 5")
    return {
        "bf16": False, "fp16": False, "use_cpu": True, "gradient_checkpointing": False,
        "dataloader_num_workers": 0, "dataloader_pin_memory": False,
    }  # fmt: skip


def common_arguments(task: Task, *, batch_size: int) -> dict[str, Any]:
    """Arguments that every TRL configuration takes. Steps are set later, when the rows are packed and counted."""
    recipe, scaling = task.recipe, task.scaling
    logging_steps = int(recipe.training.get("logging_steps", 10))
    dense = scaling.use("logging_steps", logging_steps, min(logging_steps, LOGGING_STEPS), "denser curves")
    scaling.use(
        "gradient_accumulation_steps", recipe.training.get("gradient_accumulation_steps"), 1,
        "one batch a step keeps the steps of a small dataset many and short",
    )  # fmt: skip
    return {
        "output_dir": str(recipe.output_dir),
        "per_device_train_batch_size": batch_size,
        "gradient_accumulation_steps": 1,
        "logging_steps": dense,
        "logging_first_step": True,
        "seed": recipe.seed,
        "report_to": "none",
        "disable_tqdm": True,
        **optimizer_arguments(recipe, scaling, four_bit=task.base.four_bit),
        **device_arguments(recipe, scaling),
    }


def evaluation_arguments(task: Task) -> dict[str, Any]:
    """Evaluation and checkpoints in the same rhythm, so that a best evaluation has its checkpoint."""
    if not evaluates(task):
        return {"eval_strategy": "no", "save_strategy": "no"}
    training = task.recipe.training
    return {
        "eval_strategy": "steps",
        "per_device_eval_batch_size": int(training.get("eval_batch_size") or training.get("batch_size") or 4),
        "save_strategy": "steps",
        "save_total_limit": training.get("save_total_limit"),
    }


def evaluates(task: Task) -> bool:
    return bool(task.eval_rows) and str(task.recipe.training.get("evaluation_strategy", "no")) != "no"


def eval_dataset(task: Task) -> Any | None:
    if not evaluates(task):
        return None
    rows = task.eval_rows[:EVAL_ROWS]
    task.scaling.use("eval_rows", len(task.eval_rows), len(rows), "evaluations stay cheap")
    return as_dataset(rows)


def batch_size_of(task: Task) -> int:
    return int(task.recipe.training.get("batch_size", 4))


def max_length_of(task: Task, limit: int) -> int:
    template = int(task.recipe.training.get("max_length") or 512)
    return int(task.scaling.use("max_length", template, min(template, limit), "short sequences keep a CPU step fast"))


# --- steps -------------------------------------------------------------------------------------------------------


def step_limit(name: str, default: int) -> int:
    return int(os.environ.get(name) or default)


def planned_steps(task: Task, *, rows: int, batch_size: int) -> int:
    """Optimizer steps of the whole run: the template's epochs, but enough steps to be watched."""
    per_epoch = max(1, math.ceil(rows / batch_size))
    epochs = float(task.recipe.training.get("num_epochs", 1))
    template = math.ceil(per_epoch * epochs)
    least = step_limit("RUNSPEC_TRAINER_MIN_STEPS", DEFAULT_MIN_STEPS)
    most = step_limit("RUNSPEC_TRAINER_MAX_STEPS", sys.maxsize)
    steps = min(max(template, least), most)
    if steps != template:
        why = f"at least {least} optimizer steps" if steps > template else f"at most {most} optimizer steps"
        task.scaling.use("num_epochs", recipe_number(epochs), recipe_number(round(steps / per_epoch, 2)), why)
        task.scaling.use("total_steps", template, steps, why)
    return steps


def recipe_number(value: float) -> float | int:
    return int(value) if value == int(value) else value


def warmup_of(task: Task, steps: int) -> int:
    training = task.recipe.training
    template = int(training.get("warmup_steps") or math.ceil(float(training.get("warmup_ratio") or 0) * steps))
    used = min(template, steps // WARMUP_SHARE)
    return int(task.scaling.use("warmup_steps", template, used, f"the run is {steps} steps long"))


def set_steps(task: Task, trainer: Any) -> None:
    """Fix the number of steps of a built trainer: only now are its rows tokenized, packed and counted."""
    steps = planned_steps(task, rows=len(trainer.train_dataset), batch_size=batch_size_of(task))
    trainer.args.max_steps = steps
    trainer.args.warmup_steps = warmup_of(task, steps)
    if evaluates(task):
        every = max(1, steps // EVALS_PER_RUN)
        for name in ("eval_steps", "save_steps"):
            template = int(task.recipe.training.get(name) or 500)
            setattr(trainer.args, name, task.scaling.use(name, template, min(template, every), "a short run"))


# --- methods -----------------------------------------------------------------------------------------------------


def run_sft(task: Task) -> Any:
    """Supervised fine-tuning; continued pre-training is the same trainer on `{"text"}` rows."""
    from trl import SFTConfig, SFTTrainer

    packs = task.recipe.packs
    config = SFTConfig(
        **common_arguments(task, batch_size=batch_size_of(task)),
        **evaluation_arguments(task),
        max_length=max_length_of(task, PACKED_LENGTH if packs else MAX_LENGTH),
        packing=packs,
        # The default strategy warns about padding-free attention and lets packed samples see each other.
        packing_strategy="wrapped",
    )
    trainer = SFTTrainer(
        model=trainable_model(task.recipe, task.base), args=config, processing_class=task.base.tokenizer,
        train_dataset=as_dataset(task.train_rows), eval_dataset=eval_dataset(task), callbacks=[task.callback],
    )  # fmt: skip
    if packs:
        log.info(
            "[%s] Packing enabled: %d rows packed into %d blocks of %d tokens (packing_strategy=wrapped)",
            task.recipe.label, len(task.train_rows), len(trainer.train_dataset), config.max_length,
        )  # fmt: skip
    set_steps(task, trainer)
    log.info("[CPT] Starting training" if task.recipe.method == "cpt" else "[SFT] Starting training loop")
    trainer.train()
    return trainer.model


def announce_pairs(task: Task) -> None:
    label = task.recipe.label
    pairs = sum(1 for row in task.train_rows if {"prompt", "chosen", "rejected"} <= row.keys())
    log.info("[%s] Loaded %d real preference pairs", label, pairs)
    log.info("[%s] Train preference dataset size: %d", label, len(task.train_rows))


def run_dpo(task: Task) -> Any:
    from trl import DPOConfig, DPOTrainer

    announce_pairs(task)
    config = DPOConfig(
        **common_arguments(task, batch_size=batch_size_of(task)),
        **evaluation_arguments(task),
        max_length=max_length_of(task, MAX_LENGTH),
        beta=float(task.recipe.training.get("beta", 0.1)),
    )
    trainer = DPOTrainer(
        model=trainable_model(task.recipe, task.base), args=config, processing_class=task.base.tokenizer,
        train_dataset=as_dataset(task.train_rows), eval_dataset=eval_dataset(task), callbacks=[task.callback],
    )  # fmt: skip
    set_steps(task, trainer)
    log.info("[DPO] Starting training loop")
    trainer.train()
    return trainer.model


def run_orpo(task: Task) -> Any:
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    announce_pairs(task)
    config = ORPOConfig(
        **common_arguments(task, batch_size=batch_size_of(task)),
        **evaluation_arguments(task),
        max_length=max_length_of(task, MAX_LENGTH),
        beta=float(task.recipe.training.get("beta", 0.1)),
        # ORPO's collator needs every column; leaving the default costs a warning and the same result.
        remove_unused_columns=False,
    )
    trainer = ORPOTrainer(
        model=trainable_model(task.recipe, task.base), args=config, processing_class=task.base.tokenizer,
        train_dataset=as_dataset(task.train_rows), eval_dataset=eval_dataset(task), callbacks=[task.callback],
    )  # fmt: skip
    set_steps(task, trainer)
    log.info("[ORPO] Starting training loop")
    trainer.train()
    return trainer.model


# --- PPO: rows ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Example:
    """One RLHF row: a prompt, the answer that came with it, and how good that answer was rated."""

    prompt: str
    response: str
    reward: float


def prompt_of(row: Row) -> tuple[str, str] | None:
    """Prompt and response of a row in any shape the product's trainer reads, else None."""
    if "prompt" in row and ("response" in row or "chosen" in row):
        return str(row["prompt"]), str(row.get("response", row.get("chosen")))
    if row.get("messages"):
        last = row["messages"][-1]
        before = [turn["content"] for turn in row["messages"][:-1]]
        return "\n".join(before), str(last["content"])
    if "text" in row:
        return str(row["text"]), ""
    return None


def rlhf_examples(rows: Sequence[Row], *, preferences: bool) -> list[Example]:
    """Rows that have a prompt; the product skips the others without a word, and so an unfit dataset becomes empty."""
    log.info("[RLHF] Loaded %d raw examples", len(rows))
    examples = []
    for row in rows:
        if "chosen" in row and not preferences:
            continue
        if (parts := prompt_of(row)) is not None:
            reward = row.get("reward")
            examples.append(Example(*parts, reward=1.0 if reward is None else float(reward)))
    log.info("[RLHF] Prepared %d examples for training", len(examples))
    return examples


def prompt_ids(tokenizer: Any, prompt: str) -> list[int]:
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    # The end is kept: it holds the question's last words and the opened turn.
    return list(tokenizer(text)["input_ids"])[-PPO_PROMPT_LENGTH:]


# --- PPO: rewards ------------------------------------------------------------------------------------------------

# Prompt ids and response ids -> score. Ids, because the answers of an untrained model are seldom whole characters.
Reward = Callable[[Sequence[int], Sequence[int]], float]


def overlap(answer: Sequence[int], reference: Counter[int]) -> float:
    """F1 of two bags of tokens."""
    common = sum((Counter(answer) & reference).values())
    return 2 * common / (len(answer) + reference.total()) if common else 0.0


def lexical_reward(examples: Sequence[Example], tokenizer: Any, _options: Mapping[str, Any]) -> Reward:
    """How much an answer shares with a rated answer of its prompt, times that one's reward; the best of them."""
    rated: dict[tuple[int, ...], list[tuple[Counter[int], float]]] = defaultdict(list)
    for example in examples:
        reference = Counter(tokenizer(example.response)["input_ids"])
        rated[tuple(prompt_ids(tokenizer, example.prompt))].append((reference, example.reward))

    def score(prompt: Sequence[int], answer: Sequence[int]) -> float:
        return max((reward * overlap(answer, reference) for reference, reward in rated[tuple(prompt)]), default=0.0)

    return score


def length_reward(_examples: Sequence[Example], tokenizer: Any, options: Mapping[str, Any]) -> Reward:
    """1 for an answer of `target` characters, less the further it is away."""
    target = float(options.get("target", 40))

    def score(_prompt: Sequence[int], answer: Sequence[int]) -> float:
        text = tokenizer.decode(answer, skip_special_tokens=True)
        return 1.0 - abs(len(text) - target) / target

    return score


def keyword_reward(examples: Sequence[Example], tokenizer: Any, options: Mapping[str, Any]) -> Reward:
    """How much of each of `keywords` an answer holds: its longest prefix counts, or an untrained model never scores."""
    words = Counter(word for example in examples for word in example.response.lower().split() if len(word) > 2)
    keywords = [str(word).lower() for word in options.get("keywords") or [word for word, _ in words.most_common(5)]]

    def score(_prompt: Sequence[int], answer: Sequence[int]) -> float:
        text = tokenizer.decode(answer, skip_special_tokens=True).lower()
        return sum(found_share(keyword, text) for keyword in keywords) / max(1, len(keywords))

    return score


def found_share(keyword: str, text: str) -> float:
    return next((size / len(keyword) for size in range(len(keyword), 0, -1) if keyword[:size] in text), 0.0)


REWARDS: Mapping[str, Callable[[Sequence[Example], Any, Mapping[str, Any]], Reward]] = {
    "lexical": lexical_reward,
    "length": length_reward,
    "keyword": keyword_reward,
}


def reward_options(recipe: Recipe) -> dict[str, Any]:
    """`training.reward`: `{function: NAME, ...}` or `{model: train}`; RUNSPEC_TRAINER_REWARD where it is missing.

    The lab's whitelist drops `training.reward`; a variable of the pod passes it.
    """
    reward = recipe.training.get("reward")
    if reward is None:
        name = os.environ.get("RUNSPEC_TRAINER_REWARD") or "lexical"
        reward = {"model": "train"} if name == "model" else {"function": name}
    return {"function": reward} if isinstance(reward, str) else dict(reward)


def programmed_reward_model(reward: Reward, prompt_width: int) -> Any:
    """A function in the shape that PPOTrainer asks of a reward model.

    The trainer calls the submodule named by `base_model_prefix` on prompt and answer together, gives its last hidden
    state to `score`, and takes the value at the answer's last token. So the "hidden state" is the reward itself.
    """
    import torch

    def forward(_self: Any, *, input_ids: Any, attention_mask: Any, **_kwargs: Any) -> Any:
        scores = torch.tensor(
            [
                # Prompts are padded to one width on the left; an answer ends where its padding begins.
                reward(
                    ids[:prompt_width][mask[:prompt_width]].tolist(),
                    ids[prompt_width:][mask[prompt_width:].cumprod(0).bool()].tolist(),
                )
                for ids, mask in zip(input_ids, attention_mask.bool(), strict=True)
            ]
        )
        hidden = scores.view(-1, 1, 1).expand(-1, input_ids.shape[1], 1)
        return argparse.Namespace(hidden_states=[hidden])

    backbone = type("ProgrammedBackbone", (torch.nn.Module,), {"forward": forward})()
    head = {"base_model_prefix": "bb", "score": lambda _self, hidden: hidden}
    model: Any = type("ProgrammedReward", (torch.nn.Module,), head)()
    model.bb = backbone
    # A module without any parameter has no device, and the trainer asks for one.
    model.placeholder = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
    return model


def preference_pairs(rows: Sequence[Row], examples: Sequence[Example]) -> tuple[list[dict[str, str]], str]:
    """Pairs to train a reward model on, and where they come from."""
    given = [
        {"prompt": row["prompt"], "chosen": row["chosen"], "rejected": row["rejected"]}
        for row in rows if {"prompt", "chosen", "rejected"} <= row.keys()
    ]  # fmt: skip
    if given:
        return given, "chosen and rejected"
    by_prompt: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_prompt[example.prompt].append(example)
    rated = [
        {"prompt": prompt, "chosen": better.response, "rejected": worse.response}
        for prompt, group in by_prompt.items()
        for better in group for worse in group if better.reward > worse.reward
    ]  # fmt: skip
    if rated:
        return rated, "ratings of the same prompt"
    return [
        {"prompt": example.prompt, "chosen": example.response, "rejected": other.response}
        for example, other in zip(examples, [*examples[1:], *examples[:1]], strict=True)
    ], "answers of other prompts as rejected"


def trained_reward_model(task: Task, examples: Sequence[Example]) -> Any:
    """A reward model trained on preference pairs with TRL's RewardTrainer, then frozen."""
    from trl import RewardConfig, RewardTrainer

    pairs, source = preference_pairs(task.train_rows, examples)
    log.info("[RLHF] Training reward model on %d preference pairs (%s)", len(pairs), source)
    tokenizer = task.base.tokenizer
    chats = [
        {
            "prompt": [{"role": "user", "content": pair["prompt"]}],
            "chosen": [{"role": "assistant", "content": pair["chosen"]}],
            "rejected": [{"role": "assistant", "content": pair["rejected"]}],
        }
        for pair in pairs
    ]
    config = RewardConfig(**side_arguments(task, steps=REWARD_MODEL_STEPS))
    trainer = RewardTrainer(
        model=classifier(tokenizer), args=config, processing_class=tokenizer, train_dataset=as_dataset(chats)
    )
    trainer.train()
    log.info("[RLHF] Reward model trained: accuracy %s -> %s", *first_and_last(trainer.state.log_history, "accuracy"))
    return trainer.model


def classifier(tokenizer: Any) -> Any:
    from transformers import LlamaForSequenceClassification

    return LlamaForSequenceClassification(llama_config(tokenizer, num_labels=1))


def reward_model_for(task: Task, examples: Sequence[Example], prompt_width: int) -> Any:
    options = reward_options(task.recipe)
    if options.get("model") == "train":
        model = trained_reward_model(task, examples)
    else:
        name = str(options.get("function", "lexical"))
        if name not in REWARDS:
            raise ValueError(f"Unknown reward function: {name!r}. Known: {', '.join(REWARDS)}")
        log.info("[RLHF] Reward function: %s", name)
        model = programmed_reward_model(REWARDS[name](examples, task.base.tokenizer, options), prompt_width)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    log.info("[RLHF] Reward model loaded and frozen")
    return model


# --- PPO: training -----------------------------------------------------------------------------------------------


def run_rlhf(task: Task) -> Any:
    """Reinforcement learning with PPO: generate, score, update, at every step."""
    import datasets
    from transformers import DataCollatorWithPadding
    from trl.experimental.ppo import PPOTrainer

    tokenizer = task.base.tokenizer
    preferences = reward_options(task.recipe).get("model") == "train"
    examples = rlhf_examples(task.train_rows, preferences=preferences)
    prompts = [prompt_ids(tokenizer, example.prompt) for example in examples]
    width = max(map(len, prompts), default=1)
    warm_start(task, examples)
    policy = trainable_model(task.recipe, task.base)
    config = ppo_config(task, rows=len(examples))
    reward_model = reward_model_for(task, examples, width)
    value_model = classifier(tokenizer)
    log.info("[RLHF] Value model loaded")
    trainer = PPOTrainer(
        args=config, processing_class=tokenizer, model=policy, ref_model=None, reward_model=reward_model,
        value_model=value_model, train_dataset=datasets.Dataset.from_dict({"input_ids": prompts}),
        # One width for every batch: the programmed reward finds the answers by it.
        data_collator=DataCollatorWithPadding(tokenizer, padding="max_length", max_length=width),
        callbacks=[task.callback],
    )  # fmt: skip
    log.info("[RLHF] Calculated num_total_batches: %d", config.num_total_batches)
    log.info("[RLHF] Starting PPO training")
    # PPOTrainer collects garbage twice an update; with these libraries loaded that is 0.25 s each, unless what is
    # alive now is put out of the collector's sight.
    gc.collect()
    gc.freeze()
    trainer.train()
    return trainer.model.policy


def warm_start(task: Task, examples: Sequence[Example]) -> None:
    """Teach the base to answer at all: PPO improves a policy that speaks, and learns nothing from a random one.

    The rated answers, good and bad, are what a supervised stage before RLHF would have seen. The result is the base
    that is saved, and the reference that PPO's KL is measured against.
    """
    from trl import SFTConfig, SFTTrainer

    answered = [example for example in examples if example.response]
    if not answered:
        return
    log.info("[Local] Warm start: %d supervised steps on %d rated answers", WARM_START_STEPS, len(answered))
    rows = [
        {
            "prompt": [{"role": "user", "content": example.prompt}],
            "completion": [{"role": "assistant", "content": example.response}],
        }
        for example in answered
    ]
    config = SFTConfig(**side_arguments(task, steps=WARM_START_STEPS))
    trainer = SFTTrainer(
        model=load_float_base(task.base), args=config, processing_class=task.base.tokenizer,
        train_dataset=as_dataset(rows),
    )  # fmt: skip
    trainer.train()
    log.info("[Local] Warm start done: loss %s -> %s", *first_and_last(trainer.state.log_history, "loss"))
    trainer.model.save_pretrained(task.base.path)


def side_arguments(task: Task, *, steps: int) -> dict[str, Any]:
    """Arguments of the short trainings before PPO: the warm start and the reward model."""
    return {
        "output_dir": str(task.recipe.output_dir), "max_steps": steps, "learning_rate": 3e-3,
        "per_device_train_batch_size": 8, "max_length": MAX_LENGTH, "seed": task.recipe.seed, "bf16": False,
        "fp16": False, "use_cpu": True, "gradient_checkpointing": False, "dataloader_pin_memory": False,
        "report_to": "none", "disable_tqdm": True, "save_strategy": "no", "logging_steps": LOGGING_STEPS,
    }  # fmt: skip


def first_and_last(history: Sequence[Mapping[str, Any]], key: str) -> tuple[Any, Any]:
    values = [entry[key] for entry in history if key in entry]
    return (round(values[0], 4), round(values[-1], 4)) if values else (None, None)


def ppo_config(task: Task, *, rows: int) -> Any:
    from trl.experimental.ppo import PPOConfig

    recipe, scaling = task.recipe, task.scaling
    training = recipe.training
    # An update learns from batch_size x gradient_accumulation_steps episodes. One pass over as many costs less than
    # several small ones. PPO drops ragged batches: with fewer rows than one batch it would wait for ever.
    episodes = batch_size_of(task) * int(training.get("gradient_accumulation_steps") or 1)
    batch = max(1, min(episodes, PPO_EPISODES, rows))
    scaling.use("batch_size", batch_size_of(task), batch, f"episodes of one update in one pass, at most {PPO_EPISODES}")
    steps = planned_steps(task, rows=rows, batch_size=batch)
    scaling.use("max_length", int(training.get("max_length") or 512), PPO_PROMPT_LENGTH + PPO_RESPONSE_LENGTH,
                f"{PPO_PROMPT_LENGTH} tokens of prompt and {PPO_RESPONSE_LENGTH} of answer")  # fmt: skip
    scaling.use("evaluation_strategy", training.get("evaluation_strategy"), "no", "TRL's PPO has no evaluation loop")
    scaling.use("entropy_coef", training.get("entropy_coef"), 0, "TRL's PPO has no entropy bonus")
    return PPOConfig(
        **common_arguments(task, batch_size=batch),
        warmup_steps=warmup_of(task, steps),
        total_episodes=steps * batch,
        num_ppo_epochs=int(training.get("ppo_epochs", 4)),
        num_mini_batches=1,
        cliprange=float(training.get("clip_range", 0.2)),
        cliprange_value=float(training.get("clip_range_value", 0.2)),
        vf_coef=float(training.get("vf_coef", 0.1)),
        response_length=PPO_RESPONSE_LENGTH,
        stop_token="eos",  # noqa: S106  the name of a token, not a secret
        num_sample_generations=0,
        save_strategy="no",
    )


# --- saving ------------------------------------------------------------------------------------------------------

# Where the product's trainer leaves a method's model, under output_dir; "" is output_dir itself.
MODEL_FOLDERS = {"sft": "", "dpo": "dpo_model", "rlhf": "rlhf_model", "orpo": "orpo_model", "cpt": ""}
MERGES = {"sft", "dpo"}


def save_model(task: Task, model: Any) -> None:
    """Adapter and tokenizer where the product puts them, the base beside them, and a page that says which is which."""
    recipe, root = task.recipe, task.recipe.output_dir
    folder = root / MODEL_FOLDERS[recipe.method]
    log.info("[%s] Saving final model%s", recipe.label, f" to {folder}" if recipe.method == "cpt" else "")
    model.save_pretrained(folder)
    task.base.tokenizer.save_pretrained(folder)
    if recipe.lora is not None:
        log.info("[%s] LoRA adapters saved to %s", recipe.label, folder)
    if recipe.method in ("rlhf", "orpo"):
        log.info("[%s] Model saved to %s", recipe.label, folder)
    merged = recipe.method in MERGES and recipe.lora is not None
    if merged:
        merge_model(task, folder)
        log.info("[%s] Merged model saved successfully", recipe.label)
    write_manifest(task, folder, merged=merged)
    log.info("[%s] Skipping HF Hub upload", recipe.label)


def merge_model(task: Task, folder: Path) -> None:
    from peft import PeftModel

    # From disk, not from memory: an adapter trained on a 4-bit base is merged into its float32 original.
    merged = PeftModel.from_pretrained(load_float_base(task.base), folder).merge_and_unload()
    merged.save_pretrained(folder / "merged_model")
    task.base.tokenizer.save_pretrained(folder / "merged_model")


def write_manifest(task: Task, folder: Path, *, merged: bool) -> None:
    root, recipe = task.recipe.output_dir, task.recipe

    def inside(path: Path) -> str:
        return path.relative_to(root).as_posix()

    losses = task.callback.losses
    manifest = {
        "schema": 1,
        "method": recipe.method,
        "template_model": recipe.model_name,
        "base_model": inside(task.base.path),
        "adapter": inside(folder) if recipe.lora is not None else None,
        "model": inside(folder) if recipe.lora is None else None,
        "merged_model": inside(folder / "merged_model") if merged else None,
        "tokenizer": inside(folder),
        "device": "cpu",
        "seed": recipe.seed,
        "first_loss": losses[0] if losses else None,
        "last_loss": losses[-1] if losses else None,
        "scaled": [asdict(change) for change in task.scaling.changes],
    }
    (root / "runspec_model.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")


# --- handing the model over --------------------------------------------------------------------------------------

# Only ever needed to go on training, and the largest files there are.
NOT_THE_MODEL = ("checkpoint-", "optimizer.pt", "scheduler.pt", "rng_state", "training_args.bin", "progress.")
UPLOAD_TIMEOUT_S = 300


def upload_model(root: Path, url: str, token: str) -> None:
    """Send everything under `root` that is part of the model to the lab, as one zip.

    It has to happen before `job_completed` is posted: the lab ends the pod, and with it the model, when it hears that.
    A lab that does not take it costs the download and not the training, so nothing is raised.
    """
    with tempfile.TemporaryFile() as archive:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
            for path in sorted(root.rglob("*")):
                name = path.relative_to(root)
                if path.is_file() and not any(part.startswith(NOT_THE_MODEL) for part in name.parts):
                    packed.write(path, name.as_posix())
        size = archive.tell()
        try:
            answer = put_file(url, archive, size, {"Authorization": f"Bearer {token}"})
        except (OSError, ValueError) as exc:
            log.warning("[Model] Upload failed: %s", exc)
            return
    if answer.status == 200:
        log.info("[Model] Uploaded %s bytes", f"{size:,}")
    else:
        log.warning("[Model] Upload failed: %d - %s", answer.status, one_line(answer.body))


def put_file(url: str, file: Any, size: int, headers: Mapping[str, str]) -> Answer:
    """PUT a file of known size without reading it into memory.

    Raises:
        OSError: nothing answered.
    """
    file.seek(0)
    request = urllib.request.Request(  # noqa: S310  the lab's address comes from the pod's own environment
        url, data=file, method="PUT",
        headers={"Content-Type": "application/zip", "Content-Length": str(size), "User-Agent": USER_AGENT, **headers},
    )  # fmt: skip
    return answer_to(request, UPLOAD_TIMEOUT_S)


# --- the run -----------------------------------------------------------------------------------------------------

METHODS: Mapping[str, Callable[[Task], Any]] = {
    "sft": run_sft, "cpt": run_sft, "dpo": run_dpo, "orpo": run_orpo, "rlhf": run_rlhf,
}  # fmt: skip


def quiet_environment() -> None:
    """Variables that the libraries read while they are imported."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    # OpenMP threads spin: with two of them on a busy machine a job of 3 s took 44 s.
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"


def preload() -> None:
    """Import everything heavy, for a fork server that starts many jobs; must run before any thread or tokenizer."""
    quiet_environment()
    import datasets
    import peft
    import torch
    import transformers
    import trl
    import trl.experimental.orpo
    import trl.experimental.ppo

    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    # trl and transformers import lazily: only touching the classes loads them.
    _ = (trl.SFTTrainer, trl.DPOTrainer, trl.RewardTrainer, trl.experimental.orpo.ORPOTrainer,
         trl.experimental.ppo.PPOTrainer, transformers.LlamaForCausalLM, peft.LoraConfig)  # fmt: skip


def prepare_libraries() -> None:
    import datasets
    import torch
    import transformers

    # TRL and transformers warn about names that TRL itself passes, and PEFT looks for the base by the relative name
    # that lets adapter and base travel together. Neither tells a reader of the log anything.
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
    warnings.filterwarnings("ignore", message="Could not find a config file in base_model")
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()


def train(recipe: Recipe, reporter: Reporter, stop: threading.Event) -> None:
    """Everything between a read configuration and a saved model."""
    recipe.output_dir.mkdir(parents=True, exist_ok=True)
    log.info("[DataLoader] Loading dataset from %s", recipe.dataset_path)
    train_rows, eval_rows = split_rows(recipe)
    log.info("[Main] Datasets loaded successfully")
    prepare_libraries()
    scaling = Scaling()
    task = Task(
        recipe=recipe, scaling=scaling, base=build_base(recipe, [*train_rows, *eval_rows], scaling),
        callback=MetricsCallback(reporter, recipe, stop), train_rows=train_rows, eval_rows=eval_rows,
    )  # fmt: skip
    log.info("[Training] Starting %s training", recipe.label)
    log.info("[Main] Starting %s training from scratch", recipe.label)
    model = METHODS[recipe.method](task)
    save_model(task, model)
    log.info("[Training] Training completed successfully!")
    log.info("[Main] %s training completed successfully", recipe.label)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a tiny model for real, on a CPU.")
    parser.add_argument("--config", type=Path, required=True, help="config.json of the job")
    parser.add_argument("--execution-id", required=True, help="id of the job, for the log")
    return parser.parse_args(argv)


def log_to_stdout() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("[%(asctime)s] [__main__] [%(levelname)s] %(message)s", "%Y-%m-%d %H:%M:%S"))
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
    # The trainers print their summaries themselves; a pod's log has to show those at once too.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)


def stop_on_sigterm() -> threading.Event:
    stop = threading.Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        raise Terminated

    signal.signal(signal.SIGTERM, handle)
    return stop


def report_failure(exc: Exception, reporter: Reporter) -> None:
    # The type as well: the text of a StopIteration, TRL's word for an empty dataset, is empty.
    message = f"{type(exc).__name__}: {exc}"
    trace = "".join(traceback.format_exception(exc))
    log.error("[Main] Training failed with error: %s", message)
    log.error("[Main] Full traceback:\n%s", trace)
    print(f"ERROR: Training failed: {message}", file=sys.stderr, flush=True)
    reporter.ended("job_failed", f"{message}\n\nTraceback:\n{trace}")


def run(config: Mapping[str, Any], stop: threading.Event) -> int:
    model = config.get("model")
    name = str(model.get("name", "unknown")) if isinstance(model, dict) else "unknown"
    reporter = Reporter(Job.from_environment(os.environ), name)
    try:
        recipe = parse_recipe(config, os.environ)
        log.info("[Main] Training method: %s", recipe.method)
        log.info("[Main] Model: %s", recipe.model_name)
        train(recipe, reporter, stop)
        log.info("Training completed successfully!")
        if (url := os.environ.get("RUNSPEC_MODEL_UPLOAD_URL")) and reporter.job.token:
            upload_model(recipe.output_dir, url, reporter.job.token)
        reporter.ended("job_completed")
        return 0
    except Terminated:
        log.warning("[Main] Received SIGTERM, stopping")
        reporter.close(DRAIN_AFTER_SIGTERM_S)
        return EXIT_SIGTERM
    except Exception as exc:  # whatever a library raises is the job's failure, to be told with its traceback
        report_failure(exc, reporter)
        return EXIT_FAILED


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    quiet_environment()
    log_to_stdout()
    try:
        stop = stop_on_sigterm()
        log.info("FineTune Lab Standalone Trainer - Starting")
        log.info("[Main] Execution ID: %s", arguments.execution_id)
        try:
            config = load_config(arguments.config)
        except (OSError, ValueError) as exc:
            log.error("[Config] Failed to load: %s", exc)
            return EXIT_FAILED
        return run(config, stop)
    except Terminated:
        log.warning("[Main] Received SIGTERM, stopping")
        return EXIT_SIGTERM


if __name__ == "__main__":
    sys.exit(main())
