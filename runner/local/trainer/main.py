"""One job from its arguments to its exit code."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .callback import MetricsCallback
from .libraries import prepare_libraries, quiet_environment
from .log import log, log_to_stdout
from .ppo import run_rlhf
from .preference import run_dpo, run_orpo
from .recipe import Recipe, load_config, parse_recipe
from .reporter import Job, Reporter
from .rows import split_rows
from .saving import save_model
from .scaling import Scaling
from .stopping import Terminated, stop_on_sigterm
from .supervised import run_sft
from .task import Task
from .tiny_model import build_base
from .upload import upload_model

EXIT_FAILED = 1
EXIT_SIGTERM = 143
DRAIN_AFTER_SIGTERM_S = 2.0
METHODS: Mapping[str, Callable[[Task], Any]] = {
    "sft": run_sft, "cpt": run_sft, "dpo": run_dpo, "orpo": run_orpo, "rlhf": run_rlhf,
}  # fmt: skip


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


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a tiny model for real, on a CPU.")
    parser.add_argument("--config", type=Path, required=True, help="config.json of the job")
    parser.add_argument("--execution-id", required=True, help="id of the job, for the log")
    return parser.parse_args(argv)


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


def report_failure(exc: Exception, reporter: Reporter) -> None:
    # The type as well: the text of a StopIteration, TRL's word for an empty dataset, is empty.
    message = f"{type(exc).__name__}: {exc}"
    trace = "".join(traceback.format_exception(exc))
    log.error("[Main] Training failed with error: %s", message)
    log.error("[Main] Full traceback:\n%s", trace)
    print(f"ERROR: Training failed: {message}", file=sys.stderr, flush=True)
    reporter.ended("job_failed", f"{message}\n\nTraceback:\n{trace}")
