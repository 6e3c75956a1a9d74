"""What an account of the embedded RunPod keeps beside its pods: templates, volumes, registry credentials, SSH keys.

Nothing of it costs anything here, and no pod uses more of it than a template's settings.

Source: RunPod OpenAPI v2 document (`Template`, `NetworkVolume`, `Registry`, `EcrDelegation`, `SshKeys`), read 2026-11.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Container, Mapping
from typing import Any

import msgspec
from aiohttp import web

from runner.local.clock import Clock, iso
from runner.local.json_checks import Check, array, integer, mapping_of, nullable, object_of, string, typed
from runner.local.lifecycle import DATA_CENTER
from runner.local.runpod_edge import Problem, check_size, read_object, require_account
from runner.local.runpod_pages import PAGING, paged
from runner.local.runpod_query import check_query
from runner.local.web_kit import json_response

Record = dict[str, Any]
_STRINGS = array(string())
_CONTAINER: Mapping[str, Check] = {
    "args": string(), "disk": integer(1), "env": mapping_of(string()), "image": string(), "ports": _STRINGS,
    "registry": nullable(string()), "cmd": _STRINGS, "entrypoint": _STRINGS,
}  # fmt: skip
_TEMPLATE: Mapping[str, Check] = {
    **_CONTAINER, "name": string(min_length=1), "allowedCudaVersions": array(string(pattern=r"\d+\.\d+")),
    "category": string(one_of=("CPU", "NVIDIA", "AMD")), "public": typed("boolean"), "serverless": typed("boolean"),
    "startJupyter": typed("boolean"), "startSsh": typed("boolean"),
    "mounts": object_of({"persistent": object_of({"size": integer(10), "path": string()}, required=("size", "path"))}),
}  # fmt: skip
_VOLUME: Mapping[str, Check] = {"name": string(min_length=1), "size": integer(10, 4096)}
CREATE_TEMPLATE = object_of(_TEMPLATE, required=("name", "image"))
UPDATE_TEMPLATE = object_of(_TEMPLATE)
CREATE_VOLUME = object_of(
    {**_VOLUME, "dataCenter": string(min_length=1), "type": string(one_of=("STANDARD", "HIGH_PERFORMANCE"))},
    required=("name", "size", "dataCenter"),
)
UPDATE_VOLUME = object_of(_VOLUME)
CREATE_REGISTRY = object_of(
    {"name": string(min_length=1), "username": string(min_length=1), "password": string(min_length=1)},
    required=("name", "username", "password"),
)
CREATE_DELEGATION = object_of({"resource": string(), "name": nullable(string())}, required=("resource",))
SSH_KEYS = object_of(
    {"keys": array(string(pattern=r"(ssh|ecdsa|sk)-\S+ \S+([ \t][^\n\r]*)?"))}, required=("keys",)
)  # fmt: skip
_REGISTRY = "/v2/registries/{id:(?!delegations$)[^/]+}"
_ECR = re.compile(
    r"arn:aws:ecr:([a-z0-9-]+):(\d{12}):repository/([a-z0-9._/-]+?)(?::([A-Za-z0-9._-]+))?", re.ASCII
)  # fmt: skip


class Shelf:
    """The records of one account, and the routes to them. Passwords are taken and never given out."""

    def __init__(self, clock: Clock, *, registries_in_use: Callable[[], Container[str]] = tuple) -> None:
        self._clock = clock
        self._registries_in_use = registries_in_use
        self._numbers = itertools.count(1)
        self.templates: dict[str, Record] = {}
        self.volumes: dict[str, Record] = {}
        self.registries: dict[str, Record] = {}
        self.delegations: dict[str, Record] = {}
        self.ssh_keys: list[str] = []

    def routes(self) -> list[tuple[str, str, Any]]:
        """Method, path and handler of every route."""
        return [
            ("GET", "/v2/templates", self._list("templates", self.templates)),
            ("POST", "/v2/templates", self.create_template),
            ("GET", "/v2/templates/{id}", self._get(self.templates)),
            ("PATCH", "/v2/templates/{id}", self.update_template),
            ("DELETE", "/v2/templates/{id}", self._delete(self.templates)),
            ("GET", "/v2/network-volumes", self._list("networkVolumes", self.volumes)),
            ("POST", "/v2/network-volumes", self.create_volume),
            ("GET", "/v2/network-volumes/{id}", self._get(self.volumes)),
            ("PATCH", "/v2/network-volumes/{id}", self.update_volume),
            ("DELETE", "/v2/network-volumes/{id}", self._delete(self.volumes)),
            ("GET", "/v2/registries", self._list("registries", self.registries)),
            ("POST", "/v2/registries", self.create_registry),
            ("GET", "/v2/registries/delegations", self._list("delegations", self.delegations)),
            ("POST", "/v2/registries/delegations", self.create_delegation),
            ("DELETE", "/v2/registries/delegations/{id}", self._delete(self.delegations)),
            ("GET", _REGISTRY, self._get(self.registries)),
            ("DELETE", _REGISTRY, self.delete_registry),
            ("GET", "/v2/account/ssh-keys", self.get_keys),
            ("PUT", "/v2/account/ssh-keys", self.put_keys),
        ]

    def expanded(self, body: Record, *, is_change: bool = False) -> Record:
        """A request for a pod with what its template says filled in; the request's own values win, `env` key by key.

        Args:
            is_change: the pod is there already, and keeps its mounts.
        Raises:
            Problem: 404 when there is no such template, 422 for one that is not for pods, 413 when it is too much.
        """
        if not isinstance(body.get("templateId"), str) or not body["templateId"]:
            return body
        template = self.templates.get(body["templateId"])
        if template is None:
            raise Problem(404, "resource not found")
        if template["serverless"]:
            errors = ["$.templateId: a serverless template makes no pod"]
            raise Problem(422, "Request validation failed.", errors=errors)
        defaults = {name: template[name] for name in _CONTAINER if template.get(name)}
        if template["mounts"] and not is_change and "cpu" not in body:
            defaults["mounts"] = template["mounts"]
        own = {name: value for name, value in body.items() if name != "templateId"}
        if isinstance(own.get("env"), dict):
            own["env"] = {**template["env"], **own["env"]}
        whole = {**defaults, **own}
        check_size(len(msgspec.json.encode(whole)))
        return whole

    async def create_template(self, request: web.Request) -> web.Response:
        body = await _read(request, CREATE_TEMPLATE)
        self._check_name(self.templates, body["name"])
        record = {
            "id": self._id("tpl"), "args": "", "disk": 50, "mounts": {}, "ports": [], "env": {}, "registry": None,
            "serverless": False, "public": False, "category": "NVIDIA", "startSsh": True, "startJupyter": True,
            "allowedCudaVersions": [], **body,
        }  # fmt: skip
        self.templates[record["id"]] = record
        return json_response(record, status=201)

    async def update_template(self, request: web.Request) -> web.Response:
        body = await _read(request, UPDATE_TEMPLATE)
        record = _found(self.templates, request)
        if "name" in body and body["name"] != record["name"]:
            self._check_name(self.templates, body["name"])
        record.update(body)
        return json_response(record)

    async def create_volume(self, request: web.Request) -> web.Response:
        body = await _read(request, CREATE_VOLUME)
        if body["dataCenter"] != DATA_CENTER:
            raise Problem(400, f"data center '{body['dataCenter']}' not found")
        record = {"id": self._id("vol"), "type": "STANDARD", **body}
        self.volumes[record["id"]] = record
        return json_response(record, status=201)

    async def update_volume(self, request: web.Request) -> web.Response:
        body = await _read(request, UPDATE_VOLUME)
        if not body:
            raise Problem(422, "Request validation failed.", errors=["$: minProperties: got 0, want 1"])
        record = _found(self.volumes, request)
        if body.get("size", record["size"]) < record["size"]:
            raise Problem(400, "a network volume can only grow")
        record.update(body)
        return json_response(record)

    async def create_registry(self, request: web.Request) -> web.Response:
        body = await _read(request, CREATE_REGISTRY)
        self._check_name(self.registries, body["name"])
        record = {"id": self._id("reg"), "name": body["name"]}
        self.registries[record["id"]] = record
        return json_response(record, status=201)

    async def delete_registry(self, request: web.Request) -> web.Response:
        """A credential that a pod pulls its image with stays; templates only lose what they say of it."""
        require_account(request)
        found = str(_found(self.registries, request)["id"])
        if found in self._registries_in_use():
            raise Problem(400, "registry credential is in use by a pod")
        del self.registries[found]
        for template in self.templates.values():
            if template["registry"] == found:
                template["registry"] = None
        return web.Response(status=204)

    async def create_delegation(self, request: web.Request) -> web.Response:
        body = await _read(request, CREATE_DELEGATION)
        named = _ECR.fullmatch(body["resource"])
        if named is None:
            raise Problem(400, "resource is not the ARN of an ECR repository")
        region, user, repository, tag = named.groups()
        record: Record = {
            "id": self._id("del"), "name": body.get("name"), "delegatorUserId": "local", "awsUser": user,
            "repository": repository, "tag": tag or "latest", "awsRegion": region,
            "createdAt": iso(self._clock.now()),
        }  # fmt: skip
        self.delegations[record["id"]] = record
        return json_response(record, status=201)

    async def get_keys(self, request: web.Request) -> web.Response:
        require_account(request)
        return json_response({"keys": self.ssh_keys})

    async def put_keys(self, request: web.Request) -> web.Response:
        self.ssh_keys = (await _read(request, SSH_KEYS))["keys"]
        return json_response({"keys": self.ssh_keys})

    def _list(self, name: str, records: Mapping[str, Record]) -> Any:
        async def handler(request: web.Request) -> web.Response:
            require_account(request)
            check_query(request, PAGING)
            # An id ends in its number, so records are in the order of their ids.
            page, pagination = paged(list(records.values()), request.query, key=lambda record: str(record["id"]))
            return json_response({name: page, "pagination": pagination})

        return handler

    def _get(self, records: Mapping[str, Record]) -> Any:
        async def handler(request: web.Request) -> web.Response:
            require_account(request)
            return json_response(_found(records, request))

        return handler

    def _delete(self, records: dict[str, Record]) -> Any:
        async def handler(request: web.Request) -> web.Response:
            require_account(request)
            del records[str(_found(records, request)["id"])]
            return web.Response(status=204)

        return handler

    def _check_name(self, records: Mapping[str, Record], name: str) -> None:
        if any(record["name"] == name for record in records.values()):
            raise Problem(400, f"the name '{name}' is already in use")

    def _id(self, kind: str) -> str:
        return f"{kind}{next(self._numbers):010d}"


async def _read(request: web.Request, check: Check) -> Record:
    require_account(request)
    body = await read_object(request)
    errors = check("$", body)
    if errors:
        raise Problem(422, "Request validation failed.", errors=errors)
    return body


def _found(records: Mapping[str, Record], request: web.Request) -> Record:
    record = records.get(str(request.match_info["id"]))
    if record is None:
        raise Problem(404, "resource not found")
    return record
