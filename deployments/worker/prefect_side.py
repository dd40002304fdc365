"""What a worker has to do with Prefect besides telling it of jobs: none of that holds a job up."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar
from uuid import UUID

import httpx
from prefect.exceptions import ObjectNotFound

from deployments.background import repeat, when_woken
from deployments.recording.choosing import ChosenRecorder
from deployments.registration.deploy import Registered, ensure_work_pool, register
from deployments.registration.names import WORK_POOL
from deployments.worker.engine import PatientClient
from deployments.worker.heeded import Heeded, Said
from deployments.worker.job_runs import JobRuns
from deployments.worker.limits import read_limits
from deployments.worker.operators import Operators
from deployments.worker.upkeep_runs import INTERVAL as UPKEEP_INTERVAL
from deployments.worker.upkeep_runs import UpkeepRuns
from flows.errors import ConfigurationError, Refused, Unavailable
from flows.lifecycle.runtime import Runtime
from flows.prefect_api import unavailable_when_prefect_is_away
from flows.waiting.cancelling import cancel
from flows.waiting.patience import Delays, patiently

T = TypeVar("T")

HEARTBEAT_INTERVAL = 15.0
OPERATORS_INTERVAL = 15.0
"""Seconds between looks for what operators started: each costs the Prefect server some statements."""

AT_THE_START = Delays(0.5, longest=10.0)
"""While the Prefect server is away."""


class PrefectSide:
    """Registers, shows the worker as online, heeds operators, and runs the scheduled flows.

    ``job_waits`` is called when there is a job to be claimed.
    """

    def __init__(
        self,
        name: str,
        heeded: Heeded,
        client: PatientClient,
        recorder: ChosenRecorder,
        runtime: Runtime,
        runs: JobRuns,
        job_waits: Callable[[], None],
    ) -> None:
        self._name = name
        self._heeded = heeded
        self._client = client
        self._recorder = recorder
        self._runtime = runtime
        self._runs = runs
        self._job_waits = job_waits
        self.is_ready = asyncio.Event()
        """Set once Prefect has said what operators have set."""
        self._operators: Operators | None = None

    async def run(self) -> None:
        """Do all that, for ever. Raises ConfigurationError when Prefect never will let us in."""
        registered = await _when_prefect_answers(self._register)
        self._recorder.results_are_in(registered.results_id)
        may_start = lambda: self._heeded.lets_some_begin  # noqa: E731
        upkeep = UpkeepRuns(self._client, self._runtime.jobs.pool, registered.results, may_start)
        operators = Operators(self._client, self._runtime, self._runs, upkeep, self._job_waits)
        self._operators = operators
        await _when_prefect_answers(self._beat)
        loops = [
            repeat(self._beat, HEARTBEAT_INTERVAL),
            repeat(upkeep.lead, UPKEEP_INTERVAL),
            when_woken(operators.woken, operators.look_for_runs, OPERATORS_INTERVAL),
            repeat(operators.hear, 1.0),
        ]
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            await asyncio.gather(*tasks)
        finally:
            await cancel(tasks)

    async def _register(self) -> Registered:
        try:
            return await register(self._client, self._runtime.place.results)
        except Refused as error:
            raise ConfigurationError(f"environment: {error}") from error

    async def _beat(self) -> None:
        """Show as online in Prefect's UI, and heed what operators set."""
        try:
            await self._client.send_worker_heartbeat(WORK_POOL, self._name, HEARTBEAT_INTERVAL)
            limits = await read_limits(self._client)
        except ObjectNotFound:
            await ensure_work_pool(self._client)
            return
        self._heeded.said = Said(limits, await self._recorder.has_route())
        with suppress(OSError):  # on a full disk, it is kept later
            await asyncio.to_thread(self._heeded.keep)
        self.is_ready.set()
        if self._operators is not None:
            await self._operators.look_for_cancellations()

    def cancelled_elsewhere(self) -> set[UUID]:
        """Return flow runs that are being cancelled and not run here, once: Prefect names them again."""
        return set() if self._operators is None else self._operators.cancelled_elsewhere()


async def _when_prefect_answers(ask: Callable[[], Awaitable[T]]) -> T:
    async def once() -> T:
        with unavailable_when_prefect_is_away():
            return await ask()

    return await patiently(
        once,
        delays=AT_THE_START,
        passing=(Unavailable, httpx.HTTPStatusError, OSError),
        what="The worker waits for the Prefect server",
    )
