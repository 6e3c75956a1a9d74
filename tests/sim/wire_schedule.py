"""What one seeded schedule over the wire consists of, and what it comes to."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from runner.events import JobFinished
from runner.local.faults import PRESETS, What
from tests.sim.schedule import RATES
from tests.sim.wire import WIRE_FAULTS

# What the servers themselves do wrong, and at which of their doors.
SERVER_FAULTS = {
    "capacity": "runpod POST /v2/pods",
    "balance": "runpod POST /v2/pods",
    "gone": "runpod POST /v2/pods",
    "cloudflare": "runpod GET /v2/pods",
    "own-key-refused": "runpod * /v2/pods/**",
    "error-before": "runpod * /v2/pods/*",
    "error-after": "runpod POST /v2/pods",
    "reset-after": "runpod POST /v2/pods",
    "late-create": "runpod POST /v2/pods",
    "no-gpu": "runpod POST /v2/pods",
    "dear": "runpod POST /v2/pods",
    "slow-pull": "runpod POST /v2/pods",
    "stuck": "runpod POST /v2/pods",
    "pod-error": "runpod POST /v2/pods",
    "crash-loop": "runpod POST /v2/pods",
    "locked": "runpod POST /v2/pods",
    "list-lag": "runpod GET /v2/pods",
    "delete-lag": "runpod GET /v2/pods",
    "unknown-status": "runpod GET /v2/pods",
    "zero-uptime": "runpod GET /v2/pods",
    "empty-runtime": "runpod GET /v2/pods",
    "odd-shape": "runpod GET /v2/pods",
    "cut-stream": "runpod GET /v2/pods/*/logs",
    "rate-limit": "runpod * /v2/**",
    "html": "* GET /**",
    "orphan-pod": "lab POST /api/training/deploy/runpod",
    "cancel-refused": "lab POST /api/training/local/*/control",
    "alert-without-effect": "lab POST /api/alerts/trigger",
    "alert-lost": "lab POST /api/alerts/trigger",
    "metrics-405": "lab POST /api/training/local/metrics",
    "key-hidden": "lab GET /api/training/jobs",
    "no token": "lab POST /api/training/local/jobs",
}
# How often a schedule is about one fault. Some are the only one of their kind, some happen only in runs that get far.
WEIGHTS = {
    **dict.fromkeys(SERVER_FAULTS, 1), "late-create": 4, "gone": 24, "no token": 24, "cloudflare": 26,
    "own-key-refused": 6, "orphan-pod": 28, "key-hidden": 30, "alert-without-effect": 32, "cancel-refused": 50,
}  # fmt: skip
FOCI = [fault for fault, weight in WEIGHTS.items() for _ in range(weight)]
VIA = {
    "balance": "runpod", "gone": "runpod", "own-key-refused": "runpod", "no token": "runpod", "late-create": "runpod",
    "orphan-pod": "lab", "cancel-refused": "lab", "alert-without-effect": "lab",
}  # fmt: skip
# The lab says that it has the job, and not under which token (trap T-08).
NO_TOKEN = What(status=202, at="after", body={"success": True, "persisted": False, "job_id": "j", "user_id": "u"})
CREATE_RATES = (0.2, 0.5, 0.9)


def what_happens(fault: str) -> What:
    """What the server does for a fault of `SERVER_FAULTS`."""
    return NO_TOKEN if fault == "no token" else PRESETS[fault]


@dataclass(frozen=True, slots=True, kw_only=True)
class WireSchedule:
    """What happens in one simulated run over the wire; everything else follows from the seed.

    Attributes:
        wire: rates of what goes wrong between client and server, see `WIRE_FAULTS`.
        server: rates of the servers' own faults, see `SERVER_FAULTS`.
        healthy: every training completes.
        with_key: the lab is asked with its API key, which has a limit, wherever it takes one.
    """

    seed: int
    jobs: int = 1
    parallel: int = 1
    wire: Mapping[str, float] = field(default_factory=dict)
    server: Mapping[str, float] = field(default_factory=dict)
    kills: Sequence[int] = ()
    interrupt_s: Sequence[float] = ()
    cap_usd: float | None = None
    via: str = "lab"
    resumes: bool = False
    healthy: bool = False
    with_key: bool = False

    @classmethod
    def drawn(cls, seed: int) -> WireSchedule:
        """The schedule of a seed: a swarm in which each kind of fault is off, rare or common.

        Four of five seeds are about one fault of the servers, so that the rare ones happen in any large number.
        """
        rng = random.Random(f"wire schedule {seed}")
        focus = rng.choice(FOCI) if rng.random() < 0.8 else None
        ending = rng.choice(["finish", "finish", "finish", "interrupt", "kill", "kill", "kill twice"])
        return cls(
            seed=seed,
            jobs=rng.randint(1, 2),
            parallel=rng.randint(1, 2),
            wire={fault: rng.choice(RATES) for fault in rng.sample(WIRE_FAULTS, rng.choice([0, 1, 2, 4]))},
            server={
                fault: 0.9 if fault == focus and " POST " in SERVER_FAULTS[fault] else rng.choice(_rates(fault))
                for fault in {
                    **dict.fromkeys([focus] if focus else []),
                    **dict.fromkeys(rng.sample([*SERVER_FAULTS], rng.choice([0, 1, 2] if focus else [0, 1, 2, 4]))),
                }
            },
            kills=[rng.randint(1, 300) for _ in range({"kill": 1, "kill twice": 2}.get(ending, 0))],
            interrupt_s=sorted(rng.uniform(0, 200) for _ in range(rng.randint(1, 2))) if ending == "interrupt" else (),
            cap_usd=rng.choice([None, None, 0.8, 1.6]),
            via=VIA.get(focus or "") or rng.choice(["lab", "lab", "runpod"]),
            resumes=rng.random() < 0.5,
            healthy=rng.random() < 0.4,
            with_key=focus == "key-hidden" or rng.random() < 0.5,
        )


@dataclass(slots=True)
class WireReport:
    """What one schedule came to."""

    schedule: WireSchedule
    violations: list[str] = field(default_factory=list)
    exit_code: int | None = None
    points: list[int] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)
    marks: set[str] = field(default_factory=set)
    finished: list[JobFinished] = field(default_factory=list)
    virtual_s: float = 0.0

    def __str__(self) -> str:
        lines = "\n".join(f"  {line}" for line in self.violations)
        return (
            f"repeat with: python -m tests.sim.campaign --wire-seed {self.schedule.seed}\n{self.schedule}\n{lines}\n"
            "last calls:\n  " + "\n  ".join(self.trace[-40:])
        )


def _rates(fault: str) -> tuple[float, ...]:
    # A job has one create and few alerts, but asks for lists all the time.
    return CREATE_RATES if " POST " in SERVER_FAULTS[fault] else RATES
