"""What jobs left at destinations that they did not stay at, because those did not answer (``failover``)."""

import logging

import sqlalchemy as sa

from flows.errors import JobFailure, Unavailable, with_cause
from flows.jobs.job import Job, job_table
from flows.jobs.rows import JobRows, change
from flows.jobs.rules import SETTLED
from flows.lifecycle.runtime import Runtime

logger = logging.getLogger(__name__)

_AT_ONCE = 100

_job = job_table.c
_former = sa.bindparam("former", type_=sa.Text)
# Not before their end: two destinations may be two names of one place.
_TO_LEAVE = (
    sa.select(job_table)
    .where(_job.left_behind != sa.text("'{}'"), SETTLED)
    .order_by(sa.func.random())
    .limit(_AT_ONCE)
)
_LEFT = change(_job.id == sa.bindparam("job_id"), left_behind=sa.func.array_remove(_job.left_behind, _former))


class MovedJobs(JobRows):
    """The SQL about them."""

    async def to_leave(self) -> list[Job]:
        """Return some of the jobs that have ended and may have files at a destination from before."""
        return await self._all(_TO_LEAVE)

    async def left(self, job_id: int, destination: str) -> None:
        """Note that nothing of the job is there any more."""
        await self.pool.fetch(_LEFT, job_id=job_id, former=destination)


async def leave_former_destinations(runtime: Runtime) -> None:
    """Remove what is left where it can be reached again, and forget what is not configured any more."""
    jobs = MovedJobs(runtime.jobs.pool)
    for job in await jobs.to_leave():
        for name in set(job.left_behind):
            if name not in runtime.config.destinations or await _is_left(runtime, job, name):
                await jobs.left(job.id, name)


async def _is_left(runtime: Runtime, job: Job, destination: str) -> bool:
    if (await runtime.conditions.found())[destination].reachable is False:
        return False
    filesystem = runtime.destinations[destination].filesystem
    try:
        await filesystem.remove(runtime.place.job_dir(job.id), str(job.token))
    except Unavailable as error:
        logger.info("Files of job %s are still at %s: %s", job.id, destination, with_cause(error))
        return False
    except JobFailure as failure:
        logger.warning("Files of job %s stay at %s: %s", job.id, destination, failure)
    return True
