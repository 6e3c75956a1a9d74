"""Metrics through the published SDK (`finetune-lab`), run in a child process because it blocks."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from runner.errors import ProviderError
from runner.ports import ProviderErrorKind as Kind
from runner.providers.lab_wire import read_metrics
from runner.providers.readers import ShapeError
from runner.providers.redaction import Redactor
from runner.providers.settings import Settings
from runner.results import MetricPoint

READING = Path(__file__).with_name("sdk_reading.py")
TIMEOUT_S = 60
_KINDS = {
    0: Kind.TRANSIENT,
    401: Kind.AUTH,
    403: Kind.AUTH,
    404: Kind.GONE,
    405: Kind.GONE,
    408: Kind.TRANSIENT,
    429: Kind.RATE_LIMITED,
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class SdkMetrics:
    """The `MetricsReader` port over the SDK that is installed here."""

    def __init__(self, settings: Settings, *, python: str = sys.executable) -> None:
        self._url = settings.lab_url
        self._key = settings.lab_api_key.get_secret_value() if settings.lab_api_key else None
        self._redactor = Redactor(settings.secrets)
        self._python = python
        self.name = f"finetune-lab {_version()}"

    async def metrics(self, lab_job_id: str) -> Sequence[MetricPoint]:
        """All metric points of one job as the SDK returns them, merged by step as our own client does.

        Raises:
            ProviderError: `unsupported` when the SDK or the API key that it needs is missing; `rate-limited` and
                `transient` may be tried again.
        """
        if importlib.util.find_spec("finetune_lab") is None:
            raise ProviderError(
                "the SDK is not installed; `pip install 'finetune-runspec[sdk]'` brings it", kind=Kind.UNSUPPORTED
            )
        if self._key is None:
            raise ProviderError("the SDK needs `FINETUNE_LAB_API_KEY`, which is not set", kind=Kind.UNSUPPORTED)
        said = await self._read(lab_job_id, self._key)
        if "failed" in said:
            raise self._error(str(said["failed"]), int(said.get("status") or 0))
        try:
            return read_metrics(said.get("metrics"))
        except ShapeError as exc:
            raise ProviderError(f"the SDK returned something else than metrics: {exc}", kind=Kind.PROTOCOL) from exc

    def _error(self, failed: str, status: int) -> ProviderError:
        text = self._redactor.line(f"{self.name} failed: {failed}")
        kind = _KINDS.get(status, Kind.TRANSIENT if status >= 500 else Kind.VALIDATION)
        retryable = kind in (Kind.RATE_LIMITED, Kind.TRANSIENT)
        return ProviderError(text, kind=kind, status=status or None, retryable=retryable)

    async def _read(self, lab_job_id: str, key: str) -> dict[str, Any]:
        # The key goes through a pipe: arguments and environment can be read by others.
        request = {"base_url": self._url, "api_key": key, "job_id": lab_job_id, "timeout_s": TIMEOUT_S}
        process = await asyncio.create_subprocess_exec(
            self._python, "-I", str(READING),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env=_environment(self._url),
        )  # fmt: skip
        try:
            output, _ = await process.communicate(msgspec.json.encode(request))
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        try:
            said = msgspec.json.decode(output)
        except msgspec.DecodeError:
            said = None
        if not isinstance(said, dict):
            code = process.returncode
            raise ProviderError(f"{self.name} ended with exit code {code} and no answer", kind=Kind.PROTOCOL)
        return said


def _environment(url: str) -> dict[str, str]:
    """As ours, without the keys that the SDK would find there by itself; loopback needs no proxy."""
    secret = ("FINETUNE_LAB_", "RUNPOD_", "SUPABASE_", "HF_TOKEN")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(secret)}
    if urlsplit(url).hostname in LOOPBACK:
        kept |= {"NO_PROXY": "*", "no_proxy": "*"}
    return kept


def _version() -> str:
    try:
        return importlib.metadata.version("finetune-lab")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"
