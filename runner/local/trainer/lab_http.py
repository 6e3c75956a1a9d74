"""HTTP with the standard library: what is sent to the lab and what it answers."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

USER_AGENT = "runspec-trainer/1 (python-urllib)"
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True)
class Answer:
    status: int
    body: str


def post_json(url: str, body: Mapping[str, Any], headers: Mapping[str, str], timeout_s: float) -> Answer:
    """POST one JSON document and read at most 2,000 bytes of the answer.

    Raises:
        OSError: nothing answered (`URLError`, timeouts and refused connections are all `OSError`s).
    """
    # Bytes and not an iterator: the lab refuses chunked bodies, and only bytes get a Content-Length.
    data = json.dumps(body, allow_nan=False).encode()
    request = urllib.request.Request(  # noqa: S310  the lab's address comes from the pod's own environment
        url,
        data=data,
        method="POST",
        headers={"Content-Type": "application/json", "User-Agent": USER_AGENT, **headers},
    )
    return answer_to(request, timeout_s)


def answer_to(request: urllib.request.Request, timeout_s: float) -> Answer:
    """Send a request; an error status is an answer too.

    Raises:
        OSError: nothing answered.
    """
    # A proxy of the surrounding network cannot reach a server on this machine's loopback.
    handlers = [urllib.request.ProxyHandler({})] if urlsplit(request.full_url).hostname in LOOPBACK else []
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=timeout_s) as response:
            return Answer(response.status, response.read(2_000).decode(errors="replace"))
    except urllib.error.HTTPError as refused:
        with refused:
            return Answer(refused.code, refused.read(2_000).decode(errors="replace"))


def one_line(text: str) -> str:
    return " ".join(text.split())[:500]
