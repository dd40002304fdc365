"""How the use of quotas is counted."""

import re
import uuid

import pytest
import sqlalchemy as sa

from flows.database.pool import Pool
from flows.database.statements import compiled
from flows.jobs import quotas
from flows.jobs.job import State
from flows.jobs.quotas import Quota, use_of
from tests.all_jobs import AllJobs
from tests.flows.jobs.owning import many, new, worker


async def test_what_waits_is_counted_in_whatever_state_it_does(pool: Pool) -> None:
    store = AllJobs(pool)
    mine = await worker(store, "w")
    jobs = [await new(store) for _ in range(5)]
    await mine.claim(limit=3)
    await mine.advance(jobs[0].id, State.QUEUED)
    await mine.advance(jobs[1].id, State.RUNNING)
    await store.request_cancel(jobs[4].id)
    use = await use_of(pool, "me")
    assert (use.running, use.queued) == (3, 3)  # one there, one that is just begun, one that nobody has begun


async def test_jobs_of_others_and_those_that_have_ended_are_not_looked_through(pool: Pool) -> None:
    store = AllJobs(pool)
    await many(store, 3000, "me", state="ok")
    for submitter, count in (("other", 4000), ("me", 200)):
        await many(store, count, submitter)
    connection = await pool.open()
    try:
        await connection.execute("ANALYZE job")
        question = compiled(quotas._USE)
        plan = await connection.fetch(f"EXPLAIN {question.text}", *question.arguments({"submitter": "me"}))
    finally:
        await connection.close()
    lines = [line for (line,) in plan]
    used = {found[1] for line in lines if (found := re.search(r"(?:using| on) (ix_\w+)", line))}
    assert used == {"ix_job_waiting", "ix_job_begun", "ix_job_bytes"}, "\n".join(lines)


@pytest.mark.parametrize(
    ("quota", "counts"), [(Quota(running=1), 0), (Quota(running=1, queued=5), 1), (Quota(submissions=5), 1)]
)
async def test_nothing_is_counted_where_nothing_is_refused(pool: Pool, quota: Quota, counts: int) -> None:
    await AllJobs(pool).create(
        application="wc", submitter="me", roles=[], command="", token=uuid.uuid4(), quota=quota
    )
    [[rows]] = await pool.fetch(sa.text("SELECT count(*) FROM submitter"))
    assert (quota.refuses, rows) == (bool(counts), counts)
