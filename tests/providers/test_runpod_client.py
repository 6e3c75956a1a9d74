from __future__ import annotations

import json
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest

from runner.errors import ProviderError
from runner.ports import PodCloud, PodRequest
from runner.ports import ProviderErrorKind as Kind
from runner.providers.connect import open_runpod
from runner.providers.settings import Settings

CAPACITY = (
    "There are no longer any instances available with the requested specifications. Please refresh and try again."
)
POD = {"id": "p1", "name": "n", "status": "RUNNING"}


@pytest.fixture
def open_cloud(wire, clock, settings_at):
    @asynccontextmanager
    async def opened(**more):
        async with open_runpod(settings_at(wire.url), clock=clock, jitter=lambda: 0.5, **more) as runpod:
            yield runpod

    return opened


@pytest.fixture
def request_for(env_secret):
    def make(**more):
        given = {
            "name": "runspec-1", "image": "img", "gpu": "NVIDIA RTX A4000", "gpu_count": 1, "cloud": "secure",
            "disk_gb": 40, "env": {"HF": env_secret}, "command": ["bash", "-c", "echo 'a b'"],
        }  # fmt: skip
        return PodRequest(**(given | more))

    return make


async def failure_of(awaitable):
    with pytest.raises(ProviderError) as caught:
        await awaitable
    return caught.value


async def test_create_sends_what_the_vendor_wants(open_cloud, wire, replying, request_for, env_secret):
    wire.will(replying(201, POD))
    async with open_cloud() as runpod:
        cloud: PodCloud = runpod
        pod = await cloud.create_pod(request_for(ports=["8080/http"]))
    assert pod.id == "p1"
    assert wire.seen[0].path == "/v2/pods"
    assert wire.seen[0].headers["authorization"].startswith("Bearer rpa_")
    assert wire.seen[0].json() == {
        "name": "runspec-1",
        "image": "img",
        "gpu": {"id": "NVIDIA RTX A4000", "count": 1},
        "cloud": "SECURE",
        "disk": 40,
        "env": {"HF": env_secret},
        "cmd": ["bash", "-c", "echo 'a b'"],
        "ports": ["8080/http"],
    }


async def test_command_goes_into_args_on_a_server_that_does_not_know_cmd(open_cloud, wire, replying, request_for):
    refusal = {"detail": "Request validation failed.", "errors": ["$: additional properties 'cmd' not allowed"]}
    wire.will(replying(422, refusal), replying(201, POD))
    async with open_cloud() as runpod:
        await runpod.create_pod(request_for())
        await runpod.create_pod(request_for())
    assert len(wire.seen) == 3  # it was asked once only
    for seen in wire.seen[1:]:
        assert "cmd" not in seen.json()
        assert json.loads(seen.json()["args"]) == {"cmd": ["bash", "-c", "echo 'a b'"]}


async def test_a_create_that_is_wrong_either_way_is_refused_after_the_second_form(
    open_cloud, wire, replying, request_for
):
    refusal = {"detail": "Request validation failed.", "errors": ["disk: too small"]}
    wire.will(replying(422, refusal))
    async with open_cloud() as runpod:
        error = await failure_of(runpod.create_pod(request_for()))
        assert (error.kind, len(wire.seen)) == (Kind.VALIDATION, 2)
        assert "disk: too small" in str(error)
        wire.will(replying(422, refusal))
        await failure_of(runpod.create_pod(request_for(command=())))
        assert len(wire.seen) == 1


@pytest.mark.parametrize(
    ("status", "detail", "kind"),
    [
        (400, CAPACITY, Kind.CAPACITY),
        (400, "create pod: There are no instances currently available", Kind.CAPACITY),
        (400, "minCudaVersion is not a version", Kind.VALIDATION),
        (401, "missing bearer token", Kind.AUTH),
        (402, "balance too low", Kind.BALANCE),
        (403, "access denied", Kind.CAPACITY),
        (404, "template not found", Kind.VALIDATION),
        (413, "request body too large", Kind.VALIDATION),
        (429, "rate limit exceeded for the minute window", Kind.RATE_LIMITED),
    ],
)
async def test_refusals_of_a_create_are_definitive_and_sent_once(
    open_cloud, wire, replying, request_for, status, detail, kind
):
    wire.will(replying(status, {"title": "T", "status": status, "detail": detail}))
    async with open_cloud() as runpod:
        error = await failure_of(runpod.create_pod(request_for()))
    assert (error.kind, error.ambiguous) == (kind, False)
    assert len(wire.seen) == 1
    assert detail[:40] in str(error)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"id": ""}', b'{"id": {}}', b"<html>", b'{"pod": {"id": "x"}}'])
async def test_a_created_pod_that_cannot_be_read_is_ambiguous(open_cloud, wire, replying, request_for, body):
    wire.will(replying(201, body))
    async with open_cloud() as runpod:
        error = await failure_of(runpod.create_pod(request_for()))
    assert (error.kind, error.ambiguous, len(wire.seen)) == (Kind.AMBIGUOUS, True, 1)


async def test_a_pod_is_read_in_whatever_form_it_comes(open_cloud, wire, replying):
    strange = POD | {
        "status": "MIGRATING",
        "cost": "0.74",
        "gpu": {"id": "NVIDIA L4", "count": "2", "extra": 1},
        "runtime": {},
        "env": {"RUNSPEC_POD": "mark", "JOB_ID": "job", "X": 5},
        "startedAt": "2025-12-16 17:44:56.726 +0000 UTC",
        "unheardOf": [1],
    }
    bare = {"id": "p2", "status": None, "gpu": None, "env": ["TRAINING_CONFIG_ID=cfg", "A"], "costPerHr": "0.5"}
    running = POD | {"runtime": {"uptime": 12}, "cost": 0, "env": None}
    wire.will(*(replying(200, pod) for pod in (strange, bare, running)))
    async with open_cloud() as runpod:
        pods = [await runpod.get_pod("p") for _ in range(3)]
    assert (pods[0].status, pods[0].cost_usd_h, pods[0].gpu_count, pods[0].uptime_s) == ("MIGRATING", 0.74, 2, None)
    assert (pods[0].env_marker, pods[0].lab_job_id, pods[0].is_alive) == ("mark", "job", True)
    assert (pods[1].status, pods[1].name, pods[1].env_marker, pods[1].cost_usd_h) == ("UNKNOWN", "", "cfg", 0.5)
    assert pods[1].is_alive
    assert (pods[2].uptime_s, pods[2].cost_usd_h) == (12, 0)


async def test_listing_follows_every_page_and_asks_for_cluster_members(open_cloud, wire, replying):
    def page(seen):
        cursor = parse_qs(urlsplit(seen.target).query).get("cursor", ["0"])[0]
        more = cursor != "2"
        pagination = {"hasNextPage": more, "nextCursor": str(int(cursor) + 1) if more else None}
        return replying(200, {"pods": [POD | {"id": f"p{cursor}"}], "pagination": pagination})

    wire.will(page)
    async with open_cloud() as runpod:
        assert [pod.id for pod in await runpod.list_pods()] == ["p0", "p1", "p2"]
    assert all("includeClusterPods=true" in seen.target for seen in wire.seen)


async def test_listing_without_pagination_is_one_page(open_cloud, wire, replying):
    wire.will(replying(200, {"pods": [POD]}))
    async with open_cloud() as runpod:
        assert len(await runpod.list_pods()) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"pods": [POD], "pagination": {"hasNextPage": True, "nextCursor": None}},
        {"pods": [POD], "pagination": {"hasNextPage": True, "nextCursor": "same"}},
        {"pods": [{"name": "without id"}]},
        {"pods": "none"},
        {},
        [],
    ],
)
async def test_a_listing_that_is_not_whole_is_an_error_and_never_a_short_list(open_cloud, wire, replying, body):
    wire.will(replying(200, body))
    async with open_cloud() as runpod:
        assert (await failure_of(runpod.list_pods())).kind == Kind.PROTOCOL
    assert len(wire.seen) <= 2


async def test_terminate_is_done_when_the_pod_is_already_gone(open_cloud, wire, replying):
    wire.will(replying(404, {"detail": "pod not found"}))
    async with open_cloud() as runpod:
        await runpod.terminate_pod("p1")
    assert [seen.method for seen in wire.seen] == ["DELETE"]


async def test_terminate_does_not_believe_a_proxy_that_the_pod_is_gone(open_cloud, wire, replying):
    wire.will(replying(404, b"<html>", kind="text/html"))
    async with open_cloud() as runpod:
        error = await failure_of(runpod.terminate_pod("p1"))
    assert error.kind == Kind.TRANSIENT


async def test_terminate_survives_some_failures_of_delete(open_cloud, wire, replying, raw_reply):
    wire.will(replying(500), replying(429, {"detail": "x"}, headers={"Retry-After": "2"}), raw_reply(), replying(204))
    async with open_cloud() as runpod:
        await runpod.terminate_pod("p1")
    assert [seen.method for seen in wire.seen] == ["DELETE"] * 4


@pytest.mark.parametrize("status", [409, 500, 405])
async def test_terminate_escalates_to_the_action_when_delete_keeps_failing(open_cloud, wire, replying, status):
    wire.will(lambda seen: replying(status, {"detail": "no"}) if seen.method == "DELETE" else replying(204))
    async with open_cloud() as runpod:
        await runpod.terminate_pod("p1")
    assert (wire.seen[-1].path, wire.seen[-1].json()) == ("/v2/pods/p1/action", {"action": "terminate"})


async def test_terminate_reports_a_conflict_that_nothing_resolves(open_cloud, wire, replying):
    wire.will(replying(409, {"detail": "cluster member"}))
    async with open_cloud() as runpod:
        error = await failure_of(runpod.terminate_pod("p1"))
    assert error.kind == Kind.CONFLICT
    # Deleted, unlocked, terminated; then GraphQL, which is deaf here as well.
    assert [(seen.method, seen.path) for seen in wire.seen] == [
        ("DELETE", "/v2/pods/p1"), ("PATCH", "/v2/pods/p1"), ("POST", "/v2/pods/p1/action"), ("POST", "/graphql"),
    ]  # fmt: skip


async def test_terminate_opens_the_lock_of_a_pod_that_resists(open_cloud, wire, replying):
    unlocked: list[object] = []

    def reply(seen):
        if seen.method == "PATCH":
            unlocked.append(seen.json())
        return replying(204) if unlocked else replying(409, {"detail": "the pod is locked"})

    wire.will(reply)
    async with open_cloud() as runpod:
        await runpod.terminate_pod("p1")
    assert unlocked == [{"locked": False}]


async def test_terminate_falls_back_to_graphql_when_rest_is_down(open_cloud, wire, replying):
    wire.will(lambda seen: replying(200, {"data": {}}) if seen.path == "/graphql" else replying(503))
    async with open_cloud() as runpod:
        await runpod.terminate_pod("p1")
    assert wire.seen[-1].json()["variables"] == {"podId": "p1"}


async def test_a_pod_id_cannot_leave_its_place_in_the_path(open_cloud, wire, replying):
    wire.will(replying(200, POD))
    async with open_cloud() as runpod:
        for strange in ("../v2/pods?x=1", "..", "a/b#c", "ü\ud800"):
            await runpod.get_pod(strange)
    for seen in wire.seen:
        assert seen.target.count("/") == 3
        assert not {"?", "#"} & set(seen.target)
        assert not seen.target.endswith("..")


def sse(*entries, kind="text/event-stream"):
    body = b"".join(
        f'id: {cursor}\ndata: {{"ts": "2026-06-01T12:02:03Z", "source": "container", "line": "{line}"}}\n\n'.encode()
        for cursor, line in entries
    )
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: 9999\r\n\r\n".encode() + body


async def lines_of(runpod, after=""):
    found = []
    async with aclosing(runpod.stream_logs("p1", after=after)) as stream:
        async for batch in stream:
            found += batch
    return found


async def test_logs_go_on_after_the_last_line_when_the_stream_was_cut(open_cloud, wire, raw_reply):
    cut = sse(("t/1", "one"), ("t/2", "two")) + b'id: t/3\ndata: {"line": "half'
    wire.will(raw_reply(cut, reset=True), raw_reply(sse(("t/2", "two"), ("t/3", "three"), ("t/3", "three"))))
    async with open_cloud() as runpod:
        first = await lines_of(runpod)
        second = await lines_of(runpod, after=first[-1].cursor)
    assert [(line.text, line.cursor) for line in first] == [("one", "t/1"), ("two", "t/2")]
    assert [line.text for line in second] == ["three"]
    assert wire.seen[0].target.endswith("?tail=5000")
    assert "last-event-id" not in wire.seen[0].headers
    assert wire.seen[1].headers["last-event-id"] == "t/2"
    assert first[0].at == datetime(2026, 6, 1, 12, 2, 3, tzinfo=UTC)


async def test_an_idle_log_stream_ends(open_cloud, wire, raw_reply):
    wire.will(raw_reply(sse(("t/1", "one")), hang=True))
    async with open_cloud(log_idle_s=0.05) as runpod:
        assert [line.text for line in await lines_of(runpod)] == ["one"]


async def test_log_events_in_other_forms_are_tolerated(open_cloud, wire, raw_reply, clock):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    wire.will(
        raw_reply(
            head + b'data: {"line": "no id, no time"}\n\nid: 2026-06-01T12:02:03Z/7\ndata: plain words\n\n'
            b'event: ping\ndata: {"line": "not a line"}\n\ndata: {"no": "line"}\n\n'
            b'id: x\ndata: {"ts": "2025-12-16 17:44:56.726 +0000 UTC", "line": "go", "source": "system"}\n\n'
        )
    )
    async with open_cloud() as runpod:
        lines = await lines_of(runpod)
    assert [(line.text, line.source) for line in lines] == [
        ("no id, no time", "container"),
        ("plain words", "container"),
        ("go", "system"),
    ]
    assert [line.at for line in lines] == [
        clock.now(),
        datetime(2026, 6, 1, 12, 2, 3, tzinfo=UTC),
        datetime(2025, 12, 16, 17, 44, 56, 726000, UTC),
    ]


@pytest.mark.parametrize(
    ("status", "body", "content", "kind"),
    [
        (404, {"detail": "pod not found"}, "application/problem+json", Kind.GONE),
        (200, b"<html>sign in</html>", "text/html", Kind.PROTOCOL),
        (403, b"error code: 1010", "text/plain", Kind.BLOCKED),
    ],
)
async def test_logs_that_cannot_be_opened_are_an_error(open_cloud, wire, replying, status, body, content, kind):
    wire.will(replying(status, body, kind=content))
    async with open_cloud() as runpod:
        assert (await failure_of(lines_of(runpod))).kind == kind


async def test_opening_logs_is_repeated(open_cloud, wire, replying, raw_reply):
    wire.will(replying(503), raw_reply(sse(("t/1", "one"))))
    async with open_cloud() as runpod:
        assert len(await lines_of(runpod)) == 1


async def test_a_cursor_with_control_characters_is_not_put_into_a_header(open_cloud, wire, raw_reply):
    wire.will(raw_reply(sse(("t/1", "one"))))
    async with open_cloud() as runpod:
        assert len(await lines_of(runpod, after="x\r\nX-Evil: 1")) == 1
    assert "last-event-id" not in wire.seen[0].headers


async def test_offers_carry_no_placeholder_prices(open_cloud, wire, replying):
    def gpu(name, **more):
        return {"id": name, "memory": 24, "secure": True, "price": {"secure": 0.5, "community": 0.1}} | more

    gpus = [
        gpu("fine", availability="LOW", maxCount={"secure": 8}),
        gpu("not in this cloud", secure=False, availability="HIGH"),
        gpu("too few in one machine", maxCount={"secure": 1}),
        gpu("price in words", price={"secure": "0.44"}, availability="SOMETIMES"),
        gpu("no price", price=None, memory=None),
        gpu("zero", price={"secure": 0}),
    ]
    wire.will(replying(200, {"gpus": gpus}))
    async with open_cloud() as runpod:
        offers = await runpod.gpu_offers(cloud="secure", count=2)
    assert [(offer.price_usd_h, offer.availability) for offer in offers] == [
        (0.5, "LOW"),
        (None, "NONE"),
        (None, "NONE"),
        (0.44, "SOMETIMES"),
        (None, "UNKNOWN"),
        (None, "UNKNOWN"),
    ]
    query = parse_qs(urlsplit(wire.seen[0].target).query)
    assert query == {"include": ["AVAILABILITY"], "product": ["POD"], "count": ["2"], "cloud": ["SECURE"]}


@pytest.mark.parametrize(
    ("status", "body", "balance"),
    [
        (200, {"data": {"myself": {"clientBalance": "12.5"}}}, 12.5),
        (200, {"data": {"myself": None}}, None),
        (200, {"errors": [{"message": "no"}]}, None),
        (200, b"<html>", None),
        (410, {"error": "gone"}, None),
        (401, b"", None),
    ],
)
async def test_a_balance_that_cannot_be_had_stops_nothing(open_cloud, wire, replying, status, body, balance):
    wire.will(replying(status, body))
    async with open_cloud() as runpod:
        assert await runpod.balance() == balance
    assert wire.seen[0].path == "/graphql"


async def test_a_missing_key_is_named_before_anything_is_sent():
    with pytest.raises(ProviderError, match="RUNPOD_API_KEY") as caught:
        async with open_runpod(Settings()):
            pass
    assert caught.value.kind == Kind.AUTH
