"""The outbox: jobs that were accepted and that Prefect does not know of yet."""

import uuid

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from flows.jobs.job import Job, job_table
from flows.jobs.rows import JobRows
from flows.jobs.rules import ACTIVE

CHANNEL = "bartender_job"
"""PostgreSQL channel on which workers are told that flow runs wait for them."""

_job = job_table.c


class Outbox(JobRows):
    """For the dispatcher: a job is in it from its submission until its row names its flow run."""

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
