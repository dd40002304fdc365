"""The one way back from an end, and all that closes it."""

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from flows.database.pool import Pool
from flows.errors import DestinationRefused, InternalError, JobFailure, StagingFailed
from flows.jobs.job import Job, State, job_table
from flows.jobs.leases import Leases
from flows.jobs.rules import may_run_again
from tests.all_jobs import AllJobs
from tests.flows.jobs.owning import worker

FLOW_RUN = uuid.uuid4()


@pytest.fixture
def jobs(pool: Pool) -> AllJobs:
    return AllJobs(pool)


async def failed(jobs: AllJobs, failure: JobFailure) -> Job:
    job = await jobs.create(application="a", submitter="me", roles=[], command="true", token=uuid.uuid4())
    await jobs.set_flow_run({job.id: FLOW_RUN})
    await jobs.fail(job.id, failure)
    return await jobs.get(job.id)


@pytest.mark.parametrize("failure", [InternalError("i"), DestinationRefused("d"), StagingFailed("s")])
async def test_a_job_that_never_had_a_destination(jobs: AllJobs, failure: JobFailure) -> None:
    job = await failed(jobs, failure)
    assert may_run_again(job)
    mine = await worker(jobs, "w")
    again = await mine.run_again(job)
    assert again is not None
    assert (again.state, again.owner, again.reason_kind, again.ended_on) == (
        State.NEW,
        mine.owner,
        None,
        None,
    )
    assert await jobs.run_again(job) is None  # once only


async def test_not_by_a_worker_whose_lease_is_over(jobs: AllJobs) -> None:
    job = await failed(jobs, InternalError("i"))
    mine = await worker(jobs, "w")
    await Leases(jobs.pool).end(mine.owner or 0)
    assert await mine.run_again(job) is None
    assert await jobs.get(job.id) == job


@pytest.mark.parametrize(
    "change",
    [
        {"destination": "local"},
        {"scheduler_id": "4711"},
        {"state": "ok"},
        {"reason_kind": "user error"},
        {"reason_kind": "cancelled"},
        {"reason_kind": "time limit"},
        {"deleted_on": datetime.now(UTC)},
        {"owner": 1},
        {"cancel_requested": True},
        {"flow_run_id": uuid.uuid4()},
        {"ended_on": datetime.now(UTC)},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_no_other(jobs: AllJobs, change: dict[str, Any]) -> None:
    job = await failed(jobs, InternalError("It failed."))
    await jobs.pool.fetch(sa.update(job_table).where(job_table.c.id == job.id).values(change))
    before = await jobs.get(job.id)
    assert await jobs.run_again(job) is None
    assert await jobs.get(job.id) == before
