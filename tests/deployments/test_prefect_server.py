"""What the embedded Prefect server does with what it cannot keep."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterFlowRunId
from prefect.client.schemas.objects import TaskRun
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Completed

from deployments.worker import engine
from flows.errors import NeverTaken
from flows.waiting.patience import Delays
from tests.e2e.service import until


@pytest_asyncio.fixture
async def prefect(prefect_server: None) -> AsyncIterator[PrefectClient]:
    async with get_client() as client:
        yield client


async def running_flow_run(prefect: PrefectClient) -> uuid.UUID:
    flow_id = await prefect.create_flow_from_name("somebody-elses")
    body = {"flow_id": str(flow_id), "state": {"type": "RUNNING", "name": "Running"}}
    made = await prefect.request("POST", "/flow_runs/", json=body)
    return uuid.UUID(made.json()["id"])


def event(flow_run_id: uuid.UUID, number: int) -> dict[str, Any]:
    """What the engine sends when a task run of the flow run has begun."""
    return {
        "id": str(uuid.uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": "prefect.task-run.Running",
        "resource": {
            "prefect.resource.id": f"prefect.task-run.{uuid.uuid4()}",
            "prefect.orchestration": "client",
        },
        "related": [
            {"prefect.resource.id": f"prefect.flow-run.{flow_run_id}", "prefect.resource.role": "flow-run"}
        ],
        "payload": {
            "validated_state": {"type": "RUNNING", "name": "Running", "state_details": {}},
            "task_run": {"name": f"task-{number}", "task_key": f"task-{number}", "dynamic_key": "0"},
        },
    }


async def test_a_deleted_flow_run_takes_no_task_runs_of_others_with_it(prefect: PrefectClient) -> None:
    deleted, other = await running_flow_run(prefect), await running_flow_run(prefect)
    await prefect.delete_flow_run(deleted)
    events = [event(flow_run_id, number) for number in range(10) for flow_run_id in (deleted, other)]
    await prefect.request("POST", "/events", json=events)

    async def recorded() -> list[TaskRun]:
        of_other = TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[other]))
        return await prefect.read_task_runs(task_run_filter=of_other)

    async def all_are() -> bool:
        return len(await recorded()) == 10

    await until(all_are)
    assert {task_run.name for task_run in await recorded()} == {f"task-{number}" for number in range(10)}


async def test_a_state_that_it_can_never_keep_is_told_a_few_times(
    prefect: PrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "DELAYS", Delays(0.0, longest=0.0))
    flow_run_id = await running_flow_run(prefect)
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
        async with engine.PatientClient() as client:
            with pytest.raises(NeverTaken):
                await client.set_flow_run_state(flow_run_id, Completed(message="a\0b"))
            assert (await client.set_flow_run_state(flow_run_id, Completed())).status == "ACCEPT"
