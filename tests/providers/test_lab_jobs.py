"""Jobs that the lab keeps the books of, for pods that it did not deploy."""

from __future__ import annotations

import pytest

from runner.errors import ProviderError
from runner.ports import JobTicket
from runner.ports import ProviderErrorKind as Kind
from runner.providers.connect import open_lab

STORED = {"success": True, "persisted": True, "job_id": "j", "user_id": "u1", "job_token": "lab-token"}
ACCEPTED = {"success": True, "accepted": True, "persisted": False, "job_id": "j", "user_id": "u1"}


async def test_a_job_that_was_stored_comes_with_what_its_trainer_needs(wire, replying, settings_at, clock):
    wire.will(replying(200, STORED))
    async with open_lab(settings_at(wire.url), clock=clock) as lab:
        ticket = await lab.open_job(model="m", config={"a": 1})
    assert ticket.token == "lab-token"
    assert ticket.env["USER_ID"] == "u1"
    assert ticket.env["METRICS_API_URL"] == f"{wire.url}/api/training/local/metrics"
    assert wire.seen[0].json()["job_id"] == ticket.lab_job_id == ticket.env["JOB_ID"]
    assert "lab-token" not in repr(ticket)


async def test_a_job_that_was_only_accepted_is_waited_for_and_keeps_our_token(wire, replying, settings_at, clock):
    missing = replying(404, {"error": "Training job not found"})
    wire.will(replying(202, ACCEPTED), missing, missing, replying(200, {"job_id": "j", "status": "pending"}))
    async with open_lab(settings_at(wire.url), clock=clock) as lab:
        ticket = await lab.open_job(model="m", config={})
    assert ticket.token == wire.seen[0].json()["job_token"]
    assert len(wire.seen) == 4


async def test_a_job_that_is_never_stored_is_no_job(wire, replying, settings_at, clock):
    wire.will(replying(202, ACCEPTED), replying(404, {"error": "Training job not found"}))
    async with open_lab(settings_at(wire.url), clock=clock) as lab:
        with pytest.raises(ProviderError, match="never stored it") as caught:
            await lab.open_job(model="m", config={})
    assert caught.value.kind == Kind.TRANSIENT


async def test_closing_a_job_uses_its_own_token_and_does_not_mind_when_it_is_gone(wire, replying, settings_at, clock):
    ticket = JobTicket(lab_job_id="j/1", token="own", env={})
    async with open_lab(settings_at(wire.url), clock=clock) as lab:
        for answer in (
            replying(200, {"success": True, "status": "cancelled"}),
            replying(404, {"error": "Job not found"}),
        ):
            wire.will(answer)
            await lab.close_job(ticket, status="cancelled")
            assert wire.seen[0].headers["authorization"] == "Bearer own"
            assert wire.seen[0].path == "/api/training/local/j%2F1/status"
