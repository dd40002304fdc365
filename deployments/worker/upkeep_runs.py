"""Runs the scheduled flows: in one worker at a time, each once at a time, and none of their runs twice."""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import Abort, ObjectNotFound
from prefect.filesystems import LocalFileSystem
from prefect.flows import Flow
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
from prefect.states import AwaitingRetry, Cancelled, Crashed, Pending

from deployments.registration.deploy import upkeep_deployment_id
from deployments.registration.upkeep_flows import UPKEEP
from deployments.worker.engine import PatientClient, run_in_loop
from deployments.worker.leadership import Leadership, leadership
from flows.database.pool import Pool
from flows.waiting.cancelling import cancel, cancel_soon, ended_on_purpose
from flows.waiting.events import happens

logger = logging.getLogger(__name__)

INTERVAL = 10.0
"""Seconds between looks for runs that are due."""

TAKE_OVER_INTERVAL = 60.0
"""Seconds between looks for what others left: one that was frozen may have begun a run as it woke up."""

MAX_RUNS = 3
"""So often a run that its worker did not survive is begun."""


class UpkeepRuns:
    """Whoever holds the lock in the database is the only one that runs these flows.

    So what is Pending or Running when it gets the lock was left by a process that is gone.
    """

    def __init__(
        self, client: PatientClient, pool: Pool, storage: LocalFileSystem, may_start: Callable[[], bool]
    ) -> None:
        self._client = client
        self._pool = pool
        self._flows = {
            upkeep.flow.name: upkeep.flow.with_options(result_storage=storage, persist_result=False)
            for upkeep in UPKEEP
        }
        self._may_start = may_start
        self._deployments: dict[UUID, Flow[..., Any]] = {}
        self._running: dict[UUID, asyncio.Task[None]] = {}  # by deployment
        self._flow_runs: dict[UUID, asyncio.Task[None]] = {}
        self._cancelled: set[UUID] = set()

    def cancel(self, flow_run_id: UUID) -> None:
        """End a run on an operator's word; harmless when it is not run here."""
        task = self._flow_runs.get(flow_run_id)
        if task is not None and flow_run_id not in self._cancelled:
            self._cancelled.add(flow_run_id)
            self._client.silenced.add(flow_run_id)  # else the engine first says that it crashed
            cancel_soon(task)

    async def lead(self) -> None:
        """Run what is due for as long as no other process does; returns when another leads."""
        async with leadership(self._pool, "upkeep") as held:
            if held is None:
                return
            try:
                await self.register()
                looked = -math.inf
                while not held.lost.is_set():
                    if time.monotonic() - looked > TAKE_OVER_INTERVAL:
                        looked = time.monotonic()
                        await self._take_over()
                    if self._may_start():
                        await self._start_due()
                    await happens(held.lost, within=INTERVAL)
            finally:
                await self._leave(held)

    async def register(self) -> None:
        """Make the deployments that are not there."""
        self._deployments = {
            await upkeep_deployment_id(self._client, upkeep): self._flows[upkeep.flow.name]
            for upkeep in UPKEEP
        }

    async def _take_over(self) -> None:
        unfinished = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
        left = await self._client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=list(self._deployments))),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=unfinished))
            ),
        )
        for flow_run in left:
            if flow_run.id in self._flow_runs:
                continue
            await self._client.set_flow_run_state(flow_run.id, _after_interruption(flow_run), force=True)

    async def _start_due(self) -> None:
        due: dict[UUID, list[FlowRun]] = {}
        for flow_run in await self._client.get_scheduled_flow_runs_for_deployments(
            list(self._deployments), scheduled_before=datetime.now(UTC)
        ):
            if flow_run.deployment_id is not None:
                due.setdefault(flow_run.deployment_id, []).append(flow_run)
        for deployment_id, flow_runs in due.items():
            if deployment_id not in self._running:
                await self._start_one(deployment_id, flow_runs)

    async def _start_one(self, deployment_id: UUID, flow_runs: list[FlowRun]) -> None:
        """Start what an operator asked for, else the last that the schedule made; what it missed is over."""
        scheduled = [flow_run for flow_run in flow_runs if flow_run.auto_scheduled and not flow_run.run_count]
        for missed in scheduled[:-1]:
            message = "A later run was due already."
            await self._client.set_flow_run_state(missed.id, Cancelled(message=message), force=True)
        [flow_run, *_] = [run for run in flow_runs if run not in scheduled] or scheduled[-1:]
        # Refused when somebody else has taken it or cancelled it a moment ago.
        claimed = await self._client.set_flow_run_state(flow_run.id, Pending())
        if claimed.status is not SetStateStatus.ACCEPT:
            return
        flow_run.state = claimed.state
        task = asyncio.create_task(
            self._run(self._deployments[deployment_id], flow_run), name=f"flow run {flow_run.name}"
        )
        self._running[deployment_id] = self._flow_runs[flow_run.id] = task
        task.add_done_callback(lambda _: self._forget(deployment_id, flow_run.id))

    def _forget(self, deployment_id: UUID, flow_run_id: UUID) -> None:
        self._running.pop(deployment_id, None)
        self._flow_runs.pop(flow_run_id, None)
        self._cancelled.discard(flow_run_id)
        self._client.silenced.discard(flow_run_id)

    async def _run(self, flow: Flow[..., Any], flow_run: FlowRun) -> None:
        try:
            with ended_on_purpose(lambda: flow_run.id in self._cancelled) as ending:
                # Jobs have no logs in Prefect because of what these cost; here there are few.
                with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: True}):
                    state = await run_in_loop(flow, flow_run, dict(flow_run.parameters))
                if state.is_failed() or state.is_crashed():
                    logger.warning("Flow run %s of %s: %s", flow_run.name, flow.name, state.message)
            if ending.on_purpose:
                self._client.silenced.discard(flow_run.id)
                await self._say(flow_run, Cancelled(message="An operator cancelled it."))
        except Abort as error:
            logger.warning("Prefect does not let the flow run %s run: %s", flow_run.name, error)
        except Exception as error:
            logger.exception("Flow run %s of %s broke off", flow_run.name, flow.name)
            await self._say(flow_run, Crashed(message=f"It broke off: {error!r}"))

    async def _say(self, flow_run: FlowRun, state: State[Any]) -> None:
        with suppress(ObjectNotFound):  # an operator may have deleted it
            await self._client.set_flow_run_state(flow_run.id, state, force=True)

    async def _leave(self, held: Leadership) -> None:
        """End what runs here; whoever leads next runs it again."""
        running = dict(self._flow_runs)
        self._client.silenced.update(running)
        await cancel(list(running.values()))
        self._client.silenced.difference_update(running)
        if held.lost.is_set():
            logger.warning("The connection to the database was lost; scheduled flows are run again")


def _after_interruption(flow_run: FlowRun) -> State[Any]:
    if flow_run.state is not None and flow_run.state.is_cancelling():
        return Cancelled(message="It was cancelled; the worker that ran it is gone.")
    if flow_run.run_count >= MAX_RUNS:
        return Crashed(message=f"The workers that ran it ended {MAX_RUNS} times.")
    return AwaitingRetry(message="The worker that ran it ended; it is run again.")
