"""The trainer as the one file that a pod downloads: a Python zip application of `runner/local/trainer`.

    python -m runner.local.trainer_bundle standalone_trainer.py

writes that file, to look at or to put where pods can download it.
"""

from __future__ import annotations

import io
import sys
from functools import cache
from pathlib import Path
from zipfile import ZipFile, ZipInfo

FILE_NAME = "standalone_trainer.py"
SOURCES = Path(__file__).with_name("trainer")
# Inside the archive the package stands on its own: no pod has `runner`.
PACKAGE = "trainer"
ENTRY = f"import sys\n\nfrom {PACKAGE}.main import main\n\nsys.exit(main())\n"
SHEBANG = b"#!/usr/bin/env python3\n"
OLDEST = (1980, 1, 1, 0, 0, 0)
UNIX = 3


@cache
def bundle() -> bytes:
    """The archive; `python FILE` runs it whatever its name. The same sources give the same bytes on every machine."""
    files = {"__main__.py": ENTRY.encode()}
    files |= {f"{PACKAGE}/{path.name}": path.read_bytes() for path in sorted(SOURCES.glob("*.py"))}
    packed = io.BytesIO()
    packed.write(SHEBANG)
    with ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(_member(name), content)
    return packed.getvalue()


def _member(name: str) -> ZipInfo:
    # Not compressed: what a compressor makes depends on its version, and the checksum must not. It also lets people
    # read the file, and the bootstrap count its lines.
    member = ZipInfo(name, date_time=OLDEST)
    member.create_system = UNIX
    member.external_attr = 0o644 << 16
    return member


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else FILE_NAME).write_bytes(bundle())
