"""Jobs whose commands are on a machine that has no worker any more."""

import asyncio
import uuid
from datetime import timedelta

import pytest
import sqlalchemy as sa

from flows.database.pool import Pool
from flows.errors import CommandFailed, JobCancelled, Superseded
from flows.jobs.job import Job, State, job_table
from flows.jobs.leases import Leases, worker_table
from flows.jobs.rules import is_settled
from flows.lifecycle.stranded import PATIENCE, StrandedJobs
from tests.all_jobs import AllJobs
from tests.flows.jobs.owning import claimed_by
from tests.waiting import LONG_ENOUGH

FAR = "far pid:[1] /data"
WAITS = "Waiting for the machine far, where the command is; no worker is there."


class AllAndStranded(StrandedJobs, AllJobs): ...


@pytest.fixture
async def near(pool: Pool) -> AllAndStranded:
    return AllAndStranded(pool, await Leases(pool).begin("near", "near pid:[1] /data"))


async def over(store: AllJobs, number: int, ago: timedelta = 2 * PATIENCE) -> None:
    """Let the lease of a worker have been over for a while."""
    until = sa.func.clock_timestamp() - ago
    await store.pool.fetch(
        sa.update(worker_table).where(worker_table.c.id == number).values(lease_until=until)
    )


async def stranded(store: AllJobs, destination: str | None = "local") -> tuple[AllJobs, Job]:
    """Return a job that runs on another machine, and the worker there, which is gone."""
    number, job = await claimed_by(store, "far", FAR, destination)
    far = AllJobs(store.pool, number)
    await far.submitted(job.id, str(job.token))
    await far.advance(job.id, State.RUNNING)
    await over(store, number)
    return far, await far.get(job.id)


async def test_they_say_what_they_wait_for_until_they_go_on(near: AllAndStranded) -> None:
    _, job = await stranded(near)
    assert await near.end_stranded(["local"], []) == []
    await near.explain_stranded(["local"])
    waiting = await near.get(job.id)
    assert (waiting.state, waiting.reason, waiting.owner) == (State.RUNNING, WAITS, job.owner)
    await near.explain_stranded(["local"])
    assert await near.get(job.id) == waiting  # nothing to write
    back = AllJobs(near.pool, await Leases(near.pool).begin("far", FAR))
    [taken] = await back.take_over("far", FAR, ["local"])
    await back.advance(taken.id, State.RUNNING)
    await near.explain_stranded(["local"])
    assert (await near.get(job.id)).reason is None


async def test_a_worker_that_never_said_where_it_is(near: AllAndStranded) -> None:
    """As those of a version without leases."""
    number, job = await claimed_by(near, "far", "", "local")
    await over(near, number)
    await near.explain_stranded(["local"])
    assert (await near.get(job.id)).reason == WAITS


@pytest.mark.parametrize("by", ["visitor", "owner of the job", "operator"])
async def test_who_wants_one_to_end(near: AllAndStranded, by: str) -> None:
    far, job = await stranded(near)
    _, other = await stranded(near)
    if by == "visitor":
        await near.request_cancel(job.id)
    elif by == "owner of the job":
        await near.request_deletion(job.id)
    before = await near.get(job.id)
    cancelled = [flow_run_of(job), uuid.uuid4()] if by == "operator" else []
    [ended] = await near.end_stranded(["local"], cancelled)
    assert ended == await near.get(job.id)
    who = "The job was cancelled by an operator." if by == "operator" else "You cancelled the job."
    assert (ended.state, ended.reason, ended.reason_kind) == (State.ERROR, who, JobCancelled.kind)
    assert is_settled(ended)
    assert ended.ended_on is not None
    assert ended.deleted_on == before.deleted_on
    assert await near.end_stranded(["local"], cancelled) == []
    assert (await near.get(other.id)).state is State.RUNNING
    with pytest.raises(Superseded):  # should it only have been frozen
        await far.complete(job.id)
    back = AllJobs(near.pool, await Leases(near.pool).begin("far", FAR))
    assert [taken.id for taken in await back.take_over("far", FAR, ["local"])] == [other.id]


async def test_one_that_has_ended_is_settled_as_it_is(near: AllAndStranded) -> None:
    far, job = await stranded(near)
    await over(near, far.owner or 0, -PATIENCE)
    await far.fail(job.id, CommandFailed("It failed."))
    await over(near, far.owner or 0)
    before = await near.get(job.id)
    [settled] = await near.end_stranded(["local"], [])
    assert is_settled(settled)
    assert (settled.reason, settled.ended_on) == (before.reason, before.ended_on)
    assert settled.updated_on == before.updated_on


@pytest.mark.parametrize("who", ["itself", "of its name", "of its machine"])
async def test_not_while_a_worker_can_go_on_with_them(near: AllAndStranded, who: str) -> None:
    far, job = await stranded(near)
    if who == "itself":
        await over(near, far.owner or 0, -PATIENCE)
    elif who == "of its name":
        await Leases(near.pool).begin("far", "elsewhere pid:[1] /data")
        await over(near, far.owner or 0)
    else:
        await Leases(near.pool).begin("another", FAR)
    await near.request_cancel(job.id)
    await assert_left_alone(near, job)


def flow_run_of(job: Job) -> uuid.UUID:
    assert job.flow_run_id is not None
    return job.flow_run_id


async def assert_left_alone(store: AllAndStranded, job: Job) -> None:
    before = await store.get(job.id)
    assert await store.end_stranded(["local"], [flow_run_of(before)]) == []
    await store.explain_stranded(["local"])
    assert await store.get(job.id) == before


async def test_not_while_a_worker_is_only_being_restarted(near: AllAndStranded) -> None:
    far, job = await stranded(near)
    await over(near, far.owner or 0, PATIENCE / 100)
    await near.request_cancel(job.id)
    await assert_left_alone(near, job)


@pytest.mark.parametrize("destination", ["cluster", None])
async def test_not_where_any_worker_can_go_on(near: AllAndStranded, destination: str | None) -> None:
    _, job = await stranded(near, destination)
    await near.request_cancel(job.id)
    await assert_left_alone(near, job)


async def test_not_by_a_worker_whose_own_lease_is_over(near: AllAndStranded) -> None:
    _, job = await stranded(near)
    await near.request_cancel(job.id)
    await over(near, near.owner or 0, timedelta(0))
    await assert_left_alone(near, job)


async def test_not_one_that_is_taken_over_at_the_same_moment(near: AllAndStranded) -> None:
    _, job = await stranded(near)
    await near.request_cancel(job.id)
    waits = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    async with near.pool.transaction() as transaction:
        await transaction.fetch(sa.update(job_table).values(owner=near.owner))
        ending = asyncio.create_task(near.end_stranded(["local"], []))
        async with asyncio.timeout(LONG_ENOUGH):
            while not (await near.pool.fetch(waits))[0][0]:
                await asyncio.sleep(0.02)
    assert await ending == []
    assert (await near.get(job.id)).state is State.RUNNING
