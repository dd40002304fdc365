"""Flow runs of a whole server, as operators start and read them."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterName,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound

from tests.e2e.service import until


async def start(prefect: PrefectClient, flow: str, **parameters: Any) -> FlowRun:
    """Start a flow as an operator does in the UI."""
    deployment = await deployed(prefect, flow)
    return await prefect.create_flow_run_from_deployment(deployment.id, parameters=parameters)


async def deployed(prefect: PrefectClient, flow: str) -> DeploymentResponse:
    """Return the deployment once a worker has made it."""

    async def look() -> DeploymentResponse | None:
        with suppress(ObjectNotFound):
            return await prefect.read_deployment_by_name(f"{flow}/bartender")
        return None

    deployment: DeploymentResponse = await until(look)
    return deployment


async def ended(prefect: PrefectClient, flow_run_id: uuid.UUID, seconds: float = 180) -> FlowRun:
    async def look() -> FlowRun | None:
        run = await prefect.read_flow_run(flow_run_id)
        return run if run.state is not None and run.state.is_final() else None

    run: FlowRun = await until(look, seconds)
    return run


@asynccontextmanager
async def unscheduled(prefect: PrefectClient, flow: str) -> AsyncIterator[None]:
    """Keep a flow's schedule, inside of the block, from doing first what a test looks for."""
    deployment = await deployed(prefect, flow)
    [schedule] = deployment.schedules
    await prefect.update_deployment_schedule(deployment.id, schedule.id, active=False)

    async def none_is_due() -> bool:
        return not await prefect.get_scheduled_flow_runs_for_deployments([deployment.id])

    await until(none_is_due)
    try:
        yield
    finally:
        await prefect.update_deployment_schedule(deployment.id, schedule.id, active=True)


def message(run: FlowRun) -> str:
    assert run.state is not None
    return f"{run.state.name}: {run.state.message}"


async def flow_runs_of(prefect: PrefectClient, name: str) -> list[FlowRun]:
    names = FlowRunFilter(name=FlowRunFilterName(any_=[name]))
    return await prefect.read_flow_runs(flow_run_filter=names)


async def finished(prefect: PrefectClient, name: str) -> FlowRun:
    async def look() -> FlowRun | None:
        runs = await flow_runs_of(prefect, name)
        return runs[0] if runs and runs[0].state is not None and runs[0].state.is_final() else None

    run: FlowRun = await until(look)
    return run
