"""One leased pod: from the intent, journalled before anything is created, to its proven end.

The rules, with the reason for each, are in docs/adr/0003-leases.md. In short: one create per lease, never repeated;
an answer that was lost is looked for by the pod's exact name; release is idempotent, insists for as long as the
teardown limit allows, and ends in a proof or in an event that says that a pod may still bill.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from runner.engine.doubles import end_doubles
from runner.engine.ending import Ending, end_pod, look_for
from runner.engine.state import JobState
from runner.engine.world import World
from runner.errors import ProviderError
from runner.events import PodCreated, PodGone, PodRefused, PodRequested, PodTerminating, PodUnconfirmed
from runner.history import Lease as OpenLease


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """What a create call came to."""

    pod_id: str
    lab_job_id: str | None = None
    cost_usd_h: float | None = None


CreatePod = Callable[[], Coroutine[Any, Any, Created]]


class Lease:
    """A pod that is ours to give back."""

    def __init__(self, state: JobState, world: World, *, name: str, via: str, gpu: str) -> None:
        self.name = name
        self.gpu = gpu
        self._via = via
        self._state = state
        self._world = world
        self._creating: asyncio.Task[Created] | None = None
        self._is_over = True
        self._was_looked_for = False

    @classmethod
    def adopted(cls, state: JobState, world: World, lease: OpenLease) -> Lease:
        """The lease of a pod that an earlier life of this run has created."""
        ours = cls(state, world, name=lease.name, via=lease.via, gpu=lease.gpu)
        ours._is_over = False
        return ours

    async def open(self, create: CreatePod) -> None:
        """Create the pod, once.

        Raises:
            ProviderError: no pod came of it (not ambiguous), or nobody knows (ambiguous; `release` looks again).
            StoreError: the intent could not be made durable; nothing was created.
        """
        state = self._state
        await state.record(self._intent(), durable=True)
        self._is_over = False
        # Billed from the request on: a lost answer must not make the pod look free.
        state.pod_since_s = self._world.clock.monotonic()
        # A task of its own: if we are cancelled, its answer is still waited for (see `_await_create`).
        self._creating = asyncio.ensure_future(create())
        try:
            created = await asyncio.shield(self._creating)
        except ProviderError as exc:
            if not exc.ambiguous:
                await self._refused(exc.kind, str(exc))
                raise
            pods = await look_for(self._world, name=self.name)
            self._was_looked_for = True
            if not pods:
                raise
            found = pods[0]
            created = Created(pod_id=found.id, lab_job_id=found.lab_job_id, cost_usd_h=found.cost_usd_h)
            await self._own(created, adopted=True)
            await end_doubles(state, self._world, pods)
        else:
            await self._own(created, adopted=False)

    async def release(self, reason: str) -> bool:
        """Give the pod back and prove it. Idempotent; never raises.

        Returns:
            False when nobody can say that the pod is gone; the journal then holds a `PodUnconfirmed`.
        """
        if not self._is_over:
            await self._await_create()
        if self._is_over:
            return True
        state = self._state
        pod_id = await self._known_id()
        await state.record_if_possible(
            PodTerminating(at=state.now(), job=state.key, name=self.name, pod_id=pod_id, reason=reason)
        )
        ending = await end_pod(
            self._world,
            name=self.name,
            pod_id=pod_id,
            within_s=state.job.spec.limits.teardown.total_seconds(),
        )
        await self._conclude(ending)
        return ending.is_proven

    async def _known_id(self) -> str | None:
        """The pod's id; without one its name is looked for, unless `open` has done so, since listings may lag."""
        if self._state.pod_id is not None or self._was_looked_for:
            return self._state.pod_id
        found = await look_for(self._world, name=self.name)
        return found[0].id if found else None

    def _intent(self) -> PodRequested:
        state = self._state
        return PodRequested(
            at=state.now(),
            job=state.key,
            name=self.name,
            via=self._via,
            gpu=self.gpu,
            price_cap_usd_h=state.job.spec.limits.price,
            deadline=state.now() + timedelta(seconds=state.job.worst_case_s),
        )

    async def _own(self, created: Created, *, adopted: bool) -> None:
        state = self._state
        state.pod_name, state.pod_id, state.lab_job_id = self.name, created.pod_id, created.lab_job_id
        state.cost_usd_h = created.cost_usd_h
        await state.record(
            PodCreated(
                at=state.now(),
                job=state.key,
                name=self.name,
                pod_id=created.pod_id,
                cost_usd_h=created.cost_usd_h,
                gpu=self.gpu,
                lab_job_id=created.lab_job_id,
                adopted=adopted,
            ),
            durable=True,
        )

    async def _refused(self, kind: str, message: str) -> None:
        self._is_over = True
        state = self._state
        state.pod_since_s = None
        await state.record_if_possible(
            PodRefused(at=state.now(), job=state.key, name=self.name, kind=kind, message=message)
        )

    async def _await_create(self) -> None:
        """A create that was cancelled from outside still has an answer, and that decides what there is to end."""
        if self._creating is None or self._state.pod_id is not None:
            return
        try:
            await self._own(await self._creating, adopted=False)
        except ProviderError as exc:
            if not exc.ambiguous:
                await self._refused(exc.kind, str(exc))
        except Exception:
            # A journal that failed: the id is known in memory, and ending the pod needs no journal. A bug: it is about
            # to be reported by whoever waits for us, and until then its pod has to be looked for.
            return

    async def _conclude(self, ending: Ending) -> None:
        state = self._state
        if not ending.is_proven:
            unconfirmed = PodUnconfirmed(
                at=state.now(), job=state.key, name=self.name, pod_id=ending.pod_id, why=ending.last_error
            )
            await state.record_if_possible(unconfirmed)
            return
        if ending.pod_id is None:
            await self._refused("not-found", f"the request got no answer, and no pod named `{self.name}` ever showed")
            return
        alive_s = self._world.clock.monotonic() - (state.pod_since_s or self._world.clock.monotonic())
        cost_usd = state.burnt_usd()
        self._is_over = True
        await state.record_if_possible(
            PodGone(
                at=state.now(),
                job=state.key,
                name=self.name,
                pod_id=ending.pod_id,
                alive_s=alive_s,
                cost_usd=cost_usd,
            )
        )
