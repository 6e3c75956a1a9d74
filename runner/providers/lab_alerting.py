"""How the lab sends alerts: the user's preferences and webhooks.

Source: FineTune Lab contract §2.9, read from the public repository of 2026-07.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runner.providers.lab_access import Ask, LabAccess, segment
from runner.providers.lab_wire import read_done
from runner.providers.readers import items, mapping, needed_text, text, whole

WEBHOOKS = "/api/alerts/webhooks"
KINDS = ("generic", "slack", "discord")


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One receiver of alerts; the lab never shows its secret.

    Attributes:
        wants: alert types (`job_completed`, …) that are sent to it.
        failures: deliveries that failed since the last that worked; None where the lab does not count.
    """

    id: str
    name: str
    url: str
    kind: str
    enabled: bool
    has_secret: bool
    wants: frozenset[str]
    failures: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWebhook:
    """A receiver to be. What is in neither set is as the lab's defaults have it: no starts and no cancellations."""

    name: str
    url: str
    kind: str = "generic"
    secret: str | None = field(default=None, repr=False)
    wants: frozenset[str] = frozenset()
    refuses: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class TestDelivery:
    """What became of a sample that the lab sent to a webhook."""

    __test__ = False  # for pytest, which takes the name for one of its own

    delivered: bool
    status: int | None
    error: str | None


class LabAlerting:
    """Reads and changes where alerts go."""

    def __init__(self, access: LabAccess) -> None:
        self._access = access

    async def preferences(self) -> Mapping[str, Any]:
        """The user's preferences under the lab's names, such as `alert_job_started`."""
        ask = Ask(method="GET", path="/api/alerts/preferences", to="read alert preferences")
        return await self._access.by_session(ask, _preferences)

    async def set_preferences(self, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Change some preferences; all of them as they are then. The lab drops names that it does not know."""
        ask = Ask(
            method="PUT", path="/api/alerts/preferences", body=dict(changes), to="change alert preferences",
            repeatable=True,
        )  # fmt: skip
        return await self._access.by_session(ask, _preferences)

    async def webhooks(self) -> Sequence[Webhook]:
        """Enabled webhooks; the lab does not list the others (T-23)."""
        ask = Ask(method="GET", path=WEBHOOKS, to="list webhooks")
        return await self._access.by_session(ask, lambda answer: [_webhook(row) for row in items(answer, "webhooks")])

    async def webhook(self, webhook_id: str) -> Webhook:
        """One webhook, enabled or not."""
        ask = Ask(method="GET", path=f"{WEBHOOKS}/{segment(webhook_id)}", to="read a webhook")
        return await self._access.by_session(ask, _answered)

    async def add_webhook(self, new: NewWebhook) -> Webhook:
        """Add a receiver. Not repeated on failure: a second one would get everything twice."""
        flags = {f"alert_{kind}": True for kind in new.wants} | {f"alert_{kind}": False for kind in new.refuses}
        body = {"name": new.name, "url": new.url, "webhook_type": new.kind, "secret": new.secret, **flags}
        ask = Ask(method="POST", path=WEBHOOKS, body=body, to="add a webhook")
        return await self._access.by_session(ask, _answered)

    async def enable_webhook(self, webhook_id: str, *, enabled: bool) -> Webhook:
        """Switch a webhook on or off."""
        path = f"{WEBHOOKS}/{segment(webhook_id)}"
        ask = Ask(method="PUT", path=path, body={"enabled": enabled}, to="change a webhook", repeatable=True)
        return await self._access.by_session(ask, _answered)

    async def remove_webhook(self, webhook_id: str) -> None:
        """Remove a webhook; fine when there is none."""
        ask = Ask(method="DELETE", path=f"{WEBHOOKS}/{segment(webhook_id)}", to="remove a webhook")
        await self._access.by_session(ask, read_done)

    async def test_webhook(self, webhook_id: str) -> TestDelivery:
        """Let the lab send a sample."""
        ask = Ask(method="POST", path=f"{WEBHOOKS}/{segment(webhook_id)}/test", to="test a webhook")
        return await self._access.by_session(ask, _delivery)


def _preferences(answer: Any) -> Mapping[str, Any]:
    return mapping(mapping(answer, "the answer").get("preferences"), "`preferences`")


def _answered(answer: Any) -> Webhook:
    return _webhook(mapping(answer, "the answer").get("webhook"))


def _webhook(value: Any) -> Webhook:
    row = mapping(value, "a webhook")
    flags = [name.removeprefix("alert_") for name, on in row.items() if name.startswith("alert_") and on is True]
    return Webhook(
        id=needed_text(row, "id", "a webhook"),
        name=text(row.get("name")) or "",
        url=text(row.get("url")) or "",
        kind=text(row.get("webhook_type")) or "generic",
        enabled=row.get("enabled") is not False,
        has_secret=bool(row.get("secret")),
        wants=frozenset(flags),
        failures=whole(row.get("failure_count")),
    )


def _delivery(answer: Any) -> TestDelivery:
    found = mapping(answer, "the answer")
    return TestDelivery(found.get("success") is True, whole(found.get("statusCode")), text(found.get("error")))
