"""Who may call what, and what the others are told: each group of routes has its own words.

Source: FineTune Lab contract §1, read 2026-11.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from aiohttp import web

from runner.local.lab_api.context import LAB, Refusal
from runner.local.lab_api.store import Doc
from runner.local.web_kit import bearer_token

Scope = Literal["training", "testing", "production"]
SCOPES = ("all", "training", "production", "testing", "worker")
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


def key_id(key: str) -> str:
    """What is stored of an API key: its hash."""
    return hashlib.sha256(key.encode()).hexdigest()


def check_key(request: web.Request, key: str, scope: Scope) -> User:
    """The user of an API key.

    Raises:
        Refusal: 401, 403 or 429 in the words of the routes that tell the truth about keys.
    """
    lab = request.app[LAB]
    if not re.fullmatch(r"wak_[0-9A-Za-z]{32}", key):
        raise Refusal(401, "Invalid API key format")
    row = lab.store.get("api_keys", key_id(key))
    if row is None:
        raise Refusal(401, "Invalid API key")
    # A key without scopes is one from the time before there were any.
    scopes = row["scopes"] or ["all"]
    if "all" not in scopes and scope not in scopes:
        raise Refusal(403, f"API key does not have '{scope}' scope. Key scopes: {', '.join(scopes)}")
    if not request.app[KEY_USE].within_limit(key, lab.clock.now(), lab.rate_limit_per_minute):
        raise Refusal(429, "Rate limit exceeded. Try again later.")
    used = {"request_count": row["request_count"] + 1, "last_used_at": lab.now()}
    lab.store.update("api_keys", row["id"], used)
    return User(row["user_id"])


def session_user(request: web.Request) -> User | None:
    """The user of the session JWT; None when there is none or it is no longer good."""
    lab, token = request.app[LAB], bearer_token(request)
    if token is None or token.count(".") != 2:
        return None
    user_id = lab.credentials.session_user(token, lab.clock.now())
    return User(user_id) if user_id else None


def require_session(request: web.Request, *, missing: str = "Unauthorized", bad: str = "Unauthorized") -> User:
    """A session; most routes have one text for every failure, some tell an absent header apart."""
    user = session_user(request)
    if user is None:
        raise Refusal(401, bad if "Authorization" in request.headers else missing)
    return user


def require_session_success_false(request: web.Request) -> User:
    """Models, secrets and API keys: as everywhere, in their own form of an error."""
    user = session_user(request)
    if user is None:
        raise Refusal(401, "Unauthorized", success=False)
    return user


def require_session_to_deploy(request: web.Request) -> User:
    return require_session(request, missing=MISSING_HEADER)


def require_training(request: web.Request) -> User:
    """local/jobs, local/metrics GET, status GET: a key with `training`, or a session; failures are told apart."""
    return require_key_or_session(request, "training")


def require_key_or_session(
    request: web.Request, scope: Scope, *, missing: str = MISSING_HEADER, bad_session: str = "Authentication failed"
) -> User:
    """A key with `scope`, or a session; failures are told apart."""
    key = presented_key(request)
    if key is not None:
        return check_key(request, key, scope)
    return require_session(request, missing=missing, bad=bad_session)


def require_agent(request: web.Request) -> tuple[User, str]:
    """The desktop training agent: as the training group, and it has to say which agent it is."""
    user, agent = require_training(request), request.headers.get("X-Agent-ID")
    if not agent:
        raise Refusal(400, "Missing X-Agent-ID header")
    if not agent.startswith("agent_") or len(agent) < 10:
        raise Refusal(400, "Invalid X-Agent-ID format. Expected: agent_xxxxx")
    return user, agent


def require_reader(request: web.Request, *, missing: str, bad_session: str) -> User:
    """Routes where every trouble with a key looks like no credentials at all (trap T-05)."""
    key = presented_key(request)
    if key is not None:
        try:
            return check_key(request, key, "training")
        except Refusal as exc:
            raise Refusal(401, missing) from exc
    return require_session(request, missing=missing, bad=bad_session)


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
