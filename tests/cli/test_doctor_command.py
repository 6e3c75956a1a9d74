"""`runspec doctor` on machines and accounts that lack something, against the embedded services."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from runner.cli import check_machine
from runner.cli.findings import Finding, State, exit_code
from runner.local.clock import SystemClock
from runner.local.cloud import CloudOptions, EmbeddedCloud
from runner.local.faults import Rule, What
from runner.local.runpod_api import RunPodSettings
from runner.local.scripted import ScriptedPods
from runner.store import database

KEYS = (
    "RUNPOD_API_KEY", "RUNSPEC_RUNPOD_URL", "RUNSPEC_RUNPOD_GRAPHQL_URL", "FINETUNE_LAB_API_KEY",
    "FINETUNE_LAB_API_URL", "FINETUNE_LAB_JWT", "FINETUNE_LAB_REFRESH_TOKEN", "SUPABASE_URL", "SUPABASE_ANON_KEY",
    "FINETUNE_LAB_INTERNAL_KEY", "HF_TOKEN",
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def account(tmp_path, monkeypatch):
    """An embedded cloud whose keys are in the environment."""
    options = CloudOptions(backend=ScriptedPods(SystemClock()), runpod=RunPodSettings(balance_usd=25))
    async with EmbeddedCloud(tmp_path / "cloud", options) as cloud:
        ends = cloud.endpoints
        for name, value in {
            "RUNPOD_API_KEY": ends.runpod_api_key, "RUNSPEC_RUNPOD_URL": ends.runpod_url,
            "RUNSPEC_RUNPOD_GRAPHQL_URL": ends.runpod_graphql_url, "FINETUNE_LAB_API_KEY": ends.lab_api_key,
            "FINETUNE_LAB_API_URL": ends.lab_url, "FINETUNE_LAB_JWT": ends.lab_jwt,
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        yield cloud


@pytest.fixture
def doctor(runspec):
    """Exit code, findings by name, and everything that was printed."""

    async def run(*args):
        said = await asyncio.to_thread(runspec, "doctor", "--json", *args)
        found = json.loads(said.out)
        assert found["exit_code"] == said.code
        return said.code, {one["name"]: one for one in found["findings"]}, said.out + said.err

    return run


def test_without_keys_nothing_is_asked_and_nothing_is_broken(runspec):
    said = runspec("doctor")
    assert said.code == 0
    assert "off      RUNPOD_API_KEY: not set" in said.out
    assert "costs: the cloud target: no pod can be watched or proven gone" in said.out
    assert "fix:   export RUNPOD_API_KEY=…" in said.out
    assert said.out.splitlines()[-1].endswith("cloud target: not ready (RUNPOD_API_KEY, session token)")


def test_missing_keys_are_broken_when_the_cloud_has_to_work(runspec):
    said = runspec("doctor", "--target", "cloud", "--offline")
    assert said.code == 2
    assert "BROKEN   session token: not set" in said.out


async def test_healthy_account_is_ready_and_no_secret_is_printed(account, doctor):
    code, found, printed = await doctor("--target", "cloud")
    assert code == 0
    assert found["FINETUNE_LAB_API_KEY"]["text"] == "good for training, testing, production"
    assert found["session token"]["text"].startswith("accepted, expires in 30 days")
    assert found["balance"]["text"] == "25.00 USD"
    assert found["clock"]["state"] == "ok"
    assert found["vault"]["text"] == "has no `huggingface` token"
    assert found["RUNPOD_API_KEY"]["text"] == "accepted; the account has 0 pods, 0 billed"
    ends = account.endpoints
    for secret in (ends.runpod_api_key, ends.lab_api_key, ends.lab_jwt):
        assert secret not in printed


async def test_key_of_one_scope_says_what_the_others_are_for(account, doctor, monkeypatch):
    monkeypatch.setenv("FINETUNE_LAB_API_KEY", account.endpoints.lab_api_key_testing)
    code, found, _ = await doctor()
    assert code == 0
    key = found["FINETUNE_LAB_API_KEY"]
    assert (key["state"], key["text"]) == ("warn", "good for testing")
    assert "without `production` models of the lab cannot be asked" in key["costs"]


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("FINETUNE_LAB_API_KEY", "wak_" + "x" * 32, "FINETUNE_LAB_API_KEY"),
        ("FINETUNE_LAB_API_KEY", "wak_cut", "FINETUNE_LAB_API_KEY"),
        ("FINETUNE_LAB_JWT", "a.b.c", "session token"),
        ("RUNPOD_API_KEY", "rpa_WRONG", "RUNPOD_API_KEY"),
    ],
)
async def test_refused_credential_is_broken_and_named(account, doctor, monkeypatch, name, value, shown):
    monkeypatch.setenv(name, value)
    code, found, printed = await doctor()
    assert (code, found[shown]["state"]) == (2, "broken")
    assert found[shown]["costs"]
    assert value not in printed or value == "a.b.c"


async def test_service_that_is_not_there_is_unknown_and_exits_3(account, doctor, monkeypatch, unused_tcp_port):
    monkeypatch.setenv("FINETUNE_LAB_API_URL", f"http://127.0.0.1:{unused_tcp_port}")
    code, found, _ = await doctor()
    assert (code, found["reachable"]["state"]) == (3, "unknown")
    assert found["RUNPOD_API_KEY"]["state"] == "ok"


@pytest.mark.parametrize(
    ("variable", "name", "fix"),
    [
        ("RUNSPEC_RUNPOD_URL", "RUNPOD_API_KEY", "check the network and RUNSPEC_RUNPOD_URL, then ask again"),
        ("SUPABASE_URL", "session token", "check the network and SUPABASE_URL, then ask again"),
    ],
)
async def test_credential_that_nobody_judged_is_not_to_be_replaced(
    account, doctor, monkeypatch, unused_tcp_port, variable, name, fix
):
    if variable == "SUPABASE_URL":
        monkeypatch.setenv("FINETUNE_LAB_REFRESH_TOKEN", "refresh_canary")
        monkeypatch.setenv("SUPABASE_ANON_KEY", "anon_canary")
        monkeypatch.delenv("FINETUNE_LAB_JWT")
    monkeypatch.setenv(variable, f"http://127.0.0.1:{unused_tcp_port}")
    async with asyncio.timeout(30):  # and nobody waits a minute to hear it
        code, found, printed = await doctor()
    assert (code, found[name]["state"], found[name]["fix"]) == (3, "unknown", fix)
    assert "canary" not in printed


async def test_key_over_its_limit_is_asked_again_and_not_replaced(account, doctor):
    body = {"error": "Rate limit exceeded. Try again later."}
    account.faults.add(Rule(where="lab GET /api/training/local/jobs", what=What(status=429, body=body)))
    code, found, _ = await doctor()
    key = found["FINETUNE_LAB_API_KEY"]
    assert (code, key["state"], key["fix"]) == (3, "unknown", "ask again in a minute")


async def test_clock_that_is_off_is_told(account, doctor):
    late = {"Date": "Thu, 01 Jan 2099 00:00:00 GMT"}
    account.faults.add(Rule(where="lab GET /api/v1/predict", what=What(status=200, body={}, headers=late)))
    code, found, _ = await doctor()
    assert (code, found["clock"]["state"]) == (2, "broken")
    assert "behind the lab" in found["clock"]["text"]


async def test_webhook_that_fails_and_a_vault_without_a_key_are_told(account, doctor):
    failing = {"webhooks": [{"id": "h", "name": "ci", "url": "http://x/", "failure_count": 3}]}
    account.faults.add(
        Rule(where="lab GET /api/alerts/webhooks", what=What(status=200, body=failing)),
        Rule(where="lab GET /api/secrets", what=What(status=200, body={"secrets": []})),
    )
    code, found, _ = await doctor()
    assert "the last delivery failed to ci" in found["webhooks"]["text"]
    assert (code, found["vault"]["state"]) == (2, "broken")


def test_settings_that_cannot_be_used_are_told_with_their_fix(runspec, monkeypatch):
    monkeypatch.setenv("FINETUNE_LAB_API_URL", "http://example.com")
    said = runspec("doctor")
    assert said.code == 2
    assert "would send keys in clear" in said.out


def test_half_of_the_renewal_credentials_is_broken(runspec, monkeypatch):
    monkeypatch.setenv("SUPABASE_ANON_KEY", "anon")
    said = runspec("doctor", "--offline")
    assert said.code == 2
    assert "belong together, and one is missing" in said.out


def test_env_file_that_others_can_read_is_told(runspec, workshop):
    file = Path(".env")
    file.write_text("HF_TOKEN=hf_canary\n")
    file.chmod(0o644)
    said = runspec("doctor")
    assert "other users of this machine can read its keys" in said.out
    assert "hf_canary" not in said.out


def test_machine_without_training_libraries_breaks_the_local_target_only(runspec, monkeypatch):
    monkeypatch.setattr(check_machine, "TRAIN_LIBRARIES", ("no-such-library",))
    assert runspec("doctor", "--offline").code == 0
    said = runspec("doctor", "--offline", "--target", "local")
    assert said.code == 2
    assert "not installed: no-such-library" in said.out
    assert "local target: not ready (training libraries)" in said.out


@pytest.mark.parametrize(
    ("written", "cuda"),
    [
        ("cuda: Optional[str] = None\nhip = None\n", ""),
        ("cuda: Optional[str] = '12.8'\n", "12.8"),
        ("cuda = '11.8'\n", "11.8"),
        ("something = 1\n", None),
    ],
)
def test_build_of_torch_is_read_without_importing_it(tmp_path, monkeypatch, written, cuda):
    (tmp_path / "version.py").write_text(written)
    monkeypatch.setattr(check_machine, "_package_folder", lambda _name: tmp_path)
    assert check_machine._cuda_of_torch() == cuda


def test_state_folder_that_is_no_journal_is_broken(runspec, tmp_path):
    folder = tmp_path / "strange"
    folder.mkdir()
    (folder / database.FILE).write_bytes(b"not a database at all")
    said = runspec("doctor", "--offline", "--state", str(folder))
    assert said.code == 2
    assert "BROKEN   journal" in said.out


def test_worst_state_decides_the_exit_code():
    def found(*states):
        return [Finding(area="lab", name="x", state=state, text="") for state in states]

    assert exit_code(found(State.OK, State.OFF, State.WARN)) == 0
    assert exit_code(found(State.UNKNOWN, State.OK)) == 3
    assert exit_code(found(State.UNKNOWN, State.BROKEN)) == 2
