"""What both loopback servers have in common: JSON answers, and a guard against requests meant for other hosts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec
from aiohttp import web

# What decoding JSON from a stranger can raise.
JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def json_response(
    value: object,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    content_type: str = "application/json",
) -> web.Response:
    """An answer with `value` as its JSON body; NaN and infinities come out as null."""
    body = msgspec.json.encode(value)
    return web.Response(body=body, status=status, headers=headers, content_type=content_type)


@web.middleware
async def refuse_foreign_hosts(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer only requests that name this machine as their host.

    A page in a browser can make requests to 127.0.0.1 under a name of its own (DNS rebinding); it cannot forge `Host`.
    """
    name, _, _port = request.host.rpartition(":") if ":" in request.host else (request.host, "", "")
    if name.lower() not in ("127.0.0.1", "localhost"):
        return web.Response(status=403, text="this server answers to 127.0.0.1 only\n")
    return await handler(request)


def bearer_token(request: web.Request) -> str | None:
    """The token after `Bearer `, None when there is no such header."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def query_int(request: web.Request, name: str, default: int, *, low: int = 0, high: int | None = None) -> int:
    """A number of the query, clamped into its range; `default` when it is absent or not a number."""
    try:
        value = int(request.query.get(name, default))
    except ValueError:
        return default
    return max(low, value if high is None else min(high, value))
