"""Archives from machines that we do not own."""

from __future__ import annotations

import stat
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.artifacts.archive import Bounds, unpack
from runner.errors import ModelError


def packed(path: Path, entries: dict[str, bytes], *, modes: dict[str, int] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (modes or {}).get(name, stat.S_IFREG | 0o600) << 16
            archive.writestr(info, content)
    return path


def test_files_and_folders_come_out_as_they_went_in(tmp_path):
    entries = {"config.json": b"{}", "orpo_model/adapter_model.safetensors": b"\0" * 5_000, "base_model/": b""}
    source = packed(tmp_path / "m.zip", entries, modes={"base_model/": stat.S_IFDIR | 0o755})
    assert unpack(source, tmp_path / "out") == ("config.json", "orpo_model/adapter_model.safetensors")
    assert (tmp_path / "out" / "orpo_model" / "adapter_model.safetensors").read_bytes() == b"\0" * 5_000
    assert stat.S_IMODE((tmp_path / "out" / "config.json").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "name",
    [
        "../outside", "a/../../outside", "/etc/passwd", "a/./b", "a//b", "C:/x", "..", "a\\..\\..\\b", "~/x\n",
        "nul.txt", "con", "a/\u202etxt.exe", "-\x1b[2J", "x" * 200, "/".join("abcdefghi"), " lead", "..\\evil",
    ],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_is_refused_before_anything_is_written(tmp_path, name):
    source = packed(tmp_path / "m.zip", {"good.json": b"{}", name: b"x"})
    with pytest.raises(ModelError, match="refused"):
        unpack(source, tmp_path / "deep" / "out")
    assert not (tmp_path / "deep" / "out").exists()
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["m.zip"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_and_devices_are_refused(tmp_path, kind):
    source = packed(tmp_path / "m.zip", {"weights": b"/etc/passwd"}, modes={"weights": kind | 0o777})
    with pytest.raises(ModelError, match="is a link or a device"):
        unpack(source, tmp_path / "out")


@pytest.mark.parametrize(("one", "other"), [("a", "A"), ("model/x", "model"), ("a", "a/b/c")])
def test_two_entries_for_one_place_are_refused(tmp_path, one, other):
    source = packed(tmp_path / "m.zip", {one: b"1", other: b"2"})
    with pytest.raises(ModelError, match="refused"):
        unpack(source, tmp_path / "out")


def test_a_bomb_is_refused_by_its_own_directory(tmp_path):
    source = packed(tmp_path / "m.zip", {"zeros": b"\0" * 30_000_000})
    with pytest.raises(ModelError, match="that is no model"):
        unpack(source, tmp_path / "out")
    with pytest.raises(ModelError, match="more than 1,000"):
        unpack(source, tmp_path / "out", Bounds(total_bytes=1_000))


def test_too_many_entries_are_refused(tmp_path):
    source = packed(tmp_path / "m.zip", {f"f{number}": b"" for number in range(20)})
    with pytest.raises(ModelError, match="20 entries, more than 10"):
        unpack(source, tmp_path / "out", Bounds(entries=10))


def test_a_directory_that_lies_about_a_size_is_found_out(tmp_path):
    source = packed(tmp_path / "m.zip", {"weights": b"abcdefgh" * 50_000})
    raw = bytearray(source.read_bytes())
    entry = raw.rindex(b"PK\x01\x02")
    struct.pack_into("<L", raw, entry + 24, 10)  # the uncompressed size in the central directory
    source.write_bytes(raw)
    with pytest.raises(ModelError):
        unpack(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_encrypted_entry_is_refused(tmp_path):
    source = packed(tmp_path / "m.zip", {"weights": b"x"})
    raw = bytearray(source.read_bytes())
    raw[raw.rindex(b"PK\x01\x02") + 8] |= 1
    source.write_bytes(raw)
    with pytest.raises(ModelError, match="is encrypted"):
        unpack(source, tmp_path / "out")


@given(data=st.data())
def test_a_damaged_archive_is_refused_or_whole_and_never_anything_else(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    entries = {"a/weights.bin": bytes(range(256)) * 20, "config.json": b"{}"}
    raw = bytearray(packed(folder / "m.zip", entries).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    (folder / "m.zip").write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        files = unpack(folder / "m.zip", folder / "out")
    except ModelError:
        assert not (folder / "out").exists()
    else:
        assert all((folder / "out" / name).resolve().is_relative_to(folder / "out") for name in files)
    assert {path.name for path in folder.iterdir()} <= {"m.zip", "out"}
