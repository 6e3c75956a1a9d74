"""Secrets that somebody planted everywhere they can be reach no output, file, report or process list of any command."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

from runner.local.faults import Rule, What, When
from tests.cli.premises import Premises, open_premises

OWN = ("RUNPOD_API_KEY", "FINETUNE_LAB_API_KEY", "FINETUNE_LAB_JWT", "FINETUNE_LAB_INTERNAL_KEY")
PLANTED = {"HF_TOKEN": 'hf_CANARY/+"quoted"\\and\'~0123456789'}
IN_URL = "tkn_CANARY-in-an-address-0123456789"


def forms(secret: str) -> dict[str, str]:
    """The same secret as it may come back from somewhere."""
    raw = secret.encode()
    return {
        "raw": secret,
        "base64": base64.b64encode(raw).decode(),
        "urlsafe base64": base64.urlsafe_b64encode(raw).decode().rstrip("="),
        "URL": quote(secret, safe=""),
        "JSON": json.dumps(secret)[1:-1],
    }


def found(texts: Mapping[str, bytes], secrets: Mapping[str, str]) -> list[str]:
    """Where a secret can be read, and in which form."""
    return [
        f"{name} as {form} in {where}: {text[max(0, at - 80) : at]!r}"
        for where, text in texts.items()
        for name, secret in secrets.items()
        for form, shown in forms(secret).items()
        if (at := text.find(shown.encode())) >= 0
    ]


def told(secrets: Iterable[str]) -> str:
    """What an error says that repeats all that was ever sent, in every form, and an address of somebody else's."""
    shown = [form for secret in secrets for form in forms(secret).values()]
    return f"refused by https://user:{IN_URL}@host.example/?api_key={IN_URL}&x=1: {' '.join(shown)}"


def passing_errors(text: str) -> list[Rule]:
    """Errors of both services that a run gets over."""
    problem = {"title": "Internal Server Error", "status": 500, "detail": text}
    doors = ("GET /v2/pods/{id}", "GET /v2/pods", "DELETE /v2/pods/{id}", "GET /v2/pods/{id}/logs")
    once = When(times=1)
    return [
        *(Rule(where=f"runpod {door}", what=What(status=500, body=problem), when=once) for door in doors),
        Rule(where="lab GET /api/training/jobs", what=What(status=500, body={"error": text}), when=once),
        Rule(where="lab POST /api/training", what=What(status=500, body=f"<html>{text}</html>"), when=once),
    ]


def final_errors(text: str) -> list[Rule]:
    """Errors of both services that end a run."""
    problem = {"title": "Bad Request", "status": 400, "detail": text}
    return [
        Rule(where="runpod POST /v2/pods", what=What(status=400, body=problem)),
        Rule(where="lab POST /api/training/deploy/runpod", what=What(status=400, body={"error": text})),
    ]


@asynccontextmanager
async def listing_processes(premises: Premises) -> AsyncIterator[set[bytes]]:
    """The command lines of all processes that come and go in the meantime."""
    seen: set[bytes] = set()

    async def look() -> None:
        while True:
            seen.update(premises.processes().values())
            await asyncio.sleep(0.05)

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        looking.cancel()


async def said_by(premises: Premises, *commands: Sequence[str], env: Mapping[str, str]) -> dict[str, bytes]:
    """What commands say, all at once."""
    ends = await asyncio.gather(*(premises.runspec(*command, env=env) for command in commands))
    for end in ends:
        assert "Traceback" not in end.err
        assert "a bug in runspec" not in end.err
    return {
        f"`{' '.join(command)}` (exit {end.code})": f"{end.out}\n{end.err}".encode()
        for command, end in zip(commands, ends, strict=True)
    }


async def runs(premises: Premises, state: str, env: Mapping[str, str], *more: str) -> dict[str, bytes]:
    """A run of either kind with every report."""
    commands = []
    for via in ("lab", "runpod"):
        name = f"{state}-{via}"
        (premises.workshop.folder / f"{name}.md").write_bytes(premises.workshop.document.read_bytes())
        reports = ",".join(f"{kind}={name}.{kind}" for kind in ("html", "junit", "json", "summary"))
        keeping = (f"--state={name}", f"--doc={name}.md", f"--report={reports}")
        commands.append(premises.run_args(*keeping, *more, via=via))
    return await said_by(premises, *commands, env=env)


async def everything(premises: Premises, secrets: Iterable[str], env: Mapping[str, str]) -> dict[str, bytes]:
    """What every command says: runs that meet errors with secrets in them, then whatever looks at those runs."""
    text = told(secrets)
    premises.cloud.faults.add(*passing_errors(text))
    texts = await runs(premises, "passed", env)
    premises.cloud.faults.clear()
    premises.cloud.faults.add(*final_errors(text))
    texts |= await runs(premises, "refused", env, "--progress=jsonl", "--no-watchdog")
    premises.cloud.faults.clear()
    of_runs = (["logs", "--state=passed-lab"], ["logs", "--state=passed-runpod"], ["reap", "--state=refused-lab"])
    of_failures = [[*look, "--state=refused-runpod"] for look in (["explain", "last"], ["history", "last"], ["status"])]
    texts |= await said_by(premises, *of_runs, *of_failures, env=env)
    of_specs = ["plan", "specs/quick.yaml", "-v", "--target=cloud"]
    texts |= await said_by(premises, [*of_specs, "--via=runpod"], of_specs, ["doctor"], env=env)
    address = {"RUNSPEC_TRAINER_URL": f"{premises.keys['RUNSPEC_TRAINER_URL']}?token={IN_URL}"}
    refusals = await said_by(premises, ["reap"], ["doctor"], env={**env, **address})
    assert any(b"no credentials, query or fragment" in refusal for refusal in refusals.values())
    return {**texts, **{f"{command} with a secret in an address": refusal for command, refusal in refusals.items()}}


def files(folder: Path, *, without: str) -> dict[str, bytes]:
    """Every file below a folder but what belongs to the services."""
    kept = (path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).parts[0] != without)
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


async def test_no_planted_secret_is_to_be_read_anywhere_after_everything_was_run(tmp_path):
    (tmp_path / "tmp").mkdir()
    async with open_premises(tmp_path) as premises, listing_processes(premises) as seen:
        secrets = {**{name: premises.keys[name] for name in OWN}, **PLANTED}
        texts = await everything(premises, secrets.values(), {**PLANTED, "TMPDIR": str(tmp_path / "tmp")})
        secrets["in an address"] = IN_URL
        secrets |= {f"given to a pod, {number}": given for number, given in enumerate(sorted(premises.trainings.given))}
        texts |= {"the process list": b"\n".join(seen), **files(tmp_path, without="cloud")}
        of_pods = files(tmp_path / "cloud" / "logs", without="")
    for place in ("refused-lab/journal.db", "refused-runpod/journal.db", "refused-lab.html", "refused-runpod.json"):
        assert b"refused by https://" in texts[place], f"no error was repeated in {place}"
    assert any(b"watchdog" in line for line in seen)
    assert len(premises.created) == 2
    # What pods print is full of them, so this search does find what is there.
    assert {place.split(" as ")[0] for place in found(of_pods, secrets)} >= {"given to a pod, 0"}
    assert found(texts, secrets) == []
