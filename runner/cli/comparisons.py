"""Writes the comparison of templates and its charts beside the tracking document."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from runner.errors import Diagnostic, ReportError
from runner.reports.compare import Comparison
from runner.reports.comparison import CHARTS, FILE, compare_runs, comparison_files
from runner.reports.files import replace_bytes
from runner.store.store import Store

BATCH = "batch"
_OURS = ("loss-*.svg", "strip-*.svg")


def write_comparison(folder: Path, store: Store, *, comparison: Comparison | None = None) -> list[Path]:
    """Write `COMPARISON.md` and its charts into a folder; returns the files that changed, none without evidence.

    Args:
        comparison: what to write; without it the newest that is recorded.
    Raises:
        ReportError: a file cannot be written.
    """
    found = comparison or compare_runs(list(store.recorded_runs()))
    if found is None:
        return []
    files = comparison_files(found, [store.load_run(run) for run in found.runs])
    try:
        return _written(folder, files)
    except OSError as exc:
        why = (exc.strerror or str(exc)).lower()
        message = f"the comparison cannot be written to `{exc.filename or folder}`: {why}"
        fix = "give another folder with `runspec compare --write --dir DIR`"
        raise ReportError([Diagnostic("report.unusable-file", message, fix=fix)]) from exc


def _written(folder: Path, files: Mapping[str, str]) -> list[Path]:
    (folder / CHARTS).mkdir(parents=True, exist_ok=True)
    changed = [folder / name for name, text in files.items() if _write(folder / name, text)]
    # A chart of a template that is no longer compared would be taken for current.
    for pattern in _OURS:
        for path in (folder / CHARTS).glob(pattern):
            if f"{CHARTS}/{path.name}" not in files:
                path.unlink()
    return changed


def refresh_comparison(folder: Path, store: Store) -> list[Path]:
    """Bring the comparison beside the document up to date, when jobs of the phase `batch` are recorded.

    The files change only with the runs behind them, so that SciPy's absence on one machine takes nothing away.
    """
    found = compare_runs(list(store.recorded_runs()), phase=BATCH)
    if found is None or (not found.has_intervals and _is_current(folder / FILE, found)):
        return []
    return write_comparison(folder, store, comparison=found)


def _is_current(file: Path, found: Comparison) -> bool:
    text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    return bool(text) and all(f"`{run}`" in text for run in found.runs)


def _write(path: Path, text: str) -> bool:
    content = text.encode()
    if path.exists() and path.read_bytes() == content:
        return False
    path.touch()
    replace_bytes(path, content)
    return True
