"""What Prefect and the jobs' rows say of each other, made to agree. The row is right, but for cancellations.

Workers see to the runs that they have. Here is what none of them sees: runs that were changed in Prefect's
UI behind their back, and what is left of what nobody runs.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Cancelling, Failed, Running

from flows.jobs.job import Job
from flows.jobs.rules import is_settled
from flows.lifecycle.flow_run import FLOW, describe
from flows.lifecycle.runtime import Runtime
from flows.upkeep.findings import Findings
from flows.upkeep.store import UpkeepStore

_PAGE = 200
_BEGUN = {"PENDING", "RUNNING", "PAUSED", "CANCELLING"}
_UNFINISHED = [*_BEGUN, "SCHEDULED"]


async def mend_flow_runs(runtime: Runtime, findings: Findings) -> None:
    """Read all flow runs of jobs that have not ended, a page at a time; act on those that should not be."""
    store = UpkeepStore(runtime.jobs.pool)
    async with get_client() as client:
        # First the jobs: what began since costs nothing, and what ended since is left out by one look.
        under_way = await store.under_way()
        unfinished = {flow_run_id: kind async for flow_run_id, kind in _unfinished(client)}
        begun = {flow_run_id for flow_run_id, kind in unfinished.items() if kind in _BEGUN}
        await _of_no_job_under_way(client, store, findings, begun - under_way.keys())
        without = await _still_under_way(
            store, {number: job for number, job in under_way.items() if number not in unfinished}
        )
        for flow_run_id, job in without.items():
            await _of_job_under_way(client, store, findings, flow_run_id, job)


async def _unfinished(client: PrefectClient) -> AsyncIterator[tuple[UUID, str]]:
    offset = 0
    while True:
        page = await _page(client, {"state": {"type": {"any_": _UNFINISHED}}}, offset)
        for flow_run in page:
            yield UUID(flow_run["id"]), flow_run["state_type"]
        if len(page) < _PAGE:
            return
        offset += _PAGE


async def _page(client: PrefectClient, flow_runs: dict[str, Any], offset: int) -> list[dict[str, Any]]:
    body = {
        "flows": {"name": {"any_": [FLOW]}},
        "flow_runs": flow_runs,
        "sort": "ID_DESC",
        "limit": _PAGE,
        "offset": offset,
    }
    answer = await client.request("POST", "/flow_runs/filter", json=body)
    return list(answer.json())


async def _of_no_job_under_way(
    client: PrefectClient, store: UpkeepStore, findings: Findings, flow_runs: Collection[UUID]
) -> None:
    jobs = await store.by_flow_runs(flow_runs)
    for flow_run_id in flow_runs:
        job = jobs.get(flow_run_id)
        if job is not None and not is_settled(job):
            continue  # its worker says so, or begins with it just now
        kind = await _kind(client, flow_run_id)
        if kind not in _BEGUN:
            continue  # it has ended since it was read
        if job is not None:
            state = describe(job)
        elif kind == "CANCELLING":
            state = Cancelled(message="There is no job of this flow run.")
        else:
            state = Failed(message="There is no job of this flow run.")
        await _set(client, flow_run_id, state)
        what = "flow run without a job" if job is None else f"flow run of the ended job {job.id}"
        findings.add(what, flow_run_id, f"is {state.name} now")


async def _of_job_under_way(
    client: PrefectClient, store: UpkeepStore, findings: Findings, flow_run_id: UUID, job: Job
) -> None:
    kind = await _kind(client, flow_run_id)
    if kind is None:
        # A worker that has the job sees to its end.
        if job.owner is None and await store.forget_flow_run(job):
            findings.add("job whose flow run was deleted", job.id, "gets a new one")
        return
    now = (await _still_under_way(store, {flow_run_id: job})).get(flow_run_id)
    if now is None:
        return  # it ended since it was read
    if kind == "CANCELLED":
        # What the button "Cancel" does: the worker that has the job ends it, or the next one to have it.
        await _set(client, flow_run_id, Cancelling(message="It was Cancelled, but its job goes on."))
        findings.add("job whose flow run was set to Cancelled", job.id, "is being cancelled")
    elif kind in {"COMPLETED", "FAILED", "CRASHED"} and now.owner is not None:
        await _set(client, flow_run_id, Running(message=f"It was {kind.title()}, but its job goes on."))
        findings.add(f"job whose flow run was {kind.title()}", job.id, "goes on")


async def _still_under_way(store: UpkeepStore, jobs: Mapping[UUID, Job]) -> dict[UUID, Job]:
    """Return those that have not ended since, with their rows of now, by their flow runs."""
    now = await store.with_ids([job.id for job in jobs.values()])
    same = {number: now[job.id] for number, job in jobs.items() if job.id in now}
    return {
        number: job for number, job in same.items() if not job.state.is_final and job.flow_run_id == number
    }


async def _kind(client: PrefectClient, flow_run_id: UUID) -> str | None:
    try:
        flow_run = await client.read_flow_run(flow_run_id)
    except ObjectNotFound:
        return None
    return None if flow_run.state is None else flow_run.state.type.value


async def _set(client: PrefectClient, flow_run_id: UUID, state: State[Any]) -> None:
    with suppress(ObjectNotFound):
        await client.set_flow_run_state(flow_run_id, state, force=True)
