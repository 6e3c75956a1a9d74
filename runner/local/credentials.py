"""The random credentials of one embedded cloud, kept in its state directory for its next start."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import string
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

FILE_NAME = "credentials.json"
# A real session lives an hour and is renewed by its client. Nothing renews a local one, so it lives as long as
# anybody would leave the server running.
SESSION_LIFETIME = timedelta(days=30)


class Credentials(msgspec.Struct):
    """Every secret of the two servers, all of one user."""

    user_id: str
    runpod_api_key: str
    lab_api_key: str
    lab_api_key_testing: str
    lab_internal_key: str
    session_secret: str
    storage_secret: str
    predict_model: str

    def session_token(
        self, now: datetime, *, user_id: str | None = None, lifetime: timedelta = SESSION_LIFETIME
    ) -> str:
        """A fresh session JWT of the seeded user, or of anybody."""
        claims: dict[str, str | int] = {
            "sub": user_id or self.user_id,
            "role": "authenticated",
            "iat": int(now.timestamp()),
            "exp": int((now + lifetime).timestamp()),
        }
        signed = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(claims)}"
        return f"{signed}.{self._signature(signed)}"

    def session_user(self, token: str, now: datetime) -> str | None:
        """The user of a session JWT; None when it is malformed, forged or expired."""
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(signed).encode()):
            return None
        claims = msgspec.json.decode(_unpart(signed.partition(".")[2]), type=dict[str, str | int])
        expires, user = claims.get("exp"), claims.get("sub")
        if not isinstance(expires, int) or not isinstance(user, str) or expires < now.timestamp():
            return None
        return user

    def _signature(self, signed: str) -> str:
        return _encode(hmac.digest(self.session_secret.encode(), signed.encode(), hashlib.sha256))


def load_or_create(state_dir: Path) -> Credentials:
    """The credentials of `state_dir`, made on its first use; the file is readable by its owner only."""
    path = state_dir / FILE_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Credentials)
    except FileNotFoundError:
        fresh = _random_credentials()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(fresh))
    return fresh


def _random_credentials() -> Credentials:
    return Credentials(
        user_id=str(uuid.uuid4()),
        runpod_api_key=f"rpa_{_letters(40).upper()}",
        lab_api_key=f"wak_{_letters(32)}",
        lab_api_key_testing=f"wak_{_letters(32)}",
        lab_internal_key=secrets.token_urlsafe(32),
        session_secret=secrets.token_urlsafe(32),
        storage_secret=secrets.token_urlsafe(32),
        predict_model=str(uuid.uuid4()),
    )


def _letters(count: int) -> str:
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(count))


def _part(claims: Mapping[str, str | int]) -> str:
    return _encode(msgspec.json.encode(claims))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unpart(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
