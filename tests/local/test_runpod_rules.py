"""Rules of the RunPod API that stand in the prose of its document: between fields, between pods and what they use."""

from __future__ import annotations

import pytest

from runner.local.faults import CAPACITY

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
