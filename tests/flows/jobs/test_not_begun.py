"""What jobs say that nobody has begun to run."""

import uuid

import pytest

from flows.database.pool import Pool
from flows.jobs.job import State
from flows.jobs.leases import Leases
from flows.jobs.not_begun import LIMITED, NO_WORKER, PAUSED, PREFECT_AWAY, REFUSED
from tests.all_jobs import AllJobs
from tests.flows.jobs.owning import claimed_by, new, owner


@pytest.fixture
def store(pool: Pool) -> AllJobs:
    return AllJobs(pool)


async def test_only_jobs_without_a_flow_run_wait_for_prefect(store: AllJobs) -> None:
    waits, refused, has_one, ended = [await new(store) for _ in range(4)]
    await store.set_refused([refused.id])
    await store.set_flow_run({has_one.id: uuid.uuid4()})
    await store.advance(ended.id, State.ERROR)
    await store.set_prefect_away()
    said = [(await store.get(job.id)).reason for job in (waits, refused, has_one, ended)]
    assert said == [PREFECT_AWAY, REFUSED, None, None]
    await store.set_flow_run({job.id: uuid.uuid4() for job in (waits, refused)})
    assert [(await store.get(job.id)).reason for job in (waits, refused)] == [None, None]


async def test_a_worker_that_is_there_is_not_waited_for(store: AllJobs) -> None:
    job, without_flow_run = await new(store), await new(store)
    await store.set_flow_run({job.id: uuid.uuid4()})
    number = await Leases(store.pool).begin("w", "here")
    await store.set_without_worker()
    assert (await store.get(job.id)).reason is None
    await Leases(store.pool).end(number)
    await store.set_without_worker()
    assert (await store.get(job.id)).reason == NO_WORKER
    assert (await store.get(without_flow_run.id)).reason == NO_WORKER


@pytest.mark.parametrize("reason", [PAUSED, LIMITED])
async def test_a_worker_tells_why_it_begins_none(store: AllJobs, reason: str) -> None:
    number, begun = await claimed_by(store, "w", "here")
    mine = owner(store, number)
    await mine.explain(begun.id, "Waiting: the cluster is away.")
    waiting = await new(store)
    await store.set_flow_run({waiting.id: uuid.uuid4()})
    await mine.explain_unclaimed(reason)
    assert (await store.get(waiting.id)).reason == reason
    assert (await store.get(begun.id)).reason == "Waiting: the cluster is away."
    [claimed] = await mine.claim()
    assert (claimed.id, claimed.reason) == (waiting.id, None)


async def test_a_job_that_is_taken_over_keeps_what_it_says(store: AllJobs) -> None:
    number, job = await claimed_by(store, "w", "here")
    await owner(store, number).explain(job.id, "Waiting: the cluster is away.")
    await Leases(store.pool).end(number)
    successor = owner(store, await Leases(store.pool).begin("w", "here"))
    [taken] = await successor.take_over("w", "here", [])
    assert taken.reason == "Waiting: the cluster is away."
