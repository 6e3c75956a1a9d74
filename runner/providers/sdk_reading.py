#!/usr/bin/env python3
"""Read the metrics of one job with the published SDK, unmodified. A program of its own: the SDK blocks.

    python -I sdk_reading.py < {"base_url": ..., "api_key": ..., "job_id": ..., "timeout_s": 60}

It imports nothing of runspec and prints one JSON object: `{"metrics": …}` as the SDK returned it, or
`{"failed": WHY, "status": HTTP STATUS OR 0}`.
"""

from __future__ import annotations

import json
import signal
import sys


def main() -> int:
    request = json.load(sys.stdin)
    signal.alarm(2 * int(request["timeout_s"]))
    from finetune_lab import FinetuneLabClient, FinetuneLabError  # noqa: PLC0415 - after the deadline is set

    client = FinetuneLabClient(
        api_key=request["api_key"], base_url=request["base_url"], timeout=int(request["timeout_s"])
    )
    try:
        answer = client.training.get_metrics(request["job_id"])
    except FinetuneLabError as exc:
        print(json.dumps({"failed": exc.message, "status": exc.status_code}))
        return 0
    print(json.dumps({"metrics": answer}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
