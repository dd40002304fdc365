"""How rows of jobs are read and changed: what all stores of jobs have in common."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from flows.database import Database
from flows.errors import JobNotFound
from flows.jobs.job import Job, State, installation_table, job_table
from flows.jobs.not_begun import SAYS_NOTHING_ELSE
from flows.jobs.rules import ACTIVE

_job = job_table.c

# Put together once: visitors poll, and to make the statement takes as long as to send it.
_BY_ID = sa.select(job_table).where(_job.id == sa.bindparam("job_id"))


class JobRows(Database):
    """Base of the stores of jobs. Each of them has what one kind of caller may do, and all SQL for it."""

    _installation: uuid.UUID | None = None

    async def installation(self) -> uuid.UUID:
        """Return which database this is, wherever it was copied or restored to. It is asked once."""
        if self._installation is None:
            async with self.connection() as connection:
                found = await connection.execute(sa.select(installation_table.c.id))
                self._installation = found.scalar_one()
        return self._installation

    async def _all(self, statement: sa.Executable, parameters: Mapping[str, Any] | None = None) -> list[Job]:
        async with self.connection() as connection:
            found = await connection.execute(statement, parameters)
            names = tuple(found.keys())
            return [_from_row(names, row) for row in found]

    async def _first(
        self, statement: sa.Executable, parameters: Mapping[str, Any] | None = None
    ) -> Job | None:
        jobs = await self._all(statement, parameters)
        return jobs[0] if jobs else None

    async def get(self, job_id: int) -> Job:
        """Raise JobNotFound when there is no such job."""
        job = await self._first(_BY_ID, {"job_id": job_id})
        if job is None:
            raise JobNotFound(f"There is no job {job_id}.")
        return job

    async def _update(self, *where: sa.ColumnElement[bool], **values: object) -> int | None:
        statement = (
            sa.update(job_table).where(*where).values(**values, updated_on=sa.func.now()).returning(_job.id)
        )
        async with self.connection() as connection:
            updated: int | None = (await connection.execute(statement)).scalar_one_or_none()
            return updated

    async def _explain_waiting(self, reason: str, *where: sa.ColumnElement[bool]) -> None:
        """Let jobs say what they wait for, where they say nothing of another kind."""
        waiting = sa.update(job_table).where(
            *where, ACTIVE, _job.reason.is_distinct_from(reason), SAYS_NOTHING_ELSE
        )
        async with self.connection() as connection:
            await connection.execute(waiting.values(reason=reason, updated_on=sa.func.now()))


def _from_row(names: Sequence[str], row: sa.Row[Any]) -> Job:
    values = dict(zip(names, row, strict=True))
    values["state"] = State(values["state"])
    return Job(**values)
