"""One process among all that use a database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import sqlalchemy as sa
import sqlalchemy.exc
from sqlalchemy.ext.asyncio import AsyncEngine

from flows.errors import Unavailable

_ANSWER_SECONDS = 10.0


class Leadership:
    """Held as long as ``lost`` is not set."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.lost = asyncio.Event()

    async def is_held(self) -> bool:
        """Ask the database: a connection can be dead without anybody having noticed."""
        if not self.lost.is_set():
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await self._connection.execute(sa.select(1))
            except (OSError, sa.exc.SQLAlchemyError):
                self.lost.set()
        return not self.lost.is_set()


@asynccontextmanager
async def leadership(engine: AsyncEngine, purpose: str) -> AsyncIterator[Leadership | None]:
    """Lead for as long as the block lasts and the connection to the database lives; None if another does."""
    try:
        connection = await engine.connect()
    except (OSError, sa.exc.SQLAlchemyError, asyncpg.PostgresError) as error:
        raise Unavailable("The database does not answer.") from error
    led = False
    try:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        lock = sa.select(sa.func.pg_try_advisory_lock(sa.func.hashtext(f"bartender {purpose}")))
        led = (await connection.execute(lock)).scalar_one()
        if not led:
            await connection.close()
            yield None
            return
        held = Leadership(connection)
        driver: Any = (await connection.get_raw_connection()).driver_connection
        driver.add_termination_listener(lambda _: held.lost.set())
        yield held
    finally:
        if led:  # the lock is the session's: it must not go back to the pool
            await connection.invalidate()
        await connection.close()
