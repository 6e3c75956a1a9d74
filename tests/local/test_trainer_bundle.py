"""The archive that pods get: the same bytes everywhere, and what the lab serves."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

from runner.local import trainer_bundle
from runner.local.cloud import CloudOptions, EmbeddedCloud
from runner.local.scripted import ScriptedPods
from runner.local.trainer_bundle import bundle

SOURCES = Path(trainer_bundle.__file__).with_name("trainer")


def test_bytes_depend_on_the_sources_and_on_nothing_else(tmp_path, monkeypatch):
    copies = tmp_path / "elsewhere" / "trainer"
    copies.mkdir(parents=True)
    for path in sorted(SOURCES.glob("*.py"), reverse=True):
        (copies / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(trainer_bundle, "SOURCES", copies)
    assert bundle.__wrapped__() == bundle()
    (copies / "log.py").write_text("# another log\n")
    assert bundle.__wrapped__() != bundle()


def test_all_modules_are_inside_as_they_are():
    with zipfile.ZipFile(io.BytesIO(bundle())) as archive:
        packed = {name: archive.read(name) for name in archive.namelist() if name != "__main__.py"}
        assert archive.testzip() is None
    assert packed == {f"trainer/{path.name}": path.read_bytes() for path in SOURCES.glob("*.py")}


def test_its_line_breaks_are_those_of_the_sources():
    # A pod's log says how many lines it downloaded.
    lines = sum(path.read_bytes().count(b"\n") for path in SOURCES.glob("*.py"))
    assert lines <= bundle().count(b"\n") <= lines + 50


async def test_the_lab_serves_it_and_promises_its_checksum(tmp_path, clock, stage, session, seeds_for):
    async with EmbeddedCloud(tmp_path, CloudOptions(backend=ScriptedPods(clock, stage), clock=clock)) as cloud:
        await seeds_for(cloud).deployment()
        await clock.advance(1)
        env = stage.specs[-1].env
        async with session.get(env["RUNSPEC_TRAINER_URL"]) as answer:
            served = await answer.read()
    assert served == bundle()
    assert env["RUNSPEC_TRAINER_SHA256"] == hashlib.sha256(served).hexdigest()
