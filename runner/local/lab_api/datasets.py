"""Datasets: upload, storage as gzip, attaching to configs, and the signed download that a pod makes.

Source: FineTune Lab contract §2.2 and §5, read 2026-11.
"""

from __future__ import annotations

import asyncio
import gzip
import hmac
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from aiohttp import web

from runner.local.lab_api.auth import require_session
from runner.local.lab_api.context import LAB, Lab, Refusal, read_json
from runner.local.lab_api.normalise import Normalised, normalise
from runner.local.lab_api.store import Doc
from runner.local.web_kit import json_response, query_int

FORMATS = frozenset(("chatml", "sharegpt", "jsonl", "alpaca", "openorca", "unnatural", "dpo", "rlhf", "raw_text"))
ACCEPTED: dict[str, tuple[str, ...]] = {
    "sft": ("chatml", "sharegpt", "jsonl", "alpaca", "openorca", "unnatural"),
    "dpo": ("dpo",),
    "orpo": ("dpo",),
    "rlhf": ("rlhf",),
    "cpt": ("raw_text",),
}
DISPLAY = {
    "chatml": "ChatML", "sharegpt": "ShareGPT", "jsonl": "JSONL", "alpaca": "Alpaca", "openorca": "OpenOrca",
    "unnatural": "Unnatural Instructions", "dpo": "DPO", "rlhf": "RLHF", "raw_text": "Raw Text",
}  # fmt: skip
DOWNLOAD_LIFETIME_S = 2 * 3600
USD_PER_MILLION_TOKENS = {"runpod": 0.5, "local": 0.0, "openai": 8.0}


async def upload(request: web.Request) -> web.Response:
    user, lab = require_session(request), request.app[LAB]
    form = await request.post()
    file = form.get("file")
    if not isinstance(file, web.FileField) or not form.get("name") or not form.get("format"):
        raise Refusal(400, "Missing required fields")
    content = file.file.read()
    outcome = await asyncio.to_thread(normalise, content)
    if not outcome.converted:
        raise Refusal(400, "Invalid dataset", details=_rejection(outcome, file.filename))
    declared = str(form["format"])
    if declared not in FORMATS:
        # The real service lets its database refuse it.
        raise Refusal(500, 'new row for relation "training_datasets" violates check constraint "format_check"')
    row = _row(lab, user.id, dict(form), outcome, original_size=len(content))
    await _store(lab, row, outcome.jsonl)
    if row["config_id"] and lab.store.get("configs", row["config_id"], user.id):
        lab.store.attach(row["config_id"], row["id"])
    return json_response(
        {"dataset": row, "cost_estimates": _costs(outcome), "estimated_tokens": outcome.estimated_tokens}
    )


async def list_datasets(request: web.Request) -> web.Response:
    user = require_session(request)
    return json_response({"datasets": request.app[LAB].store.newest_first("datasets", user.id)})


async def show_examples(request: web.Request) -> web.Response:
    lab, row = request.app[LAB], _own_dataset(request)
    offset, limit = query_int(request, "offset", 0), query_int(request, "limit", 10)
    try:
        lines = stored_rows(lab, row).split(b"\n")
    except OSError as exc:
        raise Refusal(500, "Failed to download dataset") from exc
    shown = [
        {"index": index, "data": msgspec.json.decode(line)}
        for index, line in enumerate(lines[offset : offset + limit], start=offset)
    ]
    more = offset + limit < len(lines)
    return json_response({"examples": shown, "total": len(lines), "offset": offset, "limit": limit, "has_more": more})


async def delete_dataset(request: web.Request) -> web.Response:
    lab, row = request.app[LAB], _own_dataset(request)
    lab.store.detach(None, row["id"])
    lab.store.delete("datasets", row["id"])
    _path(lab, row["id"]).unlink(missing_ok=True)
    return json_response({"success": True, "message": "Dataset deleted"})


async def attach(request: web.Request) -> web.Response:
    user, lab, config_id = require_session(request), request.app[LAB], request.match_info["config_id"]
    dataset_id = await _posted_dataset_id(request)
    config = lab.store.get("configs", config_id, user.id)
    if config is None:
        raise Refusal(404, "Config not found")
    dataset = lab.store.get("datasets", dataset_id, user.id)
    if dataset is None:
        raise Refusal(404, "Dataset not found")
    _check_fit(config, dataset)
    fresh = lab.store.attach(config_id, dataset_id)
    return json_response({"success": True, "message": "Dataset attached" if fresh else "Dataset already attached"})


async def detach(request: web.Request) -> web.Response:
    require_session(request)
    dataset_id = await _posted_dataset_id(request)
    request.app[LAB].store.detach(request.match_info["config_id"], dataset_id)
    return json_response({"success": True, "message": "Dataset detached"})


async def list_attached(request: web.Request) -> web.Response:
    user, lab, config_id = require_session(request), request.app[LAB], request.match_info["config_id"]
    if lab.store.get("configs", config_id, user.id) is None:
        raise Refusal(404, "Training config not found")
    rows = [{**row, "size": row["file_size_bytes"]} for row in lab.store.attached(config_id)]
    return json_response({"success": True, "datasets": rows})


async def download(request: web.Request) -> web.StreamResponse:
    """The stored gzip, for whoever holds a signed URL that is less than two hours old."""
    lab, dataset_id = request.app[LAB], request.match_info["dataset_id"]
    expires, _, signature = request.query.get("token", "").partition(".")
    genuine = hmac.compare_digest(signature.encode(), lab.sign(f"{dataset_id}.{expires}").encode())
    if not genuine or not expires.isdigit() or int(expires) < lab.clock.now().timestamp():
        return json_response({"statusCode": "400", "error": "InvalidJWT", "message": "jwt expired"}, status=400)
    path = _path(lab, dataset_id)
    if not path.is_file():
        body = {"statusCode": "404", "error": "not_found", "message": "Object not found"}
        return json_response(body, status=400)
    return web.FileResponse(path, headers={"Content-Type": "application/gzip"})


def stored_rows(lab: Lab, dataset: Doc) -> bytes:
    """The rows of a dataset as they were stored, JSON Lines.

    Raises:
        OSError: the file is gone.
    """
    return gzip.decompress(_path(lab, dataset["id"]).read_bytes())


def signed_url(lab: Lab, dataset: Doc, *, lifetime_s: int = DOWNLOAD_LIFETIME_S) -> str:
    """Where a pod downloads a dataset during the next two hours."""
    expires = int(lab.clock.now().timestamp()) + lifetime_s
    signature = lab.sign(f"{dataset['id']}.{expires}")
    path = f"/storage/v1/object/sign/training-datasets/{quote(dataset['id'])}.jsonl.gz"
    return f"{lab.url}{path}?token={expires}.{signature}"


def _own_dataset(request: web.Request) -> Doc:
    user = require_session(request)
    row = request.app[LAB].store.get("datasets", request.match_info["dataset_id"], user.id)
    if row is None:
        raise Refusal(404, "Dataset not found")
    return row


async def _posted_dataset_id(request: web.Request) -> str:
    body = await read_json(request, refusal=Refusal(400, "datasetId required"))
    dataset_id = body.get("datasetId")
    if not isinstance(dataset_id, str) or not dataset_id:
        raise Refusal(400, "datasetId required")
    return dataset_id


def _check_fit(config: Doc, dataset: Doc) -> None:
    """Only the declared format counts: rows of another shape attach and fail in the pod."""
    method = str(config["config_json"].get("training", {}).get("method", ""))
    if method not in ACCEPTED:
        raise Refusal(500, "Failed to attach dataset")
    if dataset["format"] not in ACCEPTED[method]:
        wanted = ", ".join(DISPLAY[name] for name in ACCEPTED[method])
        has = DISPLAY.get(dataset["format"], dataset["format"])
        raise Refusal(400, f"{method.upper()} requires {wanted} format. Current dataset is {has} format.")


def _rejection(outcome: Normalised, file_name: str) -> list[str]:
    details = [
        "No valid training examples could be extracted after normalization "
        f"(converted 0/{outcome.total}). Please check the dataset format."
    ]
    if file_name.lower().endswith(".csv"):
        details.append("File extension .csv is not reliably supported. Please use JSONL.")
    if outcome.detected == "standard-text":
        details.append('Detected standard text format ("text" field), but no usable text was found.')
    return [*details, *outcome.errors]


def _row(lab: Lab, user_id: str, form: dict[str, Any], outcome: Normalised, *, original_size: int) -> Doc:
    dataset_id, now, declared = str(uuid.uuid4()), lab.now(), str(form["format"])
    detected = "chatml" if outcome.detected == "chatml-wrapped" else outcome.detected
    return {
        "id": dataset_id,
        "user_id": user_id,
        "config_id": form.get("config_id") or None,
        "name": form["name"],
        "description": form.get("description"),
        "format": declared,
        "file_size_bytes": 0,
        "total_examples": outcome.converted,
        "avg_input_length": outcome.avg_input_length,
        "avg_output_length": outcome.avg_output_length,
        "storage_path": f"{user_id}/private/{dataset_id}.jsonl.gz",
        "storage_provider": form.get("storage_provider") or "supabase",
        "metadata": {
            "original_format": declared,
            "detected_format_canonical": detected,
            "user_selected_format": declared,
            "format_mismatch": detected != declared,
            "normalized": True,
            "compressed": True,
            "compression_type": "gzip",
            "original_size_bytes": original_size,
            "normalization_date": now,
            "errors": list(outcome.errors),
            "estimated_total_tokens": outcome.estimated_tokens,
            "cost_estimates": _costs(outcome),
        },
        "created_at": now,
        "updated_at": now,
    }


async def _store(lab: Lab, row: Doc, jsonl: bytes) -> None:
    # Without a time stamp, so that equal data gives equal bytes.
    packed = await asyncio.to_thread(gzip.compress, jsonl, 6, mtime=0)
    row["file_size_bytes"] = len(packed)
    path = _path(lab, row["id"])
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    await asyncio.to_thread(path.write_bytes, packed)
    lab.store.insert("datasets", row["id"], row["user_id"], row)


def _costs(outcome: Normalised) -> dict[str, float]:
    millions = outcome.estimated_tokens / 1e6
    return {place: round(usd * millions, 4) for place, usd in USD_PER_MILLION_TOKENS.items()}


def _path(lab: Lab, dataset_id: str) -> Path:
    # The id is looked up or signed before it gets here; the check keeps a path out of it all the same.
    return lab.data_dir / "datasets" / f"{uuid.UUID(dataset_id)}.jsonl.gz"


ROUTES = [
    web.post("/api/training/dataset", upload),
    web.get("/api/training/dataset", list_datasets),
    web.get("/api/training/dataset/{dataset_id}", show_examples),
    web.delete("/api/training/dataset/{dataset_id}", delete_dataset),
    web.post("/api/training/{config_id}/attach-dataset", attach),
    web.delete("/api/training/{config_id}/attach-dataset", detach),
    web.get("/api/training/{config_id}/datasets", list_attached),
    web.get("/storage/v1/object/sign/training-datasets/{dataset_id}.jsonl.gz", download),
]
