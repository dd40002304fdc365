"""Ends that visitors ask for: a job cancelled, or deleted with all that it left."""

import sqlalchemy as sa

from flows.errors import JobCancelled
from flows.jobs.job import Job, State, job_table
from flows.jobs.rows import JobRows
from flows.jobs.rules import ACTIVE, SETTLED

CANCEL_CHANNEL = "bartender_cancel"
"""PostgreSQL channel on which workers are told that visitors want jobs to end."""

CANCELLED_BY_VISITOR = JobCancelled("You cancelled the job.")

_job = job_table.c

_TELL = sa.select(sa.func.pg_notify(CANCEL_CHANNEL, ""))

# Nothing of the job is anywhere but in its row and its upload.
_NOT_BEGUN = sa.and_(_job.state == State.NEW, _job.owner.is_(None), _job.destination.is_(None))

# The row is what tells that there are files of it at other destinations.
_NOWHERE_ELSE = sa.func.cardinality(_job.left_behind) == 0


class EndRequests(JobRows):
    """A request is a mark in the job's row, which the job's worker heeds; one that nobody began ends at once.

    What is left of a deleted job is removed, and then its row, by whoever finds that nobody needs it any more
    (``flows.jobs.deletion``).
    """

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
                bytes=sa.case((_NOT_BEGUN, 0), else_=_job.bytes),
                updated_on=sa.case((ACTIVE, sa.func.now()), else_=_job.updated_on),
            ).returning(job_table)
        )
        if job is not None and job.cancel_requested:
            await self.pool.fetch(_TELL)
        return job

    async def to_purge(self) -> list[Job]:
        """Return deleted jobs that nobody has anything to do for any more."""
        return await self._all(
            sa.select(job_table).where(_job.deleted_on.is_not(None), SETTLED, _NOWHERE_ELSE)
        )

    async def purge(self, job_id: int) -> None:
        """Remove the row of a deleted job that nobody has anything to do for any more."""
        await self.pool.fetch(
            sa.delete(job_table).where(
                _job.id == job_id, _job.deleted_on.is_not(None), SETTLED, _NOWHERE_ELSE
            )
        )
