"""Faults as rules: when they fire, and what a client then sees."""

from __future__ import annotations

from contextlib import suppress

import aiohttp
import jsonschema
import pytest

from runner.errors import SpecError
from runner.local.faults import PRESETS, Rule, What, When, parse_rules, rules_schema

WISH = {"name": "t", "image": "img", "gpu": {"id": "NVIDIA RTX A4000", "count": 1}}
CREATE = "runpod POST /v2/pods"


def arm(cloud, where, what, **when):
    cloud.faults.add(Rule(where=where, what=what, when=When(**when)))


async def create(runpod):
    return await runpod("POST", "/pods", json=WISH)


async def pods(runpod):
    return (await runpod("GET", "/pods")).body["pods"]


async def test_rule_fires_on_the_nth_match_as_often_as_it_says(runpod, cloud):
    arm(cloud, CREATE, "capacity", nth=2, times=2)
    assert [(await create(runpod)).status for _ in range(4)] == [201, 400, 400, 201]


async def test_rules_are_armed_and_cleared_while_the_servers_run(runpod, cloud):
    arm(cloud, CREATE, "balance")
    assert (await create(runpod)).status == 402
    cloud.faults.clear()
    assert (await create(runpod)).status == 201


async def test_text_narrows_a_rule_to_one_pod(runpod, cloud):
    arm(cloud, CREATE, "error-before", contains='"name": "other"')
    assert (await create(runpod)).status == 201
    assert (await runpod("POST", "/pods", json={**WISH, "name": "other"})).status == 500


async def test_chance_is_the_same_every_time(runpod, cloud):
    async def outcomes():
        cloud.faults.clear()
        arm(cloud, "runpod GET /v2/pods", "error-before", probability=0.5, seed=7)
        return [(await runpod("GET", "/pods")).status for _ in range(12)]

    first = await outcomes()
    assert first == await outcomes()
    assert set(first) == {200, 500}


async def test_capacity_speaks_the_vendors_words(runpod, cloud):
    arm(cloud, CREATE, "capacity")
    answer = await create(runpod)
    assert answer.body["detail"].startswith("There are no longer any instances available")
    assert answer.headers["Content-Type"].startswith("application/problem+json")


async def test_rate_limit_names_the_wait(runpod, cloud):
    arm(cloud, "runpod GET /v2/pods/{id}", "rate-limit")
    answer = await runpod("GET", "/pods/x")
    assert (answer.status, answer.headers["Retry-After"]) == (429, "1")


async def test_error_before_has_no_effect_and_error_after_has(runpod, cloud):
    arm(cloud, CREATE, "error-before", times=1)
    assert (await create(runpod)).status == 500
    assert await pods(runpod) == []
    cloud.faults.clear()
    arm(cloud, CREATE, "error-after", times=1)
    assert (await create(runpod)).status == 500
    assert len(await pods(runpod)) == 1


@pytest.mark.parametrize(("what", "created"), [("reset-before", 0), ("reset-after", 1)])
async def test_connection_is_cut_before_or_after_the_effect(runpod, cloud, what, created):
    arm(cloud, CREATE, what, times=1)
    with pytest.raises(aiohttp.ClientError):
        await create(runpod)
    assert len(await pods(runpod)) == created


async def test_create_takes_effect_although_the_client_gave_up(runpod, cloud, clock):
    cloud.faults.add(*parse_rules([{"where": CREATE, "what": {"delay_s": 5}}]))
    with pytest.raises(TimeoutError):
        await runpod("POST", "/pods", json=WISH, timeout=aiohttp.ClientTimeout(total=0.05))
    assert await pods(runpod) == []
    await clock.advance(5)
    assert len(await pods(runpod)) == 1


async def test_list_lags_behind_create_and_delete(runpod, cloud, clock):
    arm(cloud, "runpod GET /v2/pods", "list-lag")
    pod_id = (await create(runpod)).body["id"]
    assert await pods(runpod) == []
    assert (await runpod("GET", f"/pods/{pod_id}")).status == 200
    await clock.advance(5)
    assert len(await pods(runpod)) == 1
    cloud.faults.clear()
    arm(cloud, "runpod GET /v2/pods", "delete-lag")
    await runpod("DELETE", f"/pods/{pod_id}")
    await clock.advance(3)
    assert (await runpod("GET", f"/pods/{pod_id}")).status == 404
    assert [pod["status"] for pod in await pods(runpod)] == ["TERMINATED"]
    await clock.advance(3)
    assert await pods(runpod) == []


async def test_delete_fails_several_times_then_works(runpod, cloud):
    pod_id = (await create(runpod)).body["id"]
    arm(cloud, "runpod DELETE /v2/pods/{id}", "error-before", times=3)
    codes = [(await runpod("DELETE", f"/pods/{pod_id}")).status for _ in range(5)]
    assert codes == [500, 500, 500, 204, 404]


@pytest.mark.parametrize(
    ("what", "seen"),
    [
        ("no-gpu", lambda pod: pod["gpu"]["count"] == 0),
        ("dear", lambda pod: pod["cost"] == 0.75),
        ("unknown-status", lambda pod: pod["status"] == "MIGRATING"),
        ("empty-runtime", lambda pod: pod["runtime"] == {}),
    ],
)
async def test_created_pods_are_not_what_was_asked_for(runpod, cloud, what, seen):
    arm(cloud, CREATE, what)
    assert seen((await create(runpod)).body)


@pytest.mark.parametrize(
    ("what", "status"), [("slow-pull", "PROVISIONING"), ("stuck", "PROVISIONING"), ("pod-error", "ERROR")]
)
async def test_pods_that_do_not_come_up(runpod, cloud, clock, what, status):
    arm(cloud, CREATE, what)
    pod_id = (await create(runpod)).body["id"]
    await clock.advance(30)
    assert (await runpod("GET", f"/pods/{pod_id}")).body["status"] == status
    await clock.advance(60)
    assert (await runpod("GET", f"/pods/{pod_id}")).body["status"] == ("RUNNING" if what == "slow-pull" else status)


async def test_crash_loop_swaps_the_program_and_zero_uptime_hides_the_time(runpod, cloud, clock, stage):
    arm(cloud, CREATE, "crash-loop", times=1)
    pod_id = (await create(runpod)).body["id"]
    await clock.advance(30)
    assert stage.specs[0].argv == ("false",)
    arm(cloud, "runpod GET /v2/pods/{id}", "zero-uptime")
    assert (await runpod("GET", f"/pods/{pod_id}")).body["runtime"]["uptime"] == 0


async def test_log_stream_breaks_off(runpod, cloud, clock, session):
    pod_id = (await create(runpod)).body["id"]
    await clock.advance(1)
    arm(cloud, "runpod GET /v2/pods/{id}/logs", "cut-stream")
    received = b""
    async with session.get(f"{runpod.base}/pods/{pod_id}/logs", headers=runpod.headers) as answer:
        with suppress(aiohttp.ClientPayloadError):
            async for chunk in answer.content.iter_any():
                received += chunk
        assert answer.content.exception() is not None
    assert received.count(b"data: ") == 3


async def test_lab_deploy_fails_after_it_made_a_pod(lab, runpod, cloud, seeds):
    arm(cloud, "lab POST /api/training/deploy/runpod", "orphan-pod")
    body = {"training_config_id": await seeds.attached()}
    answer = await lab("POST", "/api/training/deploy/runpod", json=body)
    assert answer.error == (500, "Failed to create RunPod deployment")
    assert answer.body["details"] == "Cannot read properties of null (reading 'desiredStatus')"
    assert len(await pods(runpod)) == 1
    (job,) = (await lab("GET", "/api/training/local/jobs")).body["jobs"]
    assert job["status"] == "failed"
    check = await lab("GET", f"/api/training/cloud-check/{job['id']}")
    assert check.body["isCloudJob"] is False


async def test_metrics_405_and_lost_alert(lab, cloud, seeds, clock, stage):
    arm(cloud, "lab POST /api/training/local/metrics", "metrics-405")
    arm(cloud, "lab POST /api/alerts/trigger", "alert-lost", contains="job_completed")
    reply = await seeds.deployment()
    assert (await lab("POST", "/api/training/local/metrics", json={})).status == 405
    internal = lab.with_headers(X_API_Key=cloud.endpoints.lab_internal_key)
    body = {"job_id": reply["job_id"], "user_id": "u"}
    lost = await internal("POST", "/api/alerts/trigger", json={**body, "type": "job_completed"})
    assert lost.body == {"success": True}
    assert (await lab("GET", f"/api/training/local/{reply['job_id']}/status")).body["status"] == "pending"


async def test_alert_without_effect_is_in_the_history_only(lab, cloud, seeds, clock, stage):
    arm(cloud, "lab POST /api/alerts/trigger", "alert-without-effect")
    reply = await seeds.deployment()
    await clock.advance(1)
    internal = lab.with_headers(X_API_Key=cloud.endpoints.lab_internal_key)
    body = {"type": "job_failed", "job_id": reply["job_id"], "user_id": stage.specs[0].env["USER_ID"]}
    await internal("POST", "/api/alerts/trigger", json=body)
    assert (await lab("GET", "/api/alerts/history")).body["total"] == 1
    assert (await lab("GET", f"/api/training/local/{reply['job_id']}/status")).body["status"] == "pending"


@pytest.mark.parametrize("page", ["<html><body>Please sign in</body></html>", [], {}])
async def test_lab_takes_no_page_of_a_proxy_for_a_pod(lab, cloud, seeds, clock, stage, page):
    reply = await seeds.deployment()
    await clock.advance(1)
    arm(cloud, "runpod * /v2/**", What(status=200, body=page))
    body = {"training_config_id": await seeds.attached()}
    assert (await lab("POST", "/api/training/deploy/runpod", json=body)).error == (
        500, "Failed to create RunPod deployment",
    )  # fmt: skip
    # The answer to an alert does not tell how its pod's end went.
    internal = lab.with_headers(X_API_Key=cloud.endpoints.lab_internal_key)
    alert = {"type": "job_completed", "job_id": reply["job_id"], "user_id": stage.specs[0].env["USER_ID"]}
    assert (await internal("POST", "/api/alerts/trigger", json=alert)).body == {"success": True}


async def test_deploy_through_a_broken_runpod_fails_cleanly(lab, cloud, seeds):
    body = {"training_config_id": await seeds.attached()}
    for what, details in (
        ("error-before", "RunPod API error: 500 - injected fault"),
        ("html", "RunPod API error: 502 - <html>"),
        ("reset-before", "ServerDisconnectedError"),
    ):
        cloud.faults.clear()
        arm(cloud, CREATE, what)
        answer = await lab("POST", "/api/training/deploy/runpod", json=body)
        assert answer.error == (500, "Failed to create RunPod deployment")
        assert answer.body["details"].startswith((details, "ClientOSError"))


@pytest.mark.parametrize("name", [name for name, what in PRESETS.items() if not what.delay_s])
async def test_every_preset_is_survived_by_the_servers(runpod, lab, cloud, name):
    arm(cloud, "* * /**", name, times=2)
    for api, path in ((runpod, "/pods"), (lab, "/api/training")):
        with suppress(aiohttp.ClientError):
            await api("GET", path)
    assert (await runpod("GET", "/pods")).status == 200


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ([{"where": "runpod POST", "what": "capacity"}], "`where: runpod POST` is not `SERVER METHOD PATH`"),
        ([{"where": "moon GET /x", "what": "capacity"}], "`moon` in `where` is not `runpod`, `lab` or `*`"),
        ([{"where": CREATE, "what": "capacty"}], "unknown fault `capacty`; did you mean `capacity`?"),
        ([{"where": CREATE, "what": {"stauts": 500}}], "unknown field `stauts`"),
        ([{"where": CREATE}], "missing required field `what`"),
        ({"where": CREATE}, "Expected `array`"),
    ],
)
def test_wrong_rules_are_refused_with_their_reason(rules, problem):
    with pytest.raises(SpecError) as caught:
        parse_rules(rules)
    assert problem in str(caught.value)


def test_no_rules_are_fine():
    assert parse_rules(None) == ()


# Every row of the fault table in the RunPod contract, by the fault that produces it.
ROWS = {
    "create succeeds after the client timed out": "late-create",
    "capacity": "capacity",
    "balance": "balance",
    "rate limit": "rate-limit",
    "rate limit, configurable windows": "small-quota",
    "retired API": "gone",
    "lagging list": "list-lag",
    "lagging delete": "delete-lag",
    "slow pull": "slow-pull",
    "stuck at uptime 0": "zero-uptime",
    "ERROR": "pod-error",
    "restart loop": "crash-loop",
    "zero GPUs": "no-gpu",
    "higher cost than quoted": "dear",
    "delete answers 500 several times": "error-before",
    "403 1010": "cloudflare",
    "unknown status": "unknown-status",
    "extra fields, string cost, other time format": "odd-shape",
    "runtime {}": "empty-runtime",
    "log stream cut": "cut-stream",
    "pod-scoped key refused": "own-key-refused",
    "locked": "locked",
}


@pytest.mark.parametrize("fault", sorted(set(ROWS.values())))
def test_every_row_of_the_contracts_fault_table_can_be_had_by_name(fault):
    assert parse_rules([{"where": "runpod * /v2/pods", "what": fault, "when": {"times": 3}}])


def test_the_schema_of_fault_files_knows_every_fault_and_refuses_others():
    schema = rules_schema()
    jsonschema.validate([{"where": "runpod POST /v2/pods", "what": name} for name in PRESETS], schema)
    jsonschema.validate([{"where": "runpod POST /v2/pods", "what": {"status": 500, "at": "after"}}], schema)
    for wrong in ([{"where": "x", "what": "capcity"}], [{"what": "capacity"}], [{"where": "x", "what": 1}]):
        with pytest.raises(jsonschema.ValidationError, match=r"\w"):
            jsonschema.validate(wrong, schema)
