"""A flow of jobs' steps that Prefect's own engine runs, and what is to be reported of such a run."""

import asyncio
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prefect import flow, task
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.client.schemas.objects import State
from prefect.context import TaskRunContext
from prefect.flow_engine import run_flow_async
from prefect.flows import Flow
from prefect.states import AwaitingRetry, Completed, Failed, Pending

from deployments.recording.reports import RetryPolicy, RunReport, StateReport, TaskReport, derived_id
from deployments.registration.deploy import deployment_id
from flows.lifecycle.flow_run import FLOW
from tests.deployments.recording.server import Json, Server

POLICY = RetryPolicy(retries=3, delays=(0.1, 0.2), jitter=0.5)


class _Away(Exception):
    pass


def _key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    return f"{context.task_run.flow_run_id}/{context.task.name}"


step = task(
    persist_result=True,
    result_serializer="json",
    cache_policy=CacheKeyFnPolicy(cache_key_fn=_key),
    retries=POLICY.retries,
    retry_delay_seconds=list(POLICY.delays),
    retry_jitter_factor=POLICY.jitter,
    retry_condition_fn=lambda task, run, state: isinstance(state.data, _Away),
)
failures: dict[int, int] = {}
"""How often the first step of a job fails before it does not."""


@step
async def upload(job_id: int) -> None:
    if failures.get(job_id, 0):
        failures[job_id] -= 1
        raise _Away("a part is away")


@step
async def pick_destination(job_id: int) -> str:
    return "local"


@step
async def submit(job_id: int, destination: str) -> str:
    return f"{destination}-1"


@step
async def poll(job_id: int, destination: str, scheduler_id: str) -> dict[str, Any]:
    if job_id < 0:
        raise ValueError("no job has such a number")
    return {"returncode": job_id % 2, "failure": None, "kind": None}


@step
async def collect(job_id: int, destination: str, scheduler_id: str, outcome: dict[str, Any]) -> None:
    pass


@flow(name=FLOW, validate_parameters=False)
async def stock(job_id: int) -> State:
    await upload(job_id)
    destination = await pick_destination(job_id)
    scheduler_id = await submit(job_id, destination)
    outcome = await poll(job_id, destination, scheduler_id)
    await collect(job_id, destination, scheduler_id, outcome)
    if outcome["returncode"]:
        return Failed(message="The command ended with exit code 1.")
    return Completed(message="The job ended well.")


async def run(server: Server, job_id: int, *, times: int = 1) -> uuid.UUID:
    """Run a job as Prefect does, so often as if all but the last time were interrupted at its end."""
    flow_run_id = await create(server, job_id)
    known_flow: Flow[Any, Any] = stock.with_options(result_storage=server.storage)
    for number in range(times):
        if number:
            steps: tuple[State[Any], ...] = (AwaitingRetry(), Pending())
            for state in steps:
                await server.client.set_flow_run_state(flow_run_id, state, force=True)
        flow_run = await server.client.read_flow_run(flow_run_id)
        await run_flow_async(
            known_flow, flow_run=flow_run, parameters={"job_id": job_id}, return_type="state"
        )
    await _until_recorded(server, flow_run_id, times * 5 if job_id >= 0 else times * 4)
    return flow_run_id


async def create(server: Server, job_id: int) -> uuid.UUID:
    """Make a run as the dispatcher does."""
    made = await server.post(
        f"/deployments/{await deployment_id(server.client)}/create_flow_run/bulk",
        [
            {
                "name": f"wc-{job_id}",
                "parameters": {"job_id": job_id},
                "enforce_parameter_schema": False,
                "tags": ["application:wc", "submitter:me"],
                "idempotency_key": f"bartender-{uuid.uuid4()}",
            }
        ],
    )
    return uuid.UUID(made["results"][0]["flow_run_id"])


async def _until_recorded(server: Server, flow_run_id: uuid.UUID, tasks: int) -> None:
    """Wait for what the engine sends on its own, and the server writes later."""
    while True:
        names = [task["state_type"] for task in await server.tasks(flow_run_id)]
        happened = [event["event"] for event in await server.events(flow_run_id)]
        ended = [
            name for name in happened if name in {"prefect.flow-run.Completed", "prefect.flow-run.Failed"}
        ]
        if len(names) == tasks and not {"PENDING", "RUNNING", "SCHEDULED"} & set(names) and ended:
            return
        await asyncio.sleep(0.2)


@dataclass
class Copy:
    """What is to be reported of a run that is there, under new ids."""

    report: RunReport
    ids: dict[str, str] = field(default_factory=dict)
    """The new id of each old one, and the new name of each task run."""


async def copy(server: Server, flow_run_id: uuid.UUID) -> Copy:
    run, new = await server.run(flow_run_id), uuid.uuid4()
    ids = {str(flow_run_id): str(new)}
    states = tuple(_state(state, ids) for state in await server.states(flow_run_id))
    stock_tasks = await server.tasks(flow_run_id)
    for one in stock_tasks:
        number = str(derived_id(new, one["id"]))
        ids[one["id"]] = ids[one["dynamic_key"]] = number
        # In quotes: the beginning of a task's key can be alike.
        ids[f'"{one["name"]}"'] = f'"{one["name"].rpartition("-")[0]}-{number[:3]}"'
    tasks = tuple([await _task(server, one, ids) for one in stock_tasks])
    key = f"bartender-{new}"
    ids[run["idempotency_key"]] = key
    report = RunReport(
        flow_run_id=new,
        name=run["name"],
        tags=tuple(run["tags"]),
        parameters=run["parameters"],
        idempotency_key=key,
        scheduled_on=datetime.fromisoformat(run["expected_start_time"]),
        states=states,
        tasks=tasks,
    )
    return Copy(report, ids)


def _state(state: Json, ids: dict[str, str], kept: str | None = None) -> StateReport:
    number = uuid.uuid4()
    ids[state["id"]] = str(number)
    scheduled = state["state_details"]["scheduled_time"]
    return StateReport(
        id=number,
        type=state["type"],
        name=state["name"],
        timestamp=datetime.fromisoformat(state["timestamp"]),
        message=state["message"],
        scheduled_on=scheduled and datetime.fromisoformat(scheduled),
        result=kept,
        untrackable=state["state_details"]["untrackable_result"],
    )


async def _task(server: Server, one: Json, ids: dict[str, str]) -> TaskReport:
    states = [
        _state(state, ids, (state["data"] or {}).get("storage_key"))
        for state in await server.task_states(one["id"])
    ]
    return TaskReport(
        id=uuid.UUID(ids[one["id"]]),
        task=one["name"].rpartition("-")[0],
        key=one["task_key"],
        inputs={
            parameter: [uuid.UUID(ids[source["id"]]) for source in sources]
            for parameter, sources in one["task_inputs"].items()
        },
        states=tuple(states),
        policy=POLICY,
    )
