"""The heavy libraries: imported late, and kept quiet."""

from __future__ import annotations

import os
import warnings


def quiet_environment() -> None:
    """Variables that the libraries read while they are imported."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    # OpenMP threads spin: with two of them on a busy machine a job of 3 s took 44 s.
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"


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
