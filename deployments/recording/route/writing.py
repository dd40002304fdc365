"""Writes what was told into Prefect's database, on a connection of Prefect's own server."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
import orjson
import prefect
from prefect.server.database import provide_database_interface

from deployments.recording.halving import in_halves
from deployments.recording.merging import Now
from deployments.recording.reports import Answer, RunReport
from deployments.recording.route import statements
from deployments.recording.route.delivery import Delivery
from deployments.recording.route.planning import Plan, Told
from deployments.recording.route.rows import NO_DETAILS, Deployment
from deployments.recording.task_runs import Results
from deployments.recording.wire import Batch

_ABOUT_VALUES = {"21", "22", "23", "54"}
"""Classes of PostgreSQL's errors: a row given twice, data, constraints, limits."""

_ONCE_MORE = {"40001", "40P01"}
"""What of two transactions that met only one is told."""


class NoDeployment(Exception):
    """Prefect has no such deployment: it has to be made first."""


class Writer:
    """One batch at a time: two could be about the same runs. Those of other servers wait for its locks."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._turn = asyncio.Lock()

    async def write(self, batch: Batch) -> Sequence[Answer]:
        """Return what became of each run.

        Raises NoDeployment, Undelivered, and PostgreSQL's errors but for bad values.
        """
        async with self._turn, connection() as database:
            await self._delivery.catch_up()
            try:
                return await self._or_halves(database, batch, batch.runs)
            except asyncpg.PostgresError as error:
                if error.sqlstate not in _ONCE_MORE:
                    raise
            return await self._or_halves(database, batch, batch.runs)

    async def _or_halves(self, database: Any, batch: Batch, runs: Sequence[RunReport]) -> Sequence[Answer]:
        try:
            return await self._together(database, batch, runs)
        except asyncpg.PostgresError as error:
            if (error.sqlstate or "")[:2] not in _ABOUT_VALUES:
                raise
            why = str(error)
        return await in_halves(runs, why, partial(self._or_halves, database, batch))

    async def _together(self, database: Any, batch: Batch, runs: Sequence[RunReport]) -> list[Answer]:
        async with database.transaction():
            plan = Plan(await _find_deployment(database, batch), self._delivery)
            told = await _lock(database, [report.flow_run_id for report in runs])
            for report in sorted(runs, key=lambda report: report.flow_run_id):
                plan.add(report, told.get(report.flow_run_id))
            if not plan.rows.is_empty:
                await database.execute(statements.WRITE, _json(plan.rows), _NO_DETAILS)
        await self._delivery.deliver(plan.events)
        return [Answer(plan.verdicts[report.flow_run_id]) for report in runs]


def _json(rows: object) -> str:
    return orjson.dumps(rows, default=str).decode()  # asyncpg has a UUID of its own


_NO_DETAILS = _json(NO_DETAILS)


async def _find_deployment(database: Any, batch: Batch) -> Deployment:
    row = await database.fetchrow(statements.FIND_DEPLOYMENT, batch.flow, batch.deployment, batch.results)
    if row is None:
        raise NoDeployment(f"{batch.flow}/{batch.deployment}")
    values = dict(row)
    for name in ("tags", "labels", "parameters", "flow_tags", "flow_labels"):
        values[name] = orjson.loads(values[name])
    results = Results(values.pop("results_id"), prefect.__version__)
    return Deployment(**values, results=results)


async def _lock(database: Any, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Told]:
    """Return what Prefect has of runs, which stays so until the transaction ends."""
    told = {
        row["id"]: Told(_now(row, "state_") if row["state_id"] else None, orjson.loads(row["tags"]))
        for row in await database.fetch(statements.LOCK_RUNS, ids)
    }
    if told:
        for row in await database.fetch(statements.STATES_OF_RUNS, list(told)):
            told[row["flow_run_id"]].states.append(_now(row))
        for row in await database.fetch(statements.STATES_OF_TASKS, list(told)):
            told[row["flow_run_id"]].tasks[row["task_run_id"]].append(_now(row))
    return told


def _now(row: Any, prefix: str = "") -> Now:
    return Now(row[f"{prefix}id"], row[f"{prefix}type"], row[f"{prefix}name"], row[f"{prefix}timestamp"])


@asynccontextmanager
async def connection() -> AsyncIterator[Any]:
    """Lend the driver's connection, out of the pool of Prefect's server."""
    engine = await provide_database_interface().engine()
    async with engine.connect() as pooled:
        yield (await pooled.get_raw_connection()).driver_connection
