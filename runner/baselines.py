"""Accepted results: `baselines/accepted.yaml` beside the specs, reviewed like any other file.

    runspec-baselines: 1
    accepted:
      - {spec: sft_standard, phase: full, metric: train_loss, model: M, device: cpu (local), dataset: 0123456789ab,
         value: 2.58, run: a8d00e44, at: 2026-11-22}

A value holds for one template, phase, model, dataset and device. `with_baselines` puts the values into the conditions
of a plan, so that judging needs nothing but the plan and the evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from runner.conditions.curves import LOCAL_DEVICE
from runner.errors import Diagnostic, SpecError
from runner.plan import Plan, PlannedJob
from runner.results import Target
from runner.spec.conditions import Accepted, AllOf, AnyOf, BaselineHolds, Condition, Never
from runner.spec.models import Criterion, Spec
from runner.spec.sources import read_source
from runner.spec.yaml_tree import parse_yaml, to_python

FILE = Path("baselines", "accepted.yaml")
"""In a folder of its own, so that `specs/*.yaml` are specs."""
HEAD = """\
# What templates came to when somebody looked and accepted it. Written by `runspec baseline accept`; review the diff.
runspec-baselines: 1
accepted:
"""


class Entry(BaseModel):
    """One accepted value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    spec: str
    phase: str
    metric: str
    model: str
    device: str
    dataset: Annotated[str, BeforeValidator(str)]
    value: float
    run: Annotated[str, BeforeValidator(str)] = ""
    at: Annotated[str, BeforeValidator(str)] = ""

    @property
    def key(self) -> tuple[str, ...]:
        """What it is the value of."""
        return (self.spec, self.phase, self.metric, self.model, self.device, self.dataset)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = Field(alias="runspec-baselines")
    accepted: tuple[Entry, ...] = ()


def read_baselines(folder: Path) -> tuple[Entry, ...]:
    """The accepted values beside the specs of a folder; none without the file.

    Raises:
        SpecError: the file is no such file.
    """
    path = folder / FILE
    if not path.is_file():
        return ()
    problems: list[Diagnostic] = []
    tree = parse_yaml(read_source(path), problems)
    if problems:
        raise SpecError(problems)
    try:
        return _File.model_validate(to_python(tree)).accepted
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = f"`{path}` does not hold baselines: `{where}`: {first['msg']}"
        fix = "delete it and accept a run again with `runspec baseline accept RUN`"
        raise SpecError([Diagnostic("baselines.wrong", message, fix=fix)]) from exc


def write_baselines(folder: Path, entries: Iterable[Entry]) -> Path:
    """Write the file, sorted, one value a line, so that its diff shows what changed."""
    path = folder / FILE
    lines = [f"  - {_flow(entry)}\n" for entry in sorted(entries, key=lambda entry: entry.key)]
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".tmp")
    aside.write_text(HEAD + "".join(lines), encoding="utf-8")
    aside.replace(path)
    return path


def _flow(entry: Entry) -> str:
    values = (f"{name}: {_quoted(value)}" for name, value in entry.model_dump().items())
    return "{" + ", ".join(values) + "}"


def _quoted(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "'" + str(value).replace("'", "''") + "'"


# --- into a plan --------------------------------------------------------------------------------------------------


def with_baselines(plan: Plan) -> Plan:
    """The plan with accepted values in its conditions; files are read only where a condition asks for one."""
    known: dict[Path, tuple[Entry, ...]] = {}
    return replace(plan, jobs=tuple(_filled(job, plan.target, known) for job in plan.jobs))


def _filled(job: PlannedJob, target: Target, known: dict[Path, tuple[Entry, ...]]) -> PlannedJob:
    if not any(True for criterion in job.criteria for _ in baselines_in(criterion.expect)):
        return job
    if job.base_dir not in known:
        known[job.base_dir] = read_baselines(job.base_dir)
    phase = job.phase.name
    mine = fitting(known[job.base_dir], job.spec, phase, target)
    own = {**job.spec.success, phase: criteria_with(job.spec.success.get(phase, ()), mine)}
    spec = job.spec.model_copy(update={"success": own}) if phase in job.spec.success else job.spec
    filled = job.phase.model_copy(update={"success": criteria_with(job.phase.success, mine)})
    return replace(job, spec=spec, phase=filled, criteria=(*filled.success, *spec.success.get(phase, ())))


def fitting(entries: Iterable[Entry], spec: Spec, phase: str, target: Target) -> list[Entry]:
    """The values that were accepted for a template, its model and a phase, on devices of a target."""
    mine = (spec.name, phase, spec.template.model)
    on_cpu = target is not Target.CLOUD
    return [
        entry
        for entry in entries
        if (entry.spec, entry.phase, entry.model) == mine and (entry.device == LOCAL_DEVICE) is on_cpu
    ]


def criteria_with(criteria: Sequence[Criterion], entries: Sequence[Entry]) -> tuple[Criterion, ...]:
    """The criteria with accepted values in their conditions."""
    return tuple(one.model_copy(update={"expect": _condition_with(one.expect, entries)}) for one in criteria)


def _condition_with(condition: Condition, entries: Sequence[Entry]) -> Condition:
    match condition:
        case BaselineHolds():
            accepted = tuple(
                Accepted(device=entry.device, dataset=entry.dataset, value=entry.value, run=entry.run)
                for entry in entries
                if entry.metric == condition.baseline
            )
            return condition.model_copy(update={"accepted": accepted})
        case AllOf():
            return condition.model_copy(update={"all": tuple(_condition_with(one, entries) for one in condition.all)})
        case AnyOf():
            return condition.model_copy(update={"any": tuple(_condition_with(one, entries) for one in condition.any)})
        case Never():
            return condition.model_copy(update={"never": _condition_with(condition.never, entries)})
        case _:
            return condition


def baselines_in(condition: Condition) -> Iterator[BaselineHolds]:
    """The baselines that a condition asks for."""
    match condition:
        case BaselineHolds():
            yield condition
        case AllOf(all=parts) | AnyOf(any=parts):
            for part in parts:
                yield from baselines_in(part)
        case Never():
            yield from baselines_in(condition.never)
        case _:
            pass
