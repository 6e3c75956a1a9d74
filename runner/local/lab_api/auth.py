"""Who may call what, and what the others are told: each group of routes has its own words.

Source: FineTune Lab contract §1, read 2026-11.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from aiohttp import web

from runner.local.lab_api.context import LAB, Lab, Refusal
from runner.local.lab_api.store import Doc
from runner.local.web_kit import bearer_token

Scope = Literal["training", "testing", "production"]
WINDOW_S = 60
MISSING_HEADER = "Missing authorization header"


@dataclass(frozen=True, slots=True)
class User:
    """The user behind a request."""

    id: str


@dataclass
class KeyUse:
    """Requests per API key in windows of a minute, as the real service counts them: in memory, by key prefix."""

    _windows: dict[str, tuple[datetime, int]] = field(default_factory=dict)

    def within_limit(self, key: str, now: datetime, limit: int) -> bool:
        start, used = self._windows.get(key[:20], (now, 0))
        if (now - start).total_seconds() >= WINDOW_S:
            start, used = now, 0
        self._windows[key[:20]] = (start, used + 1)
        return used < limit


KEY_USE: web.AppKey[KeyUse] = web.AppKey("key_use", KeyUse)


def presented_key(request: web.Request) -> str | None:
    """The API key of the request, from the three places where one may stand, in the order they are tried."""
    for header in ("X-API-Key", "X-Workspace-API-Key"):
        if request.headers.get(header):
            return request.headers[header]
    token = bearer_token(request)
    return token if token is not None and token.startswith("wak_") else None


def _scopes_of(lab: Lab, key: str) -> tuple[str, ...] | None:
    known = {lab.credentials.lab_api_key: ("all",), lab.credentials.lab_api_key_testing: ("testing",)}
    return known.get(key)


def check_key(request: web.Request, key: str, scope: Scope) -> User:
    """The user of an API key.

    Raises:
        Refusal: 401, 403 or 429 in the words of the routes that tell the truth about keys.
    """
    lab = request.app[LAB]
    if not re.fullmatch(r"wak_[0-9A-Za-z]{32}", key):
        raise Refusal(401, "Invalid API key format")
    scopes = _scopes_of(lab, key)
    if scopes is None:
        raise Refusal(401, "Invalid API key")
    if "all" not in scopes and scope not in scopes:
        raise Refusal(403, f"API key does not have '{scope}' scope. Key scopes: {', '.join(scopes)}")
    if not request.app[KEY_USE].within_limit(key, lab.clock.now(), lab.rate_limit_per_minute):
        raise Refusal(429, "Rate limit exceeded. Try again later.")
    return User(lab.credentials.user_id)


def session_user(request: web.Request) -> User | None:
    """The user of the session JWT; None when there is none or it is no longer good."""
    lab, token = request.app[LAB], bearer_token(request)
    if token is None or token.count(".") != 2:
        return None
    user_id = lab.credentials.session_user(token, lab.clock.now())
    return User(user_id) if user_id else None


def require_session(request: web.Request) -> User:
    """Configs, datasets, alerts history, control: a session, and one text for every failure."""
    user = session_user(request)
    if user is None:
        raise Refusal(401, "Unauthorized")
    return user


def require_session_to_deploy(request: web.Request) -> User:
    if "Authorization" not in request.headers:
        raise Refusal(401, MISSING_HEADER)
    return require_session(request)


def require_training(request: web.Request) -> User:
    """local/jobs, local/metrics GET, status GET: a key with `training`, or a session; failures are told apart."""
    key = presented_key(request)
    if key is not None:
        return check_key(request, key, "training")
    if "Authorization" not in request.headers:
        raise Refusal(401, MISSING_HEADER)
    user = session_user(request)
    if user is None:
        raise Refusal(401, "Authentication failed")
    return user


def require_reader(request: web.Request, *, missing: str, bad_session: str) -> User:
    """Routes where every trouble with a key looks like no credentials at all (trap T-05)."""
    key = presented_key(request)
    if key is not None:
        try:
            return check_key(request, key, "training")
        except Refusal as exc:
            raise Refusal(401, missing) from exc
    if "Authorization" not in request.headers:
        raise Refusal(401, missing)
    user = session_user(request)
    if user is None:
        raise Refusal(401, bad_session)
    return user


def require_job_reader(request: web.Request) -> User:
    """local/{id}/metrics, logs and errors GET."""
    return require_reader(
        request, missing="Unauthorized: Missing authentication", bad_session="Unauthorized: Invalid token"
    )


def require_bearer(request: web.Request, *, missing: str = "Unauthorized: Bearer token required") -> str:
    """The bearer token of a trainer's request; whether it fits is checked once the job is known."""
    if not request.headers.get("Authorization", "").startswith("Bearer "):
        raise Refusal(401, missing)
    return request.headers["Authorization"].removeprefix("Bearer ").strip()


def check_job_token(job: Doc, token: str, *, wrong: str = "Unauthorized: Invalid token") -> None:
    expected = str(job.get("job_token") or "")
    if not expected or not hmac.compare_digest(token.encode(), expected.encode()):
        raise Refusal(401, wrong)


def require_internal_key(request: web.Request) -> None:
    """The alert trigger: the server's own key, in the header that holds the user's key everywhere else."""
    expected = request.app[LAB].credentials.lab_internal_key
    if not hmac.compare_digest(request.headers.get("X-API-Key", "").encode(), expected.encode()):
        raise Refusal(401, "Unauthorized")
