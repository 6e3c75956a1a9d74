"""The embedded FineTune Lab: configs, datasets, deployments, jobs, metrics and alerts over HTTP."""

from runner.local.lab_api.app import lab_app
from runner.local.lab_api.context import Lab

__all__ = ["Lab", "lab_app"]
