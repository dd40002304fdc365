"""What must be true at the end, whatever happened before."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
import sqlalchemy.exc
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from sqlalchemy.ext.asyncio import create_async_engine

from flows.jobs.job import job_table
from flows.jobs.leases import IS_LIVE, worker_table
from tests.chaos.load import Visit
from tests.e2e.conftest import prefect_client
from tests.e2e.service import Service
from tests.services.processes import PROC, lives, pids

LOOK_INTERVAL = 1.0


async def problems_until(look: Callable[[], Awaitable[list[str]]], seconds: float) -> list[str]:
    """Return what is still wrong after so many seconds; what is right once, is right."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            problems = await look()
        except (OSError, sa.exc.DBAPIError, httpx.HTTPError, RuntimeError) as error:
            problems = [f"a part that was brought back is not there: {error!r}"]
        if not problems or time.monotonic() > deadline:
            return problems
        await asyncio.sleep(LOOK_INTERVAL)


class Checks:
    """``workers`` is how many have to have a lease. Methods return one line for each thing that is wrong."""

    def __init__(self, service: Service, visits: list[Visit], workers: int) -> None:
        self._service = service
        self._visits = visits
        self._workers = workers

    async def endings(self) -> list[str]:
        """All jobs have ended as they should."""
        rows = {row.id: row for row in await self._rows(sa.select(job_table))}
        found: list[str] = []
        for visit in self._visits:
            if visit.job_id is not None:  # else its visitor has complained already
                found += self._ending(visit, rows.get(visit.job_id))
        if unknown := set(rows) - {visit.job_id for visit in self._visits}:
            found.append(f"nobody submitted the jobs {sorted(unknown)}")
        return found

    def _ending(self, visit: Visit, row: sa.Row[tuple[object, ...]] | None) -> Iterator[str]:
        who = f"job {visit.job_id} (number {visit.plan.number}, {visit.plan.destination})"
        if visit.plan.fate == "delete":
            if row is not None or self._service.job_dir(visit.job_id or 0).exists():
                yield f"{who} was deleted and is still there"
        elif row is None:
            yield f"{who} is not in the database"
        else:
            end = (row.state, row.reason_kind)
            allowed: set[tuple[str, str | None]] = set()
            if visit.plan.fate == "run" or visit.ended_before:
                allowed.add(("ok", None))
            if visit.plan.fate == "cancel":
                allowed.add(("error", "cancelled"))
            if end not in allowed:
                yield f"{who} is {row.state}: {row.reason}"
        runs = visit.runs()
        if runs > 1 or (runs < 1 and visit.plan.fate == "run"):
            yield f"{who} ran {runs} times"

    async def outputs(self) -> list[str]:
        """What visitors read of the jobs that ended well is what the commands wrote."""
        found: list[str] = []
        async with self._service.client_of("visitor") as client:
            listed = await _listed(client)
            expected = {visit.job_id for visit in self._visits if visit.plan.fate != "delete"}
            if {job["id"] for job in listed} != expected or len(listed) != len(expected):
                found.append("the visitor's list is not that of the jobs that were submitted and not deleted")
            for visit in self._visits:
                if visit.plan.fate == "run":
                    found += await _outputs(client, visit)
        return found

    async def leftovers(self) -> list[str]:
        """Nothing is left on this machine of jobs that have ended, but their own directories."""
        data = self._service.data_dir
        kept = {str(visit.job_id) for visit in self._visits if visit.plan.fate != "delete"}
        left = [path for path in (data / "jobs").iterdir() if path.name not in kept]
        left += [*(data / "uploads").iterdir(), *(data / "results").glob("*"), *data.glob("commands/*/*/*")]
        found = [f"{path} is left" for path in left]
        found += [f"process {pid} of job {mark} is left" for pid, mark in self._processes()]
        return found

    def _processes(self) -> Iterator[tuple[int, str]]:
        marks = {visit.mark.encode(): visit for visit in self._visits}
        for pid in pids():
            try:
                variables = (PROC / str(pid) / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            for variable in variables:
                visit = marks.get(variable.removeprefix(b"CHAOS="))
                if visit is not None and lives(pid):
                    yield pid, str(visit.job_id)

    async def database(self) -> list[str]:
        """Nobody owns a job any more, and only workers that run have a lease."""
        columns = job_table.c
        busy = sa.or_(columns.owner.is_not(None), columns.cancel_requested, columns.flow_run_id.is_(None))
        # A job that nobody had begun when it was cancelled needs no flow run.
        unsettled = await self._rows(sa.select(job_table).where(busy, columns.state != "error"))
        unsettled += await self._rows(sa.select(job_table).where(columns.owner.is_not(None)))
        found = [f"job {row.id} is not settled: {row}" for row in unsettled]
        leases = await self._rows(sa.select(worker_table).where(IS_LIVE))
        if len(leases) != self._workers:
            found.append(f"there are {len(leases)} leases of {self._workers} workers")
        return found

    async def flow_runs(self) -> list[str]:
        """All flow runs are final and say what the rows say; no job has two."""
        rows = {row.flow_run_id: row for row in await self._rows(sa.select(job_table))}
        found: list[str] = []
        names: set[str] = set()
        of_jobs = FlowFilter(name=FlowFilterName(any_=["run-job"]))  # those of pilots have their names, too
        for run in await all_flow_runs(self._service, of_jobs):
            state = run.state
            if state is None or not state.is_final():
                found.append(f"flow run {run.name} is {state and state.type}")
            elif run.id in rows and (rows[run.id].state == "ok") != state.is_completed():
                found.append(f"flow run {run.name} is {state.type}, its job {rows[run.id].state}")
            if run.name in names:
                found.append(f"there are two flow runs {run.name}")
            names.add(run.name)
        return found

    async def _rows(self, statement: sa.Select[tuple[object, ...]]) -> list[sa.Row[tuple[object, ...]]]:
        engine = create_async_engine(self._service.environment["BARTENDER_DB_DSN"])
        try:
            async with engine.connect() as connection:
                return list(await connection.execute(statement))
        finally:
            await engine.dispose()


async def _listed(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        answer = await client.get("/api/job/", params={"limit": 1000, "offset": len(found)})
        found += (page := answer.raise_for_status().json())
        if len(page) < 1000:
            return found


async def _outputs(client: httpx.AsyncClient, visit: Visit) -> list[str]:
    content = visit.plan.content
    expected = {
        "files/output": content + content,
        "files/sum": f"{hashlib.sha256(content).hexdigest()}  -\n".encode(),
        "stdout": f"end of {visit.plan.number}\n".encode(),
        "stderr": b"",
    }
    found = []
    for path, wanted in expected.items():
        answer = await client.get(f"/api/job/{visit.job_id}/{path}")
        if answer.status_code != 200 or answer.content != wanted:
            said = answer.content[:100]
            found.append(f"{path} of job {visit.job_id} is wrong: {answer.status_code}, {said!r}")
    ledger = await client.get(f"/api/job/{visit.job_id}/files/ledger")
    if len(ledger.text.splitlines()) != 1:
        found.append(f"the ledger of job {visit.job_id} came back as {ledger.text!r}")
    return found


async def clean_up(service: Service) -> list[str]:
    """Start the flow that operators have for what is left, and have it take all at once."""
    async with prefect_client(service) as prefect:
        try:
            deployment = await prefect.read_deployment_by_name("clean-up/bartender")
        except ObjectNotFound:  # whichever worker leads after the last fault makes it then
            return ["the deployment of clean-up is not there yet"]
        parameters = {"leftovers_after_days": 0, "uploads_after_days": 0}
        await prefect.create_flow_run_from_deployment(deployment.id, parameters=parameters)
    return []


async def all_flow_runs(service: Service, of: FlowFilter | None = None) -> list[FlowRun]:
    found: list[FlowRun] = []
    async with prefect_client(service) as prefect:
        while page := await prefect.read_flow_runs(flow_filter=of, offset=len(found), limit=200):
            found += page
    return found


def remains(directory: Path) -> list[str]:
    """What is left in a directory that is to be empty."""
    return [f"{path} is left" for path in directory.iterdir()]
