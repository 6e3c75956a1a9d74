"""The embedded RunPod against the vendor's own document: whatever it allows is answered, whatever it forbids refused.

Requests are made up from the document, good ones and bad ones; every answer must have a status, a content type and a
body that the document knows, and no answer may be a server error.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from runner.local.clock import SystemClock
from runner.local.cloud import CloudOptions, EmbeddedCloud, Endpoints
from runner.local.runpod_api import RunPodSettings
from runner.local.scripted import ScriptedPods

DOCUMENT = Path(__file__).parent / "data" / "runpod-openapi-v2.json"
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
    negative_data_rejection,
]  # fmt: skip
EXAMPLES = 5

schema = schemathesis.openapi.from_path(str(DOCUMENT))


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    """A server in a thread of its own, because the requests block; its account is rich and in no hurry."""
    started, stop = threading.Event(), asyncio.Event()
    found: list[Endpoints] = []
    loops: list[asyncio.AbstractEventLoop] = []
    options = CloudOptions(
        backend=ScriptedPods(SystemClock()),
        runpod=RunPodSettings(balance_usd=1e12, windows=(("minute", 10**9, 60),)),
    )

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with EmbeddedCloud(tmp_path_factory.mktemp("cloud"), options) as cloud:
            found.append(cloud.endpoints)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(20)
    yield found[0]
    loops[0].call_soon_threadsafe(stop.set)
    thread.join(20)


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_embedded_runpod_answers_as_its_document_says(case, endpoints):
    case.call_and_validate(
        base_url=endpoints.runpod_url.removesuffix("/v2"),
        headers={"Authorization": f"Bearer {endpoints.runpod_api_key}"},
        checks=CHECKS,
        timeout=60,
    )
