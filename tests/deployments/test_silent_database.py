"""A database that says nothing any more, as behind a gateway that forgot the connections."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy import URL

from deployments import migrations
from deployments.worker import advisory_locks, leadership, presence
from deployments.worker.presence import Presence
from flows.database.errors import unavailable_when_away
from flows.database.pool import Limits, Pool
from flows.errors import ConfigurationError, Unavailable
from flows.jobs.leases import Leases
from tests.postgres_proxy import PostgresProxy
from tests.waiting import LONG_ENOUGH, until_it_works

IMPATIENT = Limits(connections=2, connect_seconds=0.5, answer_seconds=0.5)

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advisory_locks, "SIGN_INTERVAL", 0.1)
    monkeypatch.setattr(advisory_locks, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(presence, "SIGN_INTERVAL", 0.1)
    monkeypatch.setattr(presence, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(leadership, "_PATIENCE", 1.0)
    monkeypatch.setattr(migrations, "CONNECT_SECONDS", 0.5)


@pytest_asyncio.fixture
async def proxy(database_url: URL) -> AsyncIterator[PostgresProxy]:
    async with PostgresProxy(database_url).listening() as proxy:
        yield proxy


async def notice(pool: Pool, heard: asyncio.Event) -> None:
    """Wait until a notice is heard that is given from now on."""
    async with asyncio.timeout(LONG_ENOUGH):
        while not heard.is_set():
            await pool.fetch(sa.select(sa.func.pg_notify("channel", "")))
            await asyncio.sleep(0.05)


async def test_lease_and_notices(proxy: PostgresProxy, pool: Pool) -> None:
    heard = asyncio.Event()
    async with asyncio.timeout(LONG_ENOUGH), Presence(proxy.url, "one", "host") as here:
        keeping = asyncio.create_task(here.keep({"channel": heard.set}))
        await notice(pool, heard)
        assert await here.renew()
        proxy.fall_silent()
        with pytest.raises(Unavailable):
            await here.renew()
        with pytest.raises(Unavailable):  # by a new connection
            await here.renew()
        proxy.come_back()
        assert await until_it_works(here.renew)
        # The server has not noticed that the session before is dead, and that one has the name.
        await until_it_works(lambda: has_another_session(here))
        heard.clear()
        await notice(pool, heard)
        keeping.cancel()
        await asyncio.wait([keeping])
    assert await Leases(pool).live_until("one") is None


async def has_another_session(here: Presence) -> None:
    if here._connection is None or here._connection.is_closed():
        raise Unavailable("Not yet.")
    with unavailable_when_away():
        await here._connection.execute("SELECT 1")


async def test_to_stop_does_not_wait_for_it(proxy: PostgresProxy) -> None:
    async with asyncio.timeout(LONG_ENOUGH):
        pool = Pool(proxy.url)
        await asyncio.gather(pool.fetch(sa.select(1)), pool.fetch(sa.select(1)))
        async with Presence(proxy.url, "one", "host") as here:
            keeping = asyncio.create_task(here.keep({}))
            proxy.fall_silent()
        keeping.cancel()
        await asyncio.wait([keeping])
        await pool.close()


async def test_what_was_silent_is_not_asked_again(proxy: PostgresProxy) -> None:
    pool = Pool(proxy.url, IMPATIENT)
    leases = Leases(pool)
    await asyncio.gather(*(leases.live_until("one") for _ in range(2)))
    proxy.fall_silent()
    proxy.come_back()
    with pytest.raises(Unavailable):
        await leases.live_until("one")
    for _ in range(2):
        await leases.live_until("one")
    await pool.close()


async def test_who_leads(proxy: PostgresProxy, pool: Pool) -> None:
    cut_off = Pool(proxy.url, IMPATIENT)
    async with asyncio.timeout(LONG_ENOUGH):
        async with leadership.leadership(cut_off, "test") as held:
            assert held is not None
            async with leadership.leadership(pool, "test") as other:
                assert other is None
            proxy.fall_silent()
            await held.lost.wait()
        with pytest.raises(Unavailable):
            async with leadership.leadership(cut_off, "test"):
                raise AssertionError("nobody has answered")
        async with asyncio.timeout(LONG_ENOUGH):
            while True:  # the dead session has the lock until it was silent for long
                async with leadership.leadership(pool, "test") as other:
                    if other is not None:
                        break
                await asyncio.sleep(0.1)
    await cut_off.close()


async def test_the_check_at_the_start(proxy: PostgresProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    connect: Callable[..., Awaitable[Any]] = asyncpg.connect

    async def then_silent(*arguments: object, **options: object) -> Any:
        connection = await connect(*arguments, **options)
        proxy.fall_silent()
        return connection

    monkeypatch.setattr(asyncpg, "connect", then_silent)
    async with asyncio.timeout(LONG_ENOUGH):
        with pytest.raises(ConfigurationError, match="it does not answer"):
            await migrations.check(proxy.url)
