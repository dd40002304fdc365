"""All SQL about jobs."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from flows.database import Database
from flows.errors import JobCancelled, JobNotFound, Unavailable
from flows.jobs.job import Job, JobFilter, Order, State, installation_table, job_table

CHANNEL = "bartender_job"
"""PostgreSQL channel on which workers are told that flow runs wait for them."""

CANCEL_CHANNEL = "bartender_cancel"
"""PostgreSQL channel on which workers are told that visitors want jobs to end."""

CANCELLED_BY_VISITOR = JobCancelled("You cancelled the job.")


_job = job_table.c
_ALL = JobFilter()
ACTIVE = _job.state.not_in([State.OK, State.ERROR])
ENDED = _job.state.in_([State.OK, State.ERROR])
_VISIBLE = _job.deleted_on.is_(None)
# Not to be settled: a worker that runs it, and a flow run that does not know yet that the job was cancelled.
SETTLED = sa.and_(
    ENDED, _job.owner.is_(None), sa.or_(sa.not_(_job.cancel_requested), _job.flow_run_id.is_(None))
)
# Nothing of the job is anywhere but in its row and its upload.
_NOT_BEGUN = sa.and_(_job.state == State.NEW, _job.owner.is_(None), _job.destination.is_(None))


# Put together once: visitors poll, and to make the statement takes as long as to send it.
_BY_ID = sa.select(job_table).where(_job.id == sa.bindparam("job_id"))


def _from_row(names: Sequence[str], row: sa.Row[Any]) -> Job:
    values = dict(zip(names, row, strict=True))
    values["state"] = State(values["state"])
    return Job(**values)


_NEXT_ID = sa.func.nextval(sa.func.pg_get_serial_sequence("job", "id")).label("id")


def _sorted(order: Order | None) -> list[sa.ColumnElement[Any]]:
    if order is None:
        return [_job.id.desc()]
    columns = [_job[order.removeprefix("-")], _job.id]
    return [column.desc() if order.startswith("-") else column.asc() for column in columns]


class JobStore(Database):
    """What everybody may do with jobs; ``flows.jobs.owned`` has what only the worker that runs them may."""

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

    # Submission and reading: what the API needs

    async def create(
        self,
        *,
        application: str,
        submitter: str,
        roles: Sequence[str],
        command: str,
        token: uuid.UUID,
        idempotency_key: str | None = None,
        job_id: int | None = None,
    ) -> Job:
        """Write down a new job; durable on return. Its name is ``job<id>`` until the visitor renames it.

        ``job_id`` is one of ``next_id``, which is asked for another where it is None.

        Where the submitter has a job with this idempotency key already, that one is returned: its token is
        another.
        """
        if job_id is None:
            job_id = await self.next_id()
        statement = pg.insert(job_table).values(
            id=job_id,
            name=f"job{job_id}",
            application=application,
            submitter=submitter,
            roles=list(roles),
            state=State.NEW,
            command=command,
            token=token,
            idempotency_key=idempotency_key,
        )
        if idempotency_key is not None:
            statement = statement.on_conflict_do_nothing(
                index_elements=[_job.submitter, _job.idempotency_key],
                index_where=_job.idempotency_key.is_not(None),
            )
        job = await self._first(statement.returning(job_table))
        if job is None and idempotency_key is not None:
            job = await self.by_idempotency_key(submitter, idempotency_key)
        if job is None:
            raise Unavailable("The job of this submission was deleted at the same moment; submit again.")
        return job

    async def by_idempotency_key(self, submitter: str, idempotency_key: str) -> Job | None:
        """Return the job that the submitter gave this key, if any."""
        return await self._first(
            sa.select(job_table).where(_job.submitter == submitter, _job.idempotency_key == idempotency_key)
        )

    async def next_id(self, *, skip: int = 0) -> int:
        """Return an id that no job has or will have, after so many others of that kind."""
        numbers = sa.select(_NEXT_ID).select_from(sa.func.generate_series(0, skip)).subquery()
        async with self.connection() as connection:
            job_id: int = (await connection.execute(sa.select(sa.func.max(numbers.c.id)))).scalar_one()
            return job_id

    async def add_completed(self, *, job_id: int, name: str, application: str, submitter: str) -> None:
        """Write down a job that is ok and never was submitted; its directory has to be there already."""
        statement = sa.insert(job_table).values(
            id=job_id,
            name=name,
            application=application,
            submitter=submitter,
            roles=[],
            state=State.OK,
            ended_on=sa.func.now(),
            command="",
            token=uuid.uuid4(),
        )
        async with self.connection() as connection:
            await connection.execute(statement)

    async def get(self, job_id: int) -> Job:
        """Raise JobNotFound when there is no such job."""
        job = await self._first(_BY_ID, {"job_id": job_id})
        if job is None:
            raise JobNotFound(f"There is no job {job_id}.")
        return job

    async def by_ids(self, job_ids: Collection[int]) -> list[Job]:
        """Return those of the jobs that there are and that are not deleted."""
        wanted = sa.literal(list(job_ids), pg.ARRAY(sa.BigInteger))
        return await self._all(sa.select(job_table).where(_job.id == sa.any_(wanted), _VISIBLE))

    async def of_submitter(
        self,
        submitter: str,
        *,
        limit: int,
        offset: int,
        wanted: JobFilter = _ALL,
        order: Order | None = None,
    ) -> list[Job]:
        """Return jobs of one submitter; without an order, newest first."""
        statement = sa.select(job_table).where(_job.submitter == submitter, _VISIBLE, *wanted.conditions())
        return await self._all(statement.order_by(*_sorted(order)).limit(limit).offset(offset))

    async def count_of_submitter(self, submitter: str, wanted: JobFilter = _ALL) -> int:
        """Return how many jobs of one submitter are wanted."""
        statement = sa.select(sa.func.count()).select_from(job_table)
        async with self.connection() as connection:
            found = await connection.execute(
                statement.where(_job.submitter == submitter, _VISIBLE, *wanted.conditions())
            )
            return found.scalar_one()

    async def rename(self, job_id: int, name: str) -> None:
        """Give the job another name."""
        await self._update(_job.id == job_id, name=name)

    # The outbox: jobs that still need a flow run, and who runs them

    async def without_flow_run(self, *, limit: int) -> list[Job]:
        """Return jobs under way that have no flow run yet, oldest first."""
        statement = sa.select(job_table).where(ACTIVE, _job.flow_run_id.is_(None))
        return await self._all(statement.order_by(_job.id).limit(limit))

    async def set_flow_run(self, flow_runs: dict[int, uuid.UUID]) -> None:
        """Record the flow run of each job id and tell the workers.

        A job that has one already keeps it: a job never has two.
        """
        given = sa.select(
            sa.func.unnest(sa.literal(list(flow_runs), pg.ARRAY(sa.BigInteger))).label("job_id"),
            sa.func.unnest(sa.literal(list(flow_runs.values()), pg.ARRAY(sa.Uuid()))).label("flow_run_id"),
        ).cte("given")
        statement = (
            sa.update(job_table)
            .where(_job.id == given.c.job_id, _job.flow_run_id.is_(None))
            .values(flow_run_id=given.c.flow_run_id)
        )
        async with self.connection() as connection:
            await connection.execute(statement)
            await connection.execute(sa.select(sa.func.pg_notify(CHANNEL, "")))

    async def by_flow_run(self, flow_run_id: uuid.UUID) -> Job | None:
        """Return the job that this flow run runs, if any."""
        return await self._first(sa.select(job_table).where(_job.flow_run_id == flow_run_id))

    # Ends that visitors ask for

    async def request_cancel(self, job_id: int) -> Job | None:
        """Have the job end, now or by its worker; return it, or None when it has ended already."""
        return await self._request(sa.update(job_table).where(_job.id == job_id, ACTIVE))

    async def request_deletion(self, job_id: int) -> Job | None:
        """Hide the job from its submitter and have it end; return it, or None when it is not there any more.

        Its idempotency key is free again.
        """
        statement = sa.update(job_table).where(_job.id == job_id)
        return await self._request(statement.values(deleted_on=sa.func.now(), idempotency_key=None))

    async def _request(self, update: sa.Update) -> Job | None:
        reason = str(CANCELLED_BY_VISITOR)
        job = await self._first(
            update.values(
                cancel_requested=sa.or_(_job.cancel_requested, ACTIVE),
                state=sa.case((_NOT_BEGUN, State.ERROR.value), else_=_job.state),
                ended_on=sa.case((_NOT_BEGUN, sa.func.now()), else_=_job.ended_on),
                reason=sa.case((_NOT_BEGUN, reason), else_=_job.reason),
                reason_kind=sa.case((_NOT_BEGUN, JobCancelled.kind), else_=_job.reason_kind),
                updated_on=sa.case((ACTIVE, sa.func.now()), else_=_job.updated_on),
            ).returning(job_table)
        )
        if job is not None and job.cancel_requested:
            async with self.connection() as connection:
                await connection.execute(sa.select(sa.func.pg_notify(CANCEL_CHANNEL, "")))
        return job

    async def to_purge(self) -> list[Job]:
        """Return deleted jobs that nobody has anything to do for any more."""
        return await self._all(sa.select(job_table).where(_job.deleted_on.is_not(None), SETTLED))

    async def purge(self, job_id: int) -> None:
        """Remove the row of a deleted job that nobody has anything to do for any more."""
        statement = sa.delete(job_table)
        async with self.connection() as connection:
            await connection.execute(
                statement.where(_job.id == job_id, _job.deleted_on.is_not(None), SETTLED)
            )

    async def _update(self, *where: sa.ColumnElement[bool], **values: object) -> int | None:
        statement = (
            sa.update(job_table).where(*where).values(**values, updated_on=sa.func.now()).returning(_job.id)
        )
        async with self.connection() as connection:
            updated: int | None = (await connection.execute(statement)).scalar_one_or_none()
            return updated
