"""Every path of the embedded lab against every kind of credential: the contract's status and text (§1.2, §1.3)."""

from __future__ import annotations

import base64
import hmac
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from runner.local.credentials import load_or_create
from runner.local.lab_api.auth import key_id
from runner.local.lab_api.store import LabStore

UNKNOWN = "00000000-0000-4000-8000-000000000000"
STRANGER = "11111111-1111-4111-8111-111111111111"
Outcome = tuple[int, str | None]

# How a credential is written; `{name}` stands for its value.
CREDENTIALS: Mapping[str, Mapping[str, str]] = {
    "none": {},
    "malformed key": {"X-API-Key": "wak_short"},
    "wrong key": {"X-API-Key": "wak_" + "x" * 32},
    "wrong key as bearer": {"Authorization": "Bearer wak_" + "x" * 32},
    "key: all": {"X-API-Key": "{all}"},
    "key: training": {"X-API-Key": "{training}"},
    "key: testing": {"X-Workspace-API-Key": "{testing}"},
    "key: production": {"Authorization": "Bearer {production}"},
    "key: worker": {"X-API-Key": "{worker}"},
    "key: no scopes": {"X-API-Key": "{no scopes}"},
    "service role": {"x-service-role-key": "{service}", "x-user-id": "{user}"},
    "basic": {"Authorization": "Basic dXNlcjpwYXNz"},
    "malformed session": {"Authorization": "Bearer nonsense"},
    "forged session": {"Authorization": "Bearer {session}x"},
    "expired session": {"Authorization": "Bearer {expired}"},
    "other user": {"Authorization": "Bearer {other}"},
    "session": {"Authorization": "Bearer {session}"},
    "job token": {"Authorization": "Bearer {job_token}"},
    "internal key": {"X-API-Key": "{internal}"},
}
KEYS = {name for name in CREDENTIALS if name.startswith("key: ")}
KEYS_FOR_ALL = {"key: all", "key: no scopes"}
"""A key without scopes is older than scopes."""
OWN_KEYS_ELSEWHERE = {"malformed key", "wrong key", "internal key", "service role"}
"""Credentials that come in a header of keys, so that routes for sessions see no header at all."""
SESSIONS_REFUSED = {"basic", "malformed session", "forged session", "expired session", "job token"}


class Group:
    """What one group of routes makes of each credential; None: it is let in."""

    def __init__(self, missing: str = "Unauthorized", bad: str = "Unauthorized") -> None:
        self.missing, self.bad = missing, bad

    def refuses(self, credential: str) -> Outcome | None:
        if credential in ("session", "other user"):
            return None
        header_absent = credential == "none" or credential in OWN_KEYS_ELSEWHERE
        in_key_header = credential in KEYS - {"key: production"}
        return (401, self.missing if header_absent or in_key_header else self.bad)


class Bearer(Group):
    """A session, and a header of another scheme is no header."""

    def refuses(self, credential: str) -> Outcome | None:
        return super().refuses("none" if credential == "basic" else credential)


class Keyed(Group):
    """Keys of one scope or a session; troubles are told apart."""

    def __init__(self, scope: str, missing: str = "Missing authorization header", bad: str = "Authentication failed"):
        super().__init__(missing, bad)
        self.scope = scope

    def refuses(self, credential: str) -> Outcome | None:
        if credential in KEYS:
            held = credential.removeprefix("key: ")
            text = f"API key does not have '{self.scope}' scope. Key scopes: {held}"
            return None if credential in KEYS_FOR_ALL or held == self.scope else (403, text)
        if credential in ("malformed key", "internal key"):
            return (401, "Invalid API key format")
        if credential.startswith("wrong key"):
            return (401, "Invalid API key")
        return super().refuses(credential)


class Hiding(Group):
    """Keys with `training` or a session; every trouble with a key looks like no credential (T-05)."""

    def refuses(self, credential: str) -> Outcome | None:
        if credential in {*KEYS_FOR_ALL, "key: training"}:
            return None
        if credential in KEYS | OWN_KEYS_ELSEWHERE | {"wrong key as bearer"}:
            return (401, self.missing)
        return super().refuses(credential)


class BatchRun(Keyed):
    """The one route that the lab's own workers call with the key of its database."""

    def refuses(self, credential: str) -> Outcome | None:
        return None if credential == "service role" else super().refuses(credential)


class Predict(Keyed):
    """A production key and nothing else."""

    def __init__(self) -> None:
        super().__init__("production")

    def refuses(self, credential: str) -> Outcome | None:
        if credential in ("none", "basic", "service role"):
            return (401, "Missing API key. Provide in X-API-Key header or Authorization: Bearer header.")
        if credential in SESSIONS_REFUSED | {"session", "other user"}:
            return (401, "Invalid API key format")
        return super().refuses(credential)


class JobToken(Group):
    """The token of the job and nothing else."""

    def refuses(self, credential: str) -> Outcome | None:
        if credential == "job token":
            return None
        is_bearer = CREDENTIALS[credential].get("Authorization", "").startswith("Bearer ")
        return (401, self.bad if is_bearer else self.missing)


class Internal(Group):
    def refuses(self, credential: str) -> Outcome | None:
        return None if credential == "internal key" else (401, "Unauthorized")


class Open(Group):
    def refuses(self, credential: str) -> Outcome | None:
        return None


J = Group()
J_NO_HEADER = Group("Unauthorized - no auth header", "Unauthorized")
DEPLOY = Group("Missing authorization header", "Unauthorized")
SERVE = Bearer("Unauthorized - Authorization header required", "Unauthorized - please login to deploy models")
TRAINING = Keyed("training")
TESTING = Keyed("testing")
BATCH = Keyed("testing", "Unauthorized - no auth header", "Unauthorized - invalid token")
BATCH_RUN = BatchRun("testing", BATCH.missing, BATCH.bad)
TRACES = Keyed("production", "Unauthorized", "Unauthorized - invalid token")
DATA = Keyed("production", "Unauthorized - no auth header", "Unauthorized - invalid token")
JOBS = Hiding("Missing authorization", "Unauthorized")
READER = Hiding("Unauthorized: Missing authentication", "Unauthorized: Invalid token")
PREDICTIONS = Hiding()
TOKEN = JobToken("Unauthorized: Bearer token required", "Unauthorized: Invalid token")
TOKEN_ONE = JobToken("Missing or invalid authorization header", "Invalid job token")
REFRESH = Bearer("Unauthorized: Missing access token", "Unauthorized: Token cannot be refreshed")


@dataclass(frozen=True)
class Row:
    """One path: what its user gets, and what another user gets who is let in but owns nothing."""

    method: str
    path: str
    group: Group
    own: Outcome = (200, None)
    other: Outcome | None = None
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


AGENT = {"X-Agent-ID": "agent_1234"}
CONFIG = {"name": "n", "template_type": "t", "config_json": {"model": {}, "tokenizer": {}, "training": {}, "data": {}}}
POINT = {"step": 1, "epoch": 0, "train_loss": 1.0}
NO_JOB, NO_JOB_OR = (404, "Job not found"), (404, "Job not found or unauthorized")
NO_ROW = "JSON object requested, multiple (or no) rows returned"
T, LOCAL = "/api/training", "/api/training/local"

ROWS = (
    Row("GET", T, J),
    Row("POST", T, J, (201, None), body=CONFIG),
    Row("GET", f"{T}/{{config}}", J, other=(404, NO_ROW)),
    Row("PUT", f"{T}/{{config}}", J, other=(500, NO_ROW), body={"name": "new"}),
    Row("DELETE", f"{T}/{{config}}", J),
    Row("POST", f"{T}/{{config}}/attach-dataset", J, other=(404, "Config not found"),
        body={"datasetId": "{dataset}"}),
    Row("DELETE", f"{T}/{{config}}/attach-dataset", J, body={"datasetId": "{dataset}"}),
    Row("GET", f"{T}/{{config}}/datasets", J, other=(404, "Training config not found")),
    Row("GET", f"{T}/dataset", J),
    Row("POST", f"{T}/dataset", J, (400, "Missing required fields")),
    Row("GET", f"{T}/dataset/{{dataset}}", J, other=(404, "Dataset not found")),
    Row("DELETE", f"{T}/dataset/{{dataset}}", J, other=(404, "Dataset not found")),
    Row("GET", f"{T}/dataset/available", J),
    Row("GET", f"{T}/config/available", J),
    Row("POST", f"{T}/deploy/runpod", DEPLOY, (404, "Training configuration not found"),
        (400, "RunPod API key not configured. Please add your RunPod credentials in the Secrets Vault."),
        {"training_config_id": UNKNOWN}),
    Row("GET", f"{T}/deploy/runpod?deployment_id={{pod}}", DEPLOY, other=(400, "RunPod API key not configured")),
    Row("DELETE", f"{T}/deploy/runpod?deployment_id={{pod}}", DEPLOY, other=(400, "RunPod API key not configured")),
    Row("GET", f"{T}/deploy/runpod", DEPLOY, (400, "Missing deployment_id parameter")),
    Row("POST", f"{T}/deploy", SERVE, (400, "Training job not completed"), (500, "Deployment failed"),
        {"server_type": "vllm", "job_id": "{job}"}),
    Row("GET", f"{T}/deploy?server_id={UNKNOWN}", SERVE, (404, "Server not found")),
    Row("DELETE", f"{T}/deploy?server_id={UNKNOWN}", SERVE, (404, "Server not found")),
    Row("GET", f"{T}/jobs", JOBS),
    Row("POST", f"{T}/jobs/{{job}}/metrics", TOKEN_ONE, body=POINT),
    Row("POST", f"{LOCAL}/jobs", TRAINING, body={"job_id": "j"}),
    Row("GET", f"{LOCAL}/jobs", TRAINING),
    Row("POST", f"{LOCAL}/metrics", TOKEN, body={"job_id": "{job}", "metrics": [POINT]}),
    Row("GET", f"{LOCAL}/metrics?job_id={{job}}", TRAINING, other=(404, "Training job not found")),
    Row("PUT", f"{LOCAL}/{{job}}/metrics", TOKEN, body=POINT),
    Row("GET", f"{LOCAL}/{{job}}/metrics", READER, other=NO_JOB_OR),
    Row("GET", f"{LOCAL}/{{job}}/status", TRAINING, other=(404, "Training job not found")),
    Row("PATCH", f"{LOCAL}/{{job}}/status", TOKEN, body={"status": "running"}),
    Row("POST", f"{LOCAL}/{{job}}/logs", TOKEN, body={"logs": ["x"]}),
    Row("GET", f"{LOCAL}/{{job}}/logs", READER, (503, "Failed to connect to local training server"), NO_JOB_OR),
    Row("GET", f"{LOCAL}/{{job}}/errors", READER, (503, "Failed to connect to local training server"), NO_JOB_OR),
    Row("GET", f"{LOCAL}/{{job}}/analyze-failure", J_NO_HEADER,
        (400, "Can only analyze failed/cancelled jobs. Current status: pending"), NO_JOB),
    Row("POST", f"{LOCAL}/{{job}}/control", J, (502, None), (404, "Training job not found or access denied"),
        {"action": "pause"}),
    Row("POST", f"{LOCAL}/{{job}}/resume", J_NO_HEADER, (400, "No checkpoint specified and no best checkpoint found"),
        (404, "Training job not found"), {}),
    Row("PATCH", f"{LOCAL}/{{job}}/update-params", J_NO_HEADER,
        (400, "Can only update parameters for running jobs"), (404, "Training job not found"), {"learning_rate": 1}),
    Row("POST", f"{LOCAL}/start", J, (503, "Failed to connect to local training server"), body={}),
    Row("POST", f"{LOCAL}/predictions", TOKEN,
        (500, "Failed to persist predictions"), body={"job_id": "{job}", "predictions": [{"epoch": 1}]}),
    Row("GET", f"{T}/predictions/{{job}}", PREDICTIONS, other=NO_JOB),
    Row("GET", f"{T}/predictions/{{job}}/epochs", PREDICTIONS, other=NO_JOB),
    Row("GET", f"{T}/predictions/{{job}}/trends", PREDICTIONS, other=NO_JOB),
    Row("GET", f"{T}/predictions/{UNKNOWN}/stream", PREDICTIONS, NO_JOB),
    Row("POST", f"{T}/refresh-token", REFRESH),
    Row("GET", f"{T}/cloud-check/{{job}}", J),
    Row("GET", f"{T}/checkpoints/list?jobId={{job}}", Open()),
    Row("GET", f"{T}/public/{{public}}", Open()),
    Row("GET", f"{T}/public/{{public}}/dataset", Open()),
    Row("OPTIONS", f"{T}/public/{{public}}", Open()),
    Row("POST", f"{T}/{{config}}/generate-package", J, other=(404, "Training config not found")),
    Row("DELETE", f"{T}/{{config}}/generate-package", J, other=(404, "Training config not found")),
    Row("POST", f"{T}/{{config}}/download-package", J, other=(404, "Training config not found")),
    Row("GET", f"{T}/agent/poll", TRAINING, headers=AGENT),
    Row("POST", f"{T}/agent/claim/{UNKNOWN}", TRAINING, NO_JOB, headers=AGENT),
    Row("POST", "/api/alerts/trigger", Internal(),
        body={"type": "job_started", "job_id": "{job}", "user_id": STRANGER}),
    Row("GET", "/api/alerts/history", J),
    Row("GET", "/api/alerts/preferences", J),
    Row("PUT", "/api/alerts/preferences", J, body={"alert_job_started": True}),
    Row("GET", "/api/alerts/webhooks", J),
    Row("POST", "/api/alerts/webhooks", J, (201, None), body={"name": "n", "url": "http://127.0.0.1:9/x"}),
    Row("GET", "/api/alerts/webhooks/{hook}", J, other=(404, "Webhook not found")),
    Row("PUT", "/api/alerts/webhooks/{hook}", J, other=(404, "Webhook not found or update failed"), body={}),
    Row("DELETE", "/api/alerts/webhooks/{hook}", J),
    Row("POST", "/api/alerts/webhooks/{hook}/test", J, other=(404, "Webhook not found")),
    Row("POST", "/api/batch-testing/run", BATCH_RUN, (404, "Test suite not found or access denied"),
        body={"config": {"model_id": "m", "test_suite_id": UNKNOWN}}),
    Row("GET", f"/api/batch-testing/status/{UNKNOWN}", TESTING, (404, "Batch test run not found")),
    Row("POST", "/api/batch-testing/cancel", BATCH, (404, "Test run not found"), body={"test_run_id": UNKNOWN}),
    Row("GET", "/api/test-suites", TESTING),
    Row("POST", "/api/test-suites", TESTING, body={"name": "n", "prompts": ["p"]}),
    Row("GET", "/api/test-suites/{suite}", TESTING, other=(404, "Test suite not found")),
    Row("DELETE", f"/api/test-suites/{UNKNOWN}", TESTING),
    Row("POST", "/api/v1/predict", Predict(), (404, "Model 'm' not found or not accessible"),
        body={"model": "m", "messages": [{"role": "user", "content": "hi"}]}),
    Row("GET", "/api/v1/predict", Open()),
    Row("GET", "/api/models", Open()),
    Row("POST", "/api/models", J, (400, "Missing required fields"), body={}),
    Row("POST", "/api/inference/deploy", J, (400, "Missing required field: provider"), body={}),
    Row("GET", f"/api/inference/deployments/{UNKNOWN}/status", J, (404, "Deployment not found")),
    Row("DELETE", f"/api/inference/deployments/{UNKNOWN}/stop", J, (404, "Deployment not found")),
    Row("GET", "/api/secrets", J),
    Row("POST", "/api/secrets", J, (201, None), body={"provider": "huggingface", "api_key": "hf_x"}),
    Row("GET", "/api/user/api-keys", J),
    Row("POST", "/api/user/api-keys", J, (400, "Invalid scopes provided"), body={"name": "n", "scopes": ["root"]}),
    Row("GET", "/api/analytics/traces", TRACES),
    Row("POST", "/api/analytics/traces", TRACES,
        (400, "Missing required fields: trace_id, span_id, span_name, operation_type"), body={}),
    Row("GET", "/api/analytics/data", DATA, (400, "startDate and endDate are required")),
    Row("GET", f"{T}/{{job}}/download/model", READER, (404, "Model not found"), NO_JOB_OR),
)  # fmt: skip


@pytest.fixture
async def world(cloud, lab, seeds, tmp_path, clock):
    """One of everything, and one of every credential."""
    secrets, now = load_or_create(tmp_path / "state"), clock.now()
    deployment = await seeds.deployment()
    config = (await lab("GET", "/api/training")).body["configs"][0]["id"]
    hook = await lab("POST", "/api/alerts/webhooks", json={"name": "n", "url": "http://example.com/hook"})
    suite = await lab("POST", "/api/test-suites", json={"name": "n", "prompts": ["p"]})
    package = await lab("POST", f"/api/training/{config}/generate-package")
    values = {
        "config": config,
        "dataset": (await lab("GET", "/api/training/dataset")).body["datasets"][0]["id"],
        "job": deployment["job_id"],
        "pod": deployment["pod_id"],
        "hook": hook.body["webhook"]["id"],
        "suite": suite.body["testSuite"]["id"],
        "public": package.body["public_id"],
        "session": cloud.endpoints.lab_jwt,
        "other": secrets.session_token(now, user_id=STRANGER),
        "expired": secrets.session_token(now, lifetime=timedelta(seconds=-1)),
        "job_token": next(pod.env["JOB_TOKEN"] for pod in cloud.pods.pods()),
        "user": secrets.user_id,
        "service": base64.urlsafe_b64encode(hmac.digest(secrets.storage_secret.encode(), b"service-role", "sha256"))
        .rstrip(b"=")
        .decode(),
        "internal": cloud.endpoints.lab_internal_key,
        "all": cloud.endpoints.lab_api_key,
        "testing": cloud.endpoints.lab_api_key_testing,
    }
    store = LabStore(tmp_path / "state" / "lab.sqlite")
    for name, scopes in {"worker": ["worker"], "no scopes": None}.items():
        # The lab makes neither of these, but has them: workers' keys come from elsewhere, unscoped ones from before.
        values[name] = f"wak_{uuid.uuid4().hex}"
        row = {
            "id": key_id(values[name]), "user_id": secrets.user_id, "name": name, "key_prefix": values[name][:12],
            "is_active": True, "request_count": 0, "last_used_at": None, "created_at": "2026-01-01T00:00:00.000Z",
            "scopes": scopes,
        }  # fmt: skip
        store.insert("api_keys", row["id"], secrets.user_id, row)
    store.close()
    for scope in ("training", "production"):
        made = await lab("POST", "/api/user/api-keys", json={"name": scope, "scopes": [scope]})
        values[scope] = made.body["apiKey"]["key"]
    return values


def filled(value: Any, world: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for name, known in world.items():
            value = value.replace(f"{{{name}}}", known)
        return value
    if isinstance(value, Mapping):
        return {key: filled(inner, world) for key, inner in value.items()}
    return [filled(inner, world) for inner in value] if isinstance(value, list) else value


def text_of(answer: Any) -> str | None:
    if not answer.headers.get("Content-Type", "").startswith("application/json"):
        return None
    error = answer.body.get("error")
    return error["message"] if isinstance(error, dict) else error


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method} {row.path}")
async def test_path_tells_every_credential_what_the_contract_says(row, lab, world):
    # Whoever is let in may change what is there, so the owner comes last.
    order = sorted(CREDENTIALS, key=lambda name: (row.group.refuses(name) is None, name != "other user"))
    wrong = {}
    for credential in order:
        headers = {**row.headers, **filled(CREDENTIALS[credential], world)}
        body = {} if row.body is None else {"json": filled(row.body, world)}
        answer = await lab.with_headers()(row.method, filled(row.path, world), headers=headers, **body)
        let_in = row.other or row.own if credential == "other user" else row.own
        expected = row.group.refuses(credential) or let_in
        found = (answer.status, text_of(answer))
        if found[0] != expected[0] or expected[1] not in (None, found[1]):
            wrong[credential] = (found, expected)
    assert wrong == {}


def test_every_path_of_the_lab_is_in_the_table(cloud):
    from runner.local.lab_api.app import PARTS

    ours = {"/downloads/standalone_trainer.py", "/api/training/{job_id}/upload/model"}
    known = {(row.method, _shape(row.path)) for row in ROWS} | {("OPTIONS", _shape("/api/training/public/x/dataset"))}
    served = {
        (route.method, _shape(route.path)) for part in PARTS for route in part.ROUTES
        if route.path not in ours and not route.path.startswith("/storage/")
    }  # fmt: skip
    assert {entry for entry in served if not any(_covers(entry, other) for other in known)} == set()


def _shape(path: str) -> tuple[str, ...]:
    parts = path.partition("?")[0].strip("/").split("/")
    return tuple("*" if part.startswith("{") or part == UNKNOWN else part for part in parts)


def _covers(served: tuple[str, tuple[str, ...]], known: tuple[str, tuple[str, ...]]) -> bool:
    return served[0] == known[0] and len(served[1]) == len(known[1]) and all(
        left in ("*", right) for left, right in zip(served[1], known[1], strict=True)
    )  # fmt: skip


async def test_rate_limit_wears_three_disguises(lab, world):
    """Trap T-05: 429 where the truth is told, 401 where keys are hidden, and a bad key for predict."""
    key = lab.with_headers(X_API_Key=world["all"])
    for _ in range(100):
        await key("GET", "/api/training/local/jobs")
    limited = "Rate limit exceeded. Try again later."
    assert (await key("GET", "/api/training/local/jobs")).error == (429, limited)
    assert (await key("GET", "/api/test-suites")).error == (429, limited)
    assert (await key("GET", "/api/training/jobs")).error == (401, "Missing authorization")
    job = world["job"]
    for path in (f"/api/training/local/{job}/metrics", f"/api/training/local/{job}/logs"):
        assert (await key("GET", path)).error == (401, "Unauthorized: Missing authentication")
    assert (await key("GET", f"/api/training/predictions/{job}")).error == (401, "Unauthorized")
    answer = await key("POST", "/api/v1/predict", json={})
    assert answer.status == 401
    assert answer.body["error"] == {"message": limited, "type": "invalid_api_key", "code": 401}


async def test_wrong_service_role_key_runs_no_batch(lab):
    path, body = "/api/batch-testing/run", {"config": {}}
    wrong = {"x-service-role-key": "no", "x-user-id": STRANGER}
    assert (await lab.with_headers()("POST", path, json=body, headers=wrong)).error == (
        401, "Invalid service role key",
    )  # fmt: skip


async def test_use_of_a_key_is_counted_and_the_key_is_never_shown_again(lab, world):
    for _ in range(3):
        await lab.with_headers(X_API_Key=world["training"])("GET", "/api/training/local/jobs")
    keys = {row["name"]: row for row in (await lab("GET", "/api/user/api-keys")).body["apiKeys"]}
    assert (keys["training"]["request_count"], keys["training"]["scopes"]) == (3, ["training"])
    assert world["training"] not in str(keys)
    await lab("POST", "/api/secrets", json={"provider": "HuggingFace", "api_key": "hf_secretsecretsecret"})
    listed = (await lab("GET", "/api/secrets")).text
    assert "huggingface" in listed
    assert "secretsecret" not in listed


async def test_control_judges_the_action_before_the_caller(lab):
    path = f"/api/training/local/{uuid.uuid4()}/control"
    text = "Invalid or missing action. Expected cancel, pause, or resume."
    assert (await lab.with_headers()("POST", path, json={"action": "explode"})).error == (400, text)


async def test_job_record_needs_no_credential_when_it_names_its_user(lab):
    body = {"job_id": "j", "user_id": STRANGER}
    assert (await lab.with_headers()("POST", "/api/training/local/jobs", json=body)).body["user_id"] == STRANGER
