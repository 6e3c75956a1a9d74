"""Where the clients look and with which credentials: environment variables, and a `.env` beside the specs.

The environment wins. A `.env` may come with somebody else's pull request, so it may not point a key at a host
unless it brought the key itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from runner.errors import Diagnostic, Span, SpecError

RUNPOD_URL = "https://api.runpod.io/v2"
GRAPHQL_URL = "https://api.runpod.io/graphql"
LAB_URL = "https://finetunelab.ai"
MAX_ENV_FILE_BYTES = 64 << 10


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Addresses and credentials; a repr shows no secret.

    Attributes:
        graphql_url: where the balance is asked; None where there is no such thing.
        trainer_url: where a pod of `via: runpod` downloads its trainer.
    """

    runpod_url: str = RUNPOD_URL
    graphql_url: str | None = GRAPHQL_URL
    runpod_key: SecretStr | None = None
    lab_url: str = LAB_URL
    lab_api_key: SecretStr | None = None
    lab_jwt: SecretStr | None = None
    lab_internal_key: SecretStr | None = None
    refresh_token: SecretStr | None = None
    supabase_url: str | None = None
    supabase_anon_key: SecretStr | None = None
    hf_token: SecretStr | None = None
    trainer_url: str | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every credential: a service may repeat one that another was given, so that no message may show any."""
        values = (getattr(self, field.name) for field in fields(self))
        return tuple(value.get_secret_value() for value in values if isinstance(value, SecretStr))

    @classmethod
    def load(cls, environ: Mapping[str, str], folder: Path | None = None) -> Settings:
        """The settings in `environ`, completed by `folder/.env` if there is one.

        Raises:
            SpecError: the file cannot be read, or an address or a credential cannot be used.
        """
        file = folder / ".env" if folder is not None else None
        written = read_env_file(file) if file is not None and file.is_file() else {}
        source = _Source(environ=environ, written=written, file=file, problems=[])
        settings = source.settings()
        if source.problems:
            raise SpecError(tuple(source.problems))
        return settings

    @classmethod
    def of_local(cls, ready: Mapping[str, Any]) -> Settings:
        """The settings for an embedded cloud, from the fields that `runspec local serve` prints as JSON."""
        secrets = {name: SecretStr(str(ready[key])) for name, key in _READY_SECRETS.items() if ready.get(key)}
        runpod_url = str(ready["runpod_url"]).rstrip("/")
        runpod_url = runpod_url if runpod_url.endswith("/v2") else f"{runpod_url}/v2"
        return cls(
            runpod_url=runpod_url,
            graphql_url=str(ready.get("runpod_graphql_url") or _graphql_beside(runpod_url)),
            lab_url=str(ready["lab_url"]),
            **secrets,  # type: ignore[arg-type]  # only names of secrets are in there
        )


_LAB_KEYS = (
    "FINETUNE_LAB_API_KEY",
    "FINETUNE_LAB_JWT",
    "FINETUNE_LAB_INTERNAL_KEY",
    "FINETUNE_LAB_REFRESH_TOKEN",
)
_READY_SECRETS = {
    "runpod_key": "runpod_api_key",
    "lab_api_key": "lab_api_key",
    "lab_jwt": "lab_jwt",
    "lab_internal_key": "lab_internal_key",
}


@dataclass
class _Source:
    """Both places at once, and what was wrong in them."""

    environ: Mapping[str, str]
    written: Mapping[str, str]
    file: Path | None
    problems: list[Diagnostic] = field(default_factory=list)

    def settings(self) -> Settings:
        runpod_key = self._secret("RUNPOD_API_KEY")
        lab_api_key, lab_jwt = self._secret("FINETUNE_LAB_API_KEY"), self._secret("FINETUNE_LAB_JWT")
        internal_key = self._secret("FINETUNE_LAB_INTERNAL_KEY")
        refresh_token, anon_key = self._secret("FINETUNE_LAB_REFRESH_TOKEN"), self._secret("SUPABASE_ANON_KEY")
        runpod_url = self._url("RUNSPEC_RUNPOD_URL", keys=("RUNPOD_API_KEY",))
        # A key for some other RunPod must not be tried on the real one.
        graphql_url = _graphql_beside(runpod_url) if runpod_url else GRAPHQL_URL
        return Settings(
            runpod_url=runpod_url or RUNPOD_URL,
            graphql_url=self._url("RUNSPEC_RUNPOD_GRAPHQL_URL", keys=("RUNPOD_API_KEY",)) or graphql_url,
            runpod_key=runpod_key,
            lab_url=self._url("FINETUNE_LAB_API_URL", keys=_LAB_KEYS) or LAB_URL,
            lab_api_key=lab_api_key,
            lab_jwt=lab_jwt,
            lab_internal_key=internal_key,
            refresh_token=refresh_token,
            supabase_url=self._url("SUPABASE_URL", keys=("FINETUNE_LAB_REFRESH_TOKEN", "SUPABASE_ANON_KEY")),
            supabase_anon_key=anon_key,
            hf_token=self._secret("HF_TOKEN"),
            trainer_url=self._url("RUNSPEC_TRAINER_URL", keys=("RUNPOD_API_KEY", "HF_TOKEN")),
        )

    def _value(self, name: str) -> str | None:
        return (self.environ.get(name) or self.written.get(name) or "").strip() or None

    def _secret(self, name: str) -> SecretStr | None:
        value = self._value(name)
        if value is not None and not (value.isascii() and value.isprintable() and " " not in value):
            self._problem(name, "env.bad-secret", f"`{name}` has characters that no key has", "copy it again")
            return None
        return SecretStr(value) if value is not None else None

    def _url(self, name: str, *, keys: tuple[str, ...]) -> str | None:
        value = self._value(name)
        if value is None:
            return None
        complaint = _complaint_about(value)
        if complaint:
            self._problem(name, "env.bad-url", f"`{name}` {complaint}", "write it as `https://host/path`")
            return None
        stray = [key for key in keys if self.environ.get(key)] if not self.environ.get(name) else []
        if stray:
            self._problem(
                name,
                "env.redirects-key",
                f"`.env` may not send the `{stray[0]}` of the environment to a host of its own",
                f"set `{name}` in the environment too, or put `{stray[0]}` into the same `.env`",
            )
            return None
        return value.rstrip("/")

    def _problem(self, name: str, code: str, message: str, fix: str) -> None:
        place = Span(str(self.file), 1, 1) if self.file and not self.environ.get(name) else None
        self.problems.append(Diagnostic(code, message, place, fix=fix))


def _complaint_about(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or " " in url:
        return "is not an http(s) URL"
    if parts.username or parts.password or parts.query or parts.fragment:
        return "must have no credentials, query or fragment"
    if parts.scheme == "http" and not is_loopback(host):
        return "would send keys in clear: only `https` leaves this machine"
    return ""


def is_loopback(host: str) -> bool:
    """Whether a host name of a URL can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _graphql_beside(runpod_url: str) -> str:
    parts = urlsplit(runpod_url)
    return f"{parts.scheme}://{parts.netloc}/graphql"


_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*")
_QUOTED = re.compile(r"""(["'])(.*)\1\s*(?:#.*)?""")


def read_env_file(file: Path) -> dict[str, str]:
    """The assignments of a `.env`: `NAME=value`, quotes and `export` optional, `#` comments, no interpolation.

    Raises:
        SpecError: it cannot be read, or has a line that is no assignment. No message quotes a line.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_ENV_FILE_BYTES + 1)
        lines = content.decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise SpecError((Diagnostic("env.unreadable", f"cannot read `{file}`: {type(exc).__name__}"),)) from None
    if len(content) > MAX_ENV_FILE_BYTES:
        raise SpecError((Diagnostic("env.too-large", f"`{file}` is larger than {MAX_ENV_FILE_BYTES} bytes"),))
    found: dict[str, str] = {}
    problems = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            place = Span(str(file), number, 1)
            fix = "write it as `NAME=value`"
            problems.append(Diagnostic("env.syntax", "this line of `.env` is no assignment", place, fix=fix))
        else:
            found[match.group(1)] = _unquoted(match.group(2))
    if problems:
        raise SpecError(tuple(problems))
    return found


def _unquoted(value: str) -> str:
    quoted = _QUOTED.fullmatch(value)
    return quoted.group(2) if quoted else re.split(r"\s+#", f" {value}", maxsplit=1)[0].strip()
