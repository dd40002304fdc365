"""Statements of a worker that was given up: frozen, or behind a link that was cut and is there again."""

import asyncio
import re
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import URL

from flows.database.pool import Limits, Pool
from flows.errors import CommandFailed, Superseded, Unavailable
from flows.jobs.job import Job, State
from flows.jobs.leases import Leases
from tests.all_jobs import AllJobs
from tests.flows.jobs.owning import claimed_by, new, owner
from tests.postgres_proxy import PostgresProxy
from tests.waiting import LONG_ENOUGH

_LATE = "late words"
_HASTY = Limits(answer_seconds=0.5)


@pytest.fixture
def store(pool: Pool) -> AllJobs:
    return AllJobs(pool)


CHANGES: dict[str, Callable[[AllJobs, Job], Awaitable[object]]] = {
    "advance": lambda mine, job: mine.advance(job.id, State.RUNNING),
    "complete": lambda mine, job: mine.complete(job.id),
    "fail": lambda mine, job: mine.fail(job.id, CommandFailed(_LATE)),
    "explain": lambda mine, job: mine.explain(job.id, _LATE),
    "set_destination": lambda mine, job: mine.set_destination(job.id, _LATE),
    "submitted": lambda mine, job: mine.submitted(job.id, _LATE),
    "resubmitted": lambda mine, job: mine.resubmitted(job.id, _LATE),
    "release_flow_run": lambda mine, job: mine.release_flow_run(job),
    "owned": lambda mine, job: mine.owned(job.id),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_a_worker_whose_lease_is_over_changes_nothing(
    store: AllJobs, change: Callable[[AllJobs, Job], Awaitable[object]]
) -> None:
    """Though nobody has taken its jobs over: somebody may be about to."""
    number, job = await claimed_by(store, "w", "here")
    before = await store.get(job.id)
    await Leases(store.pool).end(number)
    with pytest.raises(Superseded):
        await change(owner(store, number), before)
    assert await store.get(job.id) == before


async def test_a_worker_whose_lease_is_over_owns_nothing_more(store: AllJobs) -> None:
    number, _ = await claimed_by(store, "w", "here")
    await new(store)
    mine = owner(store, number)
    await Leases(store.pool).end(number)
    assert await mine.claim() == []
    assert await mine.take_over("w", "here", []) == []
    assert await mine.flow_runs() == set()
    assert await mine.to_cancel() == []


@pytest.mark.parametrize(("lease", "state"), [("over", State.NEW), ("lasts", State.ERROR)])
async def test_a_statement_that_comes_late(
    store: AllJobs, database_url: URL, lease: str, state: State
) -> None:
    number, job = await claimed_by(store, "w", "here")
    async with PostgresProxy(database_url).listening() as proxy:
        cut_off = AllJobs(Pool(proxy.url, _HASTY), number)
        proxy.delay.append(re.compile(_LATE.encode()))
        with pytest.raises(Unavailable):
            await cut_off.fail(job.id, CommandFailed(_LATE))
        await cut_off.pool.close()
        if lease == "over":
            await Leases(store.pool).end(number)
        async with asyncio.timeout(LONG_ENOUGH):
            await proxy.let_late_arrive()
    assert (await store.get(job.id)).state is state


async def test_a_start_that_comes_late_ends_no_lease_of_the_next(store: AllJobs, database_url: URL) -> None:
    async with PostgresProxy(database_url).listening() as proxy:
        cut_off = Pool(proxy.url, _HASTY)
        # The numbers of processes are in what ends leases; the name is in what makes one, too.
        proxy.delay.append(re.compile(rb"UPDATE worker"))
        with pytest.raises(Unavailable):
            await Leases(cut_off).begin("w", "here")
        await cut_off.close()
        number = await Leases(store.pool).begin("w", "here")
        async with asyncio.timeout(LONG_ENOUGH):
            await proxy.let_late_arrive()
    assert await Leases(store.pool).renew(number)
