"""When jobs expire, and which their submitters keep: all SQL about both."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from flows.errors import JobNotFound, TooManyPins
from flows.jobs.job import Job, job_table
from flows.jobs.rows import JobRows
from flows.jobs.rules import ENDED, SETTLED

_AT_ONCE = 10_000
"""Jobs changed by one statement, so that none takes longer than the database may be silent."""

_job = job_table.c
_ENDED = sa.and_(ENDED, _job.deleted_on.is_(None))


@dataclass(frozen=True, slots=True)
class Retention:
    """For how many days jobs are kept after their end; None is for ever.

    ``own`` has the applications that are told apart by their names.
    """

    default: float | None
    own: Mapping[str, float | None]

    def expiry(self, notice: timedelta) -> sa.ColumnElement[Any]:
        """Return when a job that has ended expires; NULL for never.

        What its submitter was told holds, and it is told ``notice`` before, also when the retention changes.
        """
        wanted = _job.ended_on + self._interval()
        told = sa.func.least(_job.expires_on, sa.func.now() + notice)  # of NULL and a moment, the moment
        return sa.case((sa.or_(_job.pinned, wanted.is_(None)), None), else_=sa.func.greatest(wanted, told))

    def _interval(self) -> sa.ColumnElement[Any]:
        default = _days(self.default)
        if not self.own:
            return default
        return sa.case(
            *((_job.application == name, _days(days)) for name, days in self.own.items()), else_=default
        )


def _days(days: float | None) -> sa.ColumnElement[Any]:
    return sa.literal(None if days is None else timedelta(days=days), sa.Interval())


class KeptJobs(JobRows):
    """The store of those who let jobs expire, or keep them."""

    async def announce(self, retention: Retention, notice: timedelta) -> int:
        """Write down for each job that has ended when it expires; return for how many that changed."""
        count, after = 0, 0
        while True:
            changed, last = await self._announce(retention.expiry(notice), after)
            count += changed
            if last is None:
                return count
            after = last

    async def _announce(self, expiry: sa.ColumnElement[Any], after: int) -> tuple[int, int | None]:
        """Do so for the next jobs; return for how many, and the last of them. None: there was none."""
        to_change = sa.select(_job.id).where(
            _ENDED, _job.id > after, _job.expires_on.is_distinct_from(expiry)
        )
        ids = to_change.order_by(_job.id).limit(_AT_ONCE).cte("ids")
        changed = (
            sa.update(job_table)
            .where(_job.id.in_(sa.select(ids.c.id)), _ENDED)
            .values(expires_on=expiry)
            .returning(_job.id)
            .cte("changed")
        )
        number = sa.select(sa.func.count()).select_from(changed).scalar_subquery()
        last = sa.select(sa.func.max(ids.c.id)).scalar_subquery()
        [row] = await self.pool.fetch(sa.select(number, last))
        return row[0], row[1]

    async def expired(self, retention: Retention, notice: timedelta, *, limit: int) -> list[Job]:
        """Return jobs that ``delete_expired`` would delete after ``announce``."""
        expiry = retention.expiry(notice)
        statement = sa.select(job_table).where(_ENDED, SETTLED, expiry <= sa.func.now())
        return await self._all(statement.order_by(_job.expires_on).limit(limit))

    async def delete_expired(self, *, limit: int) -> list[Job]:
        """Mark expired jobs as deleted, those that expired first at first, and return them to be purged."""
        due = sa.select(_job.id).where(
            _ENDED, SETTLED, sa.not_(_job.pinned), _job.expires_on <= sa.func.now()
        )
        ids = due.order_by(_job.expires_on).limit(limit).with_for_update(skip_locked=True).cte("due")
        return await self._all(
            sa.update(job_table)
            .where(_job.id.in_(sa.select(ids.c.id)))
            .values(deleted_on=sa.func.now(), idempotency_key=None)
            .returning(job_table)
        )

    async def pin(self, job: Job, *, max_pins: int) -> Job:
        """Keep the job for as long as it is pinned; harmless when it is.

        Raises TooManyPins when its submitter keeps so many already, JobNotFound when it is gone meanwhile.
        """
        lock = sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"pins of {job.submitter}")))
        other = job_table.alias("other")
        pins = (
            sa.select(sa.func.count())
            .select_from(other)
            .where(other.c.submitter == job.submitter, other.c.pinned, other.c.deleted_on.is_(None))
            .scalar_subquery()
        )
        update = _of(job).where(sa.or_(_job.pinned, pins < max_pins)).values(pinned=True, expires_on=None)
        # Two requests of one submitter at once must not both take the last pin.
        async with self.pool.transaction() as transaction:
            await transaction.fetch(lock)
            pinned = await transaction.fetch(update.returning(_job.id))
        now = await self.get(job.id)
        if now.deleted_on is not None:
            raise JobNotFound(f"You have no job {job.id}.")
        if not pinned:
            raise TooManyPins(f"You have pinned {max_pins} jobs, which is as many as you may; unpin another.")
        return now

    async def unpin(self, job: Job) -> Job:
        """Let the job expire; raises JobNotFound when it is gone meanwhile."""
        unpinned = await self._first(_of(job).values(pinned=False).returning(job_table))
        if unpinned is None:
            raise JobNotFound(f"You have no job {job.id}.")
        return unpinned


def _of(job: Job) -> sa.Update:
    return sa.update(job_table).where(_job.id == job.id, _job.deleted_on.is_(None))
