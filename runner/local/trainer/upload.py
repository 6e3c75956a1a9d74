"""Handing the trained model over to the lab."""

from __future__ import annotations

import tempfile
import urllib.request
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .lab_http import USER_AGENT, Answer, answer_to, one_line
from .log import log

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
