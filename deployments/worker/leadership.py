"""One process among all that use a database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from deployments.worker.advisory_locks import end_holder, try_lock, until_lost
from flows.database.connecting import Connection
from flows.database.errors import unavailable_when_away
from flows.database.pool import Pool
from flows.waiting.cancelling import cancel

_PATIENCE = 20.0
"""Seconds without a sign from the one that leads, after which it is taken for frozen."""


class Leadership:
    """Held as long as ``lost`` is not set."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()

    async def keep(self, connection: Connection) -> None:
        """Lead until the connection is lost."""
        try:
            await until_lost(connection)
        finally:
            self.lost.set()


@asynccontextmanager
async def leadership(pool: Pool, purpose: str) -> AsyncIterator[Leadership | None]:
    """Lead for as long as the block lasts and the connection to the database lives; None if another does."""
    name = f"bartender {purpose}"
    connection = await pool.open()
    try:
        with unavailable_when_away():
            led = await try_lock(connection, name)
            if not led:
                await end_holder(connection, name, silent_for=_PATIENCE)
        if led:
            async with _kept(connection) as held:
                yield held
        else:
            yield None
    finally:
        connection.terminate()


@asynccontextmanager
async def _kept(connection: Connection) -> AsyncIterator[Leadership]:
    held = Leadership()
    signs = asyncio.create_task(held.keep(connection), name="signs of leadership")
    try:
        yield held
    finally:
        await cancel([signs])
