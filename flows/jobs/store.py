"""Jobs as their submitters know them: submitted, listed, read and named."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any
from weakref import WeakValueDictionary

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from flows.database.errors import NotAsked
from flows.database.pool import Pool, Row
from flows.errors import Unavailable
from flows.jobs import quotas
from flows.jobs.job import Job, JobFilter, Order, State, job_table
from flows.jobs.quotas import Quota, Use
from flows.jobs.rows import JobRows, change, from_row

PATIENCE = 15.0
"""Seconds that a submission waits for others of the same visitor."""

_job = job_table.c
_ALL = JobFilter()
_VISIBLE = _job.deleted_on.is_(None)

_new_id = sa.func.nextval(sa.func.pg_get_serial_sequence("job", "id")).label("id")
_numbers = sa.func.generate_series(0, sa.bindparam("skip", type_=sa.Integer))
_NEXT_ID = sa.select(sa.func.max(sa.select(_new_id).select_from(_numbers).subquery().c.id))

_NEW = pg.insert(job_table).values(
    {
        name: sa.bindparam(name)
        for name in (
            "id",
            "name",
            "application",
            "submitter",
            "roles",
            "state",
            "command",
            "token",
            "idempotency_key",
            "bytes",
        )
    }
)
# Where its key is taken already, there is no row.
_CREATE = _NEW.on_conflict_do_nothing(
    index_elements=[_job.submitter, _job.idempotency_key], index_where=_job.idempotency_key.is_not(None)
).returning(job_table)
_BY_KEY = sa.select(job_table).where(
    _job.submitter == sa.bindparam("submitter"), _job.idempotency_key == sa.bindparam("idempotency_key")
)
_BY_TOKEN = sa.select(job_table).where(_job.token == sa.bindparam("token"))
_BY_IDS = sa.select(job_table).where(
    _job.id == sa.any_(sa.bindparam("ids", type_=pg.ARRAY(sa.BigInteger))), _VISIBLE
)
# What a list may ask for, by the names of the values.
_CONDITIONS = {
    "states": _job.state == sa.any_(sa.bindparam("states", type_=pg.ARRAY(sa.Text))),
    "application": _job.application == sa.bindparam("application"),
    "part": sa.func.strpos(sa.func.lower(_job.name), sa.func.lower(sa.bindparam("part", type_=sa.Text))) > 0,
}
_RENAME = change(_job.id == sa.bindparam("job_id"), name=sa.bindparam("new_name"))


class JobStore(JobRows):
    """For the API. What else visitors can do is in ``end_requests`` and ``kept``."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def create(
        self,
        *,
        application: str,
        submitter: str,
        roles: Sequence[str],
        command: str,
        token: uuid.UUID,
        name: str | None = None,
        idempotency_key: str | None = None,
        job_id: int | None = None,
        size: int | None = None,
        quota: Quota | None = None,
    ) -> Job:
        """Write down a new job; durable on return. Without a name it is called ``job<id>``.

        ``job_id`` is one of ``next_id``, which is asked for another where it is None.

        Where the submitter has a job with this idempotency key already, that one is returned as it is: its
        token is another. Raises QuotaExceeded where the quota has no room for a job with an archive of
        ``size`` bytes, whoever else submits for them just now.
        """
        if job_id is None:
            job_id = await self.next_id()
        new: dict[str, Any] = {
            "id": job_id,
            "name": name or f"job{job_id}",
            "application": application,
            "submitter": submitter,
            "roles": list(roles),
            "state": State.NEW,
            "command": command,
            "token": token,
            "idempotency_key": idempotency_key,
            "bytes": size,
        }
        if quota is not None and quota.refuses:
            job = await self._create_within(quota, new)
        else:
            job = await self._first(_CREATE, **new)
        if job is None and idempotency_key is not None:
            job = await self.by_idempotency_key(submitter, idempotency_key)
        if job is None:
            raise Unavailable("The job of this submission was deleted at the same moment; submit again.")
        return job

    async def _create_within(self, quota: Quota, new: dict[str, Any]) -> Job | None:
        submitter, key = new["submitter"], new["idempotency_key"]
        async with self._turn_of(submitter), self.pool.transaction() as transaction:
            await quotas.take_turn_to_submit(transaction, submitter)
            if key is not None and await transaction.fetch(_BY_KEY, submitter=submitter, idempotency_key=key):
                return None
            quota.check(await quotas.use_of(transaction, submitter), new["bytes"] or 0)
            rows = await transaction.fetch(_CREATE, **new)
            await quotas.count_submission(transaction, submitter)
        return from_row(rows[0]) if rows else None

    @asynccontextmanager
    async def _turn_of(self, submitter: str) -> AsyncIterator[None]:
        # Else those of one visitor may wait for each other in all connections, and others for these.
        turn = self._turns.setdefault(submitter, asyncio.Lock())
        try:
            async with asyncio.timeout(PATIENCE):
                await turn.acquire()
        except TimeoutError as error:
            raise NotAsked("Other submissions of yours take long; try again in a few seconds.") from error
        try:
            yield
        finally:
            turn.release()

    async def use(self, submitter: str) -> Use:
        """Return what quotas count of a submitter."""
        return await quotas.use_of(self.pool, submitter)

    async def by_idempotency_key(self, submitter: str, idempotency_key: str) -> Job | None:
        """Return the job that the submitter gave this key, if any."""
        return await self._first(_BY_KEY, submitter=submitter, idempotency_key=idempotency_key)

    async def by_token(self, token: uuid.UUID) -> Job | None:
        """Return the job of this token: None is no answer while a ``create`` may still be under way."""
        return await self._first(_BY_TOKEN, token=token)

    async def next_id(self, *, skip: int = 0) -> int:
        """Return an id that no job has or will have, after so many others of that kind."""
        [[job_id]] = await self.pool.fetch(_NEXT_ID, skip=skip)
        return int(job_id)

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
        await self.pool.fetch(statement)

    async def by_ids(self, job_ids: Collection[int]) -> list[Job]:
        """Return those of the jobs that there are and that are not deleted."""
        return await self._all(_BY_IDS, ids=list(job_ids))

    async def rows_of_submitter(
        self,
        submitter: str,
        columns: tuple[str, ...],
        *,
        limit: int,
        offset: int,
        wanted: JobFilter = _ALL,
        order: Order | None = None,
    ) -> list[Row]:
        """Return these columns of jobs of one submitter; without an order, newest first."""
        values = _values(wanted)
        statement = _page(columns, tuple(values), order)
        return await self.pool.fetch(statement, of=submitter, most=limit, after=offset, **values)

    async def count_of_submitter(self, submitter: str, wanted: JobFilter = _ALL) -> int:
        """Return how many jobs of one submitter are wanted."""
        values = _values(wanted)
        [[count]] = await self.pool.fetch(_count(tuple(values)), of=submitter, **values)
        return int(count)

    async def rename(self, job_id: int, name: str) -> None:
        """Let its submitter call the job so; harmless when it is gone meanwhile."""
        await self.pool.fetch(_RENAME, job_id=job_id, new_name=name)


def _values(wanted: JobFilter) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if wanted.states:
        values["states"] = list(wanted.states)
    if wanted.application is not None:
        values["application"] = wanted.application
    if wanted.name is not None:
        values["part"] = wanted.name
    return values


def _of(asked_for: tuple[str, ...]) -> sa.ColumnElement[bool]:
    conditions = (_CONDITIONS[name] for name in asked_for)
    return sa.and_(_job.submitter == sa.bindparam("of"), _VISIBLE, *conditions)


@cache
def _page(columns: tuple[str, ...], asked_for: tuple[str, ...], order: Order | None) -> sa.Executable:
    most, after = (sa.bindparam(name, type_=sa.BigInteger) for name in ("most", "after"))
    statement = sa.select(*(_job[name] for name in columns)).where(_of(asked_for))
    return statement.order_by(*_sorted(order)).limit(most).offset(after)


@cache
def _count(asked_for: tuple[str, ...]) -> sa.Executable:
    return sa.select(sa.func.count()).select_from(job_table).where(_of(asked_for))


def _sorted(order: Order | None) -> list[sa.ColumnElement[Any]]:
    if order is None:
        return [_job.id.desc()]
    columns = [_job[order.removeprefix("-")], _job.id]
    return [column.desc() if order.startswith("-") else column.asc() for column in columns]
