"""The embedded RunPod: REST v2 for pods, logs, catalog and billing, the balance by GraphQL, 410 on v1.

Source: RunPod contract and OpenAPI v2 document, read 2026-11.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from runner.local import runpod_query
from runner.local.clock import Clock
from runner.local.faults import CAPACITY, FaultPlan, Quirks, fault_middleware, quirks_of
from runner.local.gpus import GPU_BY_ID
from runner.local.lifecycle import ACTIONS, DATA_CENTER, Pod, PodHost, PodRequest, PodStatus
from runner.local.runpod_billing import billing_for_pods, billing_in_all, billing_of_nothing
from runner.local.runpod_body import BadBody, read_pod_changes, read_pod_request
from runner.local.runpod_catalog import CPU_TYPES, cpu_item, data_center_item, gpu_item, is_wanted, stock_wanted
from runner.local.runpod_edge import (
    CALLER,
    DEFAULT_WINDOWS,
    EDGE,
    Caller,
    Edge,
    Keys,
    Problem,
    RateLimit,
    admit_callers,
    answer_problems,
    put_headers,
    read_object,
    refuse_anonymous_programs,
    require_account,
)
from runner.local.runpod_logs import LogStreams
from runner.local.runpod_pages import PAGING, paged
from runner.local.runpod_query import check_query
from runner.local.runpod_render import pod_document
from runner.local.runpod_shelf import Shelf
from runner.local.web_kit import Handler, json_response, refuse_foreign_hosts

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
        self._shelf = Shelf(clock, registries_in_use=self._registries_in_use)

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
            ("GET", "/v2/catalog/cpus", self.list_cpus),
            ("GET", "/v2/catalog/cpus/{id}", self.get_cpu),
            ("GET", "/v2/catalog/datacenters", self.list_data_centers),
            ("GET", "/v2/catalog/datacenters/{id}", self.get_data_center),
            ("GET", "/v2/catalog/templates", self.list_catalog_templates),
            ("GET", "/v2/billing", self.billing_in_all),
            ("GET", "/v2/billing/{kind:serverless|endpoints|network-volumes|clusters}", self.billing_of_nothing),
            *self._shelf.routes(),
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
        require_account(request)
        with _as_problem():
            wish = read_pod_request(self._shelf.expanded(await read_object(request)), volumes=self._shelf.volumes)
            self._check_registry(wish)
        quirks = quirks_of(request)
        usd_h = self._price(wish) * quirks.cost_factor
        if self._balance() < usd_h:
            raise Problem(402, "insufficient balance to deploy this pod")
        if quirks.crash_loop:
            wish = replace(wish, argv=("false",))
        pod = self._host.create(
            wish,
            usd_h=usd_h,
            env=lambda pod_id: self._account_env(pod_id, wish),
            provision_s=quirks.provision_s,
            cannot_start=quirks.cannot_start,
            memory_mb=quirks.memory_mb,
        )
        pod.locked = quirks.locked
        return json_response(self._document(pod, quirks), status=201)

    async def list_pods(self, request: web.Request) -> web.Response:
        check_query(request, {**runpod_query.PODS, **PAGING})
        caller, quirks = request[CALLER], quirks_of(request)
        pods = self._listed(quirks)
        if not caller.is_account:
            pods = [pod for pod in pods if pod.id == caller.pod_id]
        page, pagination = paged(pods, request.query, key=lambda pod: f"{pod.number:012d}")
        return json_response({"pods": [self._document(pod, quirks) for pod in page], "pagination": pagination})

    async def get_pod(self, request: web.Request) -> web.Response:
        return json_response(self._document(self._pod(request), quirks_of(request)))

    async def patch_pod(self, request: web.Request) -> web.Response:
        """Change a pod; what concerns its container restarts it, as on the real platform."""
        require_account(request)
        pod, body = self._pod(request), self._shelf.expanded(await read_object(request), is_change=True)
        if pod.status is PodStatus.TERMINATED:
            raise Problem(404, "pod not found")
        with _as_problem():
            changed = read_pod_changes(body, pod.request)
        if "registry" in body:
            self._check_registry(changed)
        self._host.edit(pod, changed, locked=body.get("locked"))
        return json_response(self._document(pod, quirks_of(request)))

    async def delete_pod(self, request: web.Request) -> web.Response:
        self._terminate(request, self._pod(request))
        return web.Response(status=204)

    async def act(self, request: web.Request) -> web.Response:
        pod, body = self._pod(request), await read_object(request)
        action = body.get("action")
        if set(body) != {"action"} or action not in ("start", "stop", "restart", "terminate"):
            errors = ["$.action: value must be one of 'start', 'stop', 'restart', 'terminate'"]
            raise Problem(422, "Request validation failed.", errors=errors)
        if action == "terminate":
            self._terminate(request, pod)
            return web.Response(status=204)
        require_account(request)
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
        check_query(request, runpod_query.GPUS)
        stock, offered = stock_wanted(request.query), self._settings.offered
        gpus = [] if stock is not None and not stock.is_here else GPU_BY_ID.values()
        return json_response({"gpus": [gpu_item(gpu, offered=offered, stock=stock) for gpu in gpus]})

    async def get_gpu(self, request: web.Request) -> web.Response:
        check_query(request, runpod_query.GPUS)
        gpu = GPU_BY_ID.get(request.match_info["id"])
        if gpu is None:
            raise Problem(404, "resource not found")
        return json_response(gpu_item(gpu, offered=self._settings.offered, stock=stock_wanted(request.query)))

    async def list_cpus(self, request: web.Request) -> web.Response:
        check_query(request, runpod_query.CPUS)
        with_stock = stock_wanted(request.query) is not None
        return json_response({"cpus": [cpu_item(cpu, with_stock=with_stock) for cpu in CPU_TYPES.values()]})

    async def get_cpu(self, request: web.Request) -> web.Response:
        check_query(request, runpod_query.CPUS)
        cpu = CPU_TYPES.get(request.match_info["id"])
        if cpu is None:
            raise Problem(404, "resource not found")
        return json_response(cpu_item(cpu, with_stock=stock_wanted(request.query) is not None))

    async def list_data_centers(self, request: web.Request) -> web.Response:
        check_query(request, runpod_query.DATA_CENTERS)
        item = data_center_item(_included(request), offered=self._settings.offered)
        return json_response({"dataCenters": [item] if is_wanted(item, request.query) else []})

    async def get_data_center(self, request: web.Request) -> web.Response:
        check_query(request, runpod_query.DATA_CENTER)
        if request.match_info["id"] != DATA_CENTER:
            raise Problem(404, "resource not found")
        return json_response(data_center_item(_included(request), offered=self._settings.offered))

    async def list_catalog_templates(self, request: web.Request) -> web.Response:
        """RunPod's own templates name images that cannot run here, so there are none."""
        check_query(request, runpod_query.CATALOG_TEMPLATES)
        return json_response({"templates": []})

    async def billing_in_all(self, request: web.Request) -> web.Response:
        require_account(request)
        check_query(request, runpod_query.BILLING)
        pods = [*self._host.ended, *self._host.pods()]
        return json_response(billing_in_all(pods, request.query, self._clock.now()))

    async def billing_of_nothing(self, request: web.Request) -> web.Response:
        """What this account has none of: serverless, endpoints, clusters; volumes are free here."""
        require_account(request)
        check_query(request, runpod_query.BILLING)
        return json_response(billing_of_nothing(request.match_info["kind"], request.query, self._clock.now()))

    async def billing(self, request: web.Request) -> web.Response:
        require_account(request)
        check_query(request, {**runpod_query.BILLING, "podId": runpod_query.text})
        pods = [*self._host.ended, *self._host.pods()]
        return json_response(billing_for_pods(pods, request.query, self._clock.now()))

    async def graphql(self, request: web.Request) -> web.Response:
        """The balance, which REST does not have, and the older way to end a pod."""
        body = await read_object(request)
        query = str(body.get("query", ""))
        token = request.headers.get("Authorization", "").removeprefix("Bearer ") or request.query.get("api_key")
        if not token:
            return json_response({"data": {"myself": None}})
        caller = self._keys.caller(token)
        if caller is None:
            return json_response({"errors": [{"message": "Unauthorized"}]}, status=401)
        if "podTerminate" in query:
            return self._terminate_by_graphql(caller, query, body.get("variables"), quirks_of(request))
        if not caller.is_account or not re.search(r"\bmyself\b", query):
            return _graphql_error("not served here", "INTERNAL_SERVER_ERROR" if caller.is_account else "UNAUTHORIZED")
        hourly = sum(pod.cost_usd_h for pod in self._host.pods())
        known = {
            "id": "local", "clientBalance": round(self._balance(), 6), "currentSpendPerHr": hourly, "spendLimit": 80,
        }  # fmt: skip
        return json_response({"data": {"myself": {key: known[key] for key in known if key in query}}})

    def _terminate_by_graphql(self, caller: Caller, query: str, variables: object, quirks: Quirks) -> web.Response:
        written = re.search(r'podId:\s*"([^"]+)"', query)
        given = variables.get("podId") if isinstance(variables, dict) else None
        pod = self._host.get(written[1] if written else str(given))
        if not caller.is_account and (quirks.refuse_own_key or pod is None or caller.pod_id != pod.id):
            return _graphql_error("Unauthorized", "UNAUTHORIZED", path="podTerminate")
        if pod is None or pod.status is PodStatus.TERMINATED:
            return _graphql_error("pod not found to terminate", "POD_NOT_FOUND", path="podTerminate")
        self._host.terminate(pod)
        return json_response({"data": {"podTerminate": None}})

    async def retired(self, _: web.Request) -> web.Response:
        body = {"error": "REST API v1 has been retired; use https://api.runpod.io/v2", "status": 410}
        return json_response(body, status=410, headers={"Sunset": V1_SUNSET})

    def _registries_in_use(self) -> set[str]:
        return {pod.request.registry for pod in self._host.pods() if pod.request.registry and not pod.is_ended}

    def _check_registry(self, wish: PodRequest) -> None:
        if wish.registry and wish.registry not in self._shelf.registries:
            raise Problem(404, "resource not found")

    def _price(self, wish: PodRequest) -> float:
        """USD an hour of the whole pod; refuses what is not in stock, in the words used for a lack of machines."""
        if wish.gpu is None:
            return CPU_TYPES[wish.cpu_flavour or ""].usd_h * wish.vcpu_count
        each = wish.gpu.price_usd_h(wish.cloud)
        if each is None or wish.gpu_count > wish.gpu.max_count(wish.cloud) or not self._settings.offered(wish.gpu.id):
            raise Problem(400, CAPACITY)
        return round(each * wish.gpu_count, 6)

    def _balance(self) -> float:
        now = self._clock.now()
        spent = sum(pod.spent_usd(now) for pod in [*self._host.ended, *self._host.pods()])
        return self._settings.balance_usd - spent

    def _account_env(self, pod_id: str, wish: PodRequest) -> Mapping[str, str]:
        # The platform's own variable beats one of that name in the request.
        env = {"RUNPOD_API_KEY": self._keys.for_pod(pod_id), "RUNSPEC_RUNPOD_URL": self._base_url()}
        if wish.start_ssh and self._shelf.ssh_keys and "PUBLIC_KEY" not in wish.env:
            env["PUBLIC_KEY"] = "\n".join(self._shelf.ssh_keys)
        if wish.start_jupyter and "JUPYTER_PASSWORD" not in wish.env:
            env["JUPYTER_PASSWORD"] = secrets.token_urlsafe(16)
        return env

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
        if pod.locked:
            raise Problem(409, "the pod is locked")
        self._host.terminate(pod)


@contextmanager
def _as_problem() -> Iterator[None]:
    try:
        yield
    except BadBody as exc:
        raise Problem(exc.status, exc.detail, errors=exc.errors) from exc


def _graphql_error(message: str, code: str, *, path: str | None = None) -> web.Response:
    """GraphQL answers 200 to everything."""
    where: dict[str, Any] = {} if path is None else {"path": [path]}
    body: dict[str, Any] = {"errors": [{"message": message, **where, "extensions": {"code": code}}]}
    return json_response(body if path is None else {**body, "data": {path: None}})


def _included(request: web.Request) -> frozenset[str]:
    return frozenset(request.query.get("include", "").split(","))
