"""What the trainers tell while they train, turned into points, log lines and progress.json."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from .log import log
from .metrics import EXTRA_FIELDS, LOGGING_STEPS, BestEval, finite, loss_trend, perplexity
from .recipe import Recipe
from .reporter import Reporter
from .stopping import Terminated
from .throughput import TokenCount, peak_memory_gb


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
        self.tokens = TokenCount()
        self.peak_memory_gb = 0.0
        self.began = time.monotonic()
        self.printed = self.began
        self.print_every_s = float(os.environ.get("CONSOLE_LOG_INTERVAL") or 5)

    def __getattr__(self, name: str) -> Callable[..., None]:
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda *_args, **_kwargs: None

    def on_train_begin(self, _args: Any, state: Any, _control: Any, model: Any = None, **_kwargs: Any) -> None:
        if model is not None:
            self.tokens.watch(model)
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
        # The kernel counts coarsely, so that its own mark may fall by some pages.
        self.peak_memory_gb = max(self.peak_memory_gb, peak_memory_gb())
        return {
            "step": int(state.global_step),
            "epoch": int(state.epoch or 0),
            "train_loss": train_loss,
            "eval_loss": eval_loss,
            "learning_rate": finite(self.last.get("learning_rate", self.last.get("lr")), 12),
            "grad_norm": finite(self.last.get("grad_norm")),
            # Named by the product; what it holds is optimizer steps a second since the start.
            "samples_per_second": finite(state.global_step / elapsed_s, 4) if elapsed_s else None,
            "tokens_per_second": finite(self.tokens.total / elapsed_s, 1) if self.tokens.total else None,
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
            # No column of the product has the memory of a process without a GPU.
            "process_memory_peak_gb": self.peak_memory_gb,
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
