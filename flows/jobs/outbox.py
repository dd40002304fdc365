"""The outbox: jobs that were accepted and that Prefect does not know of yet."""

import uuid
from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from flows.jobs.job import Job, job_table
from flows.jobs.leases import IS_LIVE, worker_table
from flows.jobs.not_begun import NO_MORE, NO_WORKER, PREFECT_AWAY, REFUSED
from flows.jobs.rows import JobRows
from flows.jobs.rules import ACTIVE

SUBMISSION_CHANNEL = "bartender_submission"
"""PostgreSQL channel on which workers are told that new jobs have no flow run yet."""

CHANNEL = "bartender_job"
"""PostgreSQL channel on which workers are told that flow runs wait for them."""

_job = job_table.c
_TELL_OF_SUBMISSION = sa.select(sa.func.pg_notify(SUBMISSION_CHANNEL, ""))
_TELL = sa.select(sa.func.pg_notify(CHANNEL, ""))


class Outbox(JobRows):
    """A job is in it from its submission until its row names its flow run."""

    async def tell_workers(self) -> None:
        """Say that there are new jobs.

        Apart from the statements that make them: PostgreSQL lets only one transaction at a time commit that
        has something to tell, and those have to wait for the disk.
        """
        await self.pool.fetch(_TELL_OF_SUBMISSION)

    async def without_flow_run(self, *, limit: int, past: Collection[int] = ()) -> list[Job]:
        """Return jobs under way that have no flow run yet, oldest first, without the ids ``past``."""
        statement = sa.select(job_table).where(ACTIVE, _job.flow_run_id.is_(None))
        if past:
            statement = statement.where(_job.id != sa.all_(sa.literal(list(past), pg.ARRAY(sa.BigInteger))))
        return await self._all(statement.order_by(_job.id).limit(limit))

    async def set_refused(self, job_ids: Collection[int]) -> None:
        """Let visitors read that Prefect gives their jobs no flow run now; that goes when it does."""
        ids = sa.literal(list(job_ids), pg.ARRAY(sa.BigInteger))
        await self._explain_waiting(REFUSED, _job.id == sa.any_(ids), _job.flow_run_id.is_(None))

    async def set_prefect_away(self) -> None:
        """Let visitors read what their jobs without a flow run wait for."""
        await self._explain_waiting(
            PREFECT_AWAY, _job.flow_run_id.is_(None), _job.reason.is_distinct_from(REFUSED)
        )

    async def set_without_worker(self) -> None:
        """Let visitors read that nobody is there to begin their jobs, where nobody is."""
        is_there = sa.select(worker_table.c.id).where(IS_LIVE).exists()
        await self._explain_waiting(NO_WORKER, _job.owner.is_(None), sa.not_(is_there))

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
            .values(flow_run_id=given.c.flow_run_id, recorded=True, reason=NO_MORE)
        )
        await self.pool.fetch(statement)
        await self.pool.fetch(_TELL)
