"""The trainer script that pods of the embedded cloud download and run."""

from pathlib import Path


def trainer_path() -> Path:
    """Where `standalone_trainer.py` lies; it is served as a file and never imported by the runner."""
    return Path(__file__).with_name("standalone_trainer.py")
