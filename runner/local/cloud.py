"""The embedded cloud: RunPod and FineTune Lab on loopback, started together and ended together."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import ClientSession, web

from runner.errors import StoreError
from runner.local.clock import Clock, SystemClock
from runner.local.credentials import Credentials, load_or_create
from runner.local.faults import FaultPlan, Rule
from runner.local.lab_api import Lab, lab_app
from runner.local.lab_api.store import LabStore
from runner.local.lifecycle import Delays, PodHost
from runner.local.network import Loopback, Network
from runner.local.pods import PodBackend, ProcessPods
from runner.local.runpod_api import RunPodSettings, runpod_app
from runner.local.runpod_edge import Keys
from runner.local.trainer_bundle import bundle

BOOTSTRAP = Path(__file__).parents[1] / "pod" / "bootstrap.py"
SHUTDOWN_S = 2.0


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the servers are and what opens them; everything belongs to one seeded user."""

    lab_url: str
    runpod_url: str
    """Ends in `/v2`, like the vendor's own base."""
    runpod_graphql_url: str
    runpod_api_key: str = field(repr=False)
    lab_api_key: str = field(repr=False)
    """Scope `all`."""
    lab_api_key_testing: str = field(repr=False)
    """Scope `testing` only."""
    lab_jwt: str = field(repr=False)
    lab_internal_key: str = field(repr=False)
    predict_model: str


@dataclass(frozen=True)
class CloudOptions:
    """What an embedded cloud is like; the defaults are those of `--target local`.

    Attributes:
        lab_port, runpod_port: 0 takes a free one.
        backend: where pods run; None: processes below the state directory.
        lab_rate_limit_per_minute: per API key; sessions are not limited.
        trainer: a script for the pods of the lab; None: the bundled trainer.
        bootstrap: what starts a pod of the lab.
        network: where both listen, and by which the lab reaches RunPod.
    """

    lab_port: int = 0
    runpod_port: int = 0
    faults: Sequence[Rule] = ()
    backend: PodBackend | None = None
    clock: Clock = field(default_factory=SystemClock)
    delays: Delays = field(default_factory=Delays)
    runpod: RunPodSettings = field(default_factory=RunPodSettings)
    lab_rate_limit_per_minute: int = 100
    trainer: Path | None = None
    bootstrap: Path = BOOTSTRAP
    network: Network = field(default_factory=Loopback)


class EmbeddedCloud:
    """Both servers while the block lasts; afterwards no pod of theirs runs.

    ```python
    async with EmbeddedCloud(state_dir) as cloud:
        client = RunPod(cloud.endpoints.runpod_url, key=cloud.endpoints.runpod_api_key)
    ```

    Attributes:
        faults: rules may be added and cleared while the servers run.
        pods: the platform behind the RunPod API, for tests that look behind the curtain.
    """

    def __init__(self, state_dir: Path, options: CloudOptions | None = None) -> None:
        self._options = options or CloudOptions()
        # Pods run in folders of their own, where a relative path would lead elsewhere.
        self._state_dir = state_dir.resolve()
        self._cleanup = AsyncExitStack()
        self._endpoints: Endpoints | None = None
        self._pods: PodHost | None = None
        self.faults = FaultPlan(self._options.faults)

    @property
    def endpoints(self) -> Endpoints:
        if self._endpoints is None:
            raise RuntimeError("the embedded cloud has not been started")
        return self._endpoints

    @property
    def pods(self) -> PodHost:
        if self._pods is None:
            raise RuntimeError("the embedded cloud has not been started")
        return self._pods

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def start(self) -> Endpoints:
        """Start both servers; their addresses and keys.

        Raises:
            StoreError: another embedded cloud uses the state directory.
            OSError: a port is taken.
        """
        async with AsyncExitStack() as stack:
            self._endpoints = await self._start(stack)
            self._cleanup = stack.pop_all()
        return self._endpoints

    async def aclose(self) -> None:
        """End every pod, then the servers; may be called twice.

        Raises:
            PodLeakError: a process of a pod is still alive.
        """
        closing = asyncio.ensure_future(self._cleanup.aclose())
        interrupted: asyncio.CancelledError | None = None
        while not closing.done():
            try:
                await asyncio.shield(closing)
            except asyncio.CancelledError as exc:
                # A cancelled run must still end its pods, and wait until they have ended.
                interrupted = exc
        closing.result()
        if interrupted is not None:
            raise interrupted

    async def _start(self, stack: AsyncExitStack) -> Endpoints:
        options = self._options
        self._state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._state_dir.chmod(0o700)
        stack.callback(os.close, _lock(self._state_dir))
        credentials = load_or_create(self._state_dir)
        keys = Keys(credentials.runpod_api_key)
        lab = await self._lab(stack, credentials)
        self._pods = PodHost(
            backend=options.backend or ProcessPods(self._state_dir / "pods"),
            clock=options.clock,
            log_dir=self._state_dir / "logs",
            delays=options.delays,
        )
        runpod = runpod_app(
            self._pods, keys, options.clock,
            base_url=lambda: lab.runpod_url, settings=options.runpod, faults=self.faults,
        )  # fmt: skip
        # Closed in the reverse order: first the servers, so that no pod is created any more, then the pods.
        stack.push_async_callback(self._pods.aclose)
        runpod_origin = await _listen(stack, runpod, options.network, options.runpod_port)
        lab.runpod_url = f"{runpod_origin}/v2"
        lab.url = await _listen(stack, lab_app(lab, faults=self.faults), options.network, options.lab_port)
        return Endpoints(
            lab_url=lab.url,
            runpod_url=lab.runpod_url,
            runpod_graphql_url=f"{runpod_origin}/graphql",
            runpod_api_key=credentials.runpod_api_key,
            lab_api_key=credentials.lab_api_key,
            lab_api_key_testing=credentials.lab_api_key_testing,
            lab_jwt=credentials.session_token(options.clock.now()),
            lab_internal_key=credentials.lab_internal_key,
            predict_model=credentials.predict_model,
        )

    async def _lab(self, stack: AsyncExitStack, credentials: Credentials) -> Lab:
        options = self._options
        store = LabStore(self._state_dir / "lab.sqlite")
        stack.callback(store.close)
        store.save_setting(credentials.user_id, "secrets", {"runpod": credentials.runpod_api_key})
        return Lab(
            store=store,
            clock=options.clock,
            credentials=credentials,
            data_dir=self._state_dir,
            trainer=bundle() if options.trainer is None else options.trainer.read_bytes(),
            bootstrap=options.bootstrap,
            http=await stack.enter_async_context(ClientSession(connector=options.network.connector())),
            rate_limit_per_minute=options.lab_rate_limit_per_minute,
        )


def _lock(state_dir: Path) -> int:
    """Take the state directory; the lock dies with this process, however it dies."""
    lock = os.open(state_dir / "cloud.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        os.close(lock)
        raise StoreError(f"another embedded cloud is running in {state_dir}") from exc
    return lock


async def _listen(stack: AsyncExitStack, app: web.Application, network: Network, port: int) -> str:
    """Serve `app` until the stack closes; its origin."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
    stack.push_async_callback(runner.cleanup)
    await runner.setup()
    return await network.listen(runner, port)
