"""Whether the figures in a log show that a training learns nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from runner.issues.logtext import LogText

_LOSS = re.compile(r"""[lL]oss['"]?(?:\s{0,3}[=:]\s{0,3}|\s)['"]?(-?(?:nan|NaN|inf|Infinity|\d[\d.eE+-]{0,24}))""")
_GRADIENT = re.compile(r"""grad_norm['"]?\s{0,3}[=:]\s{0,3}['"]?(-?(?:nan|NaN|inf|Infinity|\d[\d.eE+-]{0,24}))""")
_RATE = re.compile(r"""(?:learning_rate|\b[lL][rR])['"]?(?:\s{0,3}[=:]\s{0,3}|\s)['"]?(\d[\d.eE+-]{0,24})""")
_NOT_TRAINING = ("eval_", "val_", "final_", "best_", "reward_", "value_", "valid_", "policy_", "aux_", "kl_")
_LONGEST = 200_000
"""Most figures that are read; more than any training logs."""
_ZERO = 1e-12
_SAME = 1e-4
"""Losses that differ by less than this share are one."""
_FLAT = 5e-3
"""Losses that differ by less than this share, and do not fall, go nowhere."""
_WORSE = 1.5


@dataclass(frozen=True, slots=True)
class Figure:
    """One number, and where it stands. `shape` tells ways of writing apart: one step may be printed in two."""

    value: float
    place: int
    shape: str


@dataclass(frozen=True, slots=True)
class NotLearning:
    """What shows it: the id of the rule, and a place in the text."""

    issue: str
    place: int


def losses(log: LogText) -> list[Figure]:
    """The training losses, in order."""
    return list(_figures(log, _LOSS))


def not_learning(log: LogText, found: Sequence[Figure], *, may_rise: bool) -> NotLearning | None:
    """What shows that nothing is learnt; None when the figures are fine or there are too few.

    Args:
        found: the losses of the log.
        may_rise: the method's loss says nothing by its direction, as PPO's.
    """
    gradients = _one_shape(list(_figures(log, _GRADIENT)))
    return judge_series(_one_shape(found), gradients, may_rise=may_rise) or _no_rate(log)


def judge_series(series: Sequence[Figure], gradients: Sequence[Figure], *, may_rise: bool) -> NotLearning | None:
    """As `not_learning`, from the losses and gradient norms themselves, wherever they were read."""
    return (
        _not_finite(series)
        or _no_gradient(gradients, series)
        or _constant(series)
        or (None if may_rise else _flat(series))
        or (None if may_rise else _diverged(series))
    )


def _figures(log: LogText, pattern: re.Pattern[str]) -> Iterator[Figure]:
    text = log.text
    for count, match in enumerate(pattern.finditer(text)):
        if count >= _LONGEST:
            return
        before = text[max(0, match.start() - 12) : match.start()]
        if before.endswith(_NOT_TRAINING):
            continue
        if before.endswith("train_") and "train_runtime" in text[max(0, match.start() - 300) : match.end() + 300]:
            continue  # the mean over the whole training, printed at its end
        shape = text[match.start() : match.start(1)]
        value = _number(match[1])
        if value is not None:
            yield Figure(value, match.start(), shape)


def _number(text: str) -> float | None:
    """The number that a text is; None for what only looks like one, such as a version."""
    try:
        return float(text.rstrip(".+-eE"))
    except ValueError:
        return None


def _one_shape(figures: Sequence[Figure]) -> list[Figure]:
    by_shape: dict[str, list[Figure]] = {}
    for figure in figures:
        by_shape.setdefault(figure.shape, []).append(figure)
    # `key=value` carries most digits; then what there is most of.
    ranked = sorted(by_shape.values(), key=lambda group: ("=" not in group[0].shape or len(group) < 2, -len(group)))
    return ranked[0] if ranked else []


def _not_finite(series: Sequence[Figure]) -> NotLearning | None:
    bad = [figure for figure in series if not math.isfinite(figure.value)]
    if bad and (len(bad) > 1 or bad[-1] is series[-1]):
        return NotLearning("loss-not-finite", bad[0].place)
    return None


def _no_gradient(gradients: Sequence[Figure], series: Sequence[Figure]) -> NotLearning | None:
    tail = gradients[-max(2, len(gradients) // 4) :]
    if len(gradients) < 2:
        return None
    if all(not math.isfinite(figure.value) for figure in tail):
        # Transformers leaves NaN out of the loss that it logs: 0 is what remains.
        return NotLearning("loss-not-finite", next(one.place for one in gradients if not math.isfinite(one.value)))
    has_learnt = len(series) > 1 and series[-1].value < 0.05 * series[0].value
    if has_learnt or not all(abs(figure.value) < _ZERO for figure in tail):
        return None
    return NotLearning("no-gradient", next(figure.place for figure in gradients if abs(figure.value) < _ZERO))


def _constant(series: Sequence[Figure]) -> NotLearning | None:
    values = [figure.value for figure in series]
    if len(values) < 4 or max(values) - min(values) > _SAME * abs(values[0]):
        return None
    return NotLearning("loss-constant", series[-1].place)


def _flat(series: Sequence[Figure]) -> NotLearning | None:
    values = [figure.value for figure in series]
    third = len(values) // 3
    if third < 2 or max(values) - min(values) > _FLAT * abs(values[0]):
        return None
    # A preference loss begins at ln 2, and stays near it while the learning rate warms up.
    is_warming_up = math.isclose(values[0], math.log(2), rel_tol=_FLAT)
    has_fallen = median(values[-third:]) < median(values[:third])
    return None if has_fallen or is_warming_up else NotLearning("loss-constant", series[-1].place)


def _no_rate(log: LogText) -> NotLearning | None:
    """Steps that all report a learning rate of zero; one that was only rounded to it has digits to show for it."""
    found = [match for match, _ in zip(_RATE.finditer(log.text), range(_LONGEST), strict=False)]
    steps = [match for match in found if "oss" in log.line_at(match.start()).text]
    is_zero = all(_number(one[1]) == 0 and ("e" in one[1] or len(one[1]) < 4) for one in steps)
    return NotLearning("loss-constant", steps[0].start()) if len(steps) > 2 and is_zero else None


def _diverged(series: Sequence[Figure]) -> NotLearning | None:
    values = [figure.value for figure in series if math.isfinite(figure.value)]
    if len(values) < 4:
        return None
    last = median(values[-max(1, len(values) // 4) :])
    return NotLearning("loss-diverged", series[-1].place) if last > _WORSE * abs(values[0]) + 0.2 else None
