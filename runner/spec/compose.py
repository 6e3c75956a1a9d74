"""`extends` and `use`: several files made into one tree, each value still knowing the file that it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from runner.errors import Diagnostic, Span, SpecError
from runner.spec.sources import Source, read_source
from runner.spec.yaml_tree import Entry, MapNode, Node, ScalarNode, SeqNode, parse_yaml

MAX_FILES = 50
ROOT_NAME = "specs"

OWN_KEYS = ("runspec", "name", "extends", "use")
"""Keys that a file does not get from another one."""


@dataclass(frozen=True, slots=True)
class Composed:
    """One spec out of its files.

    Attributes:
        path: the spec itself.
        sources: every file that was read, the spec itself first; their order is the order of diagnostics.
        problems: what is wrong already, without which the tree can still be checked.
        is_whole: False when a file that it is made of could not be read.
    """

    path: Path
    tree: MapNode
    sources: Sequence[Source]
    problems: Sequence[Diagnostic]
    is_whole: bool

    @property
    def digest(self) -> str:
        """SHA-256 over the bytes of all files."""
        return digest_of(self.sources)


def digest_of(sources: Sequence[Source]) -> str:
    """SHA-256 over the bytes of files in the order in which they are named."""
    total = hashlib.sha256()
    for source in sources:
        total.update(hashlib.sha256(source.data).digest())
    return total.hexdigest()


def specs_root(path: Path) -> Path:
    """The folder that a spec may not leave: the nearest one called `specs` above it, else its own."""
    folder = path.parent.absolute()
    return next((parent for parent in (folder, *folder.parents) if parent.name == ROOT_NAME), folder)


def confined(root: Path, base_dir: Path, relative: str) -> Path:
    """The file that `relative` names from `base_dir`.

    Raises:
        ValueError: the reason why it must not be read: absolute, or outside `root`, also by a symlink.
    """
    if "\0" in relative or not relative:
        raise ValueError("not a file name")
    if Path(relative).is_absolute() or relative.startswith("~"):
        raise ValueError("an absolute path; write it relative to this file")
    path = base_dir / relative
    try:
        real = path.resolve()
    except (OSError, RuntimeError) as exc:  # a circle of symlinks
        raise ValueError("not a path that can be followed") from exc
    if not real.is_relative_to(root.resolve()):
        raise ValueError(f"outside the folder `{root.name}`, which a spec may not leave")
    return _tidied(path)


def stay_inside(path: Path) -> None:
    """Refuse a file that a symbolic link fetches from elsewhere: an excerpt of it would be shown with its problems.

    Raises:
        SpecError: it lies outside the folder that a spec may not leave.
    """
    root = specs_root(path)
    try:
        is_inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):
        return  # a circle of links; reading it says so
    if not is_inside:
        message = f"`{path}` is a symbolic link to outside the folder `{root.name}`, which a spec may not leave"
        raise SpecError([Diagnostic("spec.bad-path", message, None, "", "copy the file, or name the one it leads to")])


def _tidied(path: Path) -> Path:
    """`specs/team/../sft.yaml` as `specs/sft.yaml`, for diagnostics; safe because the real path was checked."""
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts and parts[-1] not in {"..", path.anchor}:
            parts.pop()
        else:
            parts.append(part)
    tidy = Path(*parts)
    return tidy if tidy.resolve() == path.resolve() else path


def merged(base: MapNode, over: MapNode) -> MapNode:
    """`base` under `over`: mappings merge deeply, everything else of `over` replaces."""
    entries = dict(base.entries)
    for key, entry in over.entries.items():
        below = base.get(key)
        if isinstance(below, MapNode) and isinstance(entry.value, MapNode):
            entry = Entry(entry.key, merged(below, entry.value))  # noqa: PLW2901
        entries[key] = entry
    return replace(over, entries=entries)


def compose(path: Path) -> Composed:
    """A spec with everything that it extends and uses.

    Raises:
        SpecError: the spec itself cannot be read to its end.
    """
    stay_inside(path)
    composer = _Composer(specs_root(path))
    tree = composer.layer(path, None, ())
    problems = list(dict.fromkeys(composer.problems))
    if tree is None:
        raise SpecError(problems)
    return Composed(path, tree, composer.sources, problems, composer.is_whole)


@dataclass
class _Composer:
    root: Path
    sources: list[Source] = field(default_factory=list)
    problems: list[Diagnostic] = field(default_factory=list)
    is_whole: bool = True

    def read(self, path: Path, asked_at: Span | None) -> MapNode | None:
        found: list[Diagnostic] = []
        try:
            source = read_source(path, asked_at=asked_at)
            self.sources.append(source)
            if len(self.sources) > MAX_FILES:
                message = f"a spec is made of more than {MAX_FILES} files"
                raise SpecError([Diagnostic("spec.too-large", message, asked_at)])
            tree = parse_yaml(source, found)
        except SpecError as exc:
            self.problems += exc.diagnostics
            self.is_whole = False
            return None
        self.problems += found
        return tree

    def layer(self, path: Path, asked_at: Span | None, chain: Sequence[Path]) -> MapNode | None:
        """One spec with what is below it."""
        own = self.read(path, asked_at)
        if own is None:
            return None
        tree = own
        parts = [self.fragment(node, path) for node in self.names(own.get("use"))]
        for part in reversed(parts):
            tree = merged(part, tree) if part is not None else tree
        base = own.get("extends")
        if isinstance(base, ScalarNode) and base.value is not None:
            below = self.base(base, path, (*chain, path))
            if below is not None:
                tree = merged(_without(below, OWN_KEYS), tree)
        return tree

    def names(self, node: Node | None) -> list[ScalarNode]:
        items = node.items if isinstance(node, SeqNode) else ()  # anything else is the model's to complain about
        return [item for item in items if isinstance(item, ScalarNode)]

    def base(self, node: ScalarNode, path: Path, chain: Sequence[Path]) -> MapNode | None:
        other = self.located(node, path)
        if other is None:
            return None
        real = [spec.resolve() for spec in chain]
        if other.resolve() in real:
            circle = [*chain[real.index(other.resolve()) :], other]
            self.report("spec.circular-extends", "this spec extends itself", node,
                        " → ".join(f"`{spec.name}`" for spec in circle))  # fmt: skip
            return None
        below = self.layer(other, node.place.span, chain)
        if below is not None and "runspec" not in below.entries:
            self.report("spec.wrong-kind", f"`{node.value}` is not a spec", node, "it has no `runspec: 1`",
                        "parts of a spec are named under `use`")  # fmt: skip
        return below

    def fragment(self, node: ScalarNode, path: Path) -> MapNode | None:
        other = self.located(node, path)
        tree = self.read(other, node.place.span) if other is not None else None
        if tree is None:
            return None
        for key in (*OWN_KEYS, "runspec-phase"):
            if key in tree.entries:
                span = tree.entries[key].key.span
                message = f"`{key}` cannot stand in a part that a spec uses"
                self.problems.append(Diagnostic("spec.not-in-part", message, span, fix=_hint(key)))
        return _without(tree, OWN_KEYS)

    def located(self, node: ScalarNode, path: Path) -> Path | None:
        if not isinstance(node.value, str) or node.broken:
            return None
        if "${" in node.value:
            self.report("spec.bad-path", f"`{node.value[:80]}` holds a reference", node,
                        "files are read before names have values")  # fmt: skip
            return None
        try:
            return confined(self.root, path.parent, node.value)
        except ValueError as exc:
            self.report("spec.bad-path", f"`{node.value[:80]}` cannot be used", node, str(exc))
            return None

    def report(self, code: str, message: str, node: ScalarNode, label: str, fix: str = "") -> None:
        self.problems.append(Diagnostic(code, message, node.place.span, label, fix))
        self.is_whole = False


def _hint(key: str) -> str:
    return "name a whole spec under `extends` instead" if key in {"runspec", "name"} else "name it in the spec"


def _without(tree: MapNode, keys: Sequence[str]) -> MapNode:
    return replace(tree, entries={key: entry for key, entry in tree.entries.items() if key not in keys})
