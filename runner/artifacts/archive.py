"""Unpacking a zip from a machine we do not own: nothing of it lands outside, nothing of it is more than it says.

Refused as a whole, before a byte is written: paths that are absolute, climb, or mean something special anywhere; links
and devices; two entries for one file; encryption; too many entries; more bytes than the archive's own directory may
say. While unpacking, sizes are counted again, because that directory may lie.
"""

from __future__ import annotations

import errno
import re
import shutil
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from runner.errors import ModelError

CHUNK = 1 << 20
_OUR_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EMFILE, errno.ENFILE, errno.EIO}
_PART = re.compile(r"[A-Za-z0-9 _.+@=,()\[\]-]{1,150}")
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What an archive may hold at most; `ratio` is of unpacked to packed size, for the archive as a whole."""

    entries: int = 2_000
    total_bytes: int = 40 * 10**9
    ratio: float = 200.0
    depth: int = 8


BOUNDS = Bounds()


def unpack(archive: Path, into: Path, bounds: Bounds = BOUNDS) -> tuple[str, ...]:
    """Unpack a zip into a folder that does not exist yet; the names of its files, sorted.

    Raises:
        ModelError: the archive is unsafe or broken; nothing is left of it.
        OSError: this machine cannot store it, which says nothing about the archive.
    """
    into.mkdir(parents=True, mode=0o700)
    try:
        with zipfile.ZipFile(archive) as source:
            files = _checked(source.infolist(), bounds, archive.stat().st_size)
            left = bounds.total_bytes
            for name, entry in files.items():
                left -= _write(source, entry, into / name, left)
    except ModelError:
        shutil.rmtree(into, ignore_errors=True)
        raise
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError, ValueError, RuntimeError) as exc:
        shutil.rmtree(into, ignore_errors=True)
        if isinstance(exc, OSError) and exc.errno in _OUR_DISK:
            raise
        raise ModelError(f"the archive cannot be unpacked: {type(exc).__name__}: {_short(str(exc))}") from exc
    return tuple(sorted(files))


def _checked(entries: list[zipfile.ZipInfo], bounds: Bounds, packed: int) -> dict[str, zipfile.ZipInfo]:
    """The files of the archive by name, once every entry is known to be harmless."""
    if len(entries) > bounds.entries:
        raise ModelError(f"the archive has {len(entries):,} entries, more than {bounds.entries:,}")
    size = sum(entry.file_size for entry in entries)
    if size > bounds.total_bytes:
        raise ModelError(f"the archive unpacks to {size:,} bytes, more than {bounds.total_bytes:,}")
    if size > bounds.ratio * max(packed, 1) and size > CHUNK:
        raise ModelError(f"the archive unpacks to {size:,} bytes from {packed:,}: that is no model")
    files: dict[str, zipfile.ZipInfo] = {}
    seen: set[str] = set()
    for entry in entries:
        name = _safe_name(entry, bounds)
        # Some file systems take `Model` and `model` for the same file.
        if name.lower() in seen:
            raise _unsafe(entry, "is there twice")
        seen.add(name.lower())
        if not entry.is_dir():
            files[name] = entry
    _check_no_file_is_a_folder(files)
    if not files:
        raise ModelError("the archive is empty")
    return files


def _safe_name(entry: zipfile.ZipInfo, bounds: Bounds) -> str:
    mode = entry.external_attr >> 16
    if entry.flag_bits & 0x1:
        raise _unsafe(entry, "is encrypted")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _unsafe(entry, "is a link or a device")
    # zipfile turns what the archive really says into slashes and cuts it at a NUL; we judge the original.
    written = entry.orig_filename.rstrip("/") if entry.is_dir() else entry.orig_filename
    parts = written.split("/")
    if len(parts) > bounds.depth:
        raise _unsafe(entry, "lies too deep")
    for part in parts:
        if part in ("", ".", "..") or not _PART.fullmatch(part) or _RESERVED.fullmatch(part) or part != part.strip(" "):
            raise _unsafe(entry, "has a path that leads elsewhere, or a name that is none everywhere")
    return "/".join(parts)


def _check_no_file_is_a_folder(files: dict[str, zipfile.ZipInfo]) -> None:
    lowered = {name.lower() for name in files}
    for name, entry in files.items():
        parts = name.lower().split("/")
        if any("/".join(parts[:length]) in lowered for length in range(1, len(parts))):
            raise _unsafe(entry, "lies in what is a file")


def _write(source: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, left: int) -> int:
    """Write one file, never more than its entry says nor than is left; its size."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    written = 0
    with source.open(entry) as packed, path.open("xb") as file:
        while chunk := packed.read(CHUNK):
            written += len(chunk)
            if written > min(entry.file_size, left):
                raise _unsafe(entry, "is larger than it says")
            file.write(chunk)
    if written != entry.file_size:
        raise _unsafe(entry, "is smaller than it says")
    path.chmod(0o600)
    return written


def _unsafe(entry: zipfile.ZipInfo, why: str) -> ModelError:
    return ModelError(f"the archive is refused: `{_short(entry.orig_filename)}` {why}")


def _short(text: str) -> str:
    """Text of a stranger, printable and short."""
    return text.encode("unicode_escape").decode("ascii")[:120]
