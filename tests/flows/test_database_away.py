"""What a database that stops, starts or dies looks like from here: Unavailable, and nothing else."""

import asyncio
import os
import signal
import uuid
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from deployments import migrations
from deployments.postgres import EmbeddedPostgres
from flows.database import unavailable_when_away
from flows.errors import Unavailable
from flows.store import JobStore


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
async def test_a_restart_of_the_database(tmp_path: Path, number: signal.Signals) -> None:
    server = EmbeddedPostgres(tmp_path / "postgres", {"fsync": "off"})
    await server.start()
    try:
        await server.create_database("jobs")
        await migrations.upgrade(server.url("jobs"))
        engine = create_async_engine(server.url("jobs"))
        store = JobStore(engine)
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
        async with asyncio.timeout(60):
            await asyncio.gather(*asking)
        assert away > 0
        await engine.dispose()
    finally:
        await server.stop()


@pytest.mark.parametrize("error", [asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError])
def test_what_is_raised_while_connecting(error: type[asyncpg.PostgresError]) -> None:
    with pytest.raises(Unavailable), unavailable_when_away():
        raise error("not now")


def test_a_wrong_password_is_not_taken_for_a_database_that_is_away() -> None:
    with pytest.raises(asyncpg.InvalidPasswordError), unavailable_when_away():
        raise asyncpg.InvalidPasswordError("wrong")
