"""Delivering alerts: signed webhooks to receivers on this machine, and the history of what was sent and what not.

A server that anybody on this machine may ask to POST somewhere must not become a way out of it: webhooks are stored
with any address, as by the product, and delivered to loopback addresses only. The history says so.

Source: FineTune Lab contract §2.9, read 2026-11.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from aiohttp import ClientError, ClientTimeout

from runner.local.lab_api.context import Lab
from runner.local.lab_api.store import Doc

TIMEOUT = ClientTimeout(total=10)
NOT_LOOPBACK = "not delivered: the embedded lab sends to loopback addresses only"
SHOWN_ERROR = 500
DEFAULT_PREFERENCES: Mapping[str, Any] = {
    "email_enabled": True, "email_address": None, "alert_job_started": False, "alert_job_completed": True,
    "alert_job_failed": True, "alert_job_cancelled": False, "alert_batch_test_completed": False,
    "alert_batch_test_failed": True, "alert_gpu_oom": True, "alert_disk_warning": True, "alert_timeout_warning": True,
    "daily_summary_enabled": False, "daily_summary_hour": 9, "weekly_digest_enabled": False, "weekly_digest_day": 1,
    "quiet_hours_enabled": False, "quiet_hours_start": 22, "quiet_hours_end": 8, "timezone": "UTC",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class AlertMessage:
    """One alert on its way to everybody who wants it."""

    type: str
    user_id: str
    title: str
    message: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    job_id: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one attempt; `error` is None exactly when it was delivered."""

    status: int | None = None
    error: str | None = None


async def send_alert(lab: Lab, alert: AlertMessage) -> None:
    """Deliver an alert and write its history: one row for every enabled webhook, or one when there is none."""
    hooks = [hook for hook in lab.store.newest_first("webhooks", alert.user_id) if hook["enabled"]]
    for hook in reversed(hooks):
        delivery = await deliver(lab, hook, alert)
        _remember(lab, alert, hook_id=hook["id"], delivery=delivery)
    if not hooks:
        _remember(lab, alert)


async def deliver(lab: Lab, hook: Mapping[str, Any], alert: AlertMessage) -> Delivery:
    """POST an alert to one webhook, once: nothing is tried again."""
    if not hook.get(f"alert_{alert.type}", True):
        return Delivery(error=f"Alert type {alert.type} disabled")
    if not is_loopback_url(hook["url"]):
        return Delivery(error=NOT_LOOPBACK)
    body = msgspec.json.encode(_payload(alert, hook["webhook_type"], lab.now()))
    headers = {"Content-Type": "application/json", "User-Agent": "AlertService/1.0"}
    if hook.get("secret"):
        headers["X-Webhook-Signature"] = hmac.new(hook["secret"].encode(), body, hashlib.sha256).hexdigest()
    delivery = await _post(lab, hook["url"], body, headers)
    changes = (
        {"last_success_at": lab.now(), "failure_count": 0}
        if delivery.error is None
        else {"last_failure_at": lab.now(), "failure_count": hook.get("failure_count", 0) + 1}
    )
    lab.store.update("webhooks", hook["id"], changes)
    return delivery


async def _post(lab: Lab, url: str, body: bytes, headers: Mapping[str, str]) -> Delivery:
    try:
        # A redirect could lead off this machine.
        async with lab.http.post(url, data=body, headers=headers, timeout=TIMEOUT, allow_redirects=False) as answer:
            if 200 <= answer.status < 300:
                return Delivery(answer.status)
            text = (await answer.content.read(400)).decode("utf-8", "replace")
            return Delivery(answer.status, f"HTTP {answer.status}: {text[:100]}")
    except TimeoutError:
        return Delivery(error="This operation was aborted")
    except (ClientError, ValueError) as exc:
        return Delivery(error=str(exc) or type(exc).__name__)


def is_loopback_url(url: str) -> bool:
    """Whether a URL names this machine by an address, or as `localhost`; other names may lead anywhere."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def preferences_of(lab: Lab, user_id: str) -> dict[str, Any]:
    return {**DEFAULT_PREFERENCES, **lab.store.setting(user_id, "preferences")}


def _payload(alert: AlertMessage, kind: str, now: str) -> dict[str, Any]:
    error = str(alert.metadata.get("errorMessage") or "")
    shown = error if len(error) <= SHOWN_ERROR else error[: SHOWN_ERROR - 3] + "..."
    if kind == "slack":
        text = "\n".join(part for part in (alert.message, shown and f"```{shown}```") if part)
        header = {"type": "header", "text": {"type": "plain_text", "text": alert.title, "emoji": True}}
        return {"blocks": [header, {"type": "section", "text": {"type": "mrkdwn", "text": text or alert.title}}]}
    if kind == "discord":
        fields = [{"name": "Error", "value": f"```{shown}```", "inline": False}] if shown else []
        footer = {"text": f"Job ID: {alert.job_id}"}
        color = 0xE74C3C if alert.type.endswith(("failed", "oom")) else 0x2ECC71
        embed = {
            "title": alert.title, "description": alert.message, "color": color, "fields": fields, "timestamp": now,
            "footer": footer,
        }  # fmt: skip
        return {"embeds": [embed]}
    return {
        "type": alert.type, "title": alert.title, "message": alert.message, "timestamp": now,
        "metadata": dict(alert.metadata), "jobId": alert.job_id,
    }  # fmt: skip


def _remember(lab: Lab, alert: AlertMessage, *, hook_id: str | None = None, delivery: Delivery | None = None) -> None:
    if alert.job_id is not None and not is_uuid(alert.job_id):
        # The history's column is a UUID: the insert of any other id fails, and nobody is told.
        return
    sent = delivery is not None and delivery.error is None
    row: Doc = {
        "id": str(uuid.uuid4()),
        "user_id": alert.user_id,
        "alert_type": alert.type,
        "title": alert.title,
        "message": alert.message,
        "metadata": dict(alert.metadata),
        "job_id": alert.job_id,
        "email_sent": False,
        "email_sent_at": None,
        "email_message_id": None,
        "email_error": _why_no_email(lab, alert),
        "webhook_sent": sent,
        "webhook_sent_at": lab.now() if sent else None,
        "webhook_id": hook_id,
        "webhook_status_code": delivery.status if delivery else None,
        "webhook_error": delivery.error if delivery else None,
        "created_at": lab.now(),
    }
    lab.store.insert("alerts", row["id"], alert.user_id, row)


def _why_no_email(lab: Lab, alert: AlertMessage) -> str:
    """No mail leaves this machine; the reason is the first that the real service would have had."""
    preferences = preferences_of(lab, alert.user_id)
    if not preferences["email_enabled"]:
        return "Email disabled"
    if not preferences.get(f"alert_{alert.type}", True):
        return f"Alert type {alert.type} disabled"
    if preferences["quiet_hours_enabled"] and _is_quiet(_hour_there(lab, preferences), preferences):
        return "Quiet hours active"
    return "No email address"


def _hour_there(lab: Lab, preferences: Mapping[str, Any]) -> int:
    """The hour in the user's time zone; a zone that nobody knows is UTC."""
    now = lab.clock.now()
    try:
        return now.astimezone(ZoneInfo(str(preferences["timezone"]))).hour
    except (OSError, ValueError, ZoneInfoNotFoundError):
        return now.hour


def _is_quiet(hour: int, preferences: Mapping[str, Any]) -> bool:
    """Whether an hour lies in the quiet ones, which may go over midnight."""
    start, end = int(preferences["quiet_hours_start"]), int(preferences["quiet_hours_end"])
    return start <= hour < end if start <= end else hour >= start or hour < end


def is_uuid(text: str) -> bool:
    """Whether an id fits the UUID columns of the real database."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
