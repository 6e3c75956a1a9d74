"""Models that answer: the seeded one, and what jobs have trained.

The seeded model is trained on demand from a few built-in rows, by the process that then answers, and kept in the
state directory: a model nobody trained would not show whether answering works.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runner.local.lab_api.context import Lab
from runner.local.lab_api.trained import archive_of
from runner.local.model_server import ModelAnswer, ServedModel, ServingError

MANIFEST = "runspec_model.json"
MAX_UNPACKED_BYTES = 1 << 30
MAX_FILES = 2000
SEED = "seed"


async def answer(
    lab: Lab, row: Mapping[str, Any], messages: Sequence[Mapping[str, str]], *, temperature: float, max_tokens: int
) -> ModelAnswer:
    """What the model of a `models` row says.

    Raises:
        ServingError: it cannot answer, with the reason.
    """
    model = await _served(lab, row)
    return await lab.models.answer(model, messages, temperature=temperature, max_tokens=max_tokens)


async def _served(lab: Lab, row: Mapping[str, Any]) -> ServedModel:
    source = row.get("source") or {}
    if not source:
        raise ServingError(
            f"the embedded lab calls no other host, so `{row['base_url']}` was not asked; it answers for models"
            " trained here"
        )
    async with lab.preparing:
        if source["kind"] == SEED:
            return ServedModel(await _seed_model(lab))
        return ServedModel(await _job_model(lab, source["job_id"]), adapter=source["adapter"])


async def _job_model(lab: Lab, job_id: str) -> Path:
    archive = archive_of(lab, job_id)
    if archive is None:
        raise ServingError(f"the model of job {job_id} is not here: its pod did not hand it over")
    path, digest = archive
    folder = lab.data_dir / "served" / digest[:32]
    if not (folder / MANIFEST).is_file():
        await asyncio.to_thread(unpack, path, folder)
    return folder


async def _seed_model(lab: Lab) -> Path:
    folder = lab.data_dir / "served" / SEED
    if not (folder / MANIFEST).is_file():
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        await lab.models.make_seed_model(folder)
    return folder


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a model beside its place and move it there whole.

    Raises:
        ServingError: it is no zip, or has a file that may not be in one.
    """
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpack-") as name:
        aside = Path(name) / "model"
        try:
            with zipfile.ZipFile(archive) as packed:
                _check_members(packed.infolist())
                packed.extractall(aside)
        except (zipfile.BadZipFile, OSError) as exc:
            raise ServingError(f"the model cannot be unpacked: {exc}") from exc
        if not (aside / MANIFEST).is_file():
            raise ServingError(f"the model has no {MANIFEST}")
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)


def _check_members(members: Sequence[zipfile.ZipInfo]) -> None:
    # A pod wrote it, and pods run what strangers send. `extractall` keeps paths inside; sizes and links it does not.
    if len(members) > MAX_FILES or sum(member.file_size for member in members) > MAX_UNPACKED_BYTES:
        raise ServingError("the model is larger than a tiny model can be")
    if any((member.external_attr >> 28) == 0xA for member in members):
        raise ServingError("the model contains a link")
