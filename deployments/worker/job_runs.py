"""The flow runs of jobs that this process runs: started, continued, cancelled, and left when it stops."""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import Abort, ObjectNotFound
from prefect.flows import Flow
from prefect.states import AwaitingRetry, Pending, Scheduled

from deployments.worker.engine import LeanClient, run_in_loop
from flows.errors import BartenderError, JobNotFound, Superseded, with_cause
from flows.jobs.deletion import purge
from flows.jobs.job import Job
from flows.lifecycle.ending import cancel_job, tidy_up
from flows.lifecycle.flow_run import describe, flow_run_name, flow_run_tags
from flows.lifecycle.runtime import Runtime
from flows.waiting.cancelling import cancel, cancel_soon, ended_on_purpose
from flows.waiting.patience import Delays, patiently

logger = logging.getLogger(__name__)

RERUN_DELAYS = Delays(2.0, longest=30.0)
"""Before a flow run that broke off, or that somebody ended although its job has not ended, is run again."""


@dataclass(frozen=True, slots=True)
class _Run:
    job_id: int
    task: asyncio.Task[None]


class JobRuns:
    """One asyncio task for each flow run. ``flow_id`` is Prefect's id of ``flow``."""

    def __init__(self, client: LeanClient, flow: Flow[Any, Any], flow_id: UUID, runtime: Runtime) -> None:
        self._client = client
        self._flow = flow
        self.flow_id = flow_id
        self._runtime = runtime
        self._runs: dict[UUID, _Run] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._missing: set[UUID] = set()

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, flow_run_id: object) -> bool:
        return flow_run_id in self._runs

    def start(self, job: Job) -> None:
        """Run the job's flow run for the first time."""
        self._begin(job, self._first_run(job))

    def resume(self, job: Job) -> None:
        """Continue the job's flow run, which another process or an earlier one of this name began."""
        self._begin(job, None)

    def tell(self, job: Job) -> None:
        """Say in Prefect how a job ended that nobody runs any more; a deleted one is removed then."""
        task = asyncio.create_task(self._tell(job), name=f"end of job {job.id}")
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def resume_forgotten(self) -> None:
        """Continue jobs that are this process's but not run: the answer that it got them was lost.

        Only those that were missing at the look before, too: an answer may just be arriving.
        """
        missing = {number for number in await self._runtime.jobs.flow_runs() if number not in self._runs}
        for flow_run_id in missing & self._missing:
            job = await self._runtime.jobs.by_flow_run(flow_run_id)
            if job is None or job.owner != self._runtime.jobs.owner:
                continue
            if job.id not in self._runtime.beginning:
                logger.warning("Job %s is this worker's, but was not run; continuing it", job.id)
                self.resume(job)
        self._missing = missing

    def cancel(self, flow_run_id: UUID) -> None:
        """End the job of a flow run; harmless when it is not run here, or is being ended."""
        run = self._runs.get(flow_run_id)
        if run is not None and run.job_id not in self._runtime.cancelled:
            self._runtime.cancelled.add(run.job_id)
            cancel_soon(run.task)

    async def stop(self) -> None:
        """Leave all flow runs as they are, and begin no other; another process continues them."""
        self._stopped = True
        await cancel([*(run.task for run in self._runs.values()), *self._telling])

    def _begin(self, job: Job, flow_run: FlowRun | None) -> None:
        flow_run_id = job.flow_run_id
        if self._stopped or flow_run_id is None or flow_run_id in self._runs:
            return
        if job.cancel_requested:
            self._runtime.cancelled.add(job.id)
            flow_run = None  # no step of it is to be taken
        task = asyncio.create_task(self._run(job, flow_run), name=f"flow run of job {job.id}")
        self._runs[flow_run_id] = _Run(job.id, task)
        task.add_done_callback(lambda _: self._forget(job.id, flow_run_id))

    def _forget(self, job_id: int, flow_run_id: UUID) -> None:
        self._runs.pop(flow_run_id, None)
        self._runtime.cancelled.discard(job_id)

    def _first_run(self, job: Job) -> FlowRun:
        # As the server made it a moment ago: reading it would be one more call.
        return FlowRun(
            id=job.flow_run_id,
            flow_id=self.flow_id,
            name=flow_run_name(job),
            parameters={"job_id": job.id},
            tags=flow_run_tags(job, None),
            state=Scheduled(),
        )

    async def _run(self, job: Job, flow_run: FlowRun | None) -> None:
        delays = iter(RERUN_DELAYS)
        while True:
            # If so, the next attempt ends the job.
            with ended_on_purpose(lambda: job.id in self._runtime.cancelled and not self._client.muted):
                if await self._is_over(job, flow_run):
                    return
                await asyncio.sleep(next(delays))
            flow_run = None

    async def _is_over(self, job: Job, flow_run: FlowRun | None) -> bool:
        """Attempt it; return whether it is not to be run again by us."""
        try:
            return await self._attempt(job, flow_run)
        except Superseded:
            self._runtime.superseded.set()
            return True
        except JobNotFound:
            logger.warning("Job %s is not there any more; nothing is run for it", job.id)
            return True
        except Exception as error:
            trace = None if isinstance(error, BartenderError) else error
            text = "The flow run of job %s broke off; it is run again: %s"
            logger.error(text, job.id, with_cause(error), exc_info=trace)  # noqa: TRY400 - not always
            return False

    async def _attempt(self, job: Job, flow_run: FlowRun | None) -> bool:
        """Return whether all is done: the job has ended, and its flow run says so."""
        if flow_run is None:
            now = await patiently(lambda: self._runtime.jobs.get(job.id))
            if now.state.is_final:
                await tidy_up(now, self._runtime)
                return await self._settle(job, None)
            if job.id in self._runtime.cancelled:
                await cancel_job(now, self._runtime)
                return await self._settle(job, None)
            if (flow_run := await self._ready_again(job)) is None:
                return True
        return await self._settle(job, await self._run_once(job, flow_run))

    async def _run_once(self, job: Job, flow_run: FlowRun) -> State[Any] | None:
        try:
            return await run_in_loop(self._flow, flow_run, {"job_id": job.id})
        except Abort as error:
            logger.warning("Prefect does not let the flow run of job %s run: %s", job.id, error)
            return (await self._client.read_flow_run(flow_run.id)).state

    async def _settle(self, job: Job, state: State[Any] | None) -> bool:
        """Make the flow run say what the job's row says; False when the job has to go on."""
        now = await patiently(lambda: self._runtime.jobs.get(job.id))
        if not now.state.is_final and state is not None and (state.is_cancelled() or state.is_cancelling()):
            now = await cancel_job(now, self._runtime)
        if not now.state.is_final:
            return False
        expected = describe(now)
        if state is None or state.type != expected.type:
            with suppress(ObjectNotFound):  # an operator may have deleted it
                await self._client.set_flow_run_state(_id(now), expected, force=True)
        if self._client.muted:
            return True  # Prefect may not have heard of it: whoever continues says it
        await asyncio.to_thread(_remove_results, self._runtime.place.results / str(_id(now)))
        released = await patiently(lambda: self._runtime.jobs.release(job.id))
        if released is not None and released.deleted_on is not None:
            await patiently(lambda: purge(released, self._runtime.place, self._runtime.end_requests))
        return True

    async def _tell(self, job: Job) -> None:
        try:
            await self._settle(job, None)
            if job.deleted_on is not None:
                await patiently(lambda: purge(job, self._runtime.place, self._runtime.end_requests))
        except JobNotFound:
            logger.debug("Job %s was removed meanwhile", job.id)
        except Exception:
            logger.exception("The end of job %s was not told; reconcile does that", job.id)

    async def _ready_again(self, job: Job) -> FlowRun | None:
        """Return the job's flow run in a state from which it can run; None when there is no such flow run."""
        try:
            flow_run = await self._client.read_flow_run(_id(job))
        except ObjectNotFound:
            logger.warning("The flow run of job %s was deleted; it gets a new one", job.id)
            await patiently(lambda: self._runtime.jobs.release_flow_run(job))
            return None
        state = flow_run.state
        if state is None or state.is_scheduled() or state.is_cancelled() or state.is_cancelling():
            return flow_run
        steps: tuple[State[Any], ...] = (AwaitingRetry(), Pending())
        for step in steps:
            await self._client.set_flow_run_state(flow_run.id, step, force=True)
        return await self._client.read_flow_run(flow_run.id)


def _id(job: Job) -> UUID:
    if job.flow_run_id is None:
        raise ValueError(f"job {job.id} has no flow run")
    return job.flow_run_id


def _remove_results(directory: Path) -> None:
    if directory.is_dir():
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()
