"""Asks the configured picker for a job's destination, and once more where that does not answer."""

import asyncio
import logging
from collections.abc import Mapping

from flows.configuration.config import Destination
from flows.jobs.job import Job
from flows.jobs.users import User
from flows.lifecycle.runtime import Runtime
from flows.pickers import PickerContext

logger = logging.getLogger(__name__)


async def picked_for(job: Job, runtime: Runtime, destinations: Mapping[str, Destination]) -> str:
    """Return what the picker says, of these destinations or not; raise whatever it raises."""
    conditions = await runtime.conditions.found()
    context = PickerContext(runtime.config.applications, destinations, runtime.place.job_root, conditions)
    return await asyncio.to_thread(_pick, job, runtime, context)


def _pick(job: Job, runtime: Runtime, context: PickerContext) -> str:
    submitter = User(job.submitter, tuple(job.roles))
    name = runtime.picker(runtime.place.job_dir(job.id), job.application, submitter, context)
    runtime.conditions.picked(name)  # at once: others are picked for just now
    return name


def has_failover(runtime: Runtime, destination: str) -> bool:
    """Whether jobs that wait for the destination may be given another one."""
    return runtime.config.destinations[destination].failover


async def moved_where_needed(job: Job, runtime: Runtime) -> Job:
    """Pick again for a job that may move, where its destination does not answer; return it as it is then.

    The picker is shown no destination that does not answer. Where it finds no other, the job waits.
    """
    former, conditions = str(job.destination), await runtime.conditions.found()
    silent = {name for name, condition in conditions.items() if condition.reachable is False}
    others = {name: one for name, one in runtime.config.destinations.items() if name not in silent}
    if former not in silent or not others:
        return job
    try:
        name = await picked_for(job, runtime, others)
    except Exception as error:  # whatever an operator's picker raises
        logger.warning("Job %s waits for %s; no other destination was picked: %s", job.id, former, error)
        return job
    if name in others:
        failover = has_failover(runtime, name)
        if await runtime.jobs.move(job.id, former, name, failover=failover):
            logger.warning("Job %s goes to %s, as %s does not answer", job.id, name, former)
    return await runtime.jobs.known(job.id)
