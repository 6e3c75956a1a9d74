#!/usr/bin/env python3
"""Look after one pod from inside: serve its log and its model, and end the pod when its time is over.

Standard library only, Python 3.8 or newer, one file: it travels in an environment variable, and the bootstrap starts
it before anything else. It never exits: RunPod restarts a container that ends, and bills it for ever.

Everything it serves needs `Authorization: Bearer RUNSPEC_AGENT_TOKEN`, because the proxy in front of a pod asks
nobody who he is:

    GET  /health            what the pod is doing
    GET  /logs?offset=N     the log from byte N; `X-Next-Offset` says where to go on
    GET  /artifact          the trained model as a tar (`?format=zip` for a zip), with `X-Content-SHA256`; takes `Range`
    POST /generate          {"prompts": [...], "max_tokens": 32, "base": false}; 202 while the model is thinking

Environment: RUNSPEC_DEADLINE (seconds since 1970, absolute, so that a restart gains nothing), RUNSPEC_AGENT_TOKEN,
RUNSPEC_LINGER_S (how long the model may be fetched after the training ended, default 900), RUNSPEC_LOG_URL (log lines
are posted there with JOB_TOKEN), RUNSPEC_AGENT_PAUSE_S (replaces every waiting time), RUNPOD_POD_ID, RUNPOD_API_KEY
(RunPod puts in a key of this pod's own), RUNSPEC_ACCOUNT_KEY (a key of the account, tried when the pod's own is
refused), RUNSPEC_RUNPOD_URL.

Source: RunPod contract §4 and §7.14, read 2026-11.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qs, quote, urlsplit

PORT = 8080
LOG, ENDED, STARTED, MODEL = "pod.log", ".training_ended", ".training_started", "fine_tuned_model"
LOG_CHUNK = 1 << 20
FILE_CHUNK = 1 << 20
# RunPod's proxy gives up after 100 s, so an answer that takes longer is asked for again.
PATIENCE_S = 60.0
MAX_REQUEST = 1 << 20
USER_AGENT = "runspec-agent/1"
LOOPBACK = ("127.0.0.1", "localhost")

GENERATE = """
import json, sys
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer
root, wish = Path(sys.argv[1]), json.load(sys.stdin)
page = json.loads((root / "runspec_model.json").read_text())
tokenizer = AutoTokenizer.from_pretrained(root / page["tokenizer"])
if wish["base"] or not page["model"]:
    model = AutoModelForCausalLM.from_pretrained(root / page["base_model"])
else:
    model = AutoModelForCausalLM.from_pretrained(root / page["model"])
if page["adapter"] and not wish["base"]:
    from peft import PeftModel
    model = PeftModel.from_pretrained(model, root / page["adapter"])
model.eval()
answers = []
for prompt in wish["prompts"]:
    chat = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) if tokenizer.chat_template \
        else prompt
    given = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    given = {name: given[name] for name in ("input_ids", "attention_mask")}
    out = model.generate(**given, max_new_tokens=wish["max_tokens"], do_sample=False)
    answers.append(tokenizer.decode(out[0][given["input_ids"].shape[1]:], skip_special_tokens=True))
json.dump({"answers": answers}, sys.stdout)
"""


def say(text: str) -> None:
    print(f"[agent] {text}", flush=True)


class Pod:
    """What this pod knows of itself."""

    def __init__(self, workspace: Path, *, restarted: bool) -> None:
        self.workspace = workspace
        self.restarted = restarted
        self.token = os.environ.get("RUNSPEC_AGENT_TOKEN", "")
        self.deadline = float(os.environ.get("RUNSPEC_DEADLINE") or time.time() + 3600)
        self.linger_s = float(os.environ.get("RUNSPEC_LINGER_S") or 900)
        self.since = time.time()
        self.lock = threading.Lock()
        self.generated: dict[str, dict[str, Any]] = {}

    @property
    def ended(self) -> dict[str, Any] | None:
        """`{"at", "code"}` once the bootstrap has ended, by itself or because it failed."""
        try:
            found: dict[str, Any] = json.loads((self.workspace / ENDED).read_text())
        except (OSError, ValueError):
            return None
        return found

    def time_is_up(self) -> str:
        """Why the pod has to end now; empty while it may stay."""
        now, ended = time.time(), self.ended
        if self.restarted:
            return "the container was restarted"
        if now >= self.deadline:
            return "its deadline is over"
        if ended is not None and now >= ended["at"] + self.linger_s:
            return "its training ended and nobody fetches the model any more"
        return ""

    def health(self) -> dict[str, Any]:
        ended, now = self.ended, time.time()
        phase = "ended" if ended else "training" if (self.workspace / STARTED).exists() else "starting"
        return {
            "pod": os.environ.get("RUNPOD_POD_ID", ""),
            "job": os.environ.get("JOB_ID", ""),
            "phase": "restarted" if self.restarted else phase,
            "exit_code": ended["code"] if ended else None,
            "up_s": round(now - self.since, 1),
            "left_s": round(self.deadline - now, 1),
            "log_bytes": size_of(self.workspace / LOG),
            "model": (self.workspace / MODEL / "runspec_model.json").is_file(),
        }

    def artifact(self, form: str = "tar") -> tuple[Path, str] | None:
        """The model as one file with its checksum, packed once; None while there is none."""
        root, packed = self.workspace / MODEL, self.workspace / f".artifact.{form}"
        ended = self.ended
        if ended is None or ended["code"] != 0 or not root.is_dir():
            return None
        with self.lock:
            digest = packed.with_name(f"{packed.name}.sha256")
            if not digest.is_file():
                (pack_zip if form == "zip" else pack)(root, packed)
                digest.write_text(sha256_of(packed))
            return packed, digest.read_text()

    def generate(self, wish: dict[str, Any]) -> dict[str, Any]:
        """The answers to a wish; `{}` while they are not there. The same wish asked again is the same work."""
        key = hashlib.sha256(json.dumps(wish, sort_keys=True).encode()).hexdigest()
        with self.lock:
            work = self.generated.get(key)
            if work is None:
                work = self.generated[key] = {"done": threading.Event(), "result": {}}
                threading.Thread(target=self._generate, args=(wish, work), daemon=True).start()
        work["done"].wait(PATIENCE_S)
        result: dict[str, Any] = work["result"]
        return result

    def _generate(self, wish: dict[str, Any], work: dict[str, Any]) -> None:
        try:
            ran = subprocess.run(
                [sys.executable, "-c", GENERATE, str(self.workspace / MODEL)], input=json.dumps(wish).encode(),
                capture_output=True, check=False, timeout=max(10.0, self.deadline - time.time()),
            )  # fmt: skip
            work["result"] = json.loads(ran.stdout) if ran.returncode == 0 else {"error": last_line(ran.stderr)}
        except (OSError, ValueError, subprocess.SubprocessError) as exc:
            work["result"] = {"error": f"{type(exc).__name__}: {exc}"}
        work["done"].set()


def pack(root: Path, target: Path) -> None:
    """The same folder gives the same bytes, so that a download can be resumed after a restart of this process."""
    with tarfile.open(target, "w") as tar:
        for path in sorted(root.rglob("*")):
            if path.is_file() and not path.is_symlink():
                entry = tar.gettarinfo(str(path), arcname=path.relative_to(root).as_posix())
                entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
                with path.open("rb") as content:
                    tar.addfile(entry, content)


def pack_zip(root: Path, target: Path) -> None:
    """As `pack`, in the form in which the lab gives out models."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(root.rglob("*")):
            if path.is_file() and not path.is_symlink():
                entry = zipfile.ZipInfo(path.relative_to(root).as_posix())
                with path.open("rb") as content, archive.open(entry, "w", force_zip64=True) as packed:
                    shutil.copyfileobj(content, packed, FILE_CHUNK)


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(FILE_CHUNK), b""):
            digest.update(block)
    return digest.hexdigest()


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def last_line(output: bytes) -> str:
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:500] if lines else "it ended without a word"


# --- serving ---------------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    """The agent's few routes."""

    pod: Pod
    protocol_version = "HTTP/1.1"
    timeout = 90

    def do_GET(self) -> None:
        if not self._is_admitted():
            return
        where = urlsplit(self.path)
        if where.path == "/health":
            self._answer(200, self.pod.health())
        elif where.path == "/logs":
            self._send_log(parse_qs(where.query))
        elif where.path == "/artifact":
            self._send_artifact(parse_qs(where.query))
        else:
            self._answer(404, {"error": "not found"})

    def do_POST(self) -> None:
        if not self._is_admitted():
            return
        wish = self._wish()
        if urlsplit(self.path).path != "/generate":
            self._answer(404, {"error": "not found"})
        elif wish is None:
            self._answer(400, {"error": "want a JSON object with `prompts`, a list of 1 to 20 texts"})
        elif self.pod.artifact() is None:
            self._answer(409, {"error": "there is no trained model yet"})
        else:
            result = self.pod.generate(wish)
            self._answer(202 if not result else 500 if "error" in result else 200, result or {"status": "thinking"})

    def _is_admitted(self) -> bool:
        given = self.headers.get("Authorization", "")
        expected = f"Bearer {self.pod.token}"
        if self.pod.token and hmac.compare_digest(given.encode(), expected.encode()):
            return True
        # Nobody without the token may keep a connection open.
        self.close_connection = True
        self._answer(401, {"error": "missing or wrong bearer token"})
        return False

    def _wish(self) -> dict[str, Any] | None:
        try:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(min(length, MAX_REQUEST)))
            prompts = body["prompts"]
            tokens = int(body.get("max_tokens", 32))
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        if not isinstance(prompts, list) or not all(isinstance(one, str) for one in prompts):
            return None
        if not 1 <= len(prompts) <= 20 or not 1 <= tokens <= 1024:
            return None
        return {"prompts": prompts, "max_tokens": tokens, "base": bool(body.get("base", False))}

    def _send_log(self, query: dict[str, list[str]]) -> None:
        try:
            offset = max(0, int(query.get("offset", ["0"])[0]))
        except ValueError:
            offset = 0
        content = b""
        try:
            with (self.pod.workspace / LOG).open("rb") as log:
                log.seek(offset)
                content = log.read(LOG_CHUNK)
        except OSError:
            pass
        self._head(200, "text/plain; charset=utf-8", len(content), {"X-Next-Offset": str(offset + len(content))})
        self.wfile.write(content)

    def _send_artifact(self, query: dict[str, list[str]]) -> None:
        form = "zip" if query.get("format") == ["zip"] else "tar"
        found = self.pod.artifact(form)
        if found is None:
            self._answer(409, {"error": "there is no trained model yet"})
            return
        path, digest = found
        kind = "application/zip" if form == "zip" else "application/x-tar"
        size = path.stat().st_size
        first, last = part_of(self.headers.get("Range", ""), size)
        if first > last:
            self._head(416, "application/json", 0, {"Content-Range": f"bytes */{size}"})
            return
        more = {"X-Content-SHA256": digest, "Accept-Ranges": "bytes"}
        if last - first + 1 < size:
            more["Content-Range"] = f"bytes {first}-{last}/{size}"
        self._head(
            206 if "Content-Range" in more else 200,
            kind,
            last - first + 1,
            more,
        )
        with path.open("rb") as file:
            file.seek(first)
            left = last - first + 1
            while left > 0 and (block := file.read(min(FILE_CHUNK, left))):
                self.wfile.write(block)
                left -= len(block)

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self._head(status, "application/json", len(body), {})
        self.wfile.write(body)

    def _head(self, status: int, kind: str, length: int, more: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(length), **more}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name is the base class's
        """Requests are no part of the training's log."""


def part_of(wanted: str, size: int) -> tuple[int, int]:
    """First and last byte of a `Range` header of one part; the whole file when it is missing or unreadable."""
    unit, _, part = wanted.partition("=")
    first, dash, last = part.partition("-")
    if unit != "bytes" or not dash or not first.isdigit() or (last and not last.isdigit()):
        return 0, size - 1
    return int(first), min(int(last), size - 1) if last else size - 1


def serve(pod: Pod) -> None:
    # A local pod shares the loopback with others and is told its port; in a real one RunPod's proxy comes from outside.
    is_local = os.environ.get("RUNSPEC_LOCAL_POD") == "1"
    port = int(os.environ.get(f"RUNSPEC_PORT_{PORT}") or PORT)
    handler = type("PodHandler", (Handler,), {"pod": pod})
    server = ThreadingHTTPServer(("127.0.0.1" if is_local else "0.0.0.0", port), handler)  # noqa: S104
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()


# --- shipping the log ------------------------------------------------------------------------------------------


def ship_log(pod: Pod, url: str, *, every_s: float) -> None:
    """Post whole new lines for ever; what was refused is sent again with the next ones."""
    sent, token = 0, os.environ.get("JOB_TOKEN", "")
    while True:
        time.sleep(every_s)
        try:
            with (pod.workspace / LOG).open("rb") as log:
                log.seek(sent)
                content = log.read(LOG_CHUNK)
        except OSError:
            continue
        whole = content[: content.rfind(b"\n") + 1]
        if whole and post(url, {"logs": whole.decode("utf-8", "replace").splitlines()}, token):
            sent += len(whole)


def post(url: str, body: dict[str, Any], token: str) -> bool:
    try:
        return 200 <= ask("POST", url, token, json.dumps(body).encode())[0] < 300
    except (OSError, ValueError):
        return False


def ask(method: str, url: str, token: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Status and the first bytes of one answer.

    Raises:
        OSError: no answer.
        ValueError: no http address.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError("not an http address")
    # Without a name of its own a program is refused by RunPod's front door, with words that look like a bad key.
    headers = {"User-Agent": USER_AGENT, "Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, data=body, method=method, headers=headers)  # noqa: S310  checked above
    handlers = [urllib.request.ProxyHandler({})] if urlsplit(url).hostname in LOOPBACK else []
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=30) as answer:
            return int(answer.status), answer.read(65_536)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read(65_536)


# --- the end of the pod ----------------------------------------------------------------------------------------


def terminate(pod_id: str) -> str:
    """Ask RunPod to end this pod, by every way there is; says which one it accepted, empty for none."""
    base = (os.environ.get("RUNSPEC_RUNPOD_URL") or "https://api.runpod.io/v2").rstrip("/")
    graphql = base[: -len("/v2")] + "/graphql" if base.endswith("/v2") else "https://api.runpod.io/graphql"
    path = f"{base}/pods/{quote(pod_id, safe='')}"
    query = "mutation { podTerminate(input: {podId: " + json.dumps(pod_id) + "}) }"
    ways = (
        ("action", "POST", f"{path}/action", json.dumps({"action": "terminate"}).encode()),
        ("DELETE", "DELETE", path, None),
        ("GraphQL", "POST", graphql, json.dumps({"query": query}).encode()),
    )
    keys = [os.environ[name] for name in ("RUNPOD_API_KEY", "RUNSPEC_ACCOUNT_KEY") if os.environ.get(name)]
    for key in keys:
        for name, method, url, body in ways:
            try:
                status, answer = ask(method, url, key, body)
            except (OSError, ValueError) as exc:
                say(f"{name}: {type(exc).__name__}")
                continue
            if 200 <= status < 300 and b'"errors"' not in answer:
                return name
            say(f"{name}: answered {status}")
    return "runpodctl" if runpodctl(pod_id) else ""


def runpodctl(pod_id: str) -> bool:
    command = shutil.which("runpodctl")
    if command is None:
        return False
    try:
        return subprocess.run([command, "remove", "pod", pod_id], check=False, timeout=60).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def stand_guard(pod: Pod, *, look_s: float, insist_s: float) -> NoReturn:
    """End the pod when its time is up, and insist for as long as this process lives."""
    pod_id = os.environ.get("RUNPOD_POD_ID", "")
    while True:
        reason = pod.time_is_up()
        if not reason:
            time.sleep(max(0.05, min(look_s, pod.deadline - time.time())))
            continue
        say(f"terminating this pod, because {reason}")
        accepted = terminate(pod_id)
        say(f"accepted by {accepted}" if accepted else "nobody accepted it: this pod goes on billing; trying again")
        time.sleep(insist_s)


def main(argv: list[str]) -> NoReturn:
    pod = Pod(Path(os.environ.get("RUNSPEC_WORKSPACE") or "/workspace"), restarted="--restarted" in argv)
    try:
        serve(pod)
        say(f"serving; this pod ends in {pod.deadline - time.time():.0f} s at the latest")
    except OSError as exc:
        # The guard is what counts: a pod that cannot be asked can still end itself.
        say(f"cannot serve: {exc}")
    pause = os.environ.get("RUNSPEC_AGENT_PAUSE_S")
    url = os.environ.get("RUNSPEC_LOG_URL", "")
    if url:
        threading.Thread(target=ship_log, args=(pod, url), kwargs={"every_s": float(pause or 5)}, daemon=True).start()
    stand_guard(pod, look_s=float(pause or 5), insist_s=float(pause or 30))


if __name__ == "__main__":
    main(sys.argv[1:])
