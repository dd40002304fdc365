import itertools
import uuid

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from flows.errors import CommandFailed, JobNotFound
from flows.jobs import TRANSITIONS, Job, State, job_table
from flows.store import JobStore


@pytest.fixture
def store(engine: AsyncEngine) -> JobStore:
    return JobStore(engine)


async def new(store: JobStore, submitter: str = "me") -> Job:
    return await store.create(
        application="wc", submitter=submitter, roles=["a"], command="wc README.md", token=uuid.uuid4()
    )


async def put(store: JobStore, job: Job, state: State) -> None:
    async with store.engine.begin() as connection:
        await connection.execute(sa.update(job_table).where(job_table.c.id == job.id).values(state=state))


async def test_a_new_job_is_named_after_its_id(store: JobStore) -> None:
    job = await new(store)
    assert (job.name, job.state, list(job.roles)) == (f"job{job.id}", State.NEW, ["a"])
    assert await store.get(job.id) == job


async def test_a_job_that_is_not_there(store: JobStore) -> None:
    with pytest.raises(JobNotFound):
        await store.get(12345)


async def test_jobs_of_a_submitter_newest_first(store: JobStore) -> None:
    jobs = [await new(store) for _ in range(3)]
    await new(store, "somebody else")
    listed = await store.of_submitter("me", limit=2, offset=1)
    assert [job.id for job in listed] == [jobs[1].id, jobs[0].id]


@pytest.mark.parametrize(("source", "target"), list(itertools.product(State, State)))
async def test_only_the_tables_transitions_are_made(store: JobStore, source: State, target: State) -> None:
    job = await new(store)
    await put(store, job, source)
    await store.advance(job.id, target)
    assert (await store.get(job.id)).state == (target if target in TRANSITIONS[source] else source)


async def test_an_end_is_for_good(store: JobStore) -> None:
    job = await new(store)
    assert await store.fail(job.id, CommandFailed("first"))
    assert not await store.fail(job.id, CommandFailed("second"))
    assert not await store.complete(job.id)
    await store.explain(job.id, "late")
    await store.set_destination(job.id, "late")
    ended = await store.get(job.id)
    assert (ended.state, ended.reason, ended.reason_kind) == (State.ERROR, "first", "user error")
    assert ended.destination is None


async def test_a_job_waits_for_one_flow_run_and_one_worker(store: JobStore) -> None:
    job = await new(store)
    assert [waiting.id for waiting in await store.without_flow_run(limit=10)] == [job.id]
    assert await store.claim("w1") == []  # nothing to run yet
    first, second = uuid.uuid4(), uuid.uuid4()
    await store.set_flow_run({job.id: first})
    await store.set_flow_run({job.id: second})
    assert await store.without_flow_run(limit=10) == []
    [claimed] = await store.claim("w1")
    assert claimed.flow_run_id == first
    assert await store.claim("w2") == []
    assert [mine.id for mine in await store.of_worker("w1")] == [job.id]


async def test_an_operators_flow_run_takes_only_a_job_that_is_free(store: JobStore) -> None:
    mine, other = uuid.uuid4(), uuid.uuid4()
    job = await new(store)
    assert await store.claim_for_flow_run(job.id, mine, "w1")
    assert await store.claim_for_flow_run(job.id, mine, "w1")
    assert not await store.claim_for_flow_run(job.id, other, "w1")
    assert not await store.claim_for_flow_run(job.id, mine, "w2")
    assert not await store.claim_for_flow_run(999, other, "w1")
    ended = await new(store)
    await store.fail(ended.id, CommandFailed("ended"))
    assert not await store.claim_for_flow_run(ended.id, other, "w1")
    found = await store.by_flow_run(mine)
    assert found is not None
    assert found.id == job.id


async def test_a_job_without_its_flow_run_waits_again(store: JobStore) -> None:
    job = await new(store)
    await store.claim_for_flow_run(job.id, uuid.uuid4(), "w1")
    await store.release_flow_run(job.id)
    assert [waiting.id for waiting in await store.without_flow_run(limit=10)] == [job.id]
