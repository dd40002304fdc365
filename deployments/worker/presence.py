"""A worker's presence in the database: its number and lease, and notice of jobs the moment they wait."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Self

from sqlalchemy import URL

from deployments.worker.advisory_locks import SIGN_INTERVAL, end_holder, try_lock, until_lost
from flows.database.connecting import Connection
from flows.database.errors import unavailable_when_away
from flows.database.pool import Limits, Pool
from flows.errors import ConfigurationError, Unavailable, with_cause
from flows.jobs.leases import Leases
from flows.waiting.patience import Delays, patiently

logger = logging.getLogger(__name__)

RECONNECT_INTERVAL = 0.5

ANSWER_SECONDS = 3.0
"""How long the database may be silent: short, so that a lease is renewed by another connection in time."""

AT_THE_START = Delays(0.5, longest=5.0)
"""While the database is away."""


class Presence:
    """Holds the lease of this process, and an advisory lock on its name.

    PostgreSQL lets go of the lock with the connection: that is how the successor of a worker that was killed
    knows at once that it was, and need not wait for the end of its lease.
    """

    number: int
    """What fences the jobs of this process: see ``flows.jobs.leases``."""

    def __init__(self, database: URL, name: str, host: str) -> None:
        # Connections of its own: jobs that wait for theirs must not keep the lease waiting.
        limits = Limits(
            connections=2,
            wait_seconds=ANSWER_SECONDS,
            connect_seconds=ANSWER_SECONDS,
            answer_seconds=ANSWER_SECONDS,
        )
        self._pool = Pool(database, limits)
        self._leases = Leases(self._pool)
        self._name = name
        self._host = host
        self._lock_name = f"bartender worker {name}"
        self._connection: Connection | None = None

    async def __aenter__(self) -> Self:
        """Wait for a database that is away, or does not let us in; the log says why.

        Raises ConfigurationError when a worker of this name is there and alive.
        """
        try:
            await patiently(self._begin_or_disconnect, delays=AT_THE_START)
        except BaseException:
            await self._close()
            raise
        return self

    async def _begin_or_disconnect(self) -> None:
        try:
            await self._begin()
        except Unavailable:
            self._disconnect()
            raise

    async def _begin(self) -> None:
        known_until = await self._leases.live_until(self._name)
        until = known_until
        while not await self._connect():
            # The server may still have to notice that the process before us is gone.
            await asyncio.sleep(RECONNECT_INTERVAL)
            until = await self._leases.live_until(self._name)
            if until is None:
                await self._end_session()
            elif until != known_until:
                raise ConfigurationError(
                    f"a worker named {self._name} is running already: stop it or set another "
                    "BARTENDER_WORKER_NAME"
                )
        self.number = await self._leases.begin(self._name, self._host)

    async def __aexit__(self, *exc_info: object) -> None:
        try:
            async with asyncio.timeout(RECONNECT_INTERVAL):
                await self._leases.end(self.number)
        except Exception as error:  # it ends by itself a little later
            logger.warning("The lease of worker %s was not given back: %r", self._name, error)
        await self._close()

    async def renew(self) -> bool:
        """Prolong the lease; False when it was over: then others may run our jobs, and we must not."""
        return await self._leases.renew(self.number)

    async def keep(self, on_notice: Mapping[str, Callable[[], None]]) -> None:
        """Call what belongs to a channel whenever there is notice on it, and all after being away.

        Connects again whenever the connection is lost. Raises Unavailable when it cannot listen there.
        """
        while True:
            if self._connection is not None:
                try:
                    await self._listen(self._connection, on_notice)
                except Unavailable:
                    self._disconnect()
                    raise
                self._disconnect()
                logger.warning("The connection to the database was lost; connecting again")
            await asyncio.sleep(RECONNECT_INTERVAL)
            try:
                if not await self._connect():
                    logger.warning("The name %s is another session's, perhaps the lost one", self._name)
                    await self._end_session(silent_for=SIGN_INTERVAL + ANSWER_SECONDS)
            except Unavailable as error:
                logger.debug("The database is away: %s", with_cause(error))

    async def _listen(self, connection: Connection, on_notice: Mapping[str, Callable[[], None]]) -> None:
        with unavailable_when_away():
            for channel in on_notice:
                await connection.add_listener(channel, lambda _c, _p, name, _t: on_notice[name]())
        for wake in on_notice.values():  # for what came while nobody listened
            wake()
        await until_lost(connection)

    async def _connect(self) -> bool:
        connection = await self._pool.open()
        try:
            with unavailable_when_away():
                if await try_lock(connection, self._lock_name):
                    self._connection = connection
                    return True
                return False
        finally:
            if connection is not self._connection:
                connection.terminate()

    async def _end_session(self, silent_for: float = 0.0) -> None:
        """End the database session that still has the name, though whoever made it is frozen or cut off."""
        connection = await self._pool.open()
        try:
            with unavailable_when_away():
                await end_holder(connection, self._lock_name, silent_for=silent_for)
        finally:
            connection.terminate()

    async def _close(self) -> None:
        self._disconnect()
        await self._pool.close()

    def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.terminate()
