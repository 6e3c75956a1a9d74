"""What a model cannot see: rules about a spec's files, and words that only look like values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from runner.errors import Diagnostic, did_you_mean
from runner.spec.compose import confined, specs_root
from runner.spec.training import has_rule, training_problems
from runner.spec.yaml_tree import Entry, MapNode, Node, ScalarNode, SeqNode

_YES_AND_NO: Mapping[str, str] = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_MAY_SAY_NO = {"evaluation_strategy", "eval_strategy", "save_strategy", "logging_strategy"}


def checked(tree: MapNode, path: Path) -> list[Diagnostic]:
    """What is wrong with a spec without references beside what its model says."""
    training = _at(tree, "template", "training")
    return [
        *_dataset_file(tree, path),
        *_yes_and_no(tree),
        *(training_problems(training) if isinstance(training, MapNode) else ()),
        *_left_out(tree),
    ]


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
        if meant and key not in _MAY_SAY_NO and not has_rule(key):
            message, label = f"`{key[:60]}` cannot be the text `{value}`", "text in YAML 1.2"
            found.append(Diagnostic("spec.bad-value", message, entry.value.place.span, label, f"write `{meant}`"))
    return found


def _left_out(tree: MapNode) -> Iterator[Diagnostic]:
    """A rule of `matrix.exclude` that fits no combination leaves nothing out, and nobody would see it."""
    axes, rules = _at(tree, "matrix", "axes"), _at(tree, "matrix", "exclude")
    if not isinstance(axes, MapNode) or not isinstance(rules, SeqNode):
        return
    for rule in rules.items:
        for name, entry in rule.entries.items() if isinstance(rule, MapNode) else ():
            if name not in axes.entries:
                known = f"axes: {', '.join(axes.entries)}"
                fix = did_you_mean(name, axes.entries)
                yield Diagnostic("spec.bad-value", f"`{name[:60]}` is not an axis", entry.key.span, known, fix)
            elif found := _no_value_of(axes.get(name), name, entry):
                yield found


def _no_value_of(axis: Node | None, name: str, entry: Entry) -> Diagnostic | None:
    value = entry.value
    if not isinstance(axis, SeqNode) or not isinstance(value, ScalarNode) or value.broken:
        return None
    known = [item for item in axis.items if isinstance(item, ScalarNode)]
    if value.value in [item.value for item in known]:
        return None
    label = f"its values: {', '.join(item.text for item in known)}"
    message = f"the axis `{name[:60]}` has no value `{value.text[:60]}`"
    return Diagnostic("spec.bad-value", message, value.place.span, label[:200])
