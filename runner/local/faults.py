"""Faults as data: which request, on which occasion, what goes wrong.

A rule reads like a sentence:

```yaml
- where: runpod POST /v2/pods        # server (runpod, lab, *), method (or *), path; `{id}` is one segment, `**` any
  when: {nth: 2, times: 3}           # the 2nd, 3rd and 4th matching request; leave out for every one
  what: capacity                     # a name from PRESETS, or the details: {status: 500, at: after}
```

Source: fault tables of the RunPod contract §7 and the FineTune Lab contract §8, read 2026-11.
"""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, cast

import msgspec
from aiohttp import web

from runner.errors import Diagnostic, SpecError, did_you_mean
from runner.local.clock import Clock
from runner.local.web_kit import json_response
from runner.spec.described import describe

Server = Literal["runpod", "lab"]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Quirks(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Misbehaviour that only the handler itself can produce."""

    list_lag_s: float = 0.0
    """`GET /v2/pods` does not show pods younger than this."""
    delete_lag_s: float = 0.0
    """`GET /v2/pods` still shows pods ended less than this ago."""
    cost_factor: float = 1.0
    """The pod costs this many times what the catalog says."""
    gpu_count: int | None = None
    """The created pod has this many GPUs, whatever was asked for."""
    provision_s: float | None = None
    """The created pod takes this long to be provisioned; a huge number never gets there."""
    cannot_start: bool = False
    """The created pod goes to `ERROR`, as with a broken host or an image that does not exist."""
    crash_loop: bool = False
    """The created pod's program exits at once, and is restarted for ever."""
    memory_mb: int | None = None
    """Each process of the created pod may hold this much data, in MB of 2**20 bytes; allocating more fails (Linux)."""
    zero_uptime: bool = False
    """Running pods are shown with an uptime of 0."""
    pod_status: str | None = None
    """Pods are shown with this status, known or not."""
    empty_runtime: bool = False
    """`runtime` is `{}` in place of null."""
    cut_stream_after: int | None = None
    """A log stream breaks off after so many lines."""
    locked: bool = False
    """The created pod is locked: it resists until somebody opens the lock."""
    odd_shape: bool = False
    """Pods are shown as older and newer servers do: fields nobody knows, the price as text, times in another form."""
    refuse_own_key: bool = False
    """A pod's own key may not end its pod."""
    minute_quota: int | None = None
    """The account may make this many requests a minute."""
    orphan_pod: bool = False
    """The lab's deploy fails after it has created the pod, and forgets the pod (trap T-01)."""
    broken_bootstrap: bool = False
    """The lab's deploy gives the pod a script that cannot start the trainer, and ticks all the same (trap T-02)."""
    other_account: bool = False
    """The lab asks RunPod with the key of another account than the one that its pods were created with (trap T-03)."""
    only_accepted: Literal["late", "never"] | None = None
    """The lab answers 202 to a job, without its token, and stores it (`late`) or does not (`never`, trap T-08)."""
    job_untouched: bool = False
    """An alert is remembered, but neither job nor pod learns of it (trap T-09)."""


class When(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """On which of the matching requests a rule fires."""

    nth: int = 1
    """The first matching request that it fires on, counted from 1."""
    times: int | None = None
    """On how many matching requests it fires; on all from `nth` on when left out."""
    probability: float = 1.0
    """How often it fires on a request that it may fire on, from 0 to 1."""
    seed: int = 0
    """Makes what `probability` decides the same every time."""
    contains: str = ""
    """Only requests with this text in path, query or body."""


class What(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happens to the request; the parts are applied in the order delay, drop or answer."""

    delay_s: float = 0.0
    """Wait so many seconds before anything else."""
    drop: Literal["before", "after"] | None = None
    """Cut the connection without an answer, before or after the request has had its effect."""
    status: int | None = None
    """Answer with this HTTP status."""
    at: Literal["before", "after"] = "before"
    """Answer with `status` in place of the handler, or in place of the handler's answer."""
    body: Any = None
    """JSON value, or text when it is a string; None for the server's own form of an error."""
    headers: dict[str, str] = {}
    """Headers of the answer."""
    quirks: Quirks = Quirks()
    """What the handler itself does wrong."""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One fault."""

    where: str
    """Server (`runpod`, `lab` or `*`), method (or `*`) and path; `{id}` is one segment, `**` any."""
    what: What | str
    """What goes wrong: a name, or the details."""
    when: When = When()
    """On which of these requests; on every one when left out."""


CAPACITY = (
    "There are no longer any instances available with the requested specifications. Please refresh and try again."
)

PRESETS: dict[str, What] = {
    "capacity": What(status=400, body={"title": "Bad Request", "status": 400, "detail": CAPACITY}),
    "balance": What(status=402),
    "forbidden": What(status=403, body={"title": "Forbidden", "status": 403, "detail": "access denied"}),
    "cloudflare": What(status=403, body="error code: 1010"),
    "rate-limit": What(
        status=429,
        headers={"Retry-After": "1", "RateLimit": '"minute";r=0;t=1'},
        body={"title": "Too Many Requests", "status": 429, "detail": "rate limit exceeded for the minute window"},
    ),
    "small-quota": What(quirks=Quirks(minute_quota=10)),
    "error-before": What(status=500),
    "error-after": What(status=500, at="after"),
    "reset-before": What(drop="before"),
    "reset-after": What(drop="after"),
    "gone": What(status=410, headers={"Sunset": "Sun, 15 Nov 2026 00:00:00 GMT"}),
    "late-create": What(delay_s=5, drop="after"),
    "locked": What(quirks=Quirks(locked=True)),
    "odd-shape": What(quirks=Quirks(odd_shape=True)),
    "own-key-refused": What(quirks=Quirks(refuse_own_key=True)),
    "html": What(status=502, body="<html><body><h1>502 Bad Gateway</h1></body></html>"),
    "list-lag": What(quirks=Quirks(list_lag_s=5)),
    "delete-lag": What(quirks=Quirks(delete_lag_s=5)),
    "no-gpu": What(quirks=Quirks(gpu_count=0)),
    "dear": What(quirks=Quirks(cost_factor=3)),
    "slow-pull": What(quirks=Quirks(provision_s=60)),
    "stuck": What(quirks=Quirks(provision_s=1e9)),
    "pod-error": What(quirks=Quirks(cannot_start=True)),
    "crash-loop": What(quirks=Quirks(crash_loop=True)),
    "small-memory": What(quirks=Quirks(memory_mb=2000)),
    "zero-uptime": What(quirks=Quirks(zero_uptime=True)),
    "unknown-status": What(quirks=Quirks(pod_status="MIGRATING")),
    "empty-runtime": What(quirks=Quirks(empty_runtime=True)),
    "cut-stream": What(quirks=Quirks(cut_stream_after=3)),
    "orphan-pod": What(quirks=Quirks(orphan_pod=True)),
    "broken-bootstrap": What(quirks=Quirks(broken_bootstrap=True)),
    "other-account": What(quirks=Quirks(other_account=True)),
    "accepted-late": What(quirks=Quirks(only_accepted="late")),
    "accepted-never": What(quirks=Quirks(only_accepted="never")),
    "metrics-405": What(status=405, body={"error": "Method Not Allowed"}),
    "metrics-lost": What(status=200, body={"success": True, "count": 1}),
    "alert-without-effect": What(quirks=Quirks(job_untouched=True)),
    "cancel-refused": What(status=500, body={"success": False, "error": "Failed to terminate RunPod pod"}),
    "key-hidden": What(status=401, body={"error": "Missing authorization"}),
    "alert-lost": What(status=200, body={"success": True}),
}


def rules_schema() -> dict[str, Any]:
    """The JSON Schema of a file of rules."""
    schema = msgspec.json.schema(tuple[Rule, ...])
    # Any text would pass otherwise, and an editor would have nothing to complete.
    names = {"enum": sorted(PRESETS), "description": "A fault by its name."}
    what = schema["$defs"]["Rule"]["properties"]["what"]["anyOf"]
    what[:] = [names if option == {"type": "string"} else option for option in what]
    describe(schema["$defs"], (Rule, When, What, Quirks))
    title = "Faults of the embedded cloud"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **schema}


QUIRKS: web.RequestKey[Quirks] = web.RequestKey("quirks", Quirks)


def quirks_of(request: web.Request) -> Quirks:
    """The misbehaviour wanted from the handler of this request."""
    return request[QUIRKS] if QUIRKS in request else Quirks()


def parse_rules(data: object) -> tuple[Rule, ...]:
    """Read rules from decoded YAML or JSON.

    Raises:
        SpecError: a rule is malformed or names an unknown preset.
    """
    try:
        rules = msgspec.convert(data or [], type=tuple[Rule, ...])
        for rule in rules:
            _Armed(rule)
    except (msgspec.ValidationError, ValueError) as exc:
        problem = Diagnostic("faults.bad-rule", f"the fault rules are wrong: {exc}")
        raise SpecError([problem]) from exc
    return rules


class _Armed:
    """A rule with its pattern compiled and its occasions counted."""

    def __init__(self, rule: Rule) -> None:
        parts = rule.where.split()
        if len(parts) != 3:
            raise ValueError(f"`where: {rule.where}` is not `SERVER METHOD PATH`")
        self.server, self.method, path = parts
        if self.server not in ("runpod", "lab", "*"):
            raise ValueError(f"`{self.server}` in `where` is not `runpod`, `lab` or `*`")
        self._path = re.compile("/".join(map(_segment_pattern, path.split("/"))))
        self.what = _preset(rule.what) if isinstance(rule.what, str) else rule.what
        self._when = rule.when
        self._random = random.Random(rule.when.seed)  # noqa: S311  repeatable, not secret
        self._met = 0
        self._fired = 0

    def matches(self, server: Server, request: web.Request) -> bool:
        return (
            self.server in (server, "*")
            and self.method in (request.method, "*")
            and self._path.fullmatch(request.path) is not None
        )

    @property
    def wanted_text(self) -> str:
        return self._when.contains

    def fires(self) -> bool:
        """Count one matching request and say whether this is an occasion."""
        self._met += 1
        due = self._met >= self._when.nth and (self._when.times is None or self._fired < self._when.times)
        if not due or self._random.random() >= self._when.probability:
            return False
        self._fired += 1
        return True


def _segment_pattern(segment: str) -> str:
    if segment == "**":
        return ".*"
    return "[^/]+" if segment == "*" or re.fullmatch(r"\{\w+\}", segment) else re.escape(segment)


def _preset(name: str) -> What:
    if name not in PRESETS:
        raise ValueError(f"unknown fault `{name}`; {did_you_mean(name, PRESETS) or 'known: ' + ', '.join(PRESETS)}")
    return PRESETS[name]


class FaultPlan:
    """The rules of one embedded cloud, with their counters."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._armed = [_Armed(rule) for rule in rules]

    def add(self, *rules: Rule) -> None:
        """Arm more rules while the servers run."""
        self._armed += [_Armed(rule) for rule in rules]

    def clear(self) -> None:
        """Disarm every rule."""
        self._armed.clear()

    async def choose(self, server: Server, request: web.Request) -> What | None:
        """The first rule that fires; every matching rule counts the request."""
        chosen: What | None = None
        for armed in self._armed:
            if not armed.matches(server, request):
                continue
            if armed.wanted_text and armed.wanted_text not in await _text_of(request):
                continue
            if armed.fires() and chosen is None:
                chosen = armed.what
        return chosen


async def _text_of(request: web.Request) -> str:
    return f"{request.path_qs}\n" + (await _body_of(request)).decode("utf-8", "replace")


async def _body_of(request: web.Request) -> bytes:
    """The body, kept for the handler. An upload can be read only once, and is left to its handler."""
    return b"" if request.content_type.startswith("multipart/") else await request.read()


def fault_middleware(plan: FaultPlan, server: Server, clock: Clock) -> Any:
    """An aiohttp middleware that lets the rules of `plan` act on the requests of `server`."""

    @web.middleware
    async def act(request: web.Request, handler: Handler) -> web.StreamResponse:
        what = await plan.choose(server, request)
        if what is None:
            return await handler(request)
        request[QUIRKS] = what.quirks
        if what.delay_s:
            # Read first: when the client gives up meanwhile, the request must still have its effect.
            await _body_of(request)
            await clock.sleep(what.delay_s)
        if what.drop == "before":
            return _cut(request)
        if what.status is not None and what.at == "before":
            return _answer(server, what.status, what)
        response = await handler(request)
        if what.drop == "after":
            return _cut(request)
        return response if what.status is None else _answer(server, what.status, what)

    return act


def _cut(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        cast("Any", request.transport).abort()
    # Nobody can receive it any more.
    return web.Response()


def _answer(server: Server, status: int, what: What) -> web.Response:
    if isinstance(what.body, str):
        kind = "text/html" if what.body.startswith("<") else "text/plain"
        return web.Response(status=status, text=what.body, headers=what.headers, content_type=kind)
    problem = server == "runpod" and status >= 400
    body = what.body
    if body is None and problem:
        body = {"title": "Error", "status": status, "detail": "injected fault"}
    elif body is None:
        body = {"error": "Injected fault"}
    kind = "application/problem+json" if problem else "application/json"
    return json_response(body, status=status, headers=what.headers, content_type=kind)
