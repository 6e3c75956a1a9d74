"""Trained models: a pod hands its model over before it says that it is done, and the owner downloads it.

The real lab has the download for jobs of its local training server only (contract §2.12, read 2026-11). Here it is
there for all jobs, with the same path and shape; the upload is a route of our own.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from aiohttp import web

from runner.local.lab_api.auth import check_job_token, require_bearer, require_job_reader
from runner.local.lab_api.context import LAB, Lab, Refusal
from runner.local.web_kit import json_response

MAX_MODEL_BYTES = 512 * 1024**2
"""A tiny model has two megabytes; this is what keeps a pod from filling the disk."""


async def upload(request: web.Request) -> web.Response:
    """Take the zip of a job's model from its pod; a second one replaces the first."""
    lab, job_id, token = request.app[LAB], request.match_info["job_id"], require_bearer(request)
    job = lab.store.get("jobs", job_id)
    if job is None:
        raise Refusal(404, "Job not found")
    check_job_token(job, token)
    if not request.content_length:
        raise Refusal(411, "Content-Length is required")
    if request.content_length > MAX_MODEL_BYTES:
        raise Refusal(413, f"Model is larger than {MAX_MODEL_BYTES} bytes")
    digest = await _receive(request, _path(lab, job_id))
    lab.store.update("jobs", job_id, {"model_sha256": digest.hex()})
    return json_response({"success": True, "size": request.content_length, "sha256": digest.hex()})


async def _receive(request: web.Request, path: Path) -> bytes:
    """Write the body aside and move it into place once it is whole; its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=".upload-")
    size, digest = 0, hashlib.sha256()
    try:
        with os.fdopen(handle, "wb") as file:
            async for chunk in request.content.iter_chunked(1 << 16):
                size += len(chunk)
                digest.update(chunk)
                file.write(chunk)
        if size != request.content_length:
            raise Refusal(400, f"Expected {request.content_length} bytes, got {size}")
        os.replace(aside, path)  # noqa: PTH105 - as `os.unlink` below
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)  # noqa: PTH108 - the path is known to the operating system already
    return digest.digest()


async def download(request: web.Request) -> web.StreamResponse:
    """The model of a job as a zip, with its digest in `Repr-Digest` (RFC 9530)."""
    user, lab, job_id = require_job_reader(request), request.app[LAB], request.match_info["job_id"]
    job = lab.store.get("jobs", job_id, user.id)
    if job is None:
        raise Refusal(404, "Job not found or unauthorized")
    if checkpoint := request.query.get("checkpoint"):
        raise Refusal(404, f"Checkpoint {checkpoint[:80]} not found: only the final model is kept")
    path, digest = _path(lab, job_id), job.get("model_sha256")
    if digest is None or not path.is_file():
        raise Refusal(404, "Model not found")
    return web.FileResponse(
        path,
        headers={
            "Content-Type": "application/zip",
            "Content-Disposition": f'attachment; filename="model_{job_id}.zip"',
            "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(digest)).decode()}:",
        },
    )


def archive_of(lab: Lab, job_id: str) -> tuple[Path, str] | None:
    """The zip of a job's model and its SHA-256; None when its pod handed none over."""
    path, digest = _path(lab, job_id), (lab.store.get("jobs", job_id) or {}).get("model_sha256")
    return (path, str(digest)) if digest is not None and path.is_file() else None


def _path(lab: Lab, job_id: str) -> Path:
    # Ids may come from outside; the name of a file may not.
    return lab.data_dir / "models" / f"{hashlib.sha256(job_id.encode()).hexdigest()[:32]}.zip"


ROUTES = [
    web.put("/api/training/{job_id}/upload/model", upload),
    web.get("/api/training/{job_id}/download/model", download),
]
