"""From spec files to a plan: exactly what will run. Pure: nothing is read, created or paid for here."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from runner.errors import Diagnostic, PlanError, Span, SpecError, did_you_mean
from runner.events import PlannedJobRecord
from runner.results import Target
from runner.spec.conditions import Scalar
from runner.spec.config import job_config
from runner.spec.loader import PhaseFile, SpecFile
from runner.spec.models import Criterion, Dataset, Matrix, Method, Phase, Spec, combinations

DEFAULT_SEED = 42
MAX_JOBS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which jobs of the specs are wanted.

    Attributes:
        phases: names of phases; empty for all that a spec lists.
        keyword: only jobs whose key contains it.
        tags: only specs with one of these tags; empty for all.
        repeat: jobs per spec, phase and variant; None to use the files' own figures.
        vars: values that win over those in the files.
    """

    phases: Sequence[str] = ()
    keyword: str = ""
    tags: Sequence[str] = ()
    repeat: int | None = None
    vars: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedJob:
    """One training job that will run.

    Attributes:
        key: `spec/phase/number`.
        config: the lab's `config_json`.
        criteria: the phase's, then the spec's own for this phase.
        base_dir: folder that the dataset's path is relative to.
        dataset_at: where the spec says which rows; None for rows of the phase, and in a plan from a record.
    """

    key: str
    spec: Spec
    phase: Phase
    number: int
    variant: Mapping[str, Scalar]
    seed: int
    spec_path: Path
    spec_digest: str
    phase_digest: str
    config: Mapping[str, Any]
    criteria: tuple[Criterion, ...]
    base_dir: Path
    dataset_at: Span | None = field(default=None, compare=False)

    @property
    def needs_reward(self) -> bool:
        """True when the rows have to carry a reward because the template names no other source of one."""
        return self.spec.template.method is Method.RLHF and self.spec.template.reward is None

    @property
    def worst_case_s(self) -> float:
        """The longest time a pod of this job may live, by its own limits."""
        limits = self.spec.limits
        return (limits.provision + limits.run + limits.teardown).total_seconds()

    @property
    def worst_case_usd(self) -> float:
        """The most this job may cost: its spend limit, or the price cap for as long as a pod may live."""
        return min(self.spec.limits.spend, self.spec.limits.price * self.worst_case_s / 3600)

    def record(self) -> PlannedJobRecord:
        """What the journal keeps of it, so that the result can be read without the spec."""
        spec, phase = self.spec, self.phase
        return PlannedJobRecord(
            job=self.key,
            spec=spec.name,
            spec_file=self.spec_path.name,
            title=spec.title,
            phase=phase.name,
            phase_title=phase.title,
            template=spec.template.key,
            method=spec.template.method.value,
            model=spec.template.model,
            seed=self.seed,
            spec_digest=self.spec_digest,
            phase_digest=self.phase_digest,
            dataset_format=spec.dataset.format.value,
            limits={
                "price_usd_h": spec.limits.price,
                "spend_usd": spec.limits.spend,
                "provision_s": spec.limits.provision.total_seconds(),
                "run_s": spec.limits.run.total_seconds(),
                "teardown_s": spec.limits.teardown.total_seconds(),
            },
            criteria=tuple((criterion.id, criterion.title) for criterion in self.criteria),
            content={
                "spec": spec.model_dump(mode="json", by_alias=True, exclude_unset=True),
                "phase": phase.model_dump(mode="json", by_alias=True, exclude_unset=True),
                "variant": dict(self.variant),
                "folder": str(self.base_dir),
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything one invocation will run, in order."""

    jobs: tuple[PlannedJob, ...]
    target: Target
    via: str = "lab"
    max_spend_usd: float | None = None
    staged: tuple[str, ...] = ()
    """What goes wrong on purpose, in words; empty in an honest run."""

    @property
    def worst_case_usd(self) -> float:
        """The most the whole plan may cost."""
        total = sum(job.worst_case_usd for job in self.jobs)
        return total if self.max_spend_usd is None else min(total, self.max_spend_usd)


class PhaseFinder(Protocol):
    """Finds the phase of a name for the spec at `near`, or says at `asked_at` that there is none."""

    def __call__(self, name: str, near: Path, *, asked_at: Span | None = None) -> PhaseFile: ...


def make_plan(
    specs: Sequence[SpecFile],
    *,
    find_phase: PhaseFinder,
    selection: Selection,
    target: Target,
    via: str = "lab",
    max_spend_usd: float | None = None,
) -> Plan:
    """The jobs of some specs, in the order of the files, phases, variants and repeats.

    Raises:
        SpecError: a phase is missing or does not go with its spec, or a value does not fit once its variables are
            filled in.
        PlanError: two specs share a name, nobody knows a phase that was asked for, or there is too much to run.
    """
    _check_names(specs)
    _check_phases(specs, selection.phases)
    _check_specs_with_phases(specs, find_phase)
    _check_vars(specs, find_phase, selection.vars)
    jobs = (
        job
        for file in specs
        if not selection.tags or set(selection.tags) & set(file.spec.tags)
        for job in _jobs_of(file, find_phase, selection)
        if selection.keyword in job.key
    )
    some = tuple(itertools.islice(jobs, MAX_JOBS + 1))
    if len(some) > MAX_JOBS:
        message = f"these specs come to more than {MAX_JOBS:,} jobs"
        raise PlanError([Diagnostic("plan.too-many-jobs", message, fix="lower a `repeat`, or name fewer specs")])
    return Plan(jobs=some, target=target, via=via, max_spend_usd=max_spend_usd)


def _jobs_of(file: SpecFile, find_phase: PhaseFinder, selection: Selection) -> Iterator[PlannedJob]:
    for phase_name in file.spec.phases:
        if selection.phases and phase_name not in selection.phases:
            continue
        phase_file = find_phase(phase_name, file.path)
        numbers = itertools.count(1)
        for variant in variants(file.spec.matrix):
            chosen = {**variant, **selection.vars}
            spec = file.resolve(chosen) if chosen else file.spec
            phase = phase_file.resolve(spec, chosen)
            for _ in range(selection.repeat or spec.repeat * phase.repeat):
                yield _planned(file, phase_file, spec, phase, next(numbers), variant)


def _planned(
    file: SpecFile, phase_file: PhaseFile, spec: Spec, phase: Phase, number: int, variant: Mapping[str, Scalar]
) -> PlannedJob:
    if phase.dataset is not None:
        rows = Dataset.model_validate({"format": spec.dataset.format, "generate": phase.dataset})
        spec = spec.model_copy(update={"dataset": rows})
    base_seed = DEFAULT_SEED if spec.template.seed is None else spec.template.seed
    seed = base_seed + number - 1
    return PlannedJob(
        key=f"{spec.name}/{phase.name}/{number}",
        spec=spec,
        phase=phase,
        number=number,
        variant=dict(variant),
        seed=seed,
        spec_path=file.path,
        spec_digest=file.digest,
        phase_digest=phase_file.digest,
        config=job_config(spec.template, seed=seed),
        criteria=(*phase.success, *spec.success.get(phase.name, ())),
        base_dir=file.path.parent,
        dataset_at=None
        if phase.dataset is not None
        else file.span("dataset", "file" if spec.dataset.file else "generate"),
    )


def variants(matrix: Matrix | None) -> list[dict[str, Scalar]]:
    """The combinations of a matrix; one empty combination without a matrix."""
    if matrix is None:
        return [{}]
    kept = list(combinations(matrix.axes, matrix.exclude))
    return [*kept, *(dict(extra) for extra in matrix.include if extra not in kept)]


def _check_specs_with_phases(specs: Sequence[SpecFile], find_phase: PhaseFinder) -> None:
    """What no file can see by itself; the problems of all specs at once."""
    problems: list[Diagnostic] = []
    for file in specs:
        asked = {name: file.span("success", name, key=True) for name in file.spec.success}
        asked |= {name: file.span("phases", index) for index, name in enumerate(file.spec.phases)}
        for name, asked_at in asked.items():
            try:
                phase = find_phase(name, file.path, asked_at=asked_at).phase
            except SpecError as exc:
                problems += exc.diagnostics
            else:
                problems += _ids_used_twice(file, phase)
    if problems:
        raise SpecError(list(dict.fromkeys(problems)))


def _ids_used_twice(file: SpecFile, phase: Phase) -> Iterator[Diagnostic]:
    taken = {criterion.id for criterion in phase.success}
    for index, criterion in enumerate(file.spec.success.get(phase.name, ())):
        if criterion.id in taken:
            span = file.span("success", phase.name, index, "id")
            label = f"the phase `{phase.name}` has a criterion of this id"
            yield Diagnostic("spec.duplicate-id", f"duplicate id `{criterion.id}`", span, label)


def _check_names(specs: Sequence[SpecFile]) -> None:
    seen: dict[str, SpecFile] = {}
    problems = []
    for file in specs:
        first = seen.setdefault(file.name, file)
        if first is not file:
            problems.append(
                Diagnostic(
                    "plan.duplicate-name",
                    f"two specs are named `{file.name}`: {first.path} and {file.path}",
                    fix="give one of them another `name`: history and the document go by it",
                )
            )
    if problems:
        raise PlanError(problems)


def _check_vars(specs: Sequence[SpecFile], find_phase: PhaseFinder, given: Mapping[str, Scalar]) -> None:
    """A variable that nobody uses is a typo; it would silently change nothing."""
    if not given:
        return
    known: set[str] = set()
    for file in specs:
        known |= file.spec.vars.keys() | (file.spec.matrix.axes.keys() if file.spec.matrix else set())
        for phase in file.spec.phases:
            known |= find_phase(phase, file.path).phase.vars.keys()
    problems = [
        Diagnostic(
            "plan.unknown-variable",
            f"no selected spec or phase has a variable `{name}`",
            label=f"variables: {', '.join(sorted(known)) or 'none'}",
            fix=did_you_mean(name, known),
        )
        for name in given
        if name not in known
    ]
    if problems:
        raise PlanError(problems)


def _check_phases(specs: Sequence[SpecFile], wanted: Iterable[str]) -> None:
    known = sorted({phase for file in specs for phase in file.spec.phases})
    problems = [
        Diagnostic(
            "plan.unknown-phase",
            f"no selected spec is tested in a phase `{phase}`",
            label=f"phases of these specs: {', '.join(known) or 'none'}",
            fix=did_you_mean(phase, known) or "add it to `phases` of a spec",
        )
        for phase in wanted
        if phase not in known
    ]
    if problems:
        raise PlanError(problems)
