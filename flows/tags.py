"""Tags by which operators find flow runs in Prefect."""

import logging
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client

from flows.jobs.job import Job

logger = logging.getLogger(__name__)


def flow_run_tags(job: Job, destination: str | None) -> list[str]:
    """Return the tags that operators filter flow runs by."""
    tags = [f"application:{job.application}", f"submitter:{job.submitter}"]
    return tags if destination is None else [*tags, f"destination:{destination}"]


async def tag_destination(job: Job, flow_run_id: UUID, destination: str) -> None:
    """Add the picked destination to the flow run's tags; a job does not fail when Prefect is away."""
    try:
        async with get_client() as client:
            await client.update_flow_run(flow_run_id, tags=flow_run_tags(job, destination))
    except httpx.HTTPError as error:
        logger.warning("The flow run of job %s was not tagged with its destination: %r", job.id, error)
