"""What a process is surrounded by, for simulations over the wire: ids, secrets, proxies and logs."""

from __future__ import annotations

import base64
import logging
import os
import random
import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from runner.local import runpod_logs


@contextmanager
def seeded_ids(seed: int) -> Iterator[None]:
    """Ids and secrets from the seed, and no proxy of this machine."""
    rng = random.Random(f"ids {seed}")

    def uuid4() -> uuid.UUID:
        return uuid.UUID(int=rng.getrandbits(128), version=4)

    def token_urlsafe(size: int = 32) -> str:
        return base64.urlsafe_b64encode(rng.randbytes(size)).rstrip(b"=").decode()

    with (
        mock.patch.object(uuid, "uuid4", uuid4),
        mock.patch.object(secrets, "choice", rng.choice),
        mock.patch.object(secrets, "token_urlsafe", token_urlsafe),
        mock.patch.dict(os.environ, {"NO_PROXY": "*", "no_proxy": "*"}),
        # How often an open log stream looks whether its reader is still there: a third of all that happens otherwise.
        mock.patch.object(runpod_logs, "CHECK_EVERY_S", 15.0),
    ):
        yield


class Heard(logging.Handler):
    """Every log record of a simulation: none may hold a secret, and none of a server's may tell of a crash."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.crashes: list[str] = []
        self._formatter = logging.Formatter("%(name)s %(levelname)s %(message)s")

    def emit(self, record: logging.LogRecord) -> None:
        line = self._formatter.format(record)
        if record.name.startswith("runspec"):
            self.lines.append(line)
        elif record.levelno >= logging.ERROR:
            self.crashes.append(line[-1500:])


@contextmanager
def listening() -> Iterator[Heard]:
    heard = Heard()
    ours = [logging.getLogger(name) for name in ("runspec", "runner", "aiohttp")]
    before = [(logger.level, logger.propagate) for logger in ours]
    for logger in ours:
        logger.addHandler(heard)
        logger.propagate = False
    ours[0].setLevel(logging.DEBUG)
    try:
        yield heard
    finally:
        for logger, (level, propagate) in zip(ours, before, strict=True):
            logger.removeHandler(heard)
            logger.setLevel(level)
            logger.propagate = propagate
