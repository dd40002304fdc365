"""All that can be done with jobs, in one object: what is submitted, run, ended and kept in the same test."""

from flows.jobs.end_requests import EndRequests
from flows.jobs.job import Job, job_table
from flows.jobs.kept import KeptJobs
from flows.jobs.outbox import Outbox
from flows.jobs.rows import from_row
from flows.jobs.store import JobStore
from flows.jobs.told import ToldJobs


class AllJobs(ToldJobs, JobStore, Outbox, EndRequests, KeptJobs):
    """No part of the product has so much in its hands."""

    async def of_submitter(self, submitter: str, *, limit: int, offset: int) -> list[Job]:
        """Return jobs of one submitter, newest first."""
        columns = tuple(job_table.c.keys())
        rows = await self.rows_of_submitter(submitter, columns, limit=limit, offset=offset)
        return [from_row(row) for row in rows]
