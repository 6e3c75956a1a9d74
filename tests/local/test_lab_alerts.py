"""Alerts on their way out: webhooks that receivers on this machine really get, and what the history says of each."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

UNKNOWN = "00000000-0000-4000-8000-000000000000"
HOOKS = "/api/alerts/webhooks"


class Receiver:
    """Takes webhooks; `answer` is what it says to them."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answer = web.Response(text="thanks")
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.got.append((dict(request.headers), await request.read()))
        return web.Response(
            status=self.answer.status, text=self.answer.text, headers={"Location": "http://example.com/"}
        )  # fmt: skip


@pytest.fixture
async def receiver():
    receiver, app = Receiver(), web.Application()
    app.router.add_post("/hook", receiver.take)
    async with TestServer(app, host="127.0.0.1") as server:
        receiver.url = str(server.make_url("/hook"))
        yield receiver


@pytest.fixture
def trigger(lab, cloud):
    """Sends an alert about a job as its trainer would."""
    internal = lab.with_headers(X_API_Key=cloud.endpoints.lab_internal_key)
    user = json.loads(_decoded(cloud.endpoints.lab_jwt))["sub"]

    async def send(kind: str, **more):
        body = {"type": kind, "job_id": UNKNOWN, "user_id": user, "model_name": "m", **more}
        assert (await internal("POST", "/api/alerts/trigger", json=body)).status == 200

    return send


def _decoded(jwt: str) -> bytes:
    import base64

    part = jwt.split(".")[1]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


async def hook(lab, url, **more):
    answer = await lab("POST", HOOKS, json={"name": "h", "url": url, **more})
    assert answer.status == 201, answer.text
    return answer.body["webhook"]


async def history(lab):
    return (await lab("GET", "/api/alerts/history")).body["alerts"]


async def test_generic_webhook_is_signed_and_carries_the_alert(lab, receiver, trigger):
    made = await hook(lab, receiver.url, secret="s3cret")
    assert made["secret"] == "********"
    await trigger("job_failed", error_message="boom", loss=0.5)
    ((headers, body),) = receiver.got
    assert headers["User-Agent"] == "AlertService/1.0"
    assert headers["X-Webhook-Signature"] == hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    sent = json.loads(body)
    assert set(sent) == {"type", "title", "message", "timestamp", "metadata", "jobId"}
    assert (sent["type"], sent["jobId"], sent["metadata"]["errorMessage"]) == ("job_failed", UNKNOWN, "boom")
    (row,) = await history(lab)
    assert (row["webhook_sent"], row["webhook_status_code"], row["webhook_error"]) == (True, 200, None)
    assert row["webhook_id"] == made["id"]


async def test_slack_and_discord_get_their_own_forms_with_a_cut_error(lab, receiver, trigger):
    await hook(lab, receiver.url, webhook_type="slack")
    await hook(lab, receiver.url, webhook_type="discord")
    await trigger("job_failed", error_message="x" * 900)
    slack, discord = (json.loads(body) for _, body in receiver.got)
    assert slack["blocks"][0]["type"] == "header"
    assert discord["embeds"][0]["footer"] == {"text": f"Job ID: {UNKNOWN}"}
    assert "x" * 497 + "..." in discord["embeds"][0]["fields"][0]["value"]
    assert "x" * 497 + "...```" in slack["blocks"][1]["text"]["text"]
    assert len(await history(lab)) == 2


async def test_history_has_a_row_for_a_webhook_that_did_not_want_the_alert(lab, receiver, trigger):
    """Trap T-16: delivery is off by default for `job_started`, the row appears all the same."""
    await hook(lab, receiver.url)
    await trigger("job_started")
    assert receiver.got == []
    (row,) = await history(lab)
    assert (row["webhook_sent"], row["webhook_error"]) == (False, "Alert type job_started disabled")
    assert row["email_error"] == "Alert type job_started disabled"


async def test_receiver_that_refuses_or_redirects_is_told_of_once(lab, receiver, trigger):
    made = await hook(lab, receiver.url)
    receiver.answer = web.Response(status=302, text="elsewhere")
    await trigger("job_completed")
    receiver.answer = web.Response(status=500, text="no")
    await trigger("job_completed")
    assert len(receiver.got) == 2
    assert [row["webhook_error"] for row in await history(lab)] == ["HTTP 500: no", "HTTP 302: elsewhere"]
    assert (await lab("GET", f"{HOOKS}/{made['id']}")).body["webhook"]["failure_count"] == 2


@pytest.mark.parametrize(
    "url", ["http://example.com/h", "http://10.0.0.1/h", "http://localhost.example.com/h", "https://[2001:db8::1]/h"]
)
async def test_nothing_is_sent_off_this_machine(lab, trigger, url):
    made = await hook(lab, url)
    await trigger("job_completed")
    (row,) = await history(lab)
    assert row["webhook_error"] == "not delivered: the embedded lab sends to loopback addresses only"
    tested = (await lab("POST", f"{HOOKS}/{made['id']}/test")).body
    assert (tested["success"], tested["statusCode"]) == (False, None)


async def test_receiver_that_is_not_there_costs_the_alert_nothing(lab, trigger, unused_tcp_port):
    await hook(lab, f"http://127.0.0.1:{unused_tcp_port}/")
    await trigger("job_completed")
    (row,) = await history(lab)
    assert row["webhook_sent"] is False
    assert "Cannot connect" in row["webhook_error"]


async def test_t23_disabled_webhook_is_found_by_its_id_only(lab, receiver, trigger):
    made = await hook(lab, receiver.url, enabled=False)
    assert (await lab("GET", HOOKS)).body == {"webhooks": []}
    await trigger("job_completed")
    assert receiver.got == []
    path = f"{HOOKS}/{made['id']}"
    assert (await lab("PUT", path, json={"enabled": True, "secret": "********"})).status == 200
    assert [row["id"] for row in (await lab("GET", HOOKS)).body["webhooks"]] == [made["id"]]
    tested = (await lab("POST", f"{path}/test")).body
    assert tested == {"success": True, "statusCode": 200, "error": None}
    for _ in range(2):
        assert (await lab("DELETE", path)).body == {"success": True}
    assert (await lab("GET", path)).error == (404, "Webhook not found")


async def test_webhook_needs_a_name_and_an_address(lab):
    assert (await lab("POST", HOOKS, json={"url": "http://x/"})).error == (400, "Name is required")
    for url in ("ftp://x/", "nonsense", 5, "http://[bad"):
        assert (await lab("POST", HOOKS, json={"name": "n", "url": url})).error == (400, "Valid URL is required")


async def test_quiet_hours_go_over_midnight(lab, trigger, clock):
    preferences = {"quiet_hours_enabled": True, "quiet_hours_start": 22, "quiet_hours_end": 8}
    await lab("PUT", "/api/alerts/preferences", json=preferences)
    reasons = []
    for _ in range(3):  # 00:00, 12:00 and 00:00 again
        await trigger("job_completed")
        reasons.append((await history(lab))[0]["email_error"])
        await clock.advance(12 * 3600)
    assert reasons == ["Quiet hours active", "No email address", "Quiet hours active"]


@pytest.mark.parametrize(
    ("zone", "reason"),
    [
        ("Asia/Tokyo", "No email address"),  # 09:00 there
        ("America/New_York", "No email address"),  # 19:00 there
        ("Europe/Berlin", "Quiet hours active"),
        ("Nowhere/At_All", "Quiet hours active"),
    ],
)
async def test_quiet_hours_are_those_of_the_users_time_zone(lab, trigger, zone, reason):
    preferences = {"quiet_hours_enabled": True, "quiet_hours_start": 22, "quiet_hours_end": 8, "timezone": zone}
    await lab("PUT", "/api/alerts/preferences", json=preferences)
    await trigger("job_completed")
    assert (await history(lab))[0]["email_error"] == reason
