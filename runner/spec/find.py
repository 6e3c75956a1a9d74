"""Which files are specs, and where the phases are that they name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from runner.errors import Diagnostic, Span, SpecError, did_you_mean
from runner.spec.conditions import NAME_PATTERN
from runner.spec.sources import MAX_BYTES, not_found

PHASES = "phases"
LEVELS_UP = 3
_SUFFIXES = (".yaml", ".yml")
_IS_SPEC = re.compile(rb"^(?:\xef\xbb\xbf)?(?:\{\s*)?[\"']?runspec[\"']?\s*:", re.MULTILINE)


def find_spec_files(paths: Sequence[Path]) -> list[Path]:
    """The spec files among `paths` and below the folders among them, each once.

    A folder gives every YAML file with a top-level `runspec:` in sorted order, but nothing from hidden folders or
    from `phases`. A file is taken as it is.

    Raises:
        SpecError: some of the paths are not there.
    """
    problems = [not_found(path, fits=_is_visible) for path in paths if not path.exists()]
    if problems:
        raise SpecError(problems)
    found: dict[Path, Path] = {}
    for path in paths:
        for file in sorted(_specs_below(path)) if path.is_dir() else [path]:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _is_visible(path: Path) -> bool:
    return not path.name.startswith(".") and (path.suffix in _SUFFIXES or path.is_dir())


def _specs_below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name != PHASES]
        for name in files:
            path = Path(parent, name)
            if path.suffix in _SUFFIXES and not name.startswith(".") and _is_spec(path):
                yield path


def _is_spec(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            return _IS_SPEC.search(stream.read(MAX_BYTES)) is not None
    except OSError:
        return True  # loading it says what is wrong


def find_phase_path(name: str, near: Path, asked_at: Span | None = None) -> Path:
    """The file `phases/NAME.yaml` beside `near` or in one of the folders above it.

    Raises:
        SpecError: there is none; names the phases that there are.
    """
    known: dict[str, Path] = {}
    for folder in _phase_folders(near):
        for suffix in _SUFFIXES:
            if re.fullmatch(NAME_PATTERN, name) and (path := folder / f"{name}{suffix}").is_file():
                return path
        known = {**_phases_in(folder), **known}
    label = f"known phases: {', '.join(sorted(known))}" if known else "there are no phases here"
    fix = did_you_mean(name, known) or f"add `{PHASES}/NAME.yaml` beside the spec"
    shown = " ".join(name.split())[:60]
    raise SpecError([Diagnostic("spec.unknown-phase", f"unknown phase `{shown}`", asked_at, label, fix)])


def _phase_folders(near: Path) -> list[Path]:
    folder = near if near.is_dir() else near.parent
    above = folder.absolute().parents[:LEVELS_UP]
    return [folder / PHASES, *(parent / PHASES for parent in above)]


def _phases_in(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix in _SUFFIXES}
