"""What operators do in Prefect's UI: the calls that it makes, and jobs that show what came of them."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun

from tests.e2e.service import Service, until, written
from tests.e2e.upkeep_runs import flow_runs_of

UNTIL_GO = "echo $$ >pid; while [ ! -e go ]; do sleep 0.05; done; echo ran >>ledger"


async def change_pool(prefect: PrefectClient, **values: Any) -> None:
    await prefect.request("PATCH", "/work_pools/{name}", path_params={"name": "bartender"}, json=values)


async def change_queue(prefect: PrefectClient, **values: Any) -> None:
    path = {"pool": "bartender", "name": "default"}
    await prefect.request("PATCH", "/work_pools/{pool}/queues/{name}", path_params=path, json=values)  # type: ignore[arg-type]


async def change_deployment(prefect: PrefectClient, **values: Any) -> None:
    deployment = await prefect.read_deployment_by_name("run-job/bartender")
    await prefect.request("PATCH", "/deployments/{id}", path_params={"id": deployment.id}, json=values)


@asynccontextmanager
async def paused(prefect: PrefectClient) -> AsyncIterator[None]:
    """Have the work pool paused, once all workers know."""
    await change_pool(prefect, is_paused=True)
    try:
        await all_workers_know(prefect)
        yield
    finally:
        await change_pool(prefect, is_paused=False)


async def all_workers_know(prefect: PrefectClient) -> None:
    """Wait until each worker has read what was set by now: it does so between one heartbeat and the next."""

    async def beats() -> dict[str, datetime | None]:
        workers = await prefect.read_workers_for_work_pool("bartender")
        return {worker.name: worker.last_heartbeat_time for worker in workers}

    for _ in range(2):
        before = await beats()

        async def all_beat(before: dict[str, datetime | None] = before) -> bool:
            now = await beats()
            return all(now[name] != beat for name, beat in before.items())

        await until(all_beat)


async def run_of(prefect: PrefectClient, job_id: int) -> FlowRun:
    [run] = await until(lambda: flow_runs_of(prefect, f"script-{job_id}"))
    return run  # type: ignore[no-any-return]


async def going_on(service: Service, prefect: PrefectClient) -> tuple[int, FlowRun]:
    """Return a job whose command runs until ``let_go``, and its flow run, once both are known."""
    job_id = await service.run(UNTIL_GO)
    await service.state_is(job_id, "running")
    await written(service.job_dir(job_id) / "pid")
    run = await run_of(prefect, job_id)
    await has_state(prefect, run.id, "Running")
    return job_id, run


def let_go(service: Service, job_id: int) -> None:
    (service.job_dir(job_id) / "go").touch()


async def waiting(service: Service, reason: str, script: str = "echo ran >>ledger") -> int:
    """Return a job that nobody begins, and that says so.

    Workers learn of what an operator sets with their next heartbeat: those that they begin until then end.
    """

    async def look() -> int | None:
        job_id = await service.run(script)

        async def says() -> bool:
            job = await service.job(job_id)
            return bool(job["reason"] == reason or job["state"] != "new")

        await until(says)
        return job_id if (await service.job(job_id))["state"] == "new" else None

    job_id: int = await until(look)
    return job_id


async def has_state(prefect: PrefectClient, flow_run_id: uuid.UUID, *names: str) -> None:
    async def look() -> bool:
        return (await prefect.read_flow_run(flow_run_id)).state_name in names

    await until(look)


async def says(prefect: PrefectClient, flow_run_id: uuid.UUID, words: str) -> None:
    """Wait until the flow run's state has a message that ends so."""

    async def look() -> bool:
        state = (await prefect.read_flow_run(flow_run_id)).state
        return state is not None and (state.message or "").endswith(words)

    await until(look)
