"""What a model cannot see: rules about a spec's files, and words that only look like values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from runner.errors import Diagnostic
from runner.spec.compose import confined, specs_root
from runner.spec.yaml_tree import MapNode, Node, ScalarNode

_YES_AND_NO: Mapping[str, str] = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_MAY_SAY_NO = {"evaluation_strategy", "eval_strategy", "save_strategy", "logging_strategy"}


def checked(tree: MapNode, path: Path) -> list[Diagnostic]:
    """What is wrong with a spec without references beside what its model says."""
    return [*_dataset_file(tree, path), *_yes_and_no(tree)]


def _at(tree: MapNode, *keys: str) -> Node | None:
    node: Node | None = tree
    for key in keys:
        node = node.get(key) if isinstance(node, MapNode) else None
    return node


def _dataset_file(tree: MapNode, path: Path) -> list[Diagnostic]:
    """A dataset is sent to the lab, so a spec must not name a file that is not the project's."""
    file = _at(tree, "dataset", "file")
    if not isinstance(file, ScalarNode) or not isinstance(file.value, str) or file.broken or not file.value:
        return []
    try:
        confined(specs_root(path), path.parent, file.value)
    except ValueError as exc:
        return [Diagnostic("spec.bad-path", f"`{file.value[:80]}` cannot be used", file.place.span, str(exc))]
    return []


def _yes_and_no(tree: MapNode) -> list[Diagnostic]:
    """`packing: yes` is text in YAML 1.2, and the lab would take any text for true, also `no`."""
    training = _at(tree, "template", "training")
    if not isinstance(training, MapNode):
        return []
    found = []
    for key, entry in training.entries.items():
        value = entry.value.value if isinstance(entry.value, ScalarNode) else None
        meant = _YES_AND_NO.get(value.lower()) if isinstance(value, str) else None
        if meant and key not in _MAY_SAY_NO:
            message, label = f"`{key[:60]}` cannot be the text `{value}`", "text in YAML 1.2"
            found.append(Diagnostic("spec.bad-value", message, entry.value.place.span, label, f"write `{meant}`"))
    return found
