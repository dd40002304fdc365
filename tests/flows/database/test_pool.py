"""Connections are lent in order, and one that may be of no use is not lent again."""

import asyncio
import logging
import uuid
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy import URL

from flows.database import pool as pools
from flows.database.errors import NotAsked
from flows.database.pool import Limits, Pool
from flows.errors import Unavailable
from flows.jobs.job import State
from tests.all_jobs import AllJobs
from tests.waiting import LONG_ENOUGH

ONE = Limits(connections=1)
IMPATIENT = Limits(connections=1, wait_seconds=0.05)
SESSION = sa.text("SELECT pg_backend_pid()")
SLEEP = sa.text("SELECT pg_sleep(:seconds)")
OTHERS = sa.text("""
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
""")


async def session(pool: Pool) -> int:
    [[number]] = await pool.fetch(SESSION)
    return int(number)


async def are_there(pool: Pool, others: int) -> None:
    """Wait until so many sessions are there besides the one that asks."""
    async with asyncio.timeout(LONG_ENOUGH):
        while (await pool.fetch(OTHERS))[0][0] != others:
            await asyncio.sleep(0.02)


async def test_in_the_order_in_which_they_came(database_url: URL) -> None:
    pool = Pool(database_url, ONE)
    came: list[int] = []

    async def ask(number: int, again: bool) -> None:
        await pool.fetch(SESSION)
        came.append(number)
        if again:  # at once, when others wait
            await ask(number + 10, False)

    await asyncio.gather(*(ask(number, True) for number in range(3)))
    assert came == [0, 1, 2, 10, 11, 12]
    await pool.close()


async def test_a_turn_that_does_not_come(database_url: URL) -> None:
    pool = Pool(database_url, IMPATIENT)
    async with pool.transaction() as transaction:
        with pytest.raises(NotAsked):
            await pool.fetch(SESSION)
        assert await transaction.fetch(SESSION)
    assert await pool.fetch(SESSION)
    await pool.close()


async def test_who_gives_up_waiting_takes_no_turn(database_url: URL) -> None:
    pool = Pool(database_url, ONE)
    async with pool.transaction():
        waiting = asyncio.create_task(pool.fetch(SESSION))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
    async with asyncio.timeout(LONG_ENOUGH):
        await pool.fetch(SESSION)
    await pool.close()


async def test_connections_that_nobody_needs_are_closed(
    database_url: URL, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "IDLE_SECONDS", 0.2)
    busy = Pool(database_url, Limits(connections=4))
    async with asyncio.timeout(LONG_ENOUGH), asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(busy.fetch(SLEEP, seconds=0.5))
        await are_there(pool, 4)
    kept = await session(busy)
    async with asyncio.timeout(LONG_ENOUGH):
        while (await pool.fetch(OTHERS))[0][0] > 1:
            assert await session(busy) == kept  # the same one is used
            await asyncio.sleep(0.01)
    await are_there(pool, 0)
    assert await session(busy) != kept
    await busy.close()
    await are_there(pool, 0)


async def test_a_load_that_comes_in_bursts_makes_no_connections_anew(database_url: URL) -> None:
    """Each would be a process of PostgreSQL's that is started, and looks up what it needs to know."""
    pool = Pool(database_url)
    try:
        sessions: set[int] = set()
        for burst in range(20):
            sessions.update(await asyncio.gather(*(session(pool) for _ in range(2 + 5 * (burst % 5)))))
        assert len(sessions) <= Limits().connections
    finally:
        await pool.close()


async def test_one_whose_question_was_given_up_is_not_asked_again(database_url: URL, pool: Pool) -> None:
    own = Pool(database_url, ONE)
    before = await session(own)
    asking = asyncio.create_task(own.fetch(SLEEP, seconds=600))
    sleeps = sa.text("SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND pid = :pid")
    async with asyncio.timeout(LONG_ENOUGH):
        while not await pool.fetch(sleeps, pid=before):
            await asyncio.sleep(0.02)
        asking.cancel()
        await asyncio.wait([asking])
        assert await session(own) != before
        while await pool.fetch(sleeps, pid=before):
            await asyncio.sleep(0.02)
    await own.close()


async def test_a_transaction_is_done_as_a_whole_or_not_at_all(pool: Pool) -> None:
    jobs = AllJobs(pool)
    job = await jobs.create(application="a", submitter="me", roles=[], command="x", token=uuid.uuid4())
    rename = sa.text("UPDATE job SET name = :name")
    with pytest.raises(asyncpg.DataError):  # of the second
        await in_one(pool, (rename, "never"), (rename, "\0"))
    assert await jobs.get(job.id) == job
    await in_one(pool, (rename, "one"), (rename, "other"))
    assert (await jobs.get(job.id)).name == "other"


async def in_one(pool: Pool, *statements: tuple[sa.Executable, str]) -> None:
    async with pool.transaction() as transaction:
        for statement, name in statements:
            await transaction.fetch(statement, name=name)


async def test_a_session_that_is_ended_in_the_middle_was_not_answered(database_url: URL, pool: Pool) -> None:
    own = Pool(database_url, Limits(connections=2))
    number = await session(own)
    asking = asyncio.create_task(own.fetch(SLEEP, seconds=600))
    end = sa.text("SELECT pg_terminate_backend(:pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
    async with asyncio.timeout(LONG_ENOUGH):
        while not await pool.fetch(end, pid=number):
            await asyncio.sleep(0.02)
        with pytest.raises(Unavailable) as caught:
            await asking
    assert not isinstance(caught.value, NotAsked)
    assert await session(own) != number
    await own.close()


async def test_a_schema_that_changes_meanwhile(pool: Pool) -> None:
    """A session has put the statement together for columns that were of another type."""
    jobs = AllJobs(pool)
    job = await jobs.create(application="a", submitter="me", roles=[], command="x", token=uuid.uuid4())
    for kind in ("varchar(200)", "text"):
        assert (await jobs.get(job.id)).name == job.name
        await pool.fetch(sa.text(f"ALTER TABLE job ALTER COLUMN name TYPE {kind}"))
    assert (await jobs.get(job.id)).state is State.NEW


@pytest.mark.parametrize("size", [0, 5])
async def test_a_pooler_that_knows_of_no_prepared_statements(database_url: URL, size: int) -> None:
    url = database_url.update_query_dict({"prepared_statement_cache_size": str(size)})
    pool = Pool(url, ONE)
    kept = sa.text("SELECT count(*) FROM pg_prepared_statements")
    for _ in range(2):
        [[prepared]] = await pool.fetch(kept)
    assert prepared == min(size, 1)
    await pool.close()


async def test_the_log_of_statements_has_no_values(
    database_url: URL, caplog: pytest.LogCaptureFixture
) -> None:
    pool = Pool(database_url, ONE, echo=True)
    with caplog.at_level(logging.INFO):
        await pool.fetch(sa.text("SELECT CAST(:password AS text)"), password="secret")
    assert "SELECT CAST($1 AS text)" in caplog.text
    assert "secret" not in caplog.text
    await pool.close()


async def test_a_value_that_is_missing(pool: Pool) -> None:
    statement: Any = sa.select(sa.bindparam("x", type_=sa.Text))
    with pytest.raises(KeyError):
        await pool.fetch(statement)
    assert (await pool.fetch(statement, x="1"))[0][0] == "1"
