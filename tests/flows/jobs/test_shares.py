"""Whose job is begun next."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa
from sqlalchemy import URL

from flows.database.pool import Limits, Pool, Transaction
from flows.errors import CommandFailed, Unavailable
from flows.jobs.job import Job
from flows.jobs.not_begun import AS_MANY_AS_YOU_MAY, LIMITED, PAUSED
from flows.jobs.quotas import Quota, count_submission, take_turn_to_submit
from flows.jobs.shares import NO_LIMIT, TAKE_TURN_TO_CLAIM, RunningLimits
from flows.jobs.store import JobStore
from tests.all_jobs import AllJobs
from tests.flows.jobs.owning import many, new, owner, worker


@pytest.fixture
def store(pool: Pool) -> AllJobs:
    return AllJobs(pool)


async def end(store: AllJobs, *jobs: Job) -> None:
    for job in jobs:
        assert job.owner is not None
        await owner(store, job.owner).fail(job.id, CommandFailed("over"))


def submitters(jobs: list[Job]) -> list[str]:
    return [job.submitter for job in jobs]


@pytest.mark.parametrize("slots", [1, 3])
async def test_one_job_begins_before_a_thousand_of_another(store: AllJobs, slots: int) -> None:
    one, two = await worker(store, "one"), await worker(store, "two")
    await many(store, 1000, "many")
    running = await one.claim(at_most=slots)
    assert submitters(running) == ["many"] * slots
    single = await new(store, "single")
    assert await two.claim(at_most=slots) == []
    await end(store, running[0])
    assert [job.id for job in await two.claim(at_most=slots)] == [single.id]


async def test_submitters_take_turns_at_a_single_slot(store: AllJobs) -> None:
    mine = await worker(store, "w")
    for submitter in ("a", "b", "c"):
        await many(store, 5, submitter)
    begun = []
    for _ in range(7):
        [job] = await mine.claim(at_most=1)
        begun.append(job.submitter)
        await end(store, job)
    assert begun == ["a", "b", "c", "a", "b", "c", "a"]


async def test_who_has_the_least_running_is_next(store: AllJobs) -> None:
    mine = await worker(store, "w")
    await many(store, 5, "a")
    assert submitters(await mine.claim(limit=3)) == ["a", "a", "a"]
    await many(store, 5, "b")
    # Until both have four; then it is the turn of the older job.
    assert submitters(await mine.claim(limit=5)) == ["b", "b", "b", "a", "b"]
    left = await mine.claim()
    assert submitters(left) == ["a", "b"]


async def test_jobs_of_one_submitter_begin_in_their_order(store: AllJobs) -> None:
    mine = await worker(store, "w")
    jobs = [await new(store) for _ in range(4)]
    assert [job.id for job in await mine.claim()] == [job.id for job in jobs]


async def test_workers_that_claim_at_once_share_a_burst(store: AllJobs) -> None:
    workers = [await worker(store, f"w{number}") for number in range(3)]
    await many(store, 30, "a")
    claims = await asyncio.gather(*(one.claim(limit=10) for one in workers))
    assert [len(claimed) for claimed in claims] == [10, 10, 10]
    assert len({job.id for claimed in claims for job in claimed}) == 30


@asynccontextmanager
async def frozen(pool: Pool) -> AsyncIterator[Transaction]:
    """Yield a transaction of a process that goes no further with it, and has lost it at the end."""
    transaction = pool.transaction()
    yield await transaction.__aenter__()
    with pytest.raises(Unavailable):
        await transaction.__aexit__(None, None, None)


@pytest.mark.parametrize("frozen_in", ["a claim", "a submission"])
async def test_a_frozen_process_holds_up_no_claim_for_long(
    store: AllJobs, database_url: URL, frozen_in: str
) -> None:
    mine, job, other = await worker(store, "w"), await new(store), Pool(database_url)
    async with frozen(other) as transaction:
        if frozen_in == "a claim":
            await transaction.fetch(TAKE_TURN_TO_CLAIM)
        else:
            await take_turn_to_submit(transaction, "me")
            await count_submission(transaction, "me")
        assert [claimed.id for claimed in await mine.claim()] == [job.id]
    await other.close()


async def test_submissions_of_one_visitor_do_not_wait_in_all_connections(
    store: AllJobs, database_url: URL
) -> None:
    pool, quota = Pool(database_url, Limits(connections=2, wait_seconds=1.0)), Quota(queued=100)
    visitors = JobStore(pool)

    async def submit(submitter: str) -> Job:
        token = uuid.uuid4()
        return await visitors.create(
            application="wc", submitter=submitter, roles=[], command="", token=token, quota=quota
        )

    async with frozen(store.pool) as transaction:
        await take_turn_to_submit(transaction, "many")
        many = [asyncio.create_task(submit("many")) for _ in range(4)]
        while await others_that_wait(store.pool) == 0:
            await asyncio.sleep(0.01)
        await submit("single")
        assert not any(task.done() for task in many)
        await asyncio.gather(*many)  # once the frozen one has lost its turn
    await pool.close()


async def others_that_wait(pool: Pool) -> int:
    waiting = sa.text(
        "SELECT count(*) FROM pg_locks JOIN pg_database ON database = pg_database.oid "
        "WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted"
    )
    [[count]] = await pool.fetch(waiting)
    return int(count)


async def test_who_has_as_many_as_they_may_has_no_turn(store: AllJobs) -> None:
    limits = RunningLimits({"own": 1, "free": NO_LIMIT}, {"a": 2, "b": 3}, 1)
    mine = await worker(store, "w")
    roles: dict[str, list[str]] = {"own": ["b"], "both": ["a", "b"], "none": ["other"], "free": []}
    for submitter, theirs in roles.items():
        for _ in range(4):
            await store.create(
                application="wc", submitter=submitter, roles=theirs, command="", token=uuid.uuid4()
            )
    claimed = await mine.claim(of_each=limits)
    assert Counter(submitters(claimed)) == {"own": 1, "both": 3, "none": 1, "free": 4}
    assert await mine.claim(of_each=limits) == []
    await mine.explain_unclaimed(LIMITED, of_each=limits)
    reasons = {job.reason for name in roles for job in await store.of_submitter(name, limit=9, offset=0)}
    assert reasons == {None, AS_MANY_AS_YOU_MAY}
    await end(store, next(job for job in claimed if job.submitter == "own"))
    await mine.explain_unclaimed(LIMITED, of_each=limits)
    [waits, *_] = await store.of_submitter("own", limit=1, offset=0)
    assert waits.reason == AS_MANY_AS_YOU_MAY  # else all that wait would be written anew at each end
    await mine.explain_unclaimed(PAUSED)
    assert (await store.get(waits.id)).reason == PAUSED
    await mine.explain_unclaimed(LIMITED, of_each=limits)
    assert (await store.get(waits.id)).reason == LIMITED
    [next_one] = await mine.claim(of_each=limits)
    assert (next_one.submitter, next_one.reason) == ("own", None)


@pytest.mark.parametrize("made_before", [False, True])
async def test_what_was_cancelled_before_its_begin_neither_waits_nor_takes_a_place(
    store: AllJobs, made_before: bool
) -> None:
    mine = await worker(store, "w")
    cancelled, waits = [await new(store, "a") for _ in range(3)], await new(store, "b")
    await store.set_flow_run({job.id: uuid.uuid4() for job in (*cancelled, waits)})
    for job in cancelled:
        await store.request_cancel(job.id)
    [begun] = await mine.claim(at_most=1, limit=2, made_before=made_before)
    assert begun.id == waits.id
    await new(store, "b")
    assert await mine.claim(at_most=1, of_each=RunningLimits({}, {}, 1), made_before=made_before) == []
    told_of = [await mine.claim_cancelled(limit=2, made_before=made_before) for _ in range(3)]
    assert [[job.id for job in jobs] for jobs in told_of] == [
        [job.id for job in cancelled[:2]],
        [cancelled[2].id],
        [],
    ]


async def test_a_cancelled_job_without_a_flow_run_is_left_where_these_are_made_first(store: AllJobs) -> None:
    mine, job = await worker(store, "w"), await new(store)
    await store.request_cancel(job.id)
    assert await mine.claim_cancelled(made_before=True) == []
    [claimed] = await mine.claim_cancelled()
    assert (claimed.id, claimed.flow_run_id, claimed.reason) == (job.id, job.token, "You cancelled the job.")
