"""What operators ask for in Prefect's UI and by its commands: that a job is run, run again, or ended."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventFilter, EventNameFilter
from prefect.exceptions import ObjectNotFound
from prefect.states import Failed
from websockets.exceptions import WebSocketException

from deployments.registration.names import WORK_POOL
from deployments.worker.engine import PatientClient
from deployments.worker.job_runs import JobRuns
from deployments.worker.upkeep_runs import UpkeepRuns
from flows.errors import Unavailable
from flows.jobs.job import Job
from flows.jobs.rules import is_settled
from flows.lifecycle.flow_run import FLOW, describe
from flows.lifecycle.retry import run_again
from flows.lifecycle.runtime import Runtime

_CANCELLING = "prefect.flow-run.Cancelling"
_RETRIED = "prefect.flow-run.AwaitingRetry"


class Operators:
    """Looks for what they did, and does it to the flow runs of this process.

    ``job_waits`` is called when there is one to be claimed.
    """

    def __init__(
        self,
        client: PatientClient,
        runtime: Runtime,
        runs: JobRuns,
        upkeep: UpkeepRuns,
        job_waits: Callable[[], None],
    ) -> None:
        self._client = client
        self._runtime = runtime
        self._runs = runs
        self._upkeep = upkeep
        self._job_waits = job_waits
        self._cancelled: set[UUID] = set()
        self._flows: dict[UUID, bool] = {}  # whether it is that of jobs
        self.woken = asyncio.Event()
        """Set when there may be something to run."""

    async def look_for_runs(self) -> None:
        """Run what was started."""
        for scheduled in await self._client.get_scheduled_flow_runs_for_work_pool(
            WORK_POOL, scheduled_before=datetime.now(UTC)
        ):
            flow_run = scheduled.flow_run
            if flow_run.id not in self._runs and await self._is_of_jobs(flow_run.flow_id):
                await self._start(flow_run)

    async def _is_of_jobs(self, flow_id: UUID) -> bool:
        # By its name: an operator may delete the flow, and the next one has another id.
        if flow_id not in self._flows:
            self._flows[flow_id] = (await self._client.read_flow(flow_id)).name == FLOW
        return self._flows[flow_id]

    async def _start(self, flow_run: FlowRun) -> None:
        job_id = flow_run.parameters.get("job_id")
        jobs = self._runtime.jobs
        if isinstance(job_id, int) and await jobs.give_flow_run(job_id, flow_run.id):
            self._job_waits()  # limits are for it, too
            return
        # In this order: a worker lets go of an ended job only after it has told Prefect so. What is Scheduled
        # then, whatever the list said, was scheduled by an operator since.
        job = await jobs.by_flow_run(flow_run.id)
        if (job is None or is_settled(job)) and await self._is_scheduled(flow_run.id):
            await self._answer(flow_run, job)

    async def _is_scheduled(self, flow_run_id: UUID) -> bool:
        try:
            state = (await self._client.read_flow_run(flow_run_id)).state
        except ObjectNotFound:
            return False
        return state is not None and state.is_scheduled()

    async def _answer(self, flow_run: FlowRun, job: Job | None) -> None:
        if job is None:
            job_id = flow_run.parameters.get("job_id")
            state: State[Any] = Failed(
                message=f"Job {job_id} has ended, has another flow run, or is not there."
            )
        else:
            again = await run_again(job, self._runtime)
            if isinstance(again, Job):
                self._runs.start(again)
            if not isinstance(again, str):
                return
            state = describe(job)
            state.message = f"{state.message} The job is not run again: {again}."
        await self._client.set_flow_run_state(flow_run.id, state, force=True)

    async def look_for_cancellations(self) -> None:
        """End what is being cancelled, whether or not we heard of it."""
        cancelling = await self._client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLING])),
            )
        )
        for flow_run in cancelling:
            self._cancel(flow_run.id)

    async def hear(self) -> None:
        """Heed what Prefect tells at once; returns when the connection is lost."""
        try:
            await self._listen()
        except WebSocketException as error:  # of a proxy, say, behind which there is no server now
            raise Unavailable("The Prefect server does not tell what operators do.") from error

    async def _listen(self) -> None:
        names = EventFilter(event=EventNameFilter(name=[_CANCELLING, _RETRIED]))
        async with get_events_subscriber(filter=names) as subscriber:
            async for event in subscriber:
                if event.event == _CANCELLING:
                    self._cancel(UUID(event.resource.id.removeprefix("prefect.flow-run.")))
                else:
                    self.woken.set()

    def _cancel(self, flow_run_id: UUID) -> None:
        if flow_run_id not in self._runs:
            self._cancelled.add(flow_run_id)
        self._runs.cancel(flow_run_id)
        self._upkeep.cancel(flow_run_id)

    def cancelled_elsewhere(self) -> set[UUID]:
        """Return flow runs that are being cancelled and not run here, once: Prefect names them again."""
        cancelled, self._cancelled = self._cancelled, set()
        return cancelled
