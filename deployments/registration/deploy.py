"""What Prefect has to know of us: the work pool, the flow and its deployment, where results are kept."""

import logging
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.filesystems import LocalFileSystem
from prefect.utilities.callables import parameter_schema

import blocks
from deployments.registration.names import (
    DEPLOYMENT,
    ENTRYPOINT,
    FORMER_ENTRYPOINTS,
    RESULTS_BLOCK,
    UPKEEP_DEPLOYMENT,
    WORK_POOL,
    WORK_POOL_TYPE,
)
from deployments.registration.upkeep_flows import Upkeep
from flows.errors import Refused
from flows.lifecycle.flow_run import FLOW
from flows.prefect_api import unavailable_when_prefect_is_away
from flows.run_job import run_job

logger = logging.getLogger(__name__)

DESCRIPTION = (
    "Runs one job; the web service starts a run of it for each submission. Its concurrency limit is how many "
    "jobs run at once, in all workers together; others wait, whatever the collision strategy is."
)
_FORMER_DESCRIPTION = "Runs one job; the web service starts a run of it for each submission."


@dataclass(frozen=True, slots=True)
class Registered:
    """What Prefect knows of us. ``results`` is the block of the directory of results."""

    flow_id: UUID
    results: LocalFileSystem
    results_id: UUID


async def register(client: PrefectClient, results: Path) -> Registered:
    """Make known what is not; return what is known then.

    Raises Unavailable while the server is away, Refused when it is none of Prefect's or does not let us in.
    """
    with unavailable_when_prefect_is_away():
        await _check_address(client)
        deployment = await client.read_deployment(await deployment_id(client))
        await register_blocks(client)
        block = LocalFileSystem(basepath=str(results))
        return Registered(deployment.flow_id, block, await block.asave(RESULTS_BLOCK, overwrite=True))


async def _check_address(client: PrefectClient) -> None:
    """Raise Refused where what answers is none of Prefect's servers, or its UI."""
    try:
        with unavailable_when_prefect_is_away():
            await client.api_version()
    except (httpx.HTTPStatusError, ValueError) as error:
        raise Refused(
            "PREFECT_API_URL does not lead to the API of a Prefect server: its address ends in /api."
        ) from error


async def deployment_id(client: PrefectClient) -> UUID:
    """Return the id of our deployment, after making it where ``prefect deploy`` has not."""
    try:
        return await _made_before(client, f"{FLOW}/{DEPLOYMENT}", ENTRYPOINT)
    except ObjectNotFound:
        await ensure_work_pool(client)
        flow_id = await client.create_flow(run_job)
        return await client.create_deployment(
            flow_id,
            DEPLOYMENT,
            description=DESCRIPTION,
            work_pool_name=WORK_POOL,
            entrypoint=ENTRYPOINT,
            parameter_openapi_schema=parameter_schema(run_job.fn).model_dump(),
            enforce_parameter_schema=True,
        )


async def upkeep_deployment_id(client: PrefectClient, upkeep: Upkeep) -> UUID:
    """Return the id of the deployment of one of the scheduled flows, after making it where there is none.

    One that is there is left as its operator has set it: schedule, parameters and all.
    """
    try:
        return await _made_before(client, f"{upkeep.flow.name}/{UPKEEP_DEPLOYMENT}", upkeep.entrypoint)
    except ObjectNotFound:
        await ensure_work_pool(client)
        flow_id = await client.create_flow(upkeep.flow)
        schedule = CronSchedule(cron=upkeep.cron, timezone="UTC")
        return await client.create_deployment(
            flow_id,
            UPKEEP_DEPLOYMENT,
            description=upkeep.description,
            work_pool_name=WORK_POOL,
            entrypoint=upkeep.entrypoint,
            schedules=[DeploymentScheduleCreate(schedule=schedule)],
            parameter_openapi_schema=parameter_schema(upkeep.flow.fn).model_dump(),
            enforce_parameter_schema=True,
        )


async def _made_before(client: PrefectClient, name: str, entrypoint: str) -> UUID:
    """Return the id of a deployment that is there; ObjectNotFound for none.

    Where an earlier version of ours made it, its entrypoint is put right: `prefect` loads the flow by that.
    So is what it says of limits.
    """
    deployment = await client.read_deployment_by_name(name)
    if deployment.entrypoint in FORMER_ENTRYPOINTS:
        await client.update_deployment(deployment.id, DeploymentUpdate(entrypoint=entrypoint))
    if deployment.description == _FORMER_DESCRIPTION:
        await client.update_deployment(deployment.id, DeploymentUpdate(description=DESCRIPTION))
    return deployment.id


async def ensure_work_pool(client: PrefectClient) -> None:
    """Make the work pool unless it is there."""
    try:
        await client.read_work_pool(WORK_POOL)
    except ObjectNotFound:
        pool = WorkPoolCreate(
            name=WORK_POOL,
            type=WORK_POOL_TYPE,
            description="Flow runs of jobs, run by the processes of `bartender worker`. While it is paused "
            "none begins; its concurrency limit is for all workers together.",
        )
        try:
            await client.create_work_pool(pool)
        except ObjectAlreadyExists:
            logger.debug("another process made the work pool %s just now", WORK_POOL)


async def register_blocks(client: PrefectClient) -> None:
    """Show our blocks in Prefect's UI, as ``prefect block register -m blocks`` does."""
    for name in blocks.__all__:
        await getattr(blocks, name).register_type_and_schema(client=client)
