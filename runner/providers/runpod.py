"""RunPod REST v2 as a `PodCloud`.

Source: RunPod contract §1.1-1.4, §3 and §7, from the v2 OpenAPI document, docs and public reports, read 2026-11.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from runner.errors import ProviderError
from runner.ports import Clock, PodCloud, PodRequest
from runner.ports import ProviderErrorKind as Kind
from runner.providers.clock import SystemClock
from runner.providers.faults import Call, json_body
from runner.providers.http import Host
from runner.providers.readers import ShapeError, items, mapping, maybe_mapping, number, text, whole
from runner.providers.runpod_wire import (
    create_body,
    next_cursor,
    read_log_event,
    read_offer,
    read_pod,
)
from runner.providers.sse import SseParser
from runner.results import GpuOffer, LogLine, Pod

CREATE_S = 180.0
TERMINATE_FOR_S = 60.0
LOG_IDLE_S = 90.0
PATIENCE_S = 60.0
MAX_PAGES = 100
# The most that the server keeps and the most that it gives out at once.
LOG_TAIL = 5000
_REMEMBERED_IDS = 4096
_WORTH_ANOTHER_WAY = (Kind.CONFLICT, Kind.TRANSIENT, Kind.PROTOCOL, Kind.UNSUPPORTED)
_TERMINATE = "mutation Terminate($podId: String!) { podTerminate(input: {podId: $podId}) }"
_BALANCE = json_body({"query": "query { myself { clientBalance } }"})


class RunPod:
    """Pods at RunPod; every method raises `ProviderError` and nothing else.

    Args:
        host: opened on the REST base URL, such as `https://api.runpod.io/v2`.
        key: sent as `Authorization: Bearer`.
        graphql: opened on the GraphQL URL, for the balance only; None when there is none.
        log_idle_s: seconds of silence after which a log stream ends.
        patience_s: seconds within which a read that failed is tried again.
    """

    def __init__(
        self,
        host: Host,
        *,
        key: str,
        graphql: Host | None = None,
        clock: Clock | None = None,
        log_idle_s: float = LOG_IDLE_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._host = host
        self._auth = {"Authorization": f"Bearer {key}"}
        self._graphql = graphql
        self._clock = clock or SystemClock()
        self._log_idle_s = log_idle_s
        self._patience_s = patience_s
        self._command_in = "cmd"

    async def create_pod(self, request: PodRequest) -> Pod:
        """Create one pod, which is billed from now on.

        Sent once. Only a 422, which refuses the whole request, is answered with a second one: older servers do not
        know `cmd` and want the command as JSON in `args`.

        Raises:
            ProviderError: `capacity` (also when the pool is not open to the account), `balance`, `validation`,
                `rate-limited`; `ambiguous` after a timeout, a broken connection, a 5xx or an unreadable success.
        """
        try:
            return await self._create(request, self._command_in)
        except ProviderError as refused:
            if refused.status != 422 or not request.command or self._command_in != "cmd":
                raise
        pod = await self._create(request, "args")
        self._command_in = "args"
        return pod

    async def _create(self, request: PodRequest, command_in: str) -> Pod:
        call = Call(
            method="POST",
            path="/pods",
            headers=self._auth,
            body=json_body(create_body(request, command_in=command_in)),
            creates=True,
            total_s=CREATE_S,
            secrets=frozenset(request.env.values()),
        )
        return await self._host.fetch(call, read_pod)

    async def get_pod(self, pod_id: str) -> Pod:
        """One pod.

        Raises:
            ProviderError: `gone` on RunPod's own 404; a proxy's 404 page is `transient`.
        """
        return await self._host.fetch(self._get(f"/pods/{_segment(pod_id)}"), read_pod)

    async def list_pods(self) -> Sequence[Pod]:
        """All pods of the account, cluster members included, of all pages and in all states.

        Raises:
            ProviderError: also when a page or a pod cannot be read, since a part of the list would look like proof
                that the others are gone.
        """
        pods: dict[str, Pod] = {}
        seen: set[str] = set()
        cursor: str | None = None
        while True:
            params = {"includeClusterPods": "true", "limit": "1000"} | ({"cursor": cursor} if cursor else {})
            page, cursor = await self._host.fetch(self._get("/pods", params), lambda page: _page(page, seen))
            pods.update((pod.id, pod) for pod in page)
            if cursor is None:
                return tuple(pods.values())
            seen.add(cursor)

    async def address_of(self, pod_id: str, port: int) -> str:
        """Where an HTTP port of a running pod is reached from outside: RunPod's proxy, or what the pod itself says.

        Raises:
            ProviderError: `transient` while the pod does not say.
        """
        if (urlsplit(self._host.base_url).hostname or "").endswith("runpod.io"):
            return f"https://{_segment(pod_id)}-{port}.proxy.runpod.net"
        found = await self._host.fetch(self._get(f"/pods/{_segment(pod_id)}"), lambda answer: _address(answer, port))
        if found is None:
            raise ProviderError(f"pod {pod_id} does not say where its port {port} is", kind=Kind.TRANSIENT)
        return found

    async def terminate_pod(self, pod_id: str) -> None:
        """End one pod; also fine when RunPod says that there is none.

        When DELETE keeps failing, a lock is opened, then the `terminate` action and GraphQL are tried.

        Raises:
            ProviderError: `conflict` for a member of a cluster; what the `terminate` action met otherwise.
        """
        path = f"/pods/{_segment(pod_id)}"
        delete = Call(method="DELETE", path=path, headers=self._auth, urgent=True, retry_for_s=TERMINATE_FOR_S)
        try:
            await self._end(delete)
        except ProviderError as failed:
            if failed.kind not in _WORTH_ANOTHER_WAY:
                raise
            if failed.kind == Kind.CONFLICT:
                await self._unlock(path)
            await self._end_otherwise(path, pod_id)

    async def _unlock(self, path: str) -> None:
        """Open the lock of a pod, if that is what it resists by; whatever else it is, the next call says."""
        with suppress(ProviderError):
            await self._host.send(
                Call(
                    method="PATCH",
                    path=path,
                    headers=self._auth,
                    body=json_body({"locked": False}),
                    repeatable=True,
                    urgent=True,
                    attempts=2,
                )
            )

    async def _end_otherwise(self, path: str, pod_id: str) -> None:
        action = Call(
            method="POST",
            path=f"{path}/action",
            headers=self._auth,
            body=json_body({"action": "terminate"}),
            repeatable=True,
            urgent=True,
            retry_for_s=TERMINATE_FOR_S,
        )
        try:
            await self._end(action)
        except ProviderError as failed:
            if failed.kind not in _WORTH_ANOTHER_WAY or not await self._end_by_graphql(pod_id):
                raise

    async def _end_by_graphql(self, pod_id: str) -> bool:
        """The last way there is, until RunPod switches GraphQL off; whether it was accepted."""
        if self._graphql is None:
            return False
        call = Call(
            method="POST",
            path="",
            headers=self._auth,
            body=json_body({"query": _TERMINATE, "variables": {"podId": pod_id}}),
            repeatable=True,
            urgent=True,
            attempts=2,
            retry_for_s=10,
        )
        try:
            return await self._graphql.fetch(call, _read_terminated)
        except ProviderError:
            return False

    async def _end(self, call: Call) -> None:
        try:
            await self._host.send(call)
        except ProviderError as failed:
            if failed.kind != Kind.GONE:
                raise

    async def stream_logs(self, pod_id: str, *, after: str = "") -> AsyncIterator[Sequence[LogLine]]:
        """Log lines as they come, in batches, oldest first; an empty batch says that the stream is open.

        Lines that the server repeats under an id that was already seen are left out.

        Args:
            after: the cursor to go on from; without one, from the oldest of the last 5,000 lines.
        Raises:
            ProviderError: the stream could not be opened. A stream that is cut or idle just ends.
        """
        resuming = bool(after) and after.isprintable()
        headers = self._auth | ({"Last-Event-ID": after} if resuming else {})
        call = Call(
            method="GET",
            path=f"/pods/{_segment(pod_id)}/logs",
            params={} if resuming else {"tail": str(LOG_TAIL)},
            headers=headers | {"Accept": "text/event-stream", "Cache-Control": "no-cache"},
            total_s=self._log_idle_s,
        )
        seen = dict.fromkeys([after])
        parser = SseParser()
        async with self._host.stream(call, content_type="text/event-stream", idle_s=self._log_idle_s) as stream:
            yield []
            while chunk := await stream.next_chunk():
                batch = [line for line in self._lines(parser, chunk) if _is_new(line, seen)]
                if batch:
                    yield batch

    def _lines(self, parser: SseParser, chunk: bytes) -> list[LogLine]:
        now = self._clock.now()
        lines = (read_log_event(event, now=now) for event in parser.feed(chunk))
        return [self._without_secrets(line) for line in lines if line is not None]

    def _without_secrets(self, line: LogLine) -> LogLine:
        # The lab puts its own keys into every pod (T-25), and trainers print their environment.
        cleaned = self._host.clean_log_line(line.text)
        return line if cleaned == line.text else msgspec.structs.replace(line, text=cleaned)

    async def gpu_offers(self, *, cloud: str, count: int) -> Sequence[GpuOffer]:
        """GPU types with their price for one GPU and how likely `count` of them are to be had in `cloud`.

        Args:
            cloud: `secure` or `community`, in any case.
        """
        params = {"include": "AVAILABILITY", "product": "POD", "count": str(count), "cloud": cloud.upper()}
        return await self._host.fetch(
            self._get("/catalog/gpus", params),
            lambda answer: [read_offer(item, cloud=cloud.lower(), count=count) for item in items(answer, "gpus")],
        )

    async def balance(self) -> float | None:
        """Credit of the account in USD; None when it cannot be had, which stops nothing.

        Source: GraphQL, the only surface with a balance, which RunPod plans to switch off in early 2027.
        """
        if self._graphql is None:
            return None
        call = Call(
            method="POST", path="", headers=self._auth, body=_BALANCE, repeatable=True, attempts=2, retry_for_s=10
        )
        try:
            return await self._graphql.fetch(call, _read_balance)
        except ProviderError:
            return None

    def _get(self, path: str, params: dict[str, str] | None = None) -> Call:
        return Call(method="GET", path=path, params=params or {}, headers=self._auth, retry_for_s=self._patience_s)


def _segment(pod_id: str) -> str:
    # Dots too: `..` as an id must not climb.
    return quote(pod_id, safe="", errors="replace").replace(".", "%2E")


def _page(answer: Any, seen: set[str]) -> tuple[list[Pod], str | None]:
    cursor = next_cursor(answer)
    if cursor is not None and (cursor in seen or len(seen) >= MAX_PAGES):
        raise ShapeError("the listing never ends: its pages repeat or are too many")
    return [read_pod(item) for item in items(answer, "pods")], cursor


def _is_new(line: LogLine, seen: dict[str, None]) -> bool:
    # Only ids with a sequence number name one line: several lines may share a bare timestamp.
    if "/" not in line.cursor:
        return True
    if line.cursor in seen:
        return False
    seen[line.cursor] = None
    if len(seen) > _REMEMBERED_IDS:
        del seen[next(iter(seen))]
    return True


def _address(answer: Any, port: int) -> str | None:
    ports = maybe_mapping(mapping(answer, "a pod").get("runtime")).get("ports")
    for entry in ports if isinstance(ports, list) else []:
        source = maybe_mapping(entry)
        if whole(source.get("private")) == port:
            return f"http://{text(source.get('ip')) or '127.0.0.1'}:{whole(source.get('public'))}"
    return None


def _read_terminated(answer: Any) -> bool:
    """GraphQL answers 200 to everything; a pod that it cannot find is ended too."""
    said = mapping(answer, "the answer").get("errors")
    return not said or "pod not found" in str(said)


def _read_balance(answer: Any) -> float | None:
    data = maybe_mapping(mapping(answer, "the answer").get("data"))
    return number(maybe_mapping(data.get("myself")).get("clientBalance"))


_FITS: type[PodCloud] = RunPod  # for the type checker
