"""Large answers written to a file as they come: bounded, and hashed on the way."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from runner.errors import ModelError
from runner.providers.http import ByteStream

DOWNLOAD_IDLE_S = 60.0
_SHA256 = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")


async def write_stream(stream: ByteStream, to: Path, *, max_bytes: int) -> tuple[int, str]:
    """Write what comes to a new file; its size and SHA-256 in hex.

    Raises:
        ModelError: more than `max_bytes` came; the file is removed.
    """
    size, digest = 0, hashlib.sha256()
    try:
        with to.open("wb") as file:  # opening is quick; writing is handed to a thread
            while chunk := await stream.next_chunk():
                size += len(chunk)
                if size > max_bytes:
                    raise ModelError(f"the download is larger than {max_bytes:,} bytes")
                digest.update(chunk)
                # Disks are slow, and other pods are watched in the same loop.
                await asyncio.to_thread(file.write, chunk)
    except BaseException:
        await asyncio.to_thread(to.unlink, missing_ok=True)
        raise
    return size, digest.hexdigest()


def promised_sha256(headers: Mapping[str, str]) -> str | None:
    """The digest that an answer states in `Repr-Digest` or `Content-Digest` (RFC 9530), in hex; None without one."""
    for name in ("Repr-Digest", "Content-Digest"):
        found = _SHA256.search(headers.get(name, ""))
        if found is not None:
            try:
                return base64.b64decode(found.group(1), validate=True).hex()
            except binascii.Error:
                continue
    return None
