"""Jobs that an operator runs again, by *Retry* in Prefect's UI."""

import asyncio
import logging

from flows.disk.trees import remove_tree
from flows.errors import JobCancelled
from flows.jobs.job import Job, State
from flows.jobs.rules import may_run_again
from flows.lifecycle.runtime import Runtime

logger = logging.getLogger(__name__)


async def run_again(job: Job, runtime: Runtime) -> Job | str | None:
    """Return the job, under way again and owned by this worker, or why it stays ended.

    None when it changed at the same moment: another worker may run it again.
    """
    if not may_run_again(job):
        return _why_not(job)
    if not await asyncio.to_thread(runtime.place.upload(str(job.token)).exists):
        return "the archive of its files is not kept any more"
    runtime.beginning.add(job.id)
    try:
        again = await runtime.jobs.run_again(job)
        if again is None:
            return None
        logger.warning("Job %s is run again for an operator; it had ended: %s", job.id, job.reason)
        # Its files are unpacked anew; those that are there are of the run that ended.
        await asyncio.to_thread(remove_tree, runtime.place.job_dir(job.id))
    finally:
        runtime.beginning.discard(job.id)
    return again


def _why_not(job: Job) -> str:
    if job.deleted_on is not None:
        return "it was deleted"
    if job.state is State.OK:
        return "it has its outputs"
    if job.reason_kind == JobCancelled.kind:
        return "it was cancelled"
    return "its command may have been started, and is started once only"
