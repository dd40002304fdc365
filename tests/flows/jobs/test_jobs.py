import asyncio
import itertools
import uuid
from datetime import timedelta

import pytest
import sqlalchemy as sa

from flows.database.pool import Pool
from flows.errors import CommandFailed, JobNotFound, Superseded
from flows.jobs import told
from flows.jobs.job import TRANSITIONS, Job, State, job_table
from flows.jobs.leases import Leases
from tests.all_jobs import AllJobs
from tests.flows.jobs.owning import claimed_by, new, owner, worker


@pytest.fixture
def store(pool: Pool) -> AllJobs:
    return AllJobs(pool)


async def put(store: AllJobs, job: Job, state: State) -> None:
    await store.pool.fetch(sa.update(job_table).where(job_table.c.id == job.id).values(state=state))


async def test_a_new_job_is_named_after_its_id(store: AllJobs) -> None:
    job = await new(store)
    assert (job.name, job.state, list(job.roles)) == (f"job{job.id}", State.NEW, ["a"])
    assert await store.get(job.id) == job


async def test_a_job_that_is_not_there(store: AllJobs) -> None:
    with pytest.raises(JobNotFound):
        await store.get(12345)


async def test_jobs_of_a_submitter_newest_first(store: AllJobs) -> None:
    jobs = [await new(store) for _ in range(3)]
    await new(store, "somebody else")
    listed = await store.of_submitter("me", limit=2, offset=1)
    assert [job.id for job in listed] == [jobs[1].id, jobs[0].id]


@pytest.mark.parametrize(("source", "target"), list(itertools.product(State, State)))
async def test_only_the_tables_transitions_are_made(store: AllJobs, source: State, target: State) -> None:
    job = await new(store)
    await put(store, job, source)
    await store.advance(job.id, target)
    assert (await store.get(job.id)).state == (target if target in TRANSITIONS[source] else source)


async def test_an_end_is_for_good(store: AllJobs) -> None:
    job = await new(store)
    assert await store.fail(job.id, CommandFailed("first"))
    assert not await store.fail(job.id, CommandFailed("second"))
    assert not await store.complete(job.id)
    await store.explain(job.id, "late")
    await store.set_destination(job.id, "late")
    ended = await store.get(job.id)
    assert (ended.state, ended.reason, ended.reason_kind) == (State.ERROR, "first", "user error")
    assert ended.destination is None


async def test_a_job_waits_for_one_flow_run_and_one_worker(store: AllJobs) -> None:
    job = await new(store)
    one, two = await worker(store, "one"), await worker(store, "two")
    assert [waiting.id for waiting in await store.without_flow_run(limit=10)] == [job.id]
    assert await one.claim(made_before=True) == []  # nothing to run yet
    first, second = uuid.uuid4(), uuid.uuid4()
    await store.set_flow_run({job.id: first})
    await store.set_flow_run({job.id: second})
    assert await store.without_flow_run(limit=10) == []
    [claimed] = await one.claim(made_before=True)
    assert (claimed.flow_run_id, claimed.recorded, claimed.owner) == (first, True, one.owner)
    assert await two.claim() == []


async def test_a_job_may_begin_before_prefect_has_its_flow_run(store: AllJobs) -> None:
    job = await new(store)
    one, two = await worker(store, "one"), await worker(store, "two")
    [claimed] = await one.claim()
    assert (claimed.flow_run_id, claimed.recorded, claimed.owner) == (job.token, False, one.owner)
    assert await store.without_flow_run(limit=10) == []
    await two.set_recorded([job.id])  # by whom it was taken from
    assert not (await store.get(job.id)).recorded
    await one.set_recorded([job.id])
    assert (await store.get(job.id)).recorded
    assert list(await one.still_owned([job.id, 99])) == [job.id]
    assert await two.still_owned([job.id, 99]) == {}
    await Leases(store.pool).end(one.owner or 0)
    assert await one.still_owned([job.id]) == {}


async def test_a_job_that_waits_is_told_of_once_and_keeps_its_flow_run(
    store: AllJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await new(store)
    assert await store.waiting(limit=10) == []  # not long enough
    monkeypatch.setattr(told, "WAITS", timedelta())
    assert [waiting.id for waiting in await store.waiting(limit=10)] == [job.id]
    [claimed] = await (await worker(store, "one")).claim()  # while it is told
    await store.set_waiting_recorded([job.id])
    assert await store.waiting(limit=10) == []
    now = await store.get(job.id)
    assert (now.recorded, now.flow_run_id, now.owner) == (True, claimed.flow_run_id, claimed.owner)


async def test_an_operators_flow_run_takes_only_a_job_that_is_free(store: AllJobs) -> None:
    mine, other = uuid.uuid4(), uuid.uuid4()
    job = await new(store)
    one, two = await worker(store, "one"), await worker(store, "two")
    assert await one.give_flow_run(job.id, mine)
    assert (await store.get(job.id)).owner is None  # it waits for its turn
    assert not await two.give_flow_run(job.id, other)
    assert not await one.give_flow_run(999, other)
    ended, begun = await new(store), await new(store)
    await store.fail(ended.id, CommandFailed("ended"))
    assert [claimed.id for claimed in await one.claim()] == [job.id, begun.id]
    for taken in (ended, begun):
        assert not await two.give_flow_run(taken.id, other)
    found = await store.by_flow_run(mine)
    assert found is not None
    assert found.id == job.id


async def test_a_job_without_its_flow_run_waits_again(store: AllJobs) -> None:
    job = await new(store)
    one = await worker(store, "one")
    [claimed] = await one.claim()
    for _ in range(2):  # the answer to the first may have been lost
        assert await one.release_flow_run(claimed)
    assert [waiting.id for waiting in await store.without_flow_run(limit=10)] == [job.id]
    await one.give_flow_run(job.id, uuid.uuid4())
    await one.claim()
    assert await one.release_flow_run(claimed)
    assert await store.without_flow_run(limit=10) == []


async def test_a_reason_is_written_down_whatever_is_in_it(store: AllJobs) -> None:
    """It may be what a server said, or a picker's error."""
    _, job = await claimed_by(store, "w", "here")
    await store.explain(job.id, "says \0")
    assert (await store.get(job.id)).reason == "says \ufffd"
    await store.advance(job.id, State.QUEUED, "half \ud83d")
    assert (await store.get(job.id)).reason == "half ?"
    assert await store.fail(job.id, CommandFailed("says \0\udcff."))
    assert (await store.get(job.id)).reason == "says \ufffd?."


async def test_a_job_that_may_be_somewhere_keeps_its_flow_run_and_worker(store: AllJobs) -> None:
    number, job = await claimed_by(store, "w", "here", "local")
    mine, claimed = owner(store, number), await store.get(job.id)
    assert not await mine.release_flow_run(claimed)
    assert await store.get(job.id) == claimed
    await Leases(store.pool).end(number)
    with pytest.raises(Superseded):
        await mine.release_flow_run(claimed)


async def test_a_lease_is_renewed_until_it_is_over(store: AllJobs) -> None:
    leases = Leases(store.pool)
    number = await leases.begin("w", "here")
    until = await leases.live_until("w")
    assert await leases.renew(number)
    renewed = await leases.live_until("w")
    assert until is not None
    assert renewed is not None
    assert renewed > until
    await leases.end(number)
    assert not await leases.renew(number)
    assert await leases.live_until("w") is None


async def test_jobs_of_a_live_worker_are_its_own(store: AllJobs) -> None:
    number, job = await claimed_by(store, "w", "here")
    other = owner(store, await Leases(store.pool).begin("other", "here"))
    assert await other.take_over("other", "here", []) == []
    with pytest.raises(Superseded):
        await other.advance(job.id, State.RUNNING)
    await owner(store, number).advance(job.id, State.RUNNING)
    assert (await store.get(job.id)).state is State.RUNNING


async def test_a_successor_takes_over_and_the_one_before_changes_nothing_more(store: AllJobs) -> None:
    number, job = await claimed_by(store, "w", "here", "local")
    before, now = owner(store, number), owner(store, await Leases(store.pool).begin("w", "here"))
    assert [taken.id for taken in await now.take_over("w", "here", ["local"])] == [job.id]
    assert await now.take_over("w", "here", ["local"]) == []
    failure = CommandFailed("late")
    for change in (
        before.advance(job.id, State.RUNNING),
        before.complete(job.id),
        before.fail(job.id, failure),
        before.explain(job.id, "late"),
        before.set_destination(job.id, "late"),
        before.submitted(job.id, "late"),
        before.release_flow_run(await now.get(job.id)),
        before.owned(job.id),
    ):
        with pytest.raises(Superseded):
            await change
    await now.fail(job.id, failure)
    assert await before.release([job.id]) == []
    [released] = await now.release([job.id])
    assert released.owner is None


async def test_ended_jobs_that_nobody_settled_are_taken_over_too(store: AllJobs) -> None:
    number, job = await claimed_by(store, "w", "here")
    await owner(store, number).fail(job.id, CommandFailed("ended"))
    now = owner(store, await Leases(store.pool).begin("w", "here"))
    assert [taken.id for taken in await now.take_over("w", "here", [])] == [job.id]


@pytest.mark.parametrize(
    ("name", "host", "destination", "taken"),
    [
        ("other", "here", "local", True),
        ("other", "there", "local", False),
        ("w", "there", "local", True),  # the machine has another name now, or it is another one after all
        ("other", "there", "cluster", True),
        ("other", "there", None, True),
    ],
)
async def test_local_commands_are_taken_over_where_they_are_seen(
    store: AllJobs, name: str, host: str, destination: str | None, taken: bool
) -> None:
    number, _ = await claimed_by(store, "w", "here", destination)
    await Leases(store.pool).end(number)
    now = owner(store, await Leases(store.pool).begin(name, host))
    assert bool(await now.take_over(name, host, ["local"])) is taken


async def test_a_limit_is_one_for_all_workers(store: AllJobs) -> None:
    jobs = [await new(store) for _ in range(12)]
    await store.set_flow_run({job.id: uuid.uuid4() for job in jobs})
    workers = [await worker(store, f"w{number}") for number in range(5)]
    claims = await asyncio.gather(*(one.claim(at_most=4) for one in workers for _ in range(3)))
    assert sorted(job.id for claimed in claims for job in claimed) == [job.id for job in jobs[:4]]
    begun = await store.get(jobs[0].id)
    assert begun.owner is not None
    # An end makes room, before all is done for it.
    await owner(store, begun.owner).fail(begun.id, CommandFailed("one"))
    assert [job.id for job in await workers[0].claim(at_most=4)] == [jobs[4].id]
    assert await workers[1].claim(at_most=3) == []  # a limit that was lowered since ends nothing
    assert len(await workers[1].claim()) == 7
