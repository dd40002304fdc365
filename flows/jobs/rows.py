"""How rows of jobs are read and changed: what all stores of jobs have in common."""

import uuid
from typing import Any

import sqlalchemy as sa

from flows.database.pool import Pool, Row
from flows.errors import JobNotFound
from flows.jobs.job import Job, State, installation_table, job_table
from flows.jobs.not_begun import is_news
from flows.jobs.rules import ACTIVE

_job = job_table.c

_BY_ID = sa.select(job_table).where(_job.id == sa.bindparam("job_id"))
_INSTALLATION = sa.select(installation_table.c.id)
_STATES = {state.value: state for state in State}


class JobRows:
    """Base of the stores of jobs. Each of them has what one kind of caller may do, and all SQL for it.

    Statements that are needed often are made once, since to make one takes longer than to send it.
    """

    _installation: uuid.UUID | None = None

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    async def installation(self) -> uuid.UUID:
        """Return which database this is, wherever it was copied or restored to. It is asked once."""
        if self._installation is None:
            [[self._installation]] = await self.pool.fetch(_INSTALLATION)
        return self._installation

    async def _all(self, statement: sa.Executable, /, **values: Any) -> list[Job]:
        return [from_row(row) for row in await self.pool.fetch(statement, **values)]

    async def _first(self, statement: sa.Executable, /, **values: Any) -> Job | None:
        rows = await self.pool.fetch(statement, **values)
        return from_row(rows[0]) if rows else None

    async def _is_done(self, statement: sa.Executable, /, **values: Any) -> bool:
        """Return whether there was a row to change; the statement returns those that there were."""
        return bool(await self.pool.fetch(statement, **values))

    async def get(self, job_id: int) -> Job:
        """Raise JobNotFound when there is no such job."""
        job = await self._first(_BY_ID, job_id=job_id)
        if job is None:
            raise JobNotFound(f"There is no job {job_id}.")
        return job

    async def _explain_waiting(self, reason: str, *where: sa.ColumnElement[bool], **values: Any) -> None:
        """Let jobs say what they wait for, where they say nothing of another kind.

        ``values`` are those of parameters in ``where``.
        """
        waiting = sa.update(job_table).where(*where, ACTIVE, is_news(reason))
        await self.pool.fetch(waiting.values(reason=reason, updated_on=sa.func.now()), **values)


def change(*where: sa.ColumnElement[bool], **values: object) -> sa.Executable:
    """Return what changes jobs, says when, and returns which it were."""
    return sa.update(job_table).where(*where).values(**values, updated_on=sa.func.now()).returning(_job.id)


def storable(text: str) -> str:
    """Return a text as the database takes it, which comes from servers and pickers as it may.

    PostgreSQL has no NUL, and UTF-8 no half of a character.
    """
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def from_row(row: Row) -> Job:
    """Return the job of a row of ``job_table``."""
    values = dict(row)
    values["state"] = _STATES[values["state"]]
    return Job(**values)
