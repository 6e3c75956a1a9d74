"""The embedded RunPod: REST v2 for pods, logs, catalog and billing, the balance by GraphQL, 410 on v1.

Source: RunPod contract and OpenAPI v2 document, read 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from aiohttp import web

from runner.local.clock import Clock
from runner.local.faults import CAPACITY, FaultPlan, Quirks, fault_middleware, quirks_of
from runner.local.gpus import GPU_BY_ID
from runner.local.lifecycle import ACTIONS, Pod, PodHost, PodRequest, PodStatus
from runner.local.runpod_body import BadBody, read_pod_request
from runner.local.runpod_catalog import billing_for_pods, gpu_item
from runner.local.runpod_edge import (
    CALLER,
    DEFAULT_WINDOWS,
    EDGE,
    Edge,
    Keys,
    Problem,
    RateLimit,
    admit_callers,
    answer_problems,
    put_headers,
    refuse_anonymous_programs,
)
from runner.local.runpod_logs import LogStreams
from runner.local.runpod_render import pod_document
from runner.local.web_kit import JSON_ERRORS, Handler, json_response, refuse_foreign_hosts

CPU_USD_H_PER_VCPU = 0.035
MAX_PAGE = 1000
V1_SUNSET = "Sun, 15 Nov 2026 00:00:00 GMT"


@dataclass(frozen=True)
class RunPodSettings:
    """What an account of the embedded RunPod is like."""

    balance_usd: float = 1000.0
    windows: tuple[tuple[str, int, int], ...] = DEFAULT_WINDOWS
    offered: Callable[[str], bool] = lambda _gpu_id: True
    """False for a GPU type that is out of stock."""


def runpod_app(
    host: PodHost,
    keys: Keys,
    clock: Clock,
    *,
    base_url: Callable[[], str],
    settings: RunPodSettings = RunPodSettings(),  # frozen
    faults: FaultPlan | None = None,
) -> web.Application:
    """The server as an aiohttp application; `base_url` is asked late, when the port is known."""
    acting = [fault_middleware(faults, "runpod", clock)] if faults is not None else []
    app = web.Application(
        middlewares=[
            refuse_foreign_hosts,
            answer_problems,
            refuse_anonymous_programs,
            *acting,
            admit_callers,
        ],
        client_max_size=1024**2,
    )
    app[EDGE] = Edge(keys, RateLimit(settings.windows), clock)
    app.on_response_prepare.append(put_headers)
    api = RunPodApi(host, keys, clock, settings, base_url)
    app.on_shutdown.append(api.hang_up)
    app.add_routes(api.routes())
    return app


class RunPodApi:
    """Handlers over one `PodHost`."""

    def __init__(
        self,
        host: PodHost,
        keys: Keys,
        clock: Clock,
        settings: RunPodSettings,
        base_url: Callable[[], str],
    ) -> None:
        self._host = host
        self._keys = keys
        self._clock = clock
        self._settings = settings
        self._base_url = base_url
        self._streams = LogStreams()

    def routes(self) -> list[web.RouteDef]:
        table: list[tuple[str, str, Handler]] = [
            ("POST", "/v2/pods", self.create_pod),
            ("GET", "/v2/pods", self.list_pods),
            ("GET", "/v2/pods/{id}", self.get_pod),
            ("PATCH", "/v2/pods/{id}", self.patch_pod),
            ("DELETE", "/v2/pods/{id}", self.delete_pod),
            ("POST", "/v2/pods/{id}/action", self.act),
            ("GET", "/v2/pods/{id}/logs", self.stream_logs),
            ("GET", "/v2/catalog/gpus", self.list_gpus),
            ("GET", "/v2/catalog/gpus/{id}", self.get_gpu),
            ("GET", "/v2/billing/pods", self.billing),
            ("POST", "/graphql", self.graphql),
            ("*", "/v1/{rest:.*}", self.retired),
        ]
        # `runpod_url` ends in /v2, like the vendor's documented base; a client that appends the document's own paths
        # to it asks for /v2/v2/…, and is understood.
        doubled = [(method, f"/v2{path}", handler) for method, path, handler in table if path != "/v1/{rest:.*}"]
        return [
            web.route(method, path, handler, **({"allow_head": False} if method == "GET" else {}))
            for method, path, handler in [*table, *doubled]
        ]

    async def hang_up(self, _: web.Application) -> None:
        """End every open log stream, so that the server can close."""
        self._streams.close()

    async def create_pod(self, request: web.Request) -> web.Response:
        _require_account(request)
        wish = await _read_wish(request)
        quirks = quirks_of(request)
        usd_h = self._price(wish) * quirks.cost_factor
        if self._balance() < usd_h:
            raise Problem(402, "insufficient balance to deploy this pod")
        if quirks.crash_loop:
            wish = replace(wish, argv=("false",))
        pod = self._host.create(
            wish, usd_h=usd_h, env=self._own_key, provision_s=quirks.provision_s, cannot_start=quirks.cannot_start
        )
        return json_response(self._document(pod, quirks), status=201)

    async def list_pods(self, request: web.Request) -> web.Response:
        caller, quirks = request[CALLER], quirks_of(request)
        pods = self._listed(quirks)
        if not caller.is_account:
            pods = [pod for pod in pods if pod.id == caller.pod_id]
        page, next_cursor = _page(pods, request)
        return json_response(
            {
                "pods": [self._document(pod, quirks) for pod in page],
                "pagination": {"nextCursor": next_cursor, "hasNextPage": next_cursor is not None},
            }
        )

    async def get_pod(self, request: web.Request) -> web.Response:
        return json_response(self._document(self._pod(request), quirks_of(request)))

    async def patch_pod(self, request: web.Request) -> web.Response:
        """Only `name` and `locked` can be changed here: an image cannot be swapped under a local process."""
        _require_account(request)
        pod, body = self._pod(request), await _read_object(request)
        unknown = sorted(set(body) - {"name", "locked"})
        errors = [f"$: additional properties '{key}' not allowed" for key in unknown]
        if not isinstance(body.get("name", "x"), str) or not body.get("name", "x"):
            errors.append("$.name: want a string of at least 1 character")
        if not isinstance(body.get("locked", False), bool):
            errors.append("$.locked: want boolean")
        if errors:
            raise Problem(422, "Request validation failed.", errors=errors)
        self._host.edit(pod, name=body.get("name"), locked=body.get("locked"))
        return json_response(self._document(pod, quirks_of(request)))

    async def delete_pod(self, request: web.Request) -> web.Response:
        self._terminate(request, self._pod(request))
        return web.Response(status=204)

    async def act(self, request: web.Request) -> web.Response:
        pod, body = self._pod(request), await _read_object(request)
        action = body.get("action")
        if set(body) != {"action"} or action not in ("start", "stop", "restart", "terminate"):
            errors = ["$.action: value must be one of 'start', 'stop', 'restart', 'terminate'"]
            raise Problem(422, "Request validation failed.", errors=errors)
        if action == "terminate":
            self._terminate(request, pod)
            return web.Response(status=204)
        _require_account(request)
        if action not in ACTIONS[pod.status] or (pod.locked and action == "stop"):
            raise Problem(409, f"action '{action}' is not valid for a pod in status {pod.status}")
        if action == "stop":
            self._host.stop(pod)
        elif action == "start":
            self._host.start(pod)
        else:
            self._host.restart(pod)
        return json_response(self._document(pod, quirks_of(request)))

    async def stream_logs(self, request: web.Request) -> web.StreamResponse:
        pod = self._pod(request)
        return await self._streams.serve(request, pod.log, cut_after=quirks_of(request).cut_stream_after)

    async def list_gpus(self, request: web.Request) -> web.Response:
        with_stock = _wants_availability(request)
        gpus = [gpu_item(gpu, offered=self._settings.offered, with_stock=with_stock) for gpu in GPU_BY_ID.values()]
        return json_response({"gpus": gpus})

    async def get_gpu(self, request: web.Request) -> web.Response:
        gpu = GPU_BY_ID.get(request.match_info["id"])
        if gpu is None:
            raise Problem(404, "resource not found")
        with_stock = _wants_availability(request)
        return json_response(gpu_item(gpu, offered=self._settings.offered, with_stock=with_stock))

    async def billing(self, request: web.Request) -> web.Response:
        _require_account(request)
        pods = [*self._host.ended, *self._host.pods()]
        return json_response(billing_for_pods(pods, request.query, self._clock.now()))

    async def graphql(self, request: web.Request) -> web.Response:
        """The one query that REST does not have: the balance."""
        query = str((await _read_object(request)).get("query", ""))
        token = request.headers.get("Authorization", "").removeprefix("Bearer ") or request.query.get("api_key")
        if not token:
            return json_response({"data": {"myself": None}})
        caller = self._keys.caller(token)
        if caller is None:
            return json_response({"errors": [{"message": "Unauthorized"}]}, status=401)
        if not caller.is_account or not re.search(r"\bmyself\b", query):
            code = "UNAUTHORIZED" if not caller.is_account else "INTERNAL_SERVER_ERROR"
            return json_response({"errors": [{"message": "not served here", "extensions": {"code": code}}]})
        hourly = sum(pod.cost_usd_h for pod in self._host.pods())
        known = {
            "id": "local", "clientBalance": round(self._balance(), 6), "currentSpendPerHr": hourly, "spendLimit": 80,
        }  # fmt: skip
        return json_response({"data": {"myself": {key: known[key] for key in known if key in query}}})

    async def retired(self, _: web.Request) -> web.Response:
        body = {"error": "REST API v1 has been retired; use https://api.runpod.io/v2", "status": 410}
        return json_response(body, status=410, headers={"Sunset": V1_SUNSET})

    def _price(self, wish: PodRequest) -> float:
        """USD an hour of the whole pod; refuses what is not in stock, in the words used for a lack of machines."""
        if wish.gpu is None:
            return CPU_USD_H_PER_VCPU * wish.vcpu_count
        each = wish.gpu.price_usd_h(wish.cloud)
        if each is None or not self._settings.offered(wish.gpu.id):
            raise Problem(400, CAPACITY)
        return round(each * wish.gpu_count, 6)

    def _balance(self) -> float:
        now = self._clock.now()
        spent = sum(pod.spent_usd(now) for pod in [*self._host.ended, *self._host.pods()])
        return self._settings.balance_usd - spent

    def _own_key(self, pod_id: str) -> Mapping[str, str]:
        # The platform's own variable beats one of that name in the request.
        return {"RUNPOD_API_KEY": self._keys.for_pod(pod_id), "RUNSPEC_RUNPOD_URL": self._base_url()}

    def _listed(self, quirks: Quirks) -> list[Pod]:
        now = self._clock.now()
        lag, linger = quirks.list_lag_s, quirks.delete_lag_s
        pods = [pod for pod in self._host.pods() if (now - pod.created_at).total_seconds() >= lag]
        if linger:
            recent = [p for p in self._host.ended if p.paid[-1].end and (now - p.paid[-1].end).total_seconds() < linger]
            pods = [*recent, *pods]
        return pods

    def _document(self, pod: Pod, quirks: Quirks) -> dict[str, Any]:
        return pod_document(pod, self._clock.now(), port=self._host.public_port, quirks=quirks)

    def _pod(self, request: web.Request) -> Pod:
        pod = self._host.get(request.match_info["id"])
        caller = request[CALLER]
        if not caller.is_account and caller.pod_id != request.match_info["id"]:
            raise Problem(403, "access denied")
        if pod is None:
            raise Problem(404, "pod not found")
        return pod

    def _terminate(self, request: web.Request, pod: Pod) -> None:
        if quirks_of(request).refuse_own_key and not request[CALLER].is_account:
            raise Problem(403, "access denied")
        if pod.status is PodStatus.TERMINATED:
            raise Problem(404, "pod not found")
        self._host.terminate(pod)


def _require_account(request: web.Request) -> None:
    if not request[CALLER].is_account:
        raise Problem(403, "access denied")


async def _read_wish(request: web.Request) -> PodRequest:
    try:
        return read_pod_request(await _read_object(request))
    except BadBody as exc:
        raise Problem(exc.status, exc.detail, errors=exc.errors) from exc


async def _read_object(request: web.Request) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(await request.read())
    except JSON_ERRORS as exc:
        raise Problem(400, "request body is not valid JSON") from exc
    if not isinstance(body, dict):
        raise Problem(422, "Request validation failed.", errors=["$: want object"])
    return body


def _wants_availability(request: web.Request) -> bool:
    wanted = "AVAILABILITY" in request.query.get("include", "").split(",")
    if wanted != ("product" in request.query):
        raise Problem(400, "include=AVAILABILITY and product must be given together")
    return wanted


def _page(pods: list[Pod], request: web.Request) -> tuple[list[Pod], str | None]:
    try:
        limit = int(request.query.get("limit", MAX_PAGE))
    except ValueError:
        limit = 0
    if not 1 <= limit <= MAX_PAGE:
        errors = [f"$.limit: want an integer from 1 to {MAX_PAGE}"]
        raise Problem(422, "Request validation failed.", errors=errors)
    cursor, start = request.query.get("cursor"), 0
    if cursor:
        # A pod may be gone when its cursor comes back, so the cursor is its place in the order of creation.
        start = next((i for i, pod in enumerate(pods) if _cursor(pod) > cursor), len(pods))
    page = pods[start : start + limit]
    return page, _cursor(page[-1]) if start + limit < len(pods) else None


def _cursor(pod: Pod) -> str:
    return f"{pod.number:012d}"
