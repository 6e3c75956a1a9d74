"""What a campaign has to have met: every row of the fault table, every trap that a run can fall into, every mark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from runner.events import AlertsObserved, AnyEvent, JobFinished, PodCreated, PodObserved

# The rows of RunPod's fault table, and the faults of either tier that are such a row.
FAULT_ROWS: Mapping[str, Sequence[str]] = {
    "create succeeds after the client timed out": ("create lost after", "create lost late", "late-create"),
    "no capacity": ("capacity", "sold out"),
    "no balance": ("no credit", "balance"),
    "rate limit": ("rate limited", "rate-limit"),
    "retired API": ("gone",),
    "lagging lists": ("list lags create", "list lags delete", "list-lag", "delete-lag"),
    "slow pull, uptime 0, ERROR, restart loop": (
        "pod stuck", "uptime zero", "pod error", "container loops", "slow-pull", "stuck", "zero-uptime", "pod-error",
        "crash-loop",
    ),
    "zero GPUs or a higher price": ("zero gpus", "overpriced", "no-gpu", "dear"),
    "a delete that fails or is swallowed": ("delete error", "delete swallowed", "locked"),
    "Cloudflare's 1010": ("cloudflare",),
    "shapes that nobody announced": ("unknown status", "unknown-status", "empty-runtime", "odd-shape"),
    "a log stream that is cut": ("log cut", "cut-stream", "repeated events"),
    "a pod's own key, allowed or refused": ("own key allowed", "own key refused"),
    "a clock that is wrong, or stood still": ("suspended", "clock wrong"),
}  # fmt: skip
TRAPS = tuple(f"T-{number:02}" for number in range(1, 29))
# Traps on routes that no run takes, or in what no run reads; each has its own test beside the embedded lab, the client
# or the SDK.
NOT_IN_RUNS = {"T-13", "T-18", "T-19", "T-20", "T-21", "T-22", "T-28"}
MARKS = {
    "adopted after an ambiguous create", "another attempt", "pod unconfirmed", "resumed",
    *(f"job {outcome}" for outcome in ("passed", "failed", "errored", "unknown", "cancelled")),
    *(
        f"class {name}"
        for name in (
            "capacity", "criterion", "infrastructure", "interrupted", "leak", "limit", "no-evidence", "out-of-memory",
            "provider", "trainer-error", "trainer-killed",
        )
    ),
}  # fmt: skip


def rows_met(happened: Mapping[str, int]) -> set[str]:
    """The rows and traps of one run, by the faults that happened in it."""
    met = {row for row, faults in FAULT_ROWS.items() if any(happened.get(fault) for fault in faults)}
    return (
        met
        | {trap for trap in TRAPS if happened.get(trap)}
        | {trap for fault, trap in _TRAP_OF.items() if happened.get(fault)}
    )


_TRAP_OF = {
    "orphan-pod": "T-01", "cancel-refused": "T-03", "key-hidden": "T-05", "no token": "T-08",
    "alert-without-effect": "T-09", "agent claims": "T-14",
}  # fmt: skip


def traps_met(events: Sequence[AnyEvent], trace: Sequence[str], played: Sequence[str]) -> set[str]:
    """The traps that the embedded lab sprang of its own nature in one run over the wire."""
    return {*_by_requests(trace), *_by_trainings(played), *_by_events(events)}


def _by_requests(trace: Sequence[str]) -> Iterator[str]:
    asked = [line.split(" ", 1)[1] for line in trace if " request " in line]
    if any(line.startswith("request POST") and "/attach-dataset" in line for line in asked):
        yield from ("T-06", "T-07")  # camel case here, 201 and 200 before it
    if any(line.startswith("request POST") and line.split()[2].endswith("/control") for line in asked):
        yield "T-15"  # no alert comes of it
    if any(line.startswith("request DELETE /v2/pods/") for line in asked):
        yield "T-11"  # the lab's job does not hear of it
    if any(line.startswith("request POST /api/training/local/jobs") for line in asked):
        yield "T-17"  # refused without a length


def _by_trainings(played: Sequence[str]) -> Iterator[str]:
    if "never starts" in played:
        yield "T-02"
    if {*played} - {"never starts"}:
        yield "T-25"  # it prints the keys that the lab gave it
    if "completes" in played:
        yield from ("T-10", "T-12")
    if "crashes" in played:
        yield "T-27"


def _by_events(events: Sequence[AnyEvent]) -> Iterator[str]:
    started = [event for event in events if isinstance(event, AlertsObserved)]
    if any(alert.type == "job_started" for event in started for alert in event.alerts):
        yield from ("T-04", "T-16")  # sent with the other kind of key, and seen although its delivery is off
    if len({event.job for event in started}) > 1:
        yield "T-23"  # one history for all jobs
    quoted = {event.pod_id: event.cost_usd_h for event in events if isinstance(event, PodCreated)}
    real = [event.pod for event in events if isinstance(event, PodObserved)]
    if any(quoted.get(pod.id) not in (None, pod.cost_usd_h) for pod in real):
        yield "T-24"
    if any(isinstance(event, JobFinished) and event.cost_usd for event in events):
        yield "T-26"  # paid for, and no budget of the lab's would have ended it


def not_met(rows: Mapping[str, int], marks: Mapping[str, int], *, at_least: int) -> list[str]:
    """What a campaign has met too seldom, in words."""
    wanted = [*FAULT_ROWS, *(trap for trap in TRAPS if trap not in NOT_IN_RUNS)]
    return [
        *(
            f"{row}: in {rows.get(row, 0)} seeds, {at_least} are wanted"
            for row in wanted
            if rows.get(row, 0) < at_least
        ),
        *(f"never reached: {mark}" for mark in sorted(MARKS) if not marks.get(mark)),
    ]
