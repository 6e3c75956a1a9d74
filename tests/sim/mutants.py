"""Bugs planted on purpose: a simulation that does not find them proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from runner.conditions import judge
from runner.engine import ending, lease, money, recover
from runner.engine.ending import Ending
from runner.engine.state import JobState
from runner.engine.steps import bargain
from runner.errors import ProviderError
from runner.events import PodRequested
from runner.results import Outcome

Plant = Callable[[pytest.MonkeyPatch], None]


def repeated_create(patch: pytest.MonkeyPatch) -> None:
    """A create whose answer was lost is simply sent again."""
    real_open = lease.Lease.open

    async def nobody(*_: Any, **__: Any) -> list[Any]:
        return []

    async def open_again(self: Any, create: Any) -> None:
        try:
            await real_open(self, create)
        except ProviderError as exc:
            if not exc.ambiguous:
                raise
            await self._own(await create(), adopted=False)

    patch.setattr(lease, "look_for", nobody)
    patch.setattr(lease.Lease, "open", open_again)


def unsynced_intent(patch: pytest.MonkeyPatch) -> None:
    """The intent is written, but not made durable, before the create."""
    real = JobState.record

    async def record(self: JobState, *events: Any, durable: bool = False) -> None:
        await real(self, *events, durable=durable and not isinstance(events[0], PodRequested))

    patch.setattr(JobState, "record", record)


def unproven_end(patch: pytest.MonkeyPatch) -> None:
    """A delete that was accepted counts as the end of the pod."""

    async def once(world: Any, *, name: str, pod_id: str | None) -> Ending:
        try:
            if pod_id is not None:
                await world.cloud.terminate_pod(pod_id)
        except ProviderError as exc:
            return Ending(is_proven=False, pod_id=pod_id, last_error=str(exc))
        return Ending(is_proven=True, pod_id=pod_id)

    patch.setattr(ending, "_try_to_end", once)


def overpriced_kept(patch: pytest.MonkeyPatch) -> None:
    """Nobody looks at what the pod really costs."""
    patch.setattr(bargain, "_check_bargain", lambda state, pod: None)


def unknown_is_green(patch: pytest.MonkeyPatch) -> None:
    """A criterion without evidence counts as passed."""
    patch.setitem(judge._OUTCOME, None, Outcome.PASSED)


def ledger_forgets(patch: pytest.MonkeyPatch) -> None:
    """Reservations of running jobs are not counted."""
    patch.setattr(money.Ledger, "reserved", property(lambda self: 0.0))


def recovery_by_id_only(patch: pytest.MonkeyPatch) -> None:
    """After a crash only pods whose id was recorded are looked for."""

    async def nobody(*_: Any, **__: Any) -> list[Any]:
        return []

    async def by_id(world: Any, *, name: str, pod_id: str | None, within_s: float) -> Ending:
        if pod_id is None:
            return Ending(is_proven=True, pod_id=None)
        return await ending.end_pod(world, name=name, pod_id=pod_id, within_s=within_s)

    patch.setattr(recover, "look_for", nobody)
    patch.setattr(recover, "end_pod", by_id)


MUTANTS: tuple[Plant, ...] = (
    repeated_create,
    unsynced_intent,
    unproven_end,
    overpriced_kept,
    unknown_is_green,
    ledger_forgets,
    recovery_by_id_only,
)


@contextmanager
def planted(plant: Plant) -> Iterator[None]:
    """The bug, while the block lasts."""
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        yield
