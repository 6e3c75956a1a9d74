"""Pods as the lab's refactor of 2025-12-21 starts them: their script's placeholders reach the shell (trap T-02).

Source: FineTune Lab contract §4.3 and F-31, read 2026-11.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import msgspec

START = (
    'cd "${RUNSPEC_WORKSPACE:-/workspace}" && printf %s "$TRAINING_SCRIPT_B64" | base64 -d > bootstrap.sh '
    "&& exec bash bootstrap.sh"
)
# Each placeholder ends only its own side of a pipe, so the ticks after it are printed, and files are made, but empty.
SCRIPT = """\
set -u
say() { echo "[$(date)] $*"; }
[ -e .training_started ] && { say "DETECTED CONTAINER RESTART"; while :; do sleep 3600; done; }
date > .training_started
say "RunPod Training Script Started"
say "✓ Dependencies installed successfully"
echo "${configBase64}" | base64 -d > config.json
say "✓ config.json created"
echo "${trainerScriptBase64}" | base64 -d > standalone_trainer.py
say "✓ standalone_trainer.py created"
say "Starting training with standalone_trainer.py..."
python3 standalone_trainer.py --config config.json --execution-id "${jobId}" | tee training_output.log
code=${PIPESTATUS[0]}
say "✗ Training failed with exit code: $code"
say "Last 50 lines of training output:"
tail -n 50 training_output.log
sleep 120
say "Terminating pod"
exit "$code"
"""


def with_broken_bootstrap(pod: Mapping[str, Any]) -> dict[str, Any]:
    """The request for a pod, with a script that cannot start the trainer."""
    script = base64.b64encode(SCRIPT.encode()).decode()
    args = msgspec.json.encode({"cmd": ["bash", "-c", START]}).decode()
    return {**pod, "args": args, "env": {**pod["env"], "TRAINING_SCRIPT_B64": script}}
