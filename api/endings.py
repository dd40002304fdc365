"""Jobs that their submitters end: cancelled, or deleted with all that they left."""

import asyncio

from api.services import Services
from flows.errors import JobCancelled, JobEnded, JobNotFound, Unavailable
from flows.jobs.deletion import purge, remove_files
from flows.jobs.job import Job
from flows.waiting.patience import Delays

PATIENCE = 10.0
"""Seconds for which a visitor waits for the worker to end the command; it is ended all the same."""

_LOOKS = Delays(0.03, longest=0.5, factor=1.5)


async def cancel(job: Job, services: Services) -> Job:
    """Have the job end and return it, ended unless the worker is away or takes long.

    Raises JobEnded when it ended before, other than by being cancelled.
    """
    requested = await services.end_requests.request_cancel(job.id)
    if requested is None:
        return await _cancelled_before(job, services)
    if requested.state.is_final:
        # Nobody began it, so nobody else needs what was sent for it.
        await services.on_disk(remove_files, requested, services.place)
        return requested
    ended = await _ended(requested, services)
    if ended is None:
        raise JobNotFound(f"Job {job.id} was deleted.")
    return ended


async def _cancelled_before(job: Job, services: Services) -> Job:
    now = await services.store.get(job.id)
    if now.reason_kind != JobCancelled.kind:
        raise JobEnded(f"Job {job.id} has ended already; delete it to remove it and its files.")
    return now


async def delete(job: Job, services: Services) -> None:
    """Have the job end and remove it: at once for its submitter, its files once nothing runs among them."""
    requested = await services.end_requests.request_deletion(job.id)
    if requested is None:
        return  # another request was faster
    ended = await _ended(requested, services)
    if ended is not None and ended.state.is_final:
        await purge(ended, services.place, services.end_requests)


async def _ended(job: Job, services: Services) -> Job | None:
    """Wait for a while until the job has ended; return how it is then, None once it is gone."""
    delays = iter(_LOOKS)
    now: Job | None = job
    try:
        async with asyncio.timeout(PATIENCE):
            while now is not None and not now.state.is_final:
                await asyncio.sleep(next(delays))
                now = await _look(job, services)
    except (TimeoutError, Unavailable):
        return now  # the worker ends it, whoever waits
    return now


async def _look(job: Job, services: Services) -> Job | None:
    try:
        return await services.store.get(job.id)
    except JobNotFound:
        return None
