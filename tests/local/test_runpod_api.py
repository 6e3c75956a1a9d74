"""The embedded RunPod over HTTP: bodies, states, errors, logs, money."""

from __future__ import annotations

import asyncio
import itertools
import json
import re

import pytest

from runner.local.gpus import GPU_BY_ID
from runner.local.scripted import Exit, FailToStart, Say

A4000 = "NVIDIA RTX A4000"
WISH = {"name": "t", "image": "img", "gpu": {"id": A4000, "count": 1}}
POD_FIELDS = {
    "id", "name", "status", "actions", "image", "args", "disk", "mounts", "ports", "env", "registry", "cloud",
    "dataCenterId", "cudaVersion", "ssh", "template", "cost", "locked", "runtime", "createdAt", "startedAt",
    "globalNetworking", "gpu",
}  # fmt: skip


async def events(answer_stream, count):
    """The first `count` SSE events as (id, data)."""
    found, event_id = [], None
    async for raw in answer_stream:
        line = raw.decode().rstrip("\n")
        if line.startswith("id: "):
            event_id = line[4:]
        elif line.startswith("data: "):
            found.append((event_id, json.loads(line[6:])))
            if len(found) == count:
                break
    return found


async def test_created_pod_has_every_field_of_the_document(runpod):
    answer = await runpod("POST", "/pods", json={**WISH, "env": {"A": "1"}, "ports": ["8080/http"]})
    assert answer.status == 201
    pod = answer.body
    assert set(pod) == POD_FIELDS
    assert pod["status"] == "PROVISIONING"
    assert pod["runtime"] is None
    assert pod["cost"] == GPU_BY_ID[A4000].secure_usd_h
    assert pod["env"] == {"A": "1"}
    assert pod["gpu"]["count"] == 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", pod["createdAt"])


async def test_pod_goes_through_its_states_on_the_clock(runpod, clock):
    pod_id = (await runpod("POST", "/pods", json=WISH)).body["id"]
    seen = [(await runpod("GET", f"/pods/{pod_id}")).body]
    for seconds in (0.2, 0.1, 5):
        await clock.advance(seconds)
        seen.append((await runpod("GET", f"/pods/{pod_id}")).body)
    assert [pod["status"] for pod in seen] == ["PROVISIONING", "STARTING", "RUNNING", "RUNNING"]
    assert [pod["runtime"] and pod["runtime"]["uptime"] for pod in seen] == [None, None, 0, 5]
    assert [pod["actions"] for pod in seen][:3] == [
        ["stop", "terminate"], ["stop", "terminate"], ["stop", "restart", "terminate"],
    ]  # fmt: skip


async def test_exited_container_is_restarted_with_growing_pauses_and_fresh_uptime(runpod, clock, stage):
    stage.casting = lambda _: [Say(0, "hi"), Exit(10, 0)]
    pod_id = (await runpod("POST", "/pods", json=WISH)).body["id"]
    await clock.advance(10.4)
    assert (await runpod("GET", f"/pods/{pod_id}")).body["status"] == "STARTING"
    starts = []
    for _ in range(60):
        await clock.advance(1)
        starts.append(len(stage.specs))
    assert starts[-1] == 5
    assert (await runpod("GET", f"/pods/{pod_id}")).body["cost"] > 0, "a pod that only restarts is still paid"


async def test_pod_that_cannot_start_is_in_error_and_can_be_started_again(runpod, clock, stage):
    stage.casting = lambda _: [FailToStart("image not found")]
    pod_id = (await runpod("POST", "/pods", json=WISH)).body["id"]
    await clock.advance(1)
    pod = (await runpod("GET", f"/pods/{pod_id}")).body
    assert (pod["status"], pod["actions"]) == ("ERROR", ["start", "terminate"])
    stage.casting = lambda _: [Say(0, "up")]
    assert (await runpod("POST", f"/pods/{pod_id}/action", json={"action": "start"})).status == 200
    await clock.advance(1)
    assert (await runpod("GET", f"/pods/{pod_id}")).body["status"] == "RUNNING"


async def test_terminated_pod_is_gone_from_list_and_id_after_a_moment(runpod, clock):
    pod_id = (await runpod("POST", "/pods", json=WISH)).body["id"]
    await clock.advance(1)
    answer = await runpod("DELETE", f"/pods/{pod_id}")
    assert (answer.status, answer.text) == (204, "")
    pod = (await runpod("GET", f"/pods/{pod_id}")).body
    assert (pod["status"], pod["cost"], pod["actions"]) == ("TERMINATED", 0, [])
    await clock.advance(3)
    answer = await runpod("GET", f"/pods/{pod_id}")
    assert (answer.status, answer.body["detail"]) == (404, "pod not found")
    assert (await runpod("GET", "/pods")).body["pods"] == []
    assert (await runpod("DELETE", f"/pods/{pod_id}")).status == 404


async def test_actions_follow_the_state(runpod, clock):
    pod_id = (await runpod("POST", "/pods", json=WISH)).body["id"]
    path = f"/pods/{pod_id}/action"
    assert (await runpod("POST", path, json={"action": "restart"})).status == 409
    await clock.advance(1)
    assert (await runpod("POST", path, json={"action": "restart"})).body["status"] == "STARTING"
    await clock.advance(1)
    stopped = (await runpod("POST", path, json={"action": "stop"})).body
    assert (stopped["status"], stopped["cost"], stopped["runtime"]) == ("EXITED", 0, None)
    assert (await runpod("POST", path, json={"action": "stop"})).status == 409
    assert (await runpod("POST", path, json={"action": "start"})).body["status"] == "STARTING"
    await clock.advance(1)
    assert (await runpod("GET", f"/pods/{pod_id}")).body["status"] == "RUNNING"
    assert (await runpod("POST", path, json={"action": "terminate"})).status == 204
    assert (await runpod("POST", path, json={"action": "reset"})).status == 422


async def test_pod_stopped_before_it_ran_does_not_come_up(runpod, clock, stage):
    pod_id = (await runpod("POST", "/pods", json=WISH)).body["id"]
    await runpod("POST", f"/pods/{pod_id}/action", json={"action": "stop"})
    await clock.advance(60)
    assert (await runpod("GET", f"/pods/{pod_id}")).body["status"] == "EXITED"
    assert stage.specs == []


async def test_locked_pod_cannot_be_stopped(runpod, clock):
    pod_id = (await runpod("POST", "/pods", json=WISH)).body["id"]
    await clock.advance(1)
    changed = (await runpod("PATCH", f"/pods/{pod_id}", json={"locked": True, "name": "new"})).body
    assert (changed["locked"], changed["name"]) == (True, "new")
    assert (await runpod("POST", f"/pods/{pod_id}/action", json={"action": "stop"})).status == 409


@pytest.mark.parametrize(
    ("change", "errors"),
    [
        ({"bogus": 1}, ["$: additional properties 'bogus' not allowed"]),
        ({"gpu": {"id": A4000, "count": 0}}, ["$.gpu.count: minimum: got 0, want 1"]),
        ({"gpu": {"id": A4000, "count": "1"}}, ["$.gpu.count: got string, want integer"]),
        ({"gpu": {"id": A4000, "x": 1}}, ["$.gpu: additional properties 'x' not allowed"]),
        ({"gpu": {}}, ["$.gpu: missing property 'id'"]),
        ({"name": ""}, ["$.name: minLength: got 0, want 1"]),
        ({"env": {"A": 1}}, ["$.env.A: got integer, want string"]),
        ({"cloud": "ALL"}, ["$.cloud: value must be one of 'SECURE', 'COMMUNITY'"]),
        ({"mounts": {"persistent": {"size": 5, "path": "/w"}}}, ["$.mounts.persistent.size: minimum: got 5, want 10"]),
        ({"disk": True, "x": 1}, ["$.disk: got boolean, want integer", "$: additional properties 'x' not allowed"]),
    ],
)
async def test_body_that_breaks_the_schema_is_answered_with_every_violation(runpod, change, errors):
    answer = await runpod("POST", "/pods", json={**WISH, **change})
    assert answer.status == 422
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.body == {
        "title": "Unprocessable Entity", "status": 422, "detail": "Request validation failed.", "errors": errors,
    }  # fmt: skip


async def test_required_fields_are_named(runpod):
    answer = await runpod("POST", "/pods", json={"gpu": {"id": A4000}})
    assert answer.body["errors"] == ["$: missing property 'name'", "$: missing property 'image'"]


@pytest.mark.parametrize(
    "change",
    [
        {"cpu": {"id": "cpu3c", "vcpuCount": 2}},
        {"gpu": {"id": "NVIDIA Imaginary 9000"}},
        {"gpu": {"id": A4000, "minCudaVersion": "12.1", "allowedCudaVersions": ["12.1"]}},
        {"args": "bash -c 'unclosed"},
        {"args": '{"cmd": "not a list"}'},
        {"args": "{"},
    ],
)
async def test_broken_rules_between_fields_are_400_and_not_capacity(runpod, change):
    answer = await runpod("POST", "/pods", json={**WISH, **change})
    assert answer.status == 400
    assert "instances available" not in answer.body["detail"]


@pytest.mark.parametrize("gpu", ["NVIDIA H100 PCIe", "NVIDIA GeForce RTX 3070"])
async def test_gpu_that_is_not_in_stock_reads_as_no_capacity(runpod, gpu):
    answer = await runpod("POST", "/pods", json={**WISH, "gpu": {"id": gpu, "count": 1}})
    assert answer.status == 400
    assert answer.body["detail"] == (
        "There are no longer any instances available with the requested specifications. Please refresh and try again."
    )


async def test_program_comes_from_cmd_or_args_in_each_form(runpod, clock, stage):
    for extra in (
        {"cmd": ["bash", "-c", "a b"]},
        {"entrypoint": ["bash"], "cmd": ["-c", "a b"]},
        {"args": "bash -c 'a b'"},
        {"args": json.dumps({"entrypoint": ["bash"], "cmd": ["-c", "a b"]})},
    ):
        await runpod("POST", "/pods", json={**WISH, **extra})
    await runpod("POST", "/pods", json=WISH)
    await clock.advance(1)
    assert [spec.argv for spec in stage.specs] == [("bash", "-c", "a b")] * 4 + [("sleep", "infinity")]


async def test_pod_gets_the_platforms_variables_and_they_win(runpod, clock, stage):
    wish = {**WISH, "env": {"RUNPOD_API_KEY": "mine", "OWN": "1"}, "ports": ["22/tcp", "8080/http"]}
    pod = (await runpod("POST", "/pods", json=wish)).body
    await clock.advance(1)
    env = stage.specs[0].env
    assert env["RUNPOD_POD_ID"] == pod["id"]
    assert env["RUNPOD_API_KEY"].startswith("rpa_")
    assert env["OWN"] == "1"
    assert env["RUNPOD_GPU_COUNT"] == "1"
    assert env["RUNPOD_TCP_PORT_22"] == env["RUNSPEC_PORT_22"]
    shown = (await runpod("GET", f"/pods/{pod['id']}")).body
    assert shown["env"] == wish["env"]
    assert {port["private"]: port["type"] for port in shown["runtime"]["ports"]} == {22: "tcp", 8080: "http"}


async def test_pods_own_key_ends_its_pod_and_opens_nothing_else(runpod, clock, stage):
    first, second = [(await runpod("POST", "/pods", json=WISH)).body["id"] for _ in range(2)]
    await clock.advance(1)
    key = next(spec.env["RUNPOD_API_KEY"] for spec in stage.specs if spec.pod_id == first)
    own = runpod.with_headers(Authorization=f"Bearer {key}")
    assert (await own("GET", f"/pods/{second}")).status == 403
    assert (await own("DELETE", f"/pods/{second}")).status == 403
    assert (await own("POST", "/pods", json=WISH)).body["detail"] == "access denied"
    assert [pod["id"] for pod in (await own("GET", "/pods")).body["pods"]] == [first]
    assert (await own("POST", f"/pods/{first}/action", json={"action": "terminate"})).status == 204


async def test_keys_are_asked_for_and_checked(runpod):
    answer = await runpod.with_headers()("GET", "/pods")
    assert (answer.status, answer.body["detail"]) == (401, "missing bearer token")
    assert (await runpod.with_headers(Authorization="Bearer rpa_wrong")("GET", "/pods")).status == 401


async def test_every_answer_has_a_request_id_and_authenticated_ones_their_quota(runpod):
    good, bad = await runpod("GET", "/pods"), await runpod.with_headers()("GET", "/pods")
    assert good.headers["x-request-id"] != bad.headers["x-request-id"]
    assert good.headers["RateLimit"].startswith('"minute";r=179;t=60, "hour";r=')
    assert good.headers["RateLimit-Policy"].startswith('"minute";q=180;w=60, ')
    assert "RateLimit" not in bad.headers


async def test_used_up_window_is_429_until_it_is_over(runpod, clock):
    for _ in range(180):
        assert (await runpod("GET", "/pods")).status == 200
    await clock.advance(48)
    answer = await runpod("GET", "/pods")
    assert (answer.status, answer.body["detail"]) == (429, "rate limit exceeded for the minute window")
    assert answer.headers["Retry-After"] == "12"
    assert answer.headers["RateLimit"].startswith('"minute";r=0;t=12')
    await clock.advance(12)
    assert (await runpod("GET", "/pods")).status == 200


async def test_program_without_a_name_is_refused_by_the_front_door(runpod):
    for agent in ("", "Python-urllib/3.11"):
        answer = await runpod("GET", "/pods", headers={"User-Agent": agent})
        assert (answer.status, answer.text) == (403, "error code: 1010")


async def test_list_comes_in_pages(runpod):
    ids = [(await runpod("POST", "/pods", json={**WISH, "name": f"p{n}"})).body["id"] for n in range(5)]
    found, cursor = [], ""
    for _ in range(3):
        page = (await runpod("GET", f"/pods?limit=2&cursor={cursor}")).body
        found += [pod["id"] for pod in page["pods"]]
        cursor = page["pagination"]["nextCursor"]
    assert sorted(found) == sorted(ids)
    assert page["pagination"] == {"nextCursor": None, "hasNextPage": False}
    assert (await runpod("GET", "/pods?limit=0")).status == 422
    assert len((await runpod("GET", "/pods?name=x")).body["pods"]) == 5, "unknown filters are ignored"


async def test_body_above_the_limit_is_413_even_without_a_key(runpod):
    answer = await runpod.with_headers()("POST", "/pods", json={**WISH, "env": {"A": "x" * 103_000}})
    assert answer.status == 413


async def test_wrong_method_path_and_json_are_problem_documents(runpod):
    answer = await runpod("PUT", "/pods", json={})
    assert (answer.status, answer.headers["Allow"]) == (405, "GET,POST")
    assert answer.body["detail"] == "The requested method is not allowed for this path."
    assert (await runpod("GET", "/clusters/nope")).body["detail"] == "resource not found"
    assert (await runpod("POST", "/pods", data=b"{")).status == 400
    assert (await runpod("POST", "/pods", data=b"[]")).status == 422


async def test_catalog_has_prices_flags_and_stock(runpod):
    gpus = {gpu["id"]: gpu for gpu in (await runpod("GET", "/catalog/gpus")).body["gpus"]}
    assert len(gpus) == 52
    assert gpus[A4000]["price"] == {"secure": 0.25, "community": 0.17}
    assert gpus["NVIDIA GeForce RTX 3070"]["secure"] is False
    assert "availability" not in gpus[A4000]
    stocked = (await runpod("GET", "/catalog/gpus?include=AVAILABILITY&product=POD")).body["gpus"]
    stock = {gpu["id"]: gpu["availability"] for gpu in stocked}
    assert (stock[A4000], stock["NVIDIA H100 PCIe"]) == ("HIGH", "NONE")
    assert (await runpod("GET", "/catalog/gpus?include=AVAILABILITY")).status == 400
    assert (await runpod("GET", f"/catalog/gpus/{A4000}")).body["memory"] == 16
    assert (await runpod("GET", "/catalog/gpus/nope")).status == 404


async def test_money_runs_from_creation_to_termination_and_not_while_stopped(runpod, clock):
    async def total() -> float:
        return (await runpod("GET", "/billing/pods")).body["metadata"]["totals"]["totalAmount"]

    pod_id = (await runpod("POST", "/pods", json=WISH)).body["id"]
    await clock.advance(3600)
    assert await total() == pytest.approx(0.25)
    await runpod("POST", f"/pods/{pod_id}/action", json={"action": "stop"})
    await clock.advance(3600)
    assert await total() == pytest.approx(0.25)
    await runpod("POST", f"/pods/{pod_id}/action", json={"action": "start"})
    await clock.advance(3600)
    await runpod("DELETE", f"/pods/{pod_id}")
    await clock.advance(3600)
    assert await total() == pytest.approx(0.5)
    hourly = (await runpod("GET", f"/billing/pods?bucketSize=hour&lastN=5&podId={pod_id}")).body
    assert [record["totalAmount"] for record in hourly["records"]] == [pytest.approx(0.25)] * 2
    assert hourly["metadata"]["uniquePodCount"] == 1
    assert (await runpod("GET", "/billing/pods?podId=other")).body["records"] == []
    assert (await runpod("GET", "/billing/pods?bucketSize=minute")).status == 422


async def test_balance_is_read_by_graphql_and_its_end_refuses_pods(runpod, cloud, clock):
    url, query = cloud.endpoints.runpod_graphql_url, {"query": "query { myself { clientBalance currentSpendPerHr } }"}
    graphql = runpod.with_headers(**runpod.headers)
    graphql.base = url
    expensive = {**WISH, "gpu": {"id": "NVIDIA B200", "count": 8}}
    assert (await runpod("POST", "/pods", json=expensive)).status == 201
    balance = (await graphql("POST", "", json=query)).body["data"]["myself"]
    assert balance == {"clientBalance": 100, "currentSpendPerHr": pytest.approx(47.12)}
    await clock.advance(3600 * 1.5)
    assert (await graphql("POST", "", json=query)).body["data"]["myself"]["clientBalance"] == pytest.approx(29.32)
    assert (await runpod("POST", "/pods", json=expensive)).status == 402
    anonymous = graphql.with_headers()
    assert (await anonymous("POST", "", json=query)).body == {"data": {"myself": None}}
    assert (await graphql.with_headers(Authorization="Bearer x")("POST", "", json=query)).status == 401


async def test_version_one_is_gone(runpod, cloud):
    runpod.base = cloud.endpoints.runpod_url.removesuffix("/v2")
    assert (await runpod("GET", "/v1/pods")).status == 410
    assert (await runpod("GET", "/v2/v2/pods")).status == 200, "a base that repeats the version is understood"


async def test_log_stream_shows_the_tail_then_follows_until_the_pod_is_gone(runpod, clock, stage, session):
    stage.casting = lambda _: [Say(0, "one"), Say(0, "two"), Say(10, "three")]
    pod_id = (await runpod("POST", "/pods", json=WISH)).body["id"]
    await clock.advance(1)
    url = f"{runpod.base}/pods/{pod_id}/logs?source=container&tail=1"
    async with session.get(url, headers=runpod.headers) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert answer.headers["Cache-Control"] == "no-cache"
        ((event_id, data),) = await events(answer.content, 1)
        assert re.fullmatch(r"2026-01-01T00:00:00Z/\d{12}", event_id)
        assert data == {"ts": "2026-01-01T00:00:00Z", "source": "container", "line": "two"}
        await clock.advance(10)
        assert [data["line"] for _, data in await events(answer.content, 1)] == ["three"]
        await runpod("DELETE", f"/pods/{pod_id}")
        await clock.advance(3)
        assert await events(answer.content, 1) == []


async def test_log_stream_resumes_after_the_last_seen_event_and_restarts_keep_counting(runpod, clock, stage, session):
    counter = itertools.count()
    stage.casting = lambda _: [Say(0, f"start {next(counter)}"), Exit(1)]
    pod_id = (await runpod("POST", "/pods", json=WISH)).body["id"]
    await clock.advance(10)
    url = f"{runpod.base}/pods/{pod_id}/logs"
    async with session.get(url, headers=runpod.headers) as answer:
        seen = await events(answer.content, 6)
    resumed_headers = {**runpod.headers, "Last-Event-ID": seen[2][0]}
    async with session.get(f"{url}?tail=0", headers=resumed_headers) as answer:
        assert await events(answer.content, 3) == seen[3:]
    lines = [data["line"] for _, data in seen if data["source"] == "container"]
    assert lines == ["start 0", "start 1"]


async def test_log_stream_since_a_moment(runpod, clock, stage, session):
    stage.casting = lambda _: [Say(0, "early"), Say(60, "late")]
    pod_id = (await runpod("POST", "/pods", json=WISH)).body["id"]
    await clock.advance(120)
    url = f"{runpod.base}/pods/{pod_id}/logs?since=2026-01-01T00:00:30Z"
    async with session.get(url, headers=runpod.headers) as answer:
        assert [data["line"] for _, data in await events(answer.content, 1)] == ["late"]
    assert (await runpod("GET", f"/pods/{pod_id}/logs?since=yesterday")).status == 422
    assert (await runpod("GET", f"/pods/{pod_id}/logs?tail=5001")).status == 422
    assert (await runpod("GET", "/pods/nope/logs")).status == 404


async def test_open_log_streams_do_not_hold_up_the_end(runpod, cloud, clock, session):
    pod_id = (await runpod("POST", "/pods", json=WISH)).body["id"]
    await clock.advance(1)
    async with session.get(f"{runpod.base}/pods/{pod_id}/logs", headers=runpod.headers) as answer:
        async with asyncio.timeout(120):
            await cloud.aclose()
        assert answer.status == 200


async def test_a_locked_pod_cannot_be_ended_until_its_lock_is_opened(runpod, cloud):
    pod_id = (await runpod("POST", "/pods", json=WISH)).body["id"]
    await runpod("PATCH", f"/pods/{pod_id}", json={"locked": True})
    assert (await runpod("DELETE", f"/pods/{pod_id}")).status == 409
    await runpod("PATCH", f"/pods/{pod_id}", json={"locked": False})
    assert (await runpod("DELETE", f"/pods/{pod_id}")).status == 204


async def test_a_pod_can_be_ended_by_graphql_too(runpod, session, cloud):
    pod_id = (await runpod("POST", "/pods", json=WISH)).body["id"]
    named = "mutation T($podId: String!) { podTerminate(input: {podId: $podId}) }"
    for body, said in (
        ({"query": 'mutation { podTerminate(input: {podId: "nobody"}) }'}, "errors"),
        ({"query": named, "variables": {"podId": pod_id}}, "data"),
    ):
        async with session.post(cloud.endpoints.runpod_graphql_url, json=body, headers=runpod.headers) as answer:
            assert answer.status == 200
            assert said in await answer.json()
    assert cloud.pods.get(pod_id).status == "TERMINATED"


async def test_a_template_fills_in_what_a_request_leaves_open(runpod):
    template = {"name": "t", "image": "from-template", "env": {"A": "1", "B": "2"}, "disk": 30}
    made = await runpod("POST", "/templates", json=template)
    assert made.status == 201
    wish = {"name": "p", "templateId": made.body["id"], "gpu": WISH["gpu"], "env": {"B": "3"}}
    pod = (await runpod("POST", "/pods", json=wish)).body
    assert (pod["image"], pod["disk"], pod["env"], pod["template"]) == ("from-template", 30, {"A": "1", "B": "3"}, None)
    assert (await runpod("POST", "/templates", json=template)).status == 400
    assert (await runpod("POST", "/pods", json={**wish, "templateId": "nobody"})).status == 404


async def test_a_network_volume_only_grows(runpod):
    volume = {"name": "v", "size": 20, "dataCenter": "US-LOCAL-1"}
    made = (await runpod("POST", "/network-volumes", json=volume)).body
    assert (await runpod("PATCH", f"/network-volumes/{made['id']}", json={"size": 30})).body["size"] == 30
    assert (await runpod("PATCH", f"/network-volumes/{made['id']}", json={"size": 20})).status == 400
    assert (await runpod("DELETE", f"/network-volumes/{made['id']}")).status == 204
    assert (await runpod("GET", f"/network-volumes/{made['id']}")).status == 404


async def test_a_registry_password_is_never_given_out(runpod):
    made = await runpod("POST", "/registries", json={"name": "r", "username": "u", "password": "canary"})
    listed = await runpod("GET", "/registries")
    assert made.status == 201
    assert "canary" not in made.text + listed.text


async def test_a_changed_environment_restarts_the_container_with_it(runpod, stage, clock):
    pod_id = (await runpod("POST", "/pods", json=WISH)).body["id"]
    await clock.advance(5)
    await runpod("PATCH", f"/pods/{pod_id}", json={"env": {"NEW": "1"}})
    await clock.advance(5)
    assert stage.specs[-1].env["NEW"] == "1"
    assert len(stage.specs) == 2
