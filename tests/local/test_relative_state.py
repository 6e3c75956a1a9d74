"""An embedded cloud whose folder was given relative to where it was started, as the default of `local serve` is."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from aiohttp import ClientSession

from runner.local.cloud import CloudOptions, EmbeddedCloud
from runner.local.lifecycle import Delays

QUICK = Delays(provision_s=0.01, start_s=0.01, terminate_s=0.01, restart_s=5)


async def test_pod_finds_its_workspace_below_a_relative_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["bash", "-c", 'cd "$RUNSPEC_WORKSPACE" && echo "at home in $PWD"']
    body = {
        "name": "p", "image": "i", "args": json.dumps({"cmd": command}), "gpu": {"id": "NVIDIA RTX A4000", "count": 1},
        "cloud": "SECURE", "disk": 5,
    }  # fmt: skip
    async with EmbeddedCloud(Path("state"), CloudOptions(delays=QUICK)) as cloud:
        headers = {"Authorization": f"Bearer {cloud.endpoints.runpod_api_key}"}
        async with (
            ClientSession() as http,
            http.post(f"{cloud.endpoints.runpod_url}/pods", json=body, headers=headers) as answer,
        ):
            pod_id = (await answer.json())["id"]
        log = tmp_path / "state" / "logs" / f"{pod_id}.log"
        async with asyncio.timeout(120):
            while "exited with code" not in log.read_text():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert f"at home in {tmp_path / 'state' / 'pods' / pod_id / 'workspace'}" in log.read_text()
