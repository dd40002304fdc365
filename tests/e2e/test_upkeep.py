"""The scheduled flows: run by one worker at a time, seen in Prefect's UI, as their operator has set them."""

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import yaml
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.filters import FlowRunFilterStateType as StateTypes
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.states import Cancelling

from deployments.registration.upkeep_flows import UPKEEP
from tests.e2e.conftest import StartWorker, database, prefect_client
from tests.e2e.service import Service, until
from tests.e2e.upkeep_runs import deployed, ended, message, start


@asynccontextmanager
async def a_clean_up_waits(service: Service) -> AsyncIterator[None]:
    """Keep runs of `clean-up` from getting on inside of the block."""
    async with database(service) as connection, connection.transaction():
        await connection.execute("LOCK TABLE installation IN ACCESS EXCLUSIVE MODE")
        yield


async def is_running(prefect: PrefectClient, flow_run_id: uuid.UUID, run_count: int = 1) -> None:
    async def look() -> bool:
        run = await prefect.read_flow_run(flow_run_id)
        return run.state is not None and run.state.is_running() and run.run_count == run_count

    await until(look)


async def test_an_operator_starts_them(service: Service, prefect: PrefectClient) -> None:
    (service.data_dir / "jobs").mkdir(exist_ok=True)
    (service.data_dir / "jobs" / "123456").mkdir()
    run = await start(prefect, "clean-up", dry_run=True, leftovers_after_days=0)
    run = await ended(prefect, run.id)
    assert message(run).startswith("Completed: directory without job: kept")
    assert run.run_count == 1

    async def logs() -> list[str]:
        of_run = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
        return [log.message for log in await prefect.read_logs(log_filter=of_run)]

    async def told() -> bool:
        return any("jobs/123456: kept: perhaps of another database" in line for line in await logs())

    await until(told)


async def test_an_operator_cancels_one(service: Service, prefect: PrefectClient) -> None:
    async with a_clean_up_waits(service):
        run = await start(prefect, "clean-up")
        await is_running(prefect, run.id)
        await prefect.set_flow_run_state(run.id, Cancelling())
        run = await ended(prefect, run.id)
        assert message(run) == "Cancelled: An operator cancelled it."
    after = await start(prefect, "clean-up", dry_run=True)  # it is not in the way of others
    assert message(await ended(prefect, after.id)).startswith("Completed")


async def test_another_worker_takes_over(workerless: Service, workers: StartWorker) -> None:
    service = workerless
    first = workers("first")
    async with prefect_client(service) as prefect:
        lead = await start(prefect, "reconcile")
        await ended(prefect, lead.id)  # so the first one leads
        second = workers("second")

        async def is_online() -> bool:
            online = await prefect.read_workers_for_work_pool("bartender")
            return "second" in {worker.name for worker in online}

        await until(is_online)
        many = [await start(prefect, "reconcile") for _ in range(2)]
        ends = [await ended(prefect, run.id) for run in many]
        assert [(run.run_count, run.state_name) for run in ends] == [(1, "Completed")] * 2
        async with a_clean_up_waits(service):
            run, cancelled = await start(prefect, "clean-up"), await start(prefect, "clean-up")
            await is_running(prefect, run.id)
            await prefect.set_flow_run_state(cancelled.id, Cancelling())  # while it waits its turn
            first.kill()
            await asyncio.to_thread(first.wait)
            await is_running(prefect, run.id, run_count=2)
        run = await ended(prefect, run.id)
        assert (run.run_count, run.state_name) == (2, "Completed")
        assert (await ended(prefect, cancelled.id)).state_name == "Cancelled"
        # The second leads now. One that is frozen keeps its connection, but gives no sign.
        os.kill(second.pid, signal.SIGSTOP)
        third = workers("third")
        run = await start(prefect, "reconcile")
        assert (await ended(prefect, run.id)).state_name == "Completed"
        os.kill(second.pid, signal.SIGCONT)
        for worker in (second, third):
            worker.terminate()
        for worker in (second, third):
            assert await asyncio.to_thread(worker.wait, 180) == 0


async def test_after_a_restart(own_service: Service) -> None:
    """A run goes on that the stopped worker had begun, and what an operator has set stays."""
    service = await own_service.start()
    async with prefect_client(service) as prefect, a_clean_up_waits(service):
        deployment = await deployed(prefect, "clean-up")
        [schedule] = deployment.schedules
        await prefect.update_deployment_schedule(deployment.id, schedule.id, active=False)
        await prefect.update_deployment(deployment.id, DeploymentUpdate(parameters={"at_most": 3}))
        run = await start(prefect, "clean-up", dry_run=True)
        await is_running(prefect, run.id)
    await service.stop()
    await service.start()
    async with prefect_client(service) as prefect:
        run = await ended(prefect, run.id)
        assert run.state_name == "Completed", run.state  # so the worker has looked at the deployments
        deployment = await deployed(prefect, "clean-up")
        assert deployment.parameters == {"at_most": 3}
        assert [schedule.active for schedule in deployment.schedules] == [False]


async def test_the_schedule(service: Service, prefect: PrefectClient) -> None:
    """Those of its runs that came too late are not made up for."""
    deployment = await deployed(prefect, "reconcile")
    every_second = DeploymentScheduleCreate(schedule=IntervalSchedule(interval=timedelta(seconds=1)))
    [schedule] = await prefect.create_deployment_schedules(deployment.id, [every_second])
    over = StateTypes(any_=[StateType.COMPLETED, StateType.CANCELLED])

    async def both() -> bool:
        # Of this one only: Prefect returns 200 runs at most, and there are more on a server of many tests.
        wanted = FlowRunFilter(
            state=FlowRunFilterState(type=over),
            deployment_id=FlowRunFilterDeploymentId(any_=[deployment.id]),
        )
        runs = await prefect.read_flow_runs(flow_run_filter=wanted)
        messages = {message(run) for run in runs if run.auto_scheduled}
        return {
            "Completed: Everything is as it should be.",
            "Cancelled: A later run was due already.",
        } <= messages

    try:
        await until(both)
    finally:
        await prefect.delete_deployment_schedule(deployment.id, schedule.id)


def test_prefect_yaml_says_the_same(checkout: Path) -> None:
    deployments = yaml.safe_load((checkout / "prefect.yaml").read_text())["deployments"]
    found = {deployment["entrypoint"]: deployment for deployment in deployments}
    for upkeep in UPKEEP:
        deployment = found[upkeep.entrypoint]
        assert deployment["name"] == "bartender"
        assert deployment["work_pool"] == {"name": "bartender"}
        assert deployment["description"] == upkeep.description
        assert deployment["schedules"] == [{"cron": upkeep.cron, "timezone": "UTC"}]
