"""One process among all that use a database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import sqlalchemy as sa
import sqlalchemy.exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from flows.errors import Unavailable

_SIGN_INTERVAL = 5.0
_ANSWER_SECONDS = 10.0
_PATIENCE = 60.0
"""Seconds without a sign from the one that leads, after which it is taken for frozen."""

# How pg_locks shows the one number of an advisory lock: in halves.
_END_SILENT_LEADER = sa.text("""
    SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND ((classid::bigint << 32) | objid::bigint) = hashtext(:name)::bigint
    AND state_change < now() - make_interval(secs => :patience)
""")


class Leadership:
    """Held as long as ``lost`` is not set."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()

    async def keep(self, connection: AsyncConnection) -> None:
        """Give signs of life; a connection can also be dead without anybody having noticed."""
        try:
            while not self.lost.is_set():
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await connection.execute(sa.select(1))
                await asyncio.sleep(_SIGN_INTERVAL)
        except (OSError, sa.exc.SQLAlchemyError, asyncpg.InterfaceError):
            self.lost.set()


@asynccontextmanager
async def leadership(engine: AsyncEngine, purpose: str) -> AsyncIterator[Leadership | None]:
    """Lead for as long as the block lasts and the connection to the database lives; None if another does."""
    name = f"bartender {purpose}"
    try:
        connection = await engine.connect()
    except (OSError, sa.exc.SQLAlchemyError, asyncpg.PostgresError) as error:
        raise Unavailable("The database does not answer.") from error
    led = False
    try:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        lock = sa.select(sa.func.pg_try_advisory_lock(sa.func.hashtext(name)))
        led = (await connection.execute(lock)).scalar_one()
        if led:
            async with _kept(connection) as held:
                yield held
        else:
            await connection.execute(_END_SILENT_LEADER, {"name": name, "patience": _PATIENCE})
            yield None
    finally:
        if led:  # the lock is the session's: it must not go back to the pool
            await connection.invalidate()
        await connection.close()


@asynccontextmanager
async def _kept(connection: AsyncConnection) -> AsyncIterator[Leadership]:
    held = Leadership()
    driver: Any = (await connection.get_raw_connection()).driver_connection
    driver.add_termination_listener(lambda _: held.lost.set())
    signs = asyncio.create_task(held.keep(connection), name="signs of leadership")
    try:
        yield held
    finally:
        signs.cancel()
        await asyncio.gather(signs, return_exceptions=True)
