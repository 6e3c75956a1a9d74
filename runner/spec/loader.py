"""Spec and phase files: YAML in, frozen models with known places out. Raw YAML exists nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from runner.errors import Diagnostic, Span, SpecError
from runner.spec.checks import checked
from runner.spec.compose import Composed, compose, confined, digest_of, specs_root, stay_inside
from runner.spec.conditions import Scalar
from runner.spec.find import find_phase_path, find_spec_files
from runner.spec.interpolate import Interpolation, flatten, text_of
from runner.spec.models import Gpu, Limits, Phase, Spec
from runner.spec.problems import in_file_order, validated
from runner.spec.sources import Source, read_source
from runner.spec.yaml_tree import Entry, MapNode, Node, ScalarNode, SeqNode, parse_yaml

__all__ = ["PhaseFile", "SpecFile", "find_phase", "find_spec_files", "load_phase", "load_spec"]

_SPEC_ROOTS = ("name", "title", "vars", "template", "dataset", "gpu", "limits")
_KNOWN_AT_RUN = ("name", "title", "template", "dataset", "gpu")
"""Names that a phase gets from the spec that runs it."""


@dataclass(frozen=True)
class SpecFile:
    """One spec file that holds.

    Attributes:
        path: the file, as it was asked for.
        digest: SHA-256 over it and every file that it is made of; the first 16 characters are enough to show.
        spec: the spec with its own vars; a matrix axis stands for its first value.
        base_dir: what relative paths in the spec start from.
        root: the folder that they may not leave.
    """

    path: Path
    name: str
    digest: str
    spec: Spec
    base_dir: Path
    root: Path
    _composed: Composed = field(repr=False, compare=False)

    def resolve(self, vars: Mapping[str, Scalar]) -> Spec:  # noqa: A002 - the spec's own word
        """The spec with these values in place of the file's own.

        Raises:
            SpecError: a value does not fit where it is used.
        """
        return _resolved_spec(self._composed, vars)

    def span(self, *path: str | int, key: bool = False) -> Span | None:
        """Where something of the spec was written, such as `span("phases", 0)`; None for what is a default.

        Args:
            key: where the key stands rather than its value.
        """
        return _span(self._composed.tree, path, key=key)

    def dataset_path(self, spec: Spec) -> Path | None:
        """The dataset file of `spec`, one of this file's variants; None when rows are made up."""
        return None if spec.dataset.file is None else confined(self.root, self.base_dir, spec.dataset.file)


@dataclass(frozen=True)
class PhaseFile:
    """One phase file that holds.

    Attributes:
        phase: the phase with its own vars and default limits; for looking at, not for running.
    """

    path: Path
    name: str
    digest: str
    phase: Phase
    _tree: MapNode = field(repr=False, compare=False)
    _source: Source = field(repr=False, compare=False)

    def resolve(self, spec: Spec, vars: Mapping[str, Scalar]) -> Phase:  # noqa: A002 - the spec's own word
        """The phase as it runs for `spec`: its own vars, then the spec's, then `vars`, the last one wins.

        Raises:
            SpecError: a name that neither has, or a value that does not fit where it is used.
        """
        names = {**_names_of(spec), **{f"vars.{key}": value for key, value in {**spec.vars, **vars}.items()}}
        return _resolved_phase(self._tree, self._source, names)

    def span(self, *path: str | int) -> Span | None:
        """Where something of the phase was written, such as `span("steps", 2)`."""
        return _span(self._tree, path)


def load_spec(path: Path) -> SpecFile:
    """One spec with everything that it extends and uses.

    Raises:
        SpecError: every problem of the file at once, in the order of the file.
    """
    composed = compose(path)
    _expect_kind(composed.tree, "runspec", path)
    spec = _resolved_spec(composed, {})
    return SpecFile(path, spec.name, composed.digest, spec, path.parent, specs_root(path), composed)


def load_phase(path: Path) -> PhaseFile:
    """One phase.

    Raises:
        SpecError: every problem of the file at once, in the order of the file.
    """
    stay_inside(path)
    source = read_source(path)
    problems: list[Diagnostic] = []
    tree = parse_yaml(source, problems)
    _expect_kind(tree, "runspec-phase", path)
    phase = _probed_phase(tree, source, problems)
    if phase.name != path.stem:
        message = f"the phase is called `{phase.name}`, its file `{path.name}`"
        fix = f"rename one of them: specs find a phase by its file `{phase.name}.yaml`"
        raise SpecError([Diagnostic("spec.bad-value", message, _span(tree, ("name",)), fix=fix)])
    return PhaseFile(path, phase.name, digest_of([source]), phase, tree, source)


def find_phase(name: str, near: Path, *, asked_at: Span | None = None) -> PhaseFile:
    """The phase called `name` that is nearest to `near`, a spec or a folder.

    Args:
        asked_at: where the name was written, for the diagnostic when there is none.
    Raises:
        SpecError: there is no such phase, or its file is wrong.
    """
    return load_phase(find_phase_path(name, near, asked_at))


def _expect_kind(tree: MapNode, version_key: str, path: Path) -> None:
    other = "runspec-phase" if version_key == "runspec" else "runspec"
    if version_key in tree.entries or other not in tree.entries:
        return  # a file of neither kind is told which key it lacks by the model
    what, wanted = ("a phase", "a spec") if other == "runspec-phase" else ("a spec", "a phase")
    message = f"`{path}` is {what}, not {wanted}"
    fix = "run the specs that list it under `phases`" if wanted == "a spec" else ""
    raise SpecError([Diagnostic("spec.wrong-kind", message, tree.entries[other].key.span, fix=fix)])


def _resolved_spec(composed: Composed, given: Mapping[str, Scalar]) -> Spec:
    tree = _with_vars(composed.tree, given)
    names = _matrix_names(tree)
    for key, node in _default_names(tree).items():
        names[key] = node
    for root in _SPEC_ROOTS:
        if (node_of_root := tree.get(root)) is not None:
            names.update(flatten(node_of_root, root))
    interpolation = Interpolation(names, {f"vars.{key}": value for key, value in given.items()})
    problems = list(composed.problems)
    resolved = _interpolated(tree, interpolation)
    problems += [*interpolation.problems, *checked(resolved, composed.path)]
    spec = validated(Spec, resolved, problems, is_whole=composed.is_whole)
    if spec is None or problems:
        raise SpecError(in_file_order(problems, composed.sources))
    return spec


def _probed_phase(tree: MapNode, source: Source, problems: list[Diagnostic]) -> Phase:
    """The phase before any spec is known: names that a spec will give stand for 1 or, where that does not fit, text."""
    defaults = {f"limits.{key}": value for key, value in Limits().model_dump(mode="json").items()}
    try:
        return _resolved_phase(tree, source, defaults, problems, unknown=_KNOWN_AT_RUN)
    except SpecError:
        with suppress(SpecError):
            return _resolved_phase(tree, source, defaults, problems, unknown=_KNOWN_AT_RUN, stand_in="text")
        raise


def _resolved_phase(
    tree: MapNode,
    source: Source,
    names: Mapping[str, Scalar],
    earlier: Sequence[Diagnostic] = (),
    *,
    unknown: Sequence[str] = (),
    stand_in: Scalar = 1,
) -> Phase:
    given = {key.removeprefix("vars."): value for key, value in names.items() if key.startswith("vars.")}
    own = tree.get("vars")
    known = flatten(own, "vars") if own is not None else {}
    overridden = {key: value for key, value in given.items() if f"vars.{key}" in known}
    interpolation = Interpolation(known, names, unknown, stand_in)
    resolved = _interpolated(_with_vars(tree, overridden), interpolation)
    problems = [*earlier, *interpolation.problems]
    phase = validated(Phase, resolved, problems)
    if phase is None or problems:
        raise SpecError(in_file_order(problems, [source]))
    return phase


def _interpolated(tree: MapNode, interpolation: Interpolation) -> MapNode:
    """The tree without references; file names are left as they are, for files are read before names have values."""
    entries = {
        key: entry if key in {"extends", "use"} else Entry(entry.key, interpolation.node(entry.value))
        for key, entry in tree.entries.items()
    }
    return replace(tree, entries=entries)


def _with_vars(tree: MapNode, given: Mapping[str, Scalar]) -> MapNode:
    """The tree whose `vars` has these values, so that the model shows what was used."""
    old = tree.get("vars")
    if not given or (old is not None and not isinstance(old, MapNode)):
        return tree
    place = old.place if old is not None else tree.place
    entries = dict(old.entries) if old is not None else {}
    for key, value in given.items():
        # `$${` so that what somebody typed on a command line is never taken for a reference
        text = value.replace("${", "$${") if isinstance(value, str) else value
        key_place = entries[key].key if key in entries else place
        entries[key] = Entry(key_place, ScalarNode(text, key_place, text_of(value)))
    holder = tree.entries["vars"].key if old is not None else place
    return replace(tree, entries={**tree.entries, "vars": Entry(holder, MapNode(entries, place))})


def _matrix_names(tree: MapNode) -> dict[str, ScalarNode]:
    """`vars.AXIS` as the first value of each axis, so that a spec with a matrix can be looked at by itself."""
    matrix = tree.get("matrix")
    axes = matrix.get("axes") if isinstance(matrix, MapNode) else None
    if not isinstance(axes, MapNode):
        return {}
    found = {}
    for key, entry in axes.entries.items():
        values = entry.value.items if isinstance(entry.value, SeqNode) else ()
        if values and isinstance(values[0], ScalarNode):
            found[f"vars.{key}"] = values[0]
    return found


def _default_names(tree: MapNode) -> dict[str, ScalarNode]:
    """Names whose values a spec need not write: limits and the number of GPUs."""
    defaults = {f"limits.{key}": value for key, value in Limits().model_dump(mode="json").items()}
    gpu = Gpu()
    defaults |= {"gpu.count": gpu.count, "gpu.cloud": gpu.cloud, "gpu.on_oom": gpu.on_oom}
    return {key: ScalarNode(value, tree.place, text_of(value)) for key, value in defaults.items()}


def _names_of(spec: Spec) -> dict[str, Scalar]:
    """Every name that a phase can get from a spec, vars aside."""
    dumped = spec.model_dump(mode="json", by_alias=True, include={*_KNOWN_AT_RUN, "limits"})
    return dict(_scalars(dumped, ""))


def _scalars(value: object, prefix: str) -> Iterator[tuple[str, Scalar]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _scalars(item, f"{prefix}.{key}" if prefix else str(key))
    elif value is None or isinstance(value, str | int | float | bool):
        yield prefix, value


def _span(tree: MapNode, path: Sequence[str | int], *, key: bool = False) -> Span | None:
    node: Node = tree
    place = tree.place
    for part in path:
        if isinstance(node, MapNode) and part in node.entries:
            entry = node.entries[str(part)]
            node, place = entry.value, entry.key if key or entry.value.place.is_empty else entry.value.place
        elif isinstance(node, SeqNode) and isinstance(part, int) and 0 <= part < len(node.items):
            node = node.items[part]
            place = node.place
        else:
            return None
    return place.span
