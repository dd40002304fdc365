"""A worker's presence in the database: the only one of its name, and told of jobs the moment they wait."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Self

import asyncpg
import sqlalchemy as sa
import sqlalchemy.exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from flows.errors import ConfigurationError

logger = logging.getLogger(__name__)

RECONNECT_INTERVAL = 0.5


class Presence:
    """Holds an advisory lock on the name for as long as its connection lives.

    PostgreSQL lets go of it with the connection, so a worker that was killed does not keep its successor out.
    """

    def __init__(self, engine: AsyncEngine, name: str) -> None:
        self._engine = engine
        self._name = name
        self._connection: AsyncConnection | None = None

    async def __aenter__(self) -> Self:
        """Raise ConfigurationError when a worker of this name is there."""
        for _ in range(10):
            if await self._connect():
                return self
            # The server may still have to notice that the process before us is gone.
            await asyncio.sleep(RECONNECT_INTERVAL)
        raise ConfigurationError(
            f"a worker named {self._name} is running already: stop it or set another BARTENDER_WORKER_NAME"
        )

    async def __aexit__(self, *exc_info: object) -> None:
        await self._disconnect()

    async def keep(self, on_notice: Mapping[str, Callable[[], None]]) -> None:
        """Call what belongs to a channel whenever there is notice on it, and all after being away.

        Connects again whenever the connection is lost.
        """
        while True:
            if self._connection is not None:
                await self._listen(self._connection, on_notice)
                await self._disconnect()
                logger.warning("The connection to the database was lost; connecting again")
            await asyncio.sleep(RECONNECT_INTERVAL)
            try:
                if not await self._connect():
                    logger.warning("Another worker took the name %s", self._name)
            except (OSError, sa.exc.SQLAlchemyError, asyncpg.PostgresError) as error:
                logger.debug("The database is away: %r", error)

    async def _listen(self, connection: AsyncConnection, on_notice: Mapping[str, Callable[[], None]]) -> None:
        lost = asyncio.Event()
        driver: Any = (await connection.get_raw_connection()).driver_connection
        try:
            driver.add_termination_listener(lambda _: lost.set())
            for channel in on_notice:
                await driver.add_listener(channel, lambda _c, _p, name, _t: on_notice[name]())
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return
        for wake in on_notice.values():  # for what came while nobody listened
            wake()
        await lost.wait()

    async def _connect(self) -> bool:
        connection = await self._engine.connect()
        try:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            lock = sa.select(sa.func.pg_try_advisory_lock(sa.func.hashtext(f"bartender worker {self._name}")))
            if (await connection.execute(lock)).scalar_one():
                self._connection = connection
                return True
        except BaseException:
            await connection.invalidate()
            await connection.close()
            raise
        await connection.close()
        return False

    async def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            # Closed for good, not returned to the pool: the lock is the session's.
            await connection.invalidate()
            await connection.close()
