"""What a database that stops, starts, dies or refuses looks like from here: Unavailable, and nothing else."""

import asyncio
import os
import signal
import uuid
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy import URL

from deployments import migrations
from deployments.serving.postgres import EmbeddedPostgres
from flows.database.errors import unavailable_when_away
from flows.database.pool import Pool
from flows.errors import Unavailable, with_cause
from flows.jobs.store import JobStore
from tests.waiting import LONG_ENOUGH


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
async def test_a_restart_of_the_database(tmp_path: Path, number: signal.Signals) -> None:
    server = EmbeddedPostgres(tmp_path / "postgres", {"fsync": "off"})
    await server.start()
    try:
        await server.create_database("jobs")
        await migrations.upgrade(server.url("jobs"))
        pool = Pool(server.url("jobs"))
        store = JobStore(pool)
        job = await store.create(application="a", submitter="me", roles=[], command="x", token=uuid.uuid4())
        away = 0
        answered_again = asyncio.Event()

        async def ask() -> None:
            nonlocal away
            while not answered_again.is_set():
                try:
                    assert (await store.get(job.id)).id == job.id
                    if away:
                        answered_again.set()
                except Unavailable:
                    away += 1
                    await asyncio.sleep(0.001)

        asking = [asyncio.create_task(ask()) for _ in range(8)]
        await asyncio.sleep(0.1)
        postmaster = int((tmp_path / "postgres/data/postmaster.pid").read_text().split("\n")[0])
        os.kill(postmaster, number)  # the supervisor starts it again
        async with asyncio.timeout(LONG_ENOUGH):
            await asyncio.gather(*asking)
        assert away > 0
        await pool.close()
    finally:
        await server.stop()


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.CannotConnectNowError("starting up"),
        asyncpg.TooManyConnectionsError("full"),
        asyncpg.InvalidPasswordError("changed a moment ago"),
        asyncpg.InterfaceError("the driver's own"),
        asyncpg.TargetServerAttributeNotMatched("none of the hosts takes writes"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_raised_while_connecting(error: Exception) -> None:
    with pytest.raises(Unavailable) as caught, unavailable_when_away():
        raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    ("before", "statement", "state"),
    [
        ("SET default_transaction_read_only = on", "CREATE TABLE x ()", "25006"),
        ("SET statement_timeout = 1", "SELECT pg_sleep(60)", "57014"),
        ("ALTER TABLE job RENAME COLUMN reason TO other", "SELECT reason FROM job", "42703"),
        ("SELECT", "DO 'BEGIN RAISE EXCEPTION USING ERRCODE = ''deadlock_detected''; END'", "40P01"),
        ("SELECT", "DO 'BEGIN RAISE EXCEPTION USING ERRCODE = ''io_error''; END'", "58030"),
        ("SELECT", "DO 'BEGIN RAISE EXCEPTION USING ERRCODE = ''internal_error''; END'", "XX000"),
    ],
)
async def test_what_is_refused(pool: Pool, before: str, statement: str, state: str) -> None:
    async def ask() -> None:
        for part in before, statement:  # by one connection: no other was asked for
            await pool.fetch(sa.text(part))

    with pytest.raises(Unavailable, match="The database answers with an error") as caught:
        await ask()
    assert f" {state}: " in with_cause(caught.value)


async def test_what_is_about_our_values(pool: Pool) -> None:
    store = JobStore(pool)
    job = await store.create(application="a", submitter="me", roles=[], command="x", token=uuid.uuid4())
    with pytest.raises(asyncpg.DataError, match="value out of int64 range"):  # the driver says so
        await store.get(1 << 70)
    with pytest.raises(asyncpg.DataError, match="invalid byte sequence"):
        await store.rename(job.id, "\0")
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await store.add_completed(job_id=job.id, name="a", application="a", submitter="me")


async def test_a_server_that_takes_no_writes_is_left(database_url: URL, pool: Pool) -> None:
    """As after a failover: the address leads to another one, but connections stay where they are."""
    own = Pool(database_url)
    store = JobStore(own)
    alter = f"ALTER DATABASE {database_url.database} SET default_transaction_read_only"
    await pool.fetch(sa.text(f"{alter} = on"))
    await asyncio.gather(*(store.count_of_submitter("me") for _ in range(5)))
    await pool.fetch(sa.text(f"{alter} = off"))
    new: dict[str, Any] = {"application": "a", "submitter": "me", "roles": [], "command": "x"}
    with pytest.raises(Unavailable):
        await store.create(**new, token=uuid.uuid4())
    jobs = [store.create(**new, token=uuid.uuid4()) for _ in range(5)]
    assert len(await asyncio.gather(*jobs)) == 5
    await own.close()
