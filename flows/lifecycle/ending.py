"""How a job's flow ends when a step failed for good or somebody cancelled it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from flows.disk.places import Place
from flows.disk.trees import remove_tree, size_of
from flows.errors import (
    ArchiveRefused,
    InternalError,
    JobCancelled,
    JobFailure,
    Superseded,
    Unavailable,
)
from flows.jobs.end_requests import CANCELLED_BY_VISITOR
from flows.jobs.job import Job
from flows.jobs.rules import may_run_again
from flows.lifecycle.runtime import Runtime, current
from flows.waiting.cancelling import ended_on_purpose
from flows.waiting.patience import patiently

logger = logging.getLogger(__name__)


CANCELLED_BY_OPERATOR = JobCancelled("The job was cancelled by an operator.")


@asynccontextmanager
async def end_of_job(job_id: int) -> AsyncIterator[None]:
    """See to it that the job ends, with a reason, when the steps do not end it.

    A JobFailure and a cancellation on purpose end here: the job's row has them. A part that is away ends
    nothing: the flow run begins again. Anything else is a mistake of ours: the job ends with an internal
    error, and the exception goes on to the operator.
    """
    runtime = current()
    try:
        async with _ended(runtime, job_id):
            yield
    except Superseded as error:
        logger.warning("%s", error)
        runtime.superseded.set()
        await asyncio.Event().wait()  # the worker lets go of the flow run, and says nothing of it to Prefect


@asynccontextmanager
async def _ended(runtime: Runtime, job_id: int) -> AsyncIterator[None]:
    # Else the worker stops: the job goes on where it was.
    with ended_on_purpose(lambda: job_id in runtime.cancelled) as ending:
        async with _failed(runtime, job_id):
            yield
    if ending.on_purpose:
        job = await patiently(lambda: runtime.jobs.get(job_id))
        await _abandon(runtime, job_id, _cancellation(job))


@asynccontextmanager
async def _failed(runtime: Runtime, job_id: int) -> AsyncIterator[None]:
    try:
        yield
    except (Superseded, Unavailable):
        raise
    except JobFailure as failure:
        job = await _abandon(runtime, job_id, failure)
        if isinstance(failure, ArchiveRefused):  # else it is kept for an operator's retry
            await asyncio.to_thread(runtime.place.upload(str(job.token)).unlink, missing_ok=True)
    except Exception:
        logger.exception("Job %s fails by a mistake of ours", job_id)
        text = "The job failed by a mistake in the service; the operator's log has the cause."
        await _abandon(runtime, job_id, InternalError(text))
        raise


async def tidy_up(job: Job, runtime: Runtime) -> None:
    """Remove what a job that has ended does not need any more, after an interruption in its last step."""
    if job.destination is not None and job.destination in runtime.config.destinations:
        await leave_destination(runtime, job)
    await asyncio.to_thread(_remove_useless, job, runtime.place)


async def ended(job_id: int) -> Job:
    """Return the job as it is at the end; what is of no more use here goes."""
    runtime = current()
    job = await patiently(lambda: runtime.jobs.known(job_id))
    if not job.state.is_final:
        job = await patiently(lambda: runtime.jobs.get(job_id))
    await asyncio.to_thread(_remove_useless, job, runtime.place)
    return job


def _remove_useless(job: Job, place: Place) -> None:
    if not may_run_again(job):
        place.upload(str(job.token)).unlink(missing_ok=True)
    draft = place.hidden_dir(job.id, str(job.token))
    if draft.is_dir():  # the job was ended between two steps of unpacking
        remove_tree(draft)


async def cancel_job(job: Job, runtime: Runtime) -> Job:
    """End a job on an operator's or its submitter's word, wherever it is; return it as it is then."""
    await _abandon(runtime, job.id, _cancellation(job))
    return await ended(job.id)


def _cancellation(job: Job) -> JobCancelled:
    return CANCELLED_BY_VISITOR if job.cancel_requested else CANCELLED_BY_OPERATOR


async def _abandon(runtime: Runtime, job_id: int, failure: JobFailure) -> Job:
    job = await patiently(lambda: runtime.jobs.owned(job_id))
    is_there = job.destination is not None and job.destination in runtime.config.destinations
    if is_there:
        scheduler = runtime.destinations[str(job.destination)].scheduler
        await patiently(lambda: scheduler.cancel(_scheduler_id(job)))
        await patiently(runtime.disk.sync)
    size = await asyncio.to_thread(size_of, runtime.place.job_dir(job_id))
    await patiently(lambda: runtime.jobs.fail(job_id, failure, size=size))
    if is_there:
        await leave_destination(runtime, job)
    return job


async def leave_destination(runtime: Runtime, job: Job) -> None:
    """Remove what a job that has ended left at its destination.

    Only after the end was written down: by then nobody else runs the job, and until then what the scheduler
    knows is the proof of the end.
    """
    destination = runtime.destinations[str(job.destination)]
    job_dir = runtime.place.job_dir(job.id)
    try:
        await patiently(lambda: destination.filesystem.remove(job_dir, str(job.token)))
    except JobFailure as failure:
        logger.warning("Files of job %s stay at %s: %s", job.id, job.destination, failure)
    await patiently(lambda: destination.scheduler.forget(_scheduler_id(job)))


def _scheduler_id(job: Job) -> str:
    # By the token when the crash or cancellation came before the scheduler's id was written down.
    return job.scheduler_id or str(job.token)
