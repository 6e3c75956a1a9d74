"""The log of a job: lines on stdout, as a pod's log shows them."""

from __future__ import annotations

import logging
import sys

log = logging.getLogger("__main__")


def log_to_stdout() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("[%(asctime)s] [__main__] [%(levelname)s] %(message)s", "%Y-%m-%d %H:%M:%S"))
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
    # The trainers print their summaries themselves; a pod's log has to show those at once too.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)
