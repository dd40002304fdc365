"""How SQL of ours reaches the database."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext

import asyncpg
import sqlalchemy as sa
import sqlalchemy.exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from flows.errors import Unavailable


class Turns:
    """Lets as many in as there are connections, in the order in which they came.

    The pool gives a connection that has become free to whoever asks in that moment, before those who wait:
    with many askers, some wait ten times as long as most.
    """

    def __init__(self, connections: int, seconds: float) -> None:
        self._free = asyncio.Semaphore(connections)
        self._seconds = seconds

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn and keep it inside of the block; raise what the pool raises after too long."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._free.acquire()
        except TimeoutError as error:
            raise sa.exc.TimeoutError(f"no connection became free in {self._seconds} s") from error
        try:
            yield
        finally:
            self._free.release()


class Database:
    """Base of the classes that hold SQL. Every statement is a transaction by itself."""

    def __init__(self, engine: AsyncEngine, turns: Turns | None = None) -> None:
        self.engine = engine
        self._turn = turns.turn if turns else nullcontext
        # Without BEGIN and COMMIT, a third of the round trips is left.
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")

    @asynccontextmanager
    async def connection(self, engine: AsyncEngine | None = None) -> AsyncIterator[AsyncConnection]:
        """Raise Unavailable when the database cannot be asked now.

        With ``self.engine`` as the engine, statements can be put into one transaction.
        """
        with unavailable_when_away():
            async with self._turn(), (engine or self._autocommit).connect() as connection:
                yield connection


@contextmanager
def unavailable_when_away() -> Iterator[None]:
    """Turn what is raised because the database cannot be asked now into Unavailable."""
    try:
        yield
    except (OSError, TimeoutError, sa.exc.TimeoutError) as error:
        raise Unavailable("The database does not answer.") from error
    except sa.exc.DBAPIError as error:
        if error.connection_invalidated or _is_away(getattr(error.orig, "sqlstate", None)):
            raise Unavailable("The database does not answer.") from error
        raise
    except asyncpg.PostgresError as error:  # of an attempt to connect, which SQLAlchemy 2.0 leaves as it is
        if _is_away(error.sqlstate):
            raise Unavailable("The database does not answer.") from error
        raise


def _is_away(sqlstate: str | None) -> bool:
    """Whether the error is one of a server that starts, stops or is full: appendix A of its manual."""
    return sqlstate is None or sqlstate[:2] in {"08", "53"} or sqlstate in {"57P01", "57P02", "57P03"}
