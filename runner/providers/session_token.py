"""The lab's session token: given as it is, or renewed from a refresh token.

The lab's own `refresh-token` route renews nothing (T-19), so renewal goes to Supabase, which issues the tokens.
Source: Supabase Auth, `POST /auth/v1/token?grant_type=refresh_token`; FineTune Lab contract §1.1.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from runner.errors import ProviderError
from runner.ports import Clock
from runner.ports import ProviderErrorKind as Kind
from runner.providers.clock import SystemClock
from runner.providers.faults import Answer, Call, Refusal, json_body, refuse_by_status
from runner.providers.http import Host
from runner.providers.readers import decode_json, mapping, maybe_mapping, needed_text, number, text

RENEW_BEFORE_S = 300.0


class SessionToken(Protocol):
    """Where a session token comes from."""

    async def get(self) -> str:
        """A token that is valid now, as far as can be known.

        Raises:
            ProviderError: `auth` when there is none to be had.
        """


class FixedToken:
    """A token that somebody copied; nothing renews it."""

    def __init__(self, token: str, clock: Clock | None = None) -> None:
        self._token = token
        self._expires = expiry_of(token)
        self._clock = clock or SystemClock()

    async def get(self) -> str:
        """The token, or an `auth` error once its own expiry has passed."""
        now = self._clock.now()
        if self._expires is not None and now >= self._expires:
            minutes = (now - self._expires).total_seconds() / 60
            raise ProviderError(
                f"the session token of the lab expired {minutes:.0f} min ago: set a fresh `FINETUNE_LAB_JWT`, or"
                " `FINETUNE_LAB_REFRESH_TOKEN` with `SUPABASE_URL` and `SUPABASE_ANON_KEY` so that it can be renewed",
                kind=Kind.AUTH,
            )
        return self._token


class RenewedToken:
    """A token that is renewed some minutes before it expires.

    Every renewal spends the refresh token and yields the next one, so whoever wants to run again later has to keep
    what `on_rotated` is given.

    Args:
        supabase: opened on the Supabase project URL, with `refuse_renewal`.
        token: a session token to begin with.
    """

    def __init__(
        self,
        supabase: Host,
        *,
        anon_key: str,
        refresh_token: str,
        token: str | None = None,
        on_rotated: Callable[[str], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._supabase = supabase
        self._anon_key = anon_key
        self._refresh_token = refresh_token
        self._token = token
        self._expires = expiry_of(token) if token else None
        self._on_rotated = on_rotated
        self._clock = clock or SystemClock()
        self._renewing = asyncio.Lock()

    async def get(self) -> str:
        """A token with at least some minutes to live."""
        async with self._renewing:
            left_s = (self._expires - self._clock.now()).total_seconds() if self._expires else 0.0
            if self._token is None or left_s < RENEW_BEFORE_S:
                self._token = await self._renew()
            return self._token

    async def _renew(self) -> str:
        call = Call(
            method="POST",
            path="/auth/v1/token",
            params={"grant_type": "refresh_token"},
            headers={"apikey": self._anon_key},
            body=json_body({"refresh_token": self._refresh_token}),
            # A second use within seconds yields the same session, which is meant for lost answers.
            repeatable=True,
            attempts=3,
            retry_for_s=8,
            secrets=frozenset((self._refresh_token, self._anon_key)),
        )
        token, refresh_token, lifetime_s = await self._supabase.fetch(call, _read_session)
        self._expires = expiry_of(token) or self._clock.now() + timedelta(seconds=lifetime_s)
        if refresh_token is not None and refresh_token != self._refresh_token:
            self._refresh_token = refresh_token
            if self._on_rotated is not None:
                self._on_rotated(refresh_token)
        return token


def refuse_renewal(call: Call, answer: Answer, now: datetime) -> Refusal:
    """Supabase's answer that is not 2xx: any 400 or 422 means that the refresh token is no longer good."""
    problem = answer.problem()
    words = [problem.get(key) for key in ("error_description", "msg", "message", "error")] if problem else []
    detail = next((word for word in words if isinstance(word, str) and word), None)
    if detail is not None and answer.status in (400, 422):
        return Refusal(kind=Kind.AUTH, detail=f"{detail}; set a fresh `FINETUNE_LAB_REFRESH_TOKEN`")
    return refuse_by_status(call, answer, detail, now)


def _read_session(answer: Any) -> tuple[str, str | None, float]:
    session = mapping(answer, "the session")
    token = needed_text(session, "access_token", "the session")
    lifetime_s = min(max(number(session.get("expires_in")) or 3600.0, 0.0), 86_400.0)
    return token, text(session.get("refresh_token")), lifetime_s


def expiry_of(token: str) -> datetime | None:
    """When a JWT says that it expires; None when it does not say. The signature is not ours to check."""
    payload = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        claims = decode_json(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        seconds = number(maybe_mapping(claims).get("exp"))
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
