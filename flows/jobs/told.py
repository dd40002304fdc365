"""SQL about what Prefect has still to be told of jobs.

The outbox is in the jobs' rows: ``recorded`` says whether Prefect has the flow run, and a job that has ended
keeps its owner until Prefect knows how. So whoever owns it tells, and whoever takes it over.
"""

from collections.abc import Collection
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from flows.jobs.job import Job, job_table
from flows.jobs.owned import OURS, OwnedJobs
from flows.jobs.rules import ACTIVE, ENDED

WAITS = timedelta(seconds=1)
"""After so long, Prefect is told of a job that nobody has begun."""

_job = job_table.c


def _among(name: str) -> sa.ColumnElement[bool]:
    return _job.id == sa.any_(sa.bindparam(name, type_=pg.ARRAY(sa.BigInteger)))


_ours = sa.and_(_among("ids"), OURS)

_STILL_OWNED = sa.select(job_table).where(_ours)
_SET_RECORDED = sa.update(job_table).where(_ours).values(recorded=True)
_RELEASE = (
    sa.update(job_table)
    .where(_ours, ENDED)
    .values(owner=None, cancel_requested=False, recorded=sa.or_(_job.recorded, _among("recorded_ids")))
    .returning(job_table)
)
_WAITING = (
    sa.select(job_table)
    .where(
        ACTIVE,
        _job.id > sa.bindparam("after", type_=sa.BigInteger),
        _job.owner.is_(None),
        sa.not_(_job.recorded),
        _job.created_on < sa.func.clock_timestamp() - sa.bindparam("waits", type_=sa.Interval),
    )
    .order_by(_job.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
_SET_WAITING_RECORDED = (
    sa.update(job_table)
    .where(_among("ids"), sa.or_(_job.flow_run_id.is_(None), _job.flow_run_id == _job.token))
    .values(flow_run_id=_job.token, recorded=True)
)


class ToldJobs(OwnedJobs):
    """For the worker that tells of its jobs, and of those that wait."""

    async def still_owned(self, job_ids: Collection[int]) -> dict[int, Job]:
        """Return those of the jobs that are this process's, by their ids."""
        jobs = await self._all(_STILL_OWNED, ids=list(job_ids), by=self.owner)
        return {job.id: job for job in jobs}

    async def set_recorded(self, job_ids: Collection[int]) -> None:
        """Note that Prefect has the flow runs of these jobs; the others' are not ours to note."""
        if job_ids:
            await self.pool.fetch(_SET_RECORDED, ids=list(job_ids), by=self.owner)

    async def release(self, job_ids: Collection[int], *, recorded: Collection[int] = ()) -> list[Job]:
        """Note that there is nothing more to do for these jobs that have ended; return those there are.

        Of those in ``recorded``, Prefect has the flow run.
        """
        return await self._all(_RELEASE, ids=list(job_ids), by=self.owner, recorded_ids=list(recorded))

    async def waiting(self, *, limit: int, after: int = 0) -> list[Job]:
        """Return jobs that nobody has begun and that Prefect does not know of, from the id ``after`` on."""
        return await self._all(_WAITING, most=limit, after=after, waits=WAITS)

    async def set_waiting_recorded(self, job_ids: Collection[int]) -> None:
        """Note that Prefect knows of jobs that waited, whoever has them by now."""
        if job_ids:
            await self.pool.fetch(_SET_WAITING_RECORDED, ids=list(job_ids))
