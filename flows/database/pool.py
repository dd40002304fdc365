"""Connections to the database that are shared: a few, lent in order, closed when they are of no use."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
import sqlalchemy as sa
from sqlalchemy import URL

from flows.database.connecting import Connection, connect
from flows.database.errors import DRIVER, NotAsked, broke, is_about_values, sqlstate, unavailable
from flows.database.statements import compiled

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 3.0

IDLE_SECONDS = 20.0
"""How long a connection is kept that nobody needs: each is a process of PostgreSQL's."""

Row = asyncpg.Record


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Seconds: to wait for a connection that is free, to connect, and for the answer to a question."""

    connections: int = 10
    wait_seconds: float = 30.0
    connect_seconds: float = 20.0
    answer_seconds: float = 20.0


_DEFAULT = Limits()


class Pool:
    """At most so many connections, each lent to one at a time, in the order in which they were asked for.

    The one that was used last is lent first, so that those above what is needed become idle. None is used
    again after it was silent, nor are those that are as old: the way to the server may be gone, or lead to
    another server.
    """

    def __init__(self, url: URL, limits: Limits = _DEFAULT, *, echo: bool = False) -> None:
        self.url = url
        self._limits = limits
        self._echo = echo
        self._turns = asyncio.Semaphore(limits.connections)
        self._good: set[Connection] = set()
        self._idle: list[tuple[Connection, float]] = []
        self._look: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def fetch(self, statement: sa.Executable, /, **values: Any) -> list[Row]:
        """Return the rows that a statement answers with, each a transaction by itself.

        One that is kept is put together once (``flows.database.statements``); ``values`` are those of its
        parameters that have none yet. Raises Unavailable, or the driver's error about a value.
        """
        question = compiled(statement)
        arguments = question.arguments(values)
        if self._echo:
            logger.info("%s", question.text)
        async with self._lent() as connection:
            rows: list[Row] = await connection.fetch(question.text, *arguments)
            return rows

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["Transaction"]:
        """Have several statements be done together, or none of them where the block raises."""
        async with self._lent() as connection, connection.transaction():
            yield Transaction(connection)

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[Connection]:
        connection = await self._take()
        try:
            yield connection
        except BaseException as error:
            self._give_back(connection, error)
            if (ours := unavailable(error)) is None:
                raise
            raise ours from error
        self._give_back(connection)

    async def open(self) -> Connection:
        """Return a connection like those of the pool that is the caller's own, to be closed by them."""
        return await connect(
            self.url,
            connect_seconds=self._limits.connect_seconds,
            answer_seconds=self._limits.answer_seconds,
        )

    async def close(self) -> None:
        """Close the connections, also where nobody is there any more to agree to that."""
        if self._look is not None:
            self._look.cancel()
            self._look = None
        for connection, _ in self._idle:
            self._close_soon(connection)
        self._idle.clear()
        await asyncio.gather(*self._closing)
        for connection in self._good:  # of callers that have not come back
            connection.terminate()
        self._good.clear()

    async def _take(self) -> Connection:
        if self._turns.locked():
            await self._wait()
        else:
            await self._turns.acquire()
        while self._idle:
            connection, _ = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._good.discard(connection)
        try:
            connection = await self.open()
        except BaseException:
            self._turns.release()
            raise
        self._good.add(connection)
        return connection

    async def _wait(self) -> None:
        seconds = self._limits.wait_seconds
        try:
            async with asyncio.timeout(seconds):
                await self._turns.acquire()
        except TimeoutError:
            cause = TimeoutError(f"no connection became free in {seconds:g} s")
            raise NotAsked("The database does not answer.") from cause

    def _give_back(self, connection: Connection, error: BaseException | None = None) -> None:
        self._turns.release()
        if error is not None:
            self._judge(connection, error)
        if connection not in self._good or connection.is_closed():
            self._close_soon(connection)  # which first has the server give up what it still does for it
            return
        loop = asyncio.get_running_loop()
        self._idle.append((connection, loop.time()))
        if self._look is None:
            self._look = loop.call_later(IDLE_SECONDS, self._close_unneeded)

    def _judge(self, connection: Connection, error: BaseException) -> None:
        if not isinstance(error, Exception):  # cancelled: an answer may still come
            self._good.discard(connection)
        elif _has_lost_it(error):
            for other, _ in self._idle:
                other.terminate()
            self._idle.clear()
            self._good.clear()  # those that are lent are closed when they come back

    def _close_unneeded(self) -> None:
        loop = asyncio.get_running_loop()
        long_ago = loop.time() - IDLE_SECONDS
        while self._idle and self._idle[0][1] <= long_ago:  # those that were used last are at the end
            connection, _ = self._idle.pop(0)
            self._close_soon(connection)
        self._look = None
        if self._idle:
            self._look = loop.call_at(self._idle[0][1] + IDLE_SECONDS, self._close_unneeded)

    def _close_soon(self, connection: Connection) -> None:
        self._good.discard(connection)
        task = asyncio.create_task(_close(connection))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _has_lost_it(error: Exception) -> bool:
    """Whether the connection is of no use any more, and those that are as old may not be either."""
    if isinstance(error, OSError):  # silence is one
        return True
    if not isinstance(error, DRIVER) or is_about_values(error):
        return False
    # Of a server that takes no writes (25006): after a failover the address leads to another.
    return (state := sqlstate(error)) is None or broke(state) or state == "25006"


async def _close(connection: Connection) -> None:
    with suppress(OSError, *DRIVER):
        await connection.close(timeout=CLOSE_SECONDS)


class Transaction:
    """Statements that are done together."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def fetch(self, statement: sa.Executable, /, **values: Any) -> list[Row]:
        """As the pool does."""
        question = compiled(statement)
        rows: list[Row] = await self._connection.fetch(question.text, *question.arguments(values))
        return rows
