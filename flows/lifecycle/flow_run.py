"""What a job's flow run is in Prefect: its name, tags and last state."""

import logging
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State as PrefectState
from prefect.states import Cancelled, Completed, Failed

from flows.errors import JobCancelled
from flows.jobs.job import Job, State

logger = logging.getLogger(__name__)

FLOW = "run-job"
CLEAN_UP = "clean-up"
RECONCILE = "reconcile"
"""What the flows are called in Prefect."""


def flow_run_tags(job: Job, destination: str | None) -> list[str]:
    """By these, operators filter flow runs in Prefect; ``destination`` is None until one is picked."""
    tags = [f"application:{job.application}", f"submitter:{job.submitter}"]
    return tags if destination is None else [*tags, f"destination:{destination}"]


async def tag_destination(job: Job, flow_run_id: UUID, destination: str) -> None:
    """Add the picked destination to the flow run's tags; a job does not fail when Prefect is away."""
    try:
        async with get_client() as client:
            await client.update_flow_run(flow_run_id, tags=flow_run_tags(job, destination))
    except httpx.HTTPError as error:
        logger.warning("The flow run of job %s was not tagged with its destination: %r", job.id, error)


def describe(job: Job) -> PrefectState:
    """Return the state of a flow run whose job has ended."""
    if job.state is State.OK:
        return Completed(message="The job ended well.")
    if job.reason_kind == JobCancelled.kind:
        return Cancelled(message=job.reason)
    return Failed(message=job.reason)


def flow_run_name(job: Job) -> str:
    """Return the name that operators find a job's flow run by."""
    return f"{job.application}-{job.id}"


def idempotency_key(job: Job) -> str:
    """Return what makes Prefect create one flow run for a job, however often it is asked."""
    return f"bartender-{job.token}"
