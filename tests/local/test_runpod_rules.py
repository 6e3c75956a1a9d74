"""Rules of the RunPod API that stand in the prose of its document: between fields, between pods and what they use."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest

from runner.local.faults import CAPACITY, parse_rules

A4000 = "NVIDIA RTX A4000"
WISH = {"name": "t", "image": "img", "gpu": {"id": A4000, "count": 1}}
CPU_WISH = {"name": "t", "image": "img", "cpu": {"id": "cpu3c", "vcpuCount": 2}}


def asking(**gpu):
    return {**WISH, "gpu": {"id": A4000, **gpu}}


async def created(runpod, wish, **change):
    answer = await runpod("POST", "/pods", json={**wish, **change})
    assert answer.status == 201, answer.text
    return answer.body


@pytest.mark.parametrize(
    "wish",
    [
        asking(count=9),
        {**asking(count=5), "cloud": "COMMUNITY"},
        asking(allowedCudaVersions=["9.9"]),
        asking(minCudaVersion="12.11"),
    ],
)
async def test_what_no_machine_has_reads_as_no_capacity(runpod, wish):
    answer = await runpod("POST", "/pods", json=wish)
    assert (answer.status, answer.body["detail"]) == (400, CAPACITY)


@pytest.mark.parametrize("gpu", [{"minCudaVersion": "12.2", "allowedCudaVersions": []}, {"allowedCudaVersions": []}])
async def test_an_empty_set_of_cuda_versions_is_no_constraint(runpod, gpu):
    await created(runpod, asking(**gpu))


@pytest.mark.parametrize(
    ("wish", "detail"),
    [
        ({**CPU_WISH, "cpu": {"id": "cpu3c", "vcpuCount": 3}}, "cpu.vcpuCount must be a power of two"),
        ({**CPU_WISH, "cpu": {"id": "cpu3c", "vcpuCount": 64}}, "cpu flavor 'cpu3c' has 2 to 32 vCPUs"),
        ({**CPU_WISH, "cpu": {"id": "cpu9", "vcpuCount": 2}}, "cpu flavor 'cpu9' not found"),
        ({**CPU_WISH, "globalNetworking": True}, "globalNetworking requires an NVIDIA GPU"),
        ({**WISH, "gpu": {"id": "AMD Instinct MI300X OAM"}, "globalNetworking": True},
         "globalNetworking requires an NVIDIA GPU"),
    ],
)  # fmt: skip
async def test_a_request_that_breaks_a_rule_between_fields_says_which(runpod, wish, detail):
    answer = await runpod("POST", "/pods", json=wish)
    assert (answer.status, answer.body["detail"]) == (400, detail)


async def test_a_pod_in_the_global_network_says_so(runpod):
    pod = await created(runpod, WISH, globalNetworking=True)
    assert pod["globalNetworking"]["enabled"] is True
    assert pod["globalNetworking"]["ip"]
    (center,) = (await runpod("GET", "/catalog/datacenters?globalNetwork=true")).body["dataCenters"]
    assert center["globalNetwork"] is True


async def test_a_pod_mounts_a_network_volume_that_exists(runpod):
    volume = {"name": "v", "size": 20, "dataCenter": "US-LOCAL-1"}
    volume_id = (await runpod("POST", "/network-volumes", json=volume)).body["id"]
    mounts = {"network": [{"volumeId": volume_id, "path": "/data"}]}
    for wish in (WISH, CPU_WISH):
        assert (await created(runpod, wish, mounts=mounts))["mounts"] == mounts
    nowhere = {"network": [{"volumeId": "nobody", "path": "/data"}]}
    assert (await runpod("POST", "/pods", json={**WISH, "mounts": nowhere})).status == 404


async def test_a_mount_keeps_its_kind_and_volume_and_may_move(runpod):
    volume = {"name": "v", "size": 20, "dataCenter": "US-LOCAL-1"}
    volume_id = (await runpod("POST", "/network-volumes", json=volume)).body["id"]
    mount = {"volumeId": volume_id, "path": "/data"}
    path = f"/pods/{(await created(runpod, WISH, mounts={'network': [mount]}))['id']}"
    moved = {"network": [{**mount, "path": "/other"}]}
    assert (await runpod("PATCH", path, json={"mounts": moved})).body["mounts"] == moved
    assert (await runpod("PATCH", path, json={"mounts": {}})).body["mounts"] == moved
    for refused in (
        {"network": []},
        {"network": [{**mount, "volumeId": "another"}]},
        {"persistent": {"size": 10, "path": "/w"}},
    ):
        assert (await runpod("PATCH", path, json={"mounts": refused})).status == 400
    assert (await runpod("GET", path)).body["mounts"] == moved


async def test_a_template_changes_a_pod_but_not_its_mounts(runpod):
    template = {
        "name": "t", "image": "new", "disk": 30, "env": {"A": "1", "B": "2"},
        "mounts": {"persistent": {"size": 20, "path": "/w"}},
    }  # fmt: skip
    template_id = (await runpod("POST", "/templates", json=template)).body["id"]
    path = f"/pods/{(await created(runpod, WISH, env={'OLD': '1'}))['id']}"
    pod = (await runpod("PATCH", path, json={"templateId": template_id, "env": {"B": "3"}})).body
    assert (pod["image"], pod["disk"], pod["env"], pod["mounts"]) == ("new", 30, {"A": "1", "B": "3"}, {})
    assert (await runpod("PATCH", path, json={"templateId": "nobody"})).status == 404


async def test_a_cpu_pod_takes_no_persistent_mount_from_its_template(runpod):
    template = {"name": "t", "image": "img", "mounts": {"persistent": {"size": 20, "path": "/w"}}}
    template_id = (await runpod("POST", "/templates", json=template)).body["id"]
    assert (await created(runpod, CPU_WISH, templateId=template_id))["mounts"] == {}
    assert (await created(runpod, WISH, templateId=template_id))["mounts"] == template["mounts"]


async def test_a_serverless_template_makes_no_pod(runpod):
    template = {"name": "t", "image": "img", "serverless": True}
    template_id = (await runpod("POST", "/templates", json=template)).body["id"]
    assert (await runpod("POST", "/pods", json={**WISH, "templateId": template_id})).status == 422


async def test_a_request_that_its_template_makes_too_large_is_413(runpod):
    template = {"name": "t", "image": "img", "env": {"A": "x" * 60_000}}
    template_id = (await runpod("POST", "/templates", json=template)).body["id"]
    wish = {"name": "p", "gpu": WISH["gpu"], "templateId": template_id, "env": {"B": "x" * 60_000}}
    assert (await runpod("POST", "/pods", json=wish)).status == 413


async def test_a_body_without_a_length_is_measured_too(runpod):
    async def pieces():
        yield b'{"name": "'
        for _ in range(11):
            yield b"x" * 10_000
        yield b'"}'

    assert (await runpod("POST", "/pods", data=pieces())).status == 413


async def test_a_pod_that_was_terminated_cannot_be_changed(runpod):
    path = f"/pods/{(await created(runpod, WISH))['id']}"
    await runpod("DELETE", path)
    assert (await runpod("GET", path)).body["status"] == "TERMINATED"
    assert (await runpod("PATCH", path, json={"name": "late"})).status == 404


async def test_ssh_has_an_address_while_port_22_is_mapped(runpod, clock):
    path = f"/pods/{(await created(runpod, WISH, ports=['22/tcp']))['id']}"
    assert (await runpod("GET", path)).body["ssh"] == {"proxy": None, "direct": None}
    await clock.advance(1)
    pod = (await runpod("GET", path)).body
    port = pod["runtime"]["ports"][0]["public"]
    assert pod["ssh"]["direct"] == {
        "host": "127.0.0.1", "port": port, "username": "root", "command": f"ssh root@127.0.0.1 -p {port}",
    }  # fmt: skip
    without = f"/pods/{(await created(runpod, WISH))['id']}"
    await clock.advance(1)
    assert (await runpod("GET", without)).body["ssh"]["direct"] is None


async def test_the_accounts_keys_reach_pods_that_start_ssh_and_are_shown_nowhere(runpod, clock, stage):
    await created(runpod, WISH, startSsh=True)
    key = "ssh-ed25519 AAAA me"
    await runpod("PUT", "/account/ssh-keys", json={"keys": [key]})
    pod = await created(runpod, WISH, startSsh=True, startJupyter=True)
    await created(runpod, WISH, startSsh=True, env={"PUBLIC_KEY": "own"})
    await created(runpod, WISH)
    await clock.advance(1)
    assert [spec.env.get("PUBLIC_KEY") for spec in stage.specs] == [None, key, "own", None]
    assert stage.specs[1].env["JUPYTER_PASSWORD"]
    assert pod["env"] == {}
    await runpod("PATCH", f"/pods/{pod['id']}", json={"env": {"NEW": "1"}})
    await clock.advance(5)
    assert stage.specs[-1].env["PUBLIC_KEY"] == key


STOCK = "/catalog/gpus?include=AVAILABILITY&product=POD"


@pytest.mark.parametrize(
    "query",
    [
        "gpus?count=2", "gpus?cloud=COMMUNITY", "gpus?countryCodes=US", "gpus?cudaVersions=12.8",
        "gpus?minCudaVersion=12", f"gpus/{A4000}?count=2", "cpus?vcpuCount=4",
        "gpus?include=AVAILABILITY&product=POD&cudaVersions=12.8&minCudaVersion=12",
        "cpus?include=AVAILABILITY&product=POD&vcpuCount=3",
    ],
)  # fmt: skip
async def test_a_filter_of_stock_without_stock_or_sense_is_400(runpod, query):
    assert (await runpod("GET", f"/catalog/{query}")).status == 400


@pytest.mark.parametrize(
    ("query", "level"),
    [
        ("", "HIGH"),
        ("&count=8", "HIGH"),
        ("&count=9", "NONE"),
        ("&cloud=COMMUNITY&count=5", "NONE"),
        ("&cudaVersions=12.8,12.6", "HIGH"),
        ("&cudaVersions=12.6", "NONE"),
        ("&minCudaVersion=12", "HIGH"),
        ("&minCudaVersion=12.11", "NONE"),
        ("&countryCodes=FR,US", "HIGH"),
        ("&countryCodes=FR", "NONE"),
    ],
)
async def test_stock_is_that_of_the_pod_one_would_ask_for(runpod, query, level):
    item = (await runpod("GET", f"/catalog/gpus/{A4000}?include=AVAILABILITY&product=POD{query}")).body
    assert item["availability"] == level


async def test_a_gpu_of_the_other_cloud_is_not_in_stock(runpod):
    offers = (await runpod("GET", STOCK + "&cloud=SECURE")).body["gpus"]
    assert {offer["availability"] for offer in offers if not offer["secure"]} == {"NONE"}


async def test_a_country_without_machines_has_no_gpus(runpod):
    assert (await runpod("GET", STOCK + "&countryCodes=FR")).body["gpus"] == []
    assert "dataCenters" not in (await runpod("GET", f"/catalog/gpus/{A4000}{STOCK[13:]}&countryCodes=FR")).body


@pytest.mark.parametrize(
    ("query", "start", "end"),
    [
        ("startTime=2025-05-01T00:00:00Z&endTime=2025-06-01T00:00:00Z", "2025-05-01T00", "2025-06-01T00"),
        ("startTime=2025-05-01T10:30:00Z&endTime=2025-06-01T00:00:01Z", "2025-05-01T00", "2025-06-02T00"),
        ("bucketSize=hour&lastN=3", "2025-12-31T22", "2026-01-01T01"),
        ("bucketSize=week&lastN=1", "2025-12-29T00", "2026-01-05T00"),
        ("bucketSize=month&lastN=3", "2025-11-01T00", "2026-02-01T00"),
        ("bucketSize=month&startTime=2025-05-20T00:00:00Z&endTime=2025-06-01T00:00:00Z",
         "2025-05-01T00", "2025-06-01T00"),
        ("bucketSize=year&lastN=2", "2025-01-01T00", "2027-01-01T00"),
    ],
)  # fmt: skip
async def test_a_bill_covers_whole_buckets_of_the_calendar(runpod, query, start, end):
    asked = (await runpod("GET", f"/billing/pods?{query}")).body["metadata"]["query"]
    assert (asked["startTime"], asked["endTime"]) == (f"{start}:00:00.000Z", f"{end}:00:00.000Z")


async def test_the_months_of_a_bill_begin_on_their_first_day(runpod, clock):
    await created(runpod, WISH)
    await clock.advance(40 * 86_400)
    records = (await runpod("GET", "/billing/pods?bucketSize=month&lastN=2")).body["records"]
    assert [record["startTime"][:10] for record in records] == ["2026-01-01", "2026-02-01"]
    assert [record["endTime"][:10] for record in records] == ["2026-02-01", "2026-03-01"]
    assert [record["totalAmount"] for record in records] == [pytest.approx(0.25 * 24 * days) for days in (31, 9)]


async def test_a_span_that_no_calendar_has_is_422(runpod):
    for size in ("hour", "month", "year"):
        assert (await runpod("GET", f"/billing/pods?bucketSize={size}&lastN=999999999999999999")).status == 422
        late = "startTime=9999-12-31T23:59:59Z&endTime=9999-12-31T23:59:59Z"
        assert (await runpod("GET", f"/billing/pods?bucketSize={size}&{late}")).status == 422


@pytest.mark.parametrize(
    ("path", "wrapper", "body"),
    [
        ("/templates", "templates", {"image": "i"}),
        ("/network-volumes", "networkVolumes", {"size": 10, "dataCenter": "US-LOCAL-1"}),
        ("/registries", "registries", {"username": "u", "password": "p"}),
    ],
)
async def test_every_list_comes_in_pages(runpod, path, wrapper, body):
    ids = [(await runpod("POST", path, json={**body, "name": f"n{n}"})).body["id"] for n in range(3)]
    first = (await runpod("GET", f"{path}?limit=2")).body
    assert [item["id"] for item in first[wrapper]] == ids[:2]
    assert first["pagination"]["hasNextPage"] is True
    rest = (await runpod("GET", f"{path}?limit=2&cursor={first['pagination']['nextCursor']}")).body
    assert [item["id"] for item in rest[wrapper]] == ids[2:]
    assert rest["pagination"] == {"nextCursor": None, "hasNextPage": False}
    for limit in ("0", "1001", "x", "1_0"):
        assert (await runpod("GET", f"{path}?limit={limit}")).status == 422


@pytest.mark.parametrize(
    ("query", "last_event_id"),
    [
        ("tail=5001", None), ("tail=-1", None), ("tail=x", None), ("tail=1_0", None), ("source=both", None),
        ("since=yesterday", None), ("since=2026-01-01", None), ("tail=1&tail=2", None), ("", "nonsense"),
    ],
)  # fmt: skip
async def test_a_wish_for_logs_that_makes_no_sense_is_422(runpod, query, last_event_id):
    pod_id = (await created(runpod, WISH))["id"]
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    assert (await runpod("GET", f"/pods/{pod_id}/logs?{query}", headers=headers)).status == 422


async def test_a_bare_timestamp_resumes_a_log_stream_and_beats_since_and_tail(runpod, clock, stage, session):
    pod_id = (await created(runpod, WISH))["id"]
    await clock.advance(10)
    cloud_log = f"{runpod.base}/pods/{pod_id}/logs?tail=1&since=2026-01-01T00:00:09Z"
    headers = {**runpod.headers, "Last-Event-ID": "2026-01-01T00:00:00Z"}
    async with session.get(cloud_log, headers=headers) as stream:
        assert (await stream.content.readuntil(b"\n")).startswith(b"id: 2026-01-01T00:00:00Z/000000000001")


async def test_a_fault_narrows_the_quota_until_it_is_lifted(runpod, cloud, clock):
    cloud.faults.add(*parse_rules([{"where": "runpod * /v2/**", "what": {"quirks": {"minute_quota": 2}}}]))
    answers = [await runpod("GET", "/pods") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[0].headers["RateLimit"].startswith('"minute";r=1;t=60')
    assert answers[0].headers["RateLimit-Policy"].startswith('"minute";q=2;w=60')
    assert answers[2].headers["Retry-After"] == "60"
    await clock.advance(60)
    assert (await runpod("GET", "/pods")).status == 200
    cloud.faults.clear()
    assert (await runpod("GET", "/pods")).headers["RateLimit-Policy"].startswith('"minute";q=180;w=60')


async def test_graphql_names_a_pod_that_is_not_there_as_the_vendor_does(cloud, runpod, session):
    body = {"query": 'mutation { podTerminate(input: {podId: "nobody"}) }'}
    async with session.post(cloud.endpoints.runpod_graphql_url, json=body, headers=runpod.headers) as answer:
        (error,) = (await answer.json())["errors"]
    assert (error["message"], error["extensions"]["code"]) == ("pod not found to terminate", "POD_NOT_FOUND")
    assert error["path"] == ["podTerminate"]


@pytest.mark.parametrize(
    "query",
    [
        "gpus?include=", "gpus?product=&include=AVAILABILITY", "cpus?product=&include=AVAILABILITY",
        "gpus?include=AVAILABILITY&product=POD&countryCodes=", "gpus?include=AVAILABILITY&product=POD,&count=1",
        "datacenters?regions=", "datacenters?compliance=", "datacenters?networkVolumeTypes=", "datacenters?include=",
    ],
)  # fmt: skip
async def test_an_empty_entry_of_a_list_is_none_of_its_choices(runpod, query):
    assert (await runpod("GET", f"/catalog/{query}")).status == 422


async def test_a_path_allows_only_what_it_serves(runpod):
    assert (await runpod("PATCH", "/registries/delegations")).headers["Allow"] == "GET,POST"
    assert (await runpod("PATCH", "/registries/other")).headers["Allow"] == "DELETE,GET"


async def test_a_pod_with_an_unknown_registry_credential_is_refused(runpod):
    for registry in ("reg_unknown", "0"):
        answer = await runpod("POST", "/pods", json={**WISH, "registry": registry})
        assert (answer.status, answer.body["detail"]) == (404, "resource not found")
    pod = await created(runpod, WISH, registry=None)
    answer = await runpod("PATCH", f"/pods/{pod['id']}", json={"registry": "reg_unknown"})
    assert answer.status == 404
    assert (await runpod("GET", f"/pods/{pod['id']}")).body["registry"] is None


async def test_a_registry_credential_in_use_stays_and_a_free_one_takes_its_templates_with_it(runpod):
    made = (await runpod("POST", "/registries", json={"name": "r", "username": "u", "password": "p"})).body["id"]
    template = (await runpod("POST", "/templates", json={"name": "t", "image": "i", "registry": made})).body["id"]
    pod = await created(runpod, WISH, registry=made)
    assert pod["registry"] == made
    assert (await runpod("DELETE", f"/registries/{made}")).status == 400
    await runpod("PATCH", f"/pods/{pod['id']}", json={"registry": None})
    assert (await runpod("DELETE", f"/registries/{made}")).status == 204
    assert (await runpod("GET", f"/templates/{template}")).body["registry"] is None


async def test_a_whole_number_is_an_integer_however_it_is_written(runpod):
    body = '{"name": "t", "image": "i", "disk": 20.0, "gpu": {"id": "NVIDIA RTX A4000", "count": 1.0}}'
    answer = await runpod("POST", "/pods", data=body)
    assert answer.status == 201, answer.text
    assert '"disk":20,' in answer.text
    assert answer.body["gpu"]["count"] == 1
    for odd in ("20.5", "1e300", "true"):
        assert (await runpod("POST", "/pods", data=body.replace("20.0", odd))).status == 422, odd


async def test_a_body_that_is_nested_without_end_is_no_json_for_us(runpod):
    answer = await runpod("POST", "/pods", data="[" * 900 + "]" * 900)
    assert answer.status in (400, 422)


async def test_graphql_says_on_every_answer_that_it_will_be_retired(runpod, cloud):
    graphql = runpod.with_headers(**runpod.headers)
    graphql.base = cloud.endpoints.runpod_graphql_url
    for query in ("query { myself { clientBalance } }", "query { nothing }"):
        answer = await graphql("POST", "", json={"query": query})
        assert parsedate_to_datetime(answer.headers["Sunset"]).year == 2027
    assert "Sunset" not in (await runpod("GET", "/pods")).headers
